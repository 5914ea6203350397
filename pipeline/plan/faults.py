"""What is wrong with a plan, said so that its author can mend it: where, what it says, why that is wrong, what to
do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """`file` relative to what was loaded; `key` as a path with ids in it (`areas.camp-2.polygon`); `line` counts
    from 1."""

    file: str
    key: str
    value: str
    problem: str
    cure: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        head = ": ".join(part for part in (place, self.key, self.value) if part)
        return f"{head}; {self.problem}. {self.cure}"


class PlanError(Exception):
    """The plan is refused. `faults` has all of them, sorted by file and line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults), key=lambda f: (f.file, f.line or 0, f.key, f.problem))
        count = len(self.faults)
        super().__init__("\n".join([f"the plan has {count} fault{'s' if count != 1 else ''}", *map(str, self.faults)]))


def shown(value: object) -> str:
    """A value as a fault quotes it: one line, not long, no control characters."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else repr(value)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def bad(problem: str, cure: str, value: str = "") -> PydanticCustomError:
    """An error for validators to raise: its problem and cure reach the fault unchanged; `value` when the input is
    too much to quote."""
    return PydanticCustomError("plan", "{problem}. {cure}", {"problem": problem, "cure": cure, "value": value})


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The cure for an unknown name: `Did you mean "x"?`, or the known ones when nothing comes near."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if not close:  # upper and lower case are no reason to find nothing
        folded = {name.casefold(): name for name in names}
        close = [folded[c] for c in difflib.get_close_matches(word.casefold(), list(folded), n=3, cutoff=0.6)]
    if close:
        return f"Did you mean {_either(close)}?"
    if otherwise:
        return otherwise
    if not names:
        return "None is declared; declare one"
    return f"Known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"


def _either(names: Sequence[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)

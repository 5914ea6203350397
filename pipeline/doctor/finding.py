"""What a look at one thing found: how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "fault", "away"]
"""note: worth knowing, nothing to do now. away: it could not be reached."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    state: State
    what: str
    do: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, "ok", what)


def note(check: str, what: str, do: str = "") -> Finding:
    return Finding(check, "note", what, do)


def fault(check: str, what: str, do: str) -> Finding:
    return Finding(check, "fault", what, do)


def away(check: str, what: str, do: str) -> Finding:
    return Finding(check, "away", what, do)


def exit_code(findings: list[Finding]) -> int:
    """0: nothing to do. 1: a fault. 3: the only thing wrong is that something does not answer."""
    states = {f.state for f in findings}
    return 1 if "fault" in states else 3 if "away" in states else 0

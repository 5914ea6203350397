"""Hold a ledger against what a person wrote down: nothing missing, nothing extra, and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.model.times import parse_us
from simulators.story import Expected

Row = dict[str, Any]


def _seconds(text: str, start_us: int) -> float:
    return (parse_us(text) - start_us) / 1e6


def _fits(row: Row, wanted: Expected, start_us: int) -> bool:
    if (row["rule"], row["subject"]) != (wanted.rule, wanted.subject):
        return False
    if wanted.object and row["object"] != wanted.object:
        return False
    if abs(_seconds(row["began_at"], start_us) - wanted.began_at_s) > wanted.within_s:
        return False
    if wanted.ended_at_s is None or row["ended_at"] is None:
        return wanted.ended_at_s is None and row["ended_at"] is None
    return abs(_seconds(row["ended_at"], start_us) - wanted.ended_at_s) <= wanted.within_s


def differences(ledger: Iterable[Row], expected: Iterable[Expected], start_us: int) -> list[str]:
    """Sentences: what is missing and what is too much. Each row stands for one expectation at most."""
    left = list(ledger)
    out = []
    for wanted in expected:
        found = next((row for row in left if _fits(row, wanted, start_us)), None)
        if found is None:
            out.append(f"missing: {wanted}")
        else:
            left.remove(found)
    for row in left:
        ended = "open" if row["ended_at"] is None else f"{_seconds(row['ended_at'], start_us):.0f}"
        began = _seconds(row["began_at"], start_us)
        out.append(f"extra: {row['rule']} {row['subject']} {row['object']} from {began:.0f} s to {ended}")
    return out

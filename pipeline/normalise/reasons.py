"""Why something was not taken, and what was marked: the closed lists of the contract."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "malformed",
    "unsupported",
    "undecoded",
    "no_position",
    "zero_island",
    "out_of_range",
    "future",
    "too_old",
    "unknown_device",
    "identity_mismatch",
    "oversized",
    "rate_limited",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
Mark = Literal["outside_plan", "implausible", "inaccurate"]
MARKS: tuple[Mark, ...] = get_args(Mark)


class RefusedError(ValueError):
    """Not taken. `reason` is of the closed list, `detail` is for people and never longer than 200 characters."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: Reason = reason
        self.detail = "".join(c if c.isprintable() else "?" for c in detail[:200])  # it may quote what was sent

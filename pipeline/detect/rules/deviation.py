"""route.deviation: off the corridor by more than accuracy, for long enough, by a vehicle that had joined the road."""

from __future__ import annotations

from typing import Any

from pipeline.detect.compiled import bare
from pipeline.detect.form import IN, OUTSIDE, UNSURE
from pipeline.detect.rules.held import hold_false, hold_true, hold_unsure


@bare
def corridor_side(distance_m: float, accuracy_m: float, half_m: float, exit_m: float) -> int:
    """OUTSIDE beyond the half-width by more than accuracy; IN within the narrower exit width; between them nothing changes."""
    if distance_m > half_m + accuracy_m:
        return OUTSIDE
    if distance_m <= exit_m and accuracy_m <= half_m:
        return IN
    return UNSURE


@bare
def graveness(v: Any, distance_m: float) -> int:
    """0 critical, 1 high ...: the plan's severity, and graver with distance."""
    severity = v.off_severity
    if distance_m >= v.off_critical:
        return 0
    if distance_m >= v.off_high:
        return int(min(severity, 1))
    return int(severity)


@bare
def deviation_step(v: Any, leg: Any, side: int, allowed: bool, distance_m: float, along_m: float, f: Any) -> int:
    """`allowed`: at a place where the movement may be. BEGIN, GROW, END or 0."""
    if side == IN:
        leg.joined = 1
    if side == IN or allowed:
        return hold_false(leg.held)
    if leg.joined == 0:
        return 0
    if side == UNSURE:
        return hold_unsure(leg.held)
    return hold_true(leg.held, f, v.off_after, along_m, distance_m, graveness(v, distance_m))

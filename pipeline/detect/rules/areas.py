"""area.entered, area.forbidden: begin inside. area.required: begins outside. area.left: begins outside, for one who has been inside.

A fix is inside when it is so by more than twice its accuracy and the entering margin, outside when it is so by more than its accuracy and the
leaving margin; between the two it changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import bare
from pipeline.detect.form import IN, OUTSIDE, UNSURE
from pipeline.detect.rules.held import hold_false, hold_true, hold_unsure

ENTERED, FORBIDDEN, LEFT, REQUIRED = 0, 1, 2, 3
WEEK_S = 604_800
SURE = 2.0  # accuracy is the radius that holds 68 % of fixes; twice it is three sigma across a border


@bare
def applies(windows: Any, offsets: Any, first: int, last: int, at_us: int) -> bool:
    """Is this instant within one of the windows of the local week? No window at all means always."""
    if first == last:
        return True
    for k in range(first, last):
        # 1970-01-01 was a Thursday: day 3 of a week that starts on Monday
        second = (at_us // 1_000_000 + offsets[k] + 3 * 86_400) % WEEK_S
        a, b = windows[k, 0], windows[k, 1]
        if a <= b:
            if a <= second < b:
                return True
        elif second >= a or second < b:
            return True
    return False


@bare
def concerns(w: Any, bound: Any, vehicle: int, role: int) -> bool:
    """Does this watch look at this vehicle?"""
    if w.roles != 0 and (w.roles & role) == 0:
        return False
    first, last = w.vehicles[0], w.vehicles[1]
    if first == last:
        return True
    for k in range(first, last):  # noqa: SIM110  # compiled: a loop, not a generator
        if bound[k] == vehicle:
            return True
    return False


@bare
def side_of(deep_m: float, accuracy_m: float, enter_m: float, exit_m: float) -> int:
    if deep_m > 0.0 and deep_m >= SURE * accuracy_m + enter_m:
        return IN
    if deep_m < 0.0 and -deep_m >= accuracy_m + exit_m:
        return OUTSIDE
    return UNSURE


@bare
def area_step(w: Any, pair: Any, side: int, in_force: bool, f: Any) -> int:
    """BEGIN, END or 0."""
    h = pair.held
    if w.kind == ENTERED or w.kind == FORBIDDEN:
        if side == OUTSIDE or not in_force:
            return hold_false(h)
        if side == IN:
            return hold_true(h, f, w.dwell, np.nan, np.nan, w.severity)
        return hold_unsure(h)
    if w.kind == REQUIRED:
        if side == IN or not in_force:
            return hold_false(h)
        if side == OUTSIDE:
            return hold_true(h, f, w.dwell, np.nan, np.nan, w.severity)
        return hold_unsure(h)
    # area.left: going out while it applies is what counts; coming back ends it
    if side == IN:
        pair.armed = 1
        return hold_false(h)
    if side == OUTSIDE:
        if h.on == 0 and h.since == 0:
            if pair.armed == 0:
                return 0
            if not in_force:
                pair.armed = 0
                return 0
        return hold_true(h, f, w.dwell, np.nan, np.nan, w.severity)
    return 0  # area.left: a doubt about the way out is no way back


@bare
def idle(pair: Any) -> bool:
    """Nothing of this pair has to be remembered."""
    h = pair.held
    return bool(h.on == 0 and h.since == 0 and pair.armed == 0 and pair.went == 0)

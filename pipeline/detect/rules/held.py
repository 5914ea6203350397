"""A condition held against time: what every rule with a duration has in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import bare
from pipeline.detect.form import BEGIN, END, GROW


@bare
def hold_true(h: Any, f: Any, after_us: int, along: float, value: float, severity: int) -> int:
    """The condition holds at this fix. BEGIN once it has held for `after_us`, GROW when it becomes graver, else 0."""
    if h.since == 0:
        h.since = f.seen
        h.lat = f.lat
        h.lon = f.lon
        h.along = along
        h.peak = value
        h.severity = severity
    else:
        h.peak = max(h.peak, value)
    if h.on == 0:
        h.severity = min(h.severity, severity)
        if f.seen - h.since < after_us:
            return 0
        h.on = 1
        h.began = h.since
        h.decided = f.seen
        h.told = h.peak
        return BEGIN
    if severity < h.severity:
        h.severity = severity
        h.told = h.peak
        return GROW
    return 0


@bare
def hold_false(h: Any) -> int:
    """The condition does not hold at this fix. END when it was told; the caller clears afterwards."""
    if h.on == 1:
        h.told = h.peak
        return END
    h.since = 0
    return 0


@bare
def hold_unsure(h: Any) -> int:
    """Nobody knows at this fix: what was told goes on, what was not yet told has to begin anew."""
    if h.on == 0:
        h.since = 0
    return 0


@bare
def emit(out: Any, n: int, i: int, slot: int, kind: int, rule: int, place: int, h: Any, at: int) -> int:
    """Write down the whole episode as it now stands; returns how many are written."""
    o = out[n]
    o.fix = i
    o.slot = slot
    o.kind = kind
    o.rule = rule
    o.object = place
    o.severity = h.severity
    o.began = h.began
    o.decided = h.decided
    o.ended = at if kind == END else 0
    o.lat = h.lat
    o.lon = h.lon
    o.along = h.along
    o.peak = h.told
    if kind == END:
        h.on = 0
        h.since = 0
        h.began = 0
        h.peak = np.nan
    return n + 1

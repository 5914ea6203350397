"""area.entered, area.forbidden, area.left between two fixes: the straight way between them went through the area.

A fix imagined halfway through would be inside, by twice the poorer accuracy of the two and the entering margin, and the passage lasts
the dwell. Entered and forbidden then begin and end on the border; having left ends where it comes in and begins anew where it goes out.
An area that is required is never left on a guess: a straight line cuts every corner of a road that it follows.

A visit that fixes saw, but for less than the dwell: the ways to its first fix and from its last one say when it came over the border
and when it went. When that is the dwell or longer it is told, from border to border, once a fix is outside for sure; of having left,
once one is inside. The fix at the inner end of such a way is inside by twice the poorer accuracy of the two, and at one end the
receiver says that it moves: or a stray fix of one who is parked nearby were a visit. Where a way says nothing, the fix does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import bare
from pipeline.detect.form import AREA, BEGIN, END, IN, OUTSIDE
from pipeline.detect.pairs import find_pair, new_pair
from pipeline.detect.rules.areas import LEFT, REQUIRED, applies, side_of
from pipeline.detect.rules.held import emit
from pipeline.detect.way import Way, border, deep_in, instant, passage


@bare
def start_at(h: Any, w: Any, way: Way, f: Any, part: float, metres: float) -> None:
    """A stretch under way since the vehicle was so far on its way."""
    h.since = instant(way, part)
    h.severity = w.severity
    h.lat = way.from_lat + (f.lat - way.from_lat) * part
    h.lon = way.from_lon + (f.lon - way.from_lon) * part
    h.along = metres
    h.peak = np.nan
    h.told = np.nan


@bare
def crossing_step(st: Any, row: Any, pairs: Any, slot: int, wi: int, way: Way, f: Any, out: Any, n: int, i: int) -> int:
    """For a watch that concerns the vehicle and a fix that is not inside, before the fix itself is judged, when the way meets the
    area's border twice or oftener. Returns how many are written."""
    w = st.watches[wi]
    if w.kind == REQUIRED or way.lasted_us > w.crossing:
        return n
    k = find_pair(pairs, slot, row.pairs, wi)
    if w.kind != LEFT and k >= 0 and (pairs[slot, k].held.since != 0 or pairs[slot, k].went != 0):
        return n  # the fix before was inside, or the visit then goes on, told or not yet
    enters, leaves, deep = passage(st, w.area, way)
    if side_of(deep, way.accuracy_m, w.enter, w.exit) != IN:
        return n
    came, went = instant(way, enters), instant(way, leaves)
    if went - came < w.dwell:
        return n
    in_force = applies(st.windows, st.utc_offset, w.schedule[0], w.schedule[1], went if w.kind == LEFT else came)
    if w.kind != LEFT and not in_force:
        return n
    if k < 0:
        k = row.pairs
        new_pair(pairs, slot, k, wi)
        row.pairs += 1
    p = pairs[slot, k]
    h = p.held
    metres = (leaves - enters) * way.length_m
    if w.kind != LEFT:
        start_at(h, w, way, f, enters, metres)
        h.began = h.since
        h.decided = f.seen
        n = emit(out, n, i, slot, BEGIN, AREA, wi, h, f.seen)
        return emit(out, n, i, slot, END, AREA, wi, h, went)
    if h.on == 1:
        h.told = h.peak
        n = emit(out, n, i, slot, END, AREA, wi, h, came)
    p.came = 0  # no fix has been outside for sure
    if in_force:
        p.armed = 1
        start_at(h, w, way, f, leaves, metres)
    else:
        p.armed = 0
        h.since = 0
    return n


@bare
def over_border(st: Any, w: Any, way: Way, inward: bool) -> float:
    """Where the way to a fix inside, or from one, meets the border, in parts of the way; below zero: that cannot be said."""
    if way.length_m == 0.0 or way.lasted_us > w.crossing or not way.moves:
        return -1.0
    x, y = (way.to_x, way.to_y) if inward else (way.from_x, way.from_y)
    if side_of(deep_in(st, w.area, x, y), way.accuracy_m, w.enter, w.exit) != IN:
        return -1.0
    return border(st, w.area, way, inward)


@bare
def short_step(st: Any, p: Any, side: int, since: int, way: Way, f: Any, out: Any, n: int, i: int, slot: int) -> int:
    """After `area_step` had nothing to tell and the stretch under way has begun or ended, or an ended one waits. `since`: of the
    stretch before this fix. Returns how many are written."""
    w = st.watches[p.watch]
    if w.kind == REQUIRED:
        return n
    h = p.held
    left = w.kind == LEFT
    if h.since != 0:
        p.came = h.since
        p.went = 0
        p.metres = 0.0
        part = over_border(st, w, way, not left)
        if part >= 0.0:
            came = instant(way, part)
            if applies(st.windows, st.utc_offset, w.schedule[0], w.schedule[1], came):
                p.came = came
                p.metres = (1.0 - part) * way.length_m
        return n
    if side == IN and not left:
        p.went = 0  # inside still, but the hours are over, or it began anew and they are
        return n
    if since != 0:
        p.went = way.from_us
        part = over_border(st, w, way, left)
        if part >= 0.0:
            p.went = instant(way, part)
            p.metres += part * way.length_m
    if left or side == OUTSIDE:
        if p.came != 0 and p.went - p.came >= w.dwell:
            h.since = p.came
            h.began = p.came
            h.decided = f.seen
            h.along = -p.metres
            h.told = np.nan
            n = emit(out, n, i, slot, BEGIN, AREA, p.watch, h, f.seen)
            n = emit(out, n, i, slot, END, AREA, p.watch, h, p.went)
        p.went = 0
    return n

"""area.entered, area.forbidden, area.left between two fixes: the straight way between them went through the area.

A fix imagined halfway through would be inside, by twice the poorer accuracy of the two and the entering margin, and the passage lasts
the dwell. Entered and forbidden then begin and end on the border; having left ends where it comes in and begins anew where it goes out.
An area that is required is never left on a guess: a straight line cuts every corner of a road that it follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import compiled
from pipeline.detect.form import AREA, BEGIN, END, IN
from pipeline.detect.pairs import find_pair, new_pair
from pipeline.detect.rules.areas import LEFT, REQUIRED, applies, side_of
from pipeline.detect.rules.held import emit
from pipeline.detect.way import Way, instant, passage


@compiled
def start_at(h: Any, w: Any, way: Way, f: Any, part: float, metres: float) -> None:
    """A stretch under way since the vehicle was so far on its way."""
    h.since = instant(way, part)
    h.severity = w.severity
    h.lat = way.from_lat + (f.lat - way.from_lat) * part
    h.lon = way.from_lon + (f.lon - way.from_lon) * part
    h.along = metres
    h.peak = np.nan
    h.told = np.nan


@compiled
def crossing_step(
    st: Any, row: Any, pairs: Any, slot: int, wi: int, way: Way, cuts: int, f: Any, out: Any, n: int, i: int
) -> int:
    """For a watch that concerns the vehicle and a fix that is not inside, before the fix itself is judged. `cuts`: how often the way
    meets the area's border. Returns how many are written."""
    w = st.watches[wi]
    if w.kind == REQUIRED or way.lasted_us > w.crossing:
        return n
    k = find_pair(pairs, slot, row.pairs, wi)
    if w.kind != LEFT and k >= 0 and pairs[slot, k].held.since != 0:
        return n  # the fix before was inside, or what was told there goes on
    enters, leaves, deep = passage(st, w.area, way, cuts)
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
    if in_force:
        p.armed = 1
        start_at(h, w, way, f, leaves, metres)
    else:
        p.armed = 0
        h.since = 0
    return n

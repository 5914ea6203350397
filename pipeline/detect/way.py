"""The way between two fixes of a vehicle, taken as straight, and the areas that it goes through.

Nobody saw it there, so a way counts only while a straight line is a fair guess. Of an area it gives a passage that begins and ends
between the two fixes, and, where one of them lies inside, the border on the way to it or from it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pipeline.detect.compiled import bare
from pipeline.detect.form import STILL_MPS
from pipeline.detect.ground import SLACK_M, cell_at, depth, from_centre, metres, whole_depth

STRAIGHT_M = 3_000.0  # a road in the mountains has turned by then
LEAP_MPS = 70.0  # faster than any vehicle of ours: one of the two fixes is wrong, and so is the line to it
STRIDE = 1.9  # reaches from one look to the next: every point of the way is within reach of one of them


class Way(NamedTuple):
    """From the fix that the rules used before to this one. `length_m` 0: nothing can be said about it."""

    length_m: float
    from_x: float
    from_y: float
    to_x: float
    to_y: float
    from_lat: float
    from_lon: float
    from_us: int
    lasted_us: int
    accuracy_m: float  # the poorer of the two
    moves: bool  # the receiver says so, at one of its ends at least


@bare
def way_to(row: Any, f: Any, x: float, y: float, accuracy_m: float, longest_us: int) -> Way:
    """`row`: as the fix before left it."""
    lasted = f.seen - row.used
    length = 0.0
    if row.used != 0 and 0 < lasted <= longest_us:
        length = metres(x - row.still_x, y - row.still_y)
        if length > STRAIGHT_M or length * 1e6 > LEAP_MPS * lasted:
            length = 0.0
    return Way(
        length, row.still_x, row.still_y, x, y, row.used_lat, row.used_lon, row.used, lasted,
        max(accuracy_m, row.used_acc), row.used_speed >= STILL_MPS or f.speed >= STILL_MPS,
    )  # fmt: skip


@bare
def looks(length_m: float, reach: float) -> int:
    """How many more cells than that of its end have to be looked into, to see every area that a way may go through."""
    return 0 if length_m <= reach else math.ceil(length_m / (STRIDE * reach))


@bare
def look_at(box: Any, way: Way, k: int, of: int) -> int:
    """The cell of look `k` of so many, counted from the way's end; -1: nothing is near."""
    part = k / of
    return cell_at(box, way.to_x + (way.from_x - way.to_x) * part, way.to_y + (way.from_y - way.to_y) * part)


@bare
def lists(st: Any, cell: int, area: int) -> bool:
    if cell >= 0:
        for e in range(st.starts[cell], st.starts[cell + 1]):
            if st.entries[e].area == area:
                return True
    return False


@bare
def looked_at(st: Any, way: Way, k: int, of: int, area: int) -> bool:
    """Was this area listed by the cell of an earlier look?"""
    for j in range(k):  # noqa: SIM110  # compiled: a loop, not a generator
        if lists(st, look_at(st.box, way, j, of), area):
            return True
    return False


@bare
def meets(edges: Any, e: int, way: Way) -> float:
    """Where the way meets this edge, in parts of the way; below zero: nowhere between its ends."""
    px, py = way.from_x, way.from_y
    dx, dy = way.to_x - px, way.to_y - py
    ax, ay = edges[e, 0] - px, edges[e, 1] - py
    bx, by = edges[e, 2] - px, edges[e, 3] - py
    a = dx * ay - dy * ax
    b = dx * by - dy * bx
    if (a >= 0.0) == (b >= 0.0):
        return -1.0
    u = a / (a - b)
    t = ((ax + u * (bx - ax)) * dx + (ay + u * (by - ay)) * dy) / (dx * dx + dy * dy)
    return t if 0.0 < t < 1.0 else -1.0


@bare
def crossed(boxes: Any, outlines: Any, edges: Any, area: int, way: Way) -> int:
    """How often the way meets the border of an area. To be asked before anything that costs more."""
    if (
        max(way.from_x, way.to_x) < boxes[area, 0]
        or max(way.from_y, way.to_y) < boxes[area, 1]
        or min(way.from_x, way.to_x) > boxes[area, 2]
        or min(way.from_y, way.to_y) > boxes[area, 3]
    ):
        return 0
    n = 0
    for e in range(outlines[area], outlines[area + 1]):
        if meets(edges, e, way) > 0.0:
            n += 1
    return n


@bare
def crossed_nearby(edges: Any, near: Any, entry: Any, aside: float, way: Way) -> int:
    """As `crossed`, of a way no longer than `reach`: what it meets is among the edges near its end. `entry`: the area's, of the cell of that
    end, which is so far `aside` from the cell's middle."""
    n = 0
    for k in range(entry.first, entry.last):
        if near[k].away - aside - SLACK_M > way.length_m:
            break  # nor does it come to any of the rest
        if meets(edges, near[k].edge, way) > 0.0:
            n += 1
    return n


@bare
def deep_by(st: Any, e: int, aside: float, needed: float, x: float, y: float) -> float:
    """Signed distance to the border of an entry's area, positive inside; exact within reach of it, and inside wherever as much is needed to be
    told. `aside`: as `depth` wants it."""
    reach = st.box[5]
    deep = depth(st.edges, st.near, st.entries[e], reach, aside, x, y)
    if deep >= reach and needed > reach:
        area = st.entries[e].area
        deep = whole_depth(st.edges, st.outlines[area], st.outlines[area + 1], x, y)
    return deep


@bare
def deep_in(st: Any, area: int, x: float, y: float) -> float:
    """Signed distance to the border of one area, positive inside; exact inside, and outside within reach of it."""
    cell = cell_at(st.box, x, y)
    if cell >= 0:
        for e in range(st.starts[cell], st.starts[cell + 1]):
            if st.entries[e].area == area:
                return deep_by(st, e, from_centre(st.box, x, y), math.inf, x, y)
    return -float(st.box[5])


@bare
def meets_next(st: Any, area: int, way: Way, after: float) -> float:
    """Where the way meets the border of an area for the first time after this part of it; below zero: nowhere."""
    found = -1.0
    for e in range(st.outlines[area], st.outlines[area + 1]):
        t = meets(st.edges, e, way)
        if t > after and (found < 0.0 or t < found):
            found = t
    return found


@bare
def passage(st: Any, area: int, way: Way) -> tuple[float, float, float]:
    """(enters, leaves, depth halfway): the longest piece of the way that lies inside and has both ends on the border, in parts of the
    way. A depth below zero: there is none."""
    enters = 0.0
    leaves = 0.0
    deep = -1.0
    first = meets_next(st, area, way, 0.0)
    while first > 0.0:
        then = meets_next(st, area, way, first)
        if then - first > leaves - enters:
            middle = (first + then) / 2.0
            x = way.from_x + (way.to_x - way.from_x) * middle
            y = way.from_y + (way.to_y - way.from_y) * middle
            d = deep_in(st, area, x, y)
            if d > 0.0:
                enters = first
                leaves = then
                deep = d
        first = then
    return enters, leaves, deep


@bare
def border(st: Any, area: int, way: Way, last: bool) -> float:
    """Where the way meets the border of an area for the first or the last time, in parts of the way; below zero: nowhere."""
    found = -1.0
    for e in range(st.outlines[area], st.outlines[area + 1]):
        t = meets(st.edges, e, way)
        if t > 0.0 and (found < 0.0 or (t > found) == last):
            found = t
    return found


@bare
def instant(way: Way, part: float) -> int:
    """When it was there, at an even speed, to the millisecond: nobody knows it better."""
    return int(min(way.lasted_us, 1000 * math.floor(part * way.lasted_us / 1000.0 + 0.5)) + way.from_us)

"""Where the members of a convoy are along their road, at instants five seconds apart, and what that says: compiled.

A position at an instant lies between two fixes, so it is a function of the set of fixes, whoever reported first. What nobody knows is
UNKNOWN and changes nothing. Every five minutes the state is put aside: a late fix takes a rule back no farther than it has to.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detect.arrive import project
from pipeline.detect.compiled import compiled
from pipeline.detect.corridor import nearest, part_at
from pipeline.detect.form import UNKNOWN_ACCURACY_M
from pipeline.detect.scan import counts_now
from pipeline.detect.way import LEAP_MPS

Array = npt.NDArray[Any]

GRID_US = 5_000_000
FRAME_US = 300_000_000
E7 = 1e7

# Where somebody is at an instant, and how a fix counts. At HALT a member is off the corridor in a place of its movement, or at the
# end of its road: it closes a gap and opens none.
NOWHERE, OFF, HALT, ROAD = 0, 1, 2, 3

# A fix that was kept: of each device the first of every cell of the grid. From `x` on: what follows from it and those before it.
POINT = np.dtype(
    [
        ("seen", "i8"),
        ("seq", "i8"),
        ("body", "u8"),
        ("device", "i4"),
        ("rank", "i4"),
        ("lat", "i4"),  # 1e-7 degrees, as a checkpoint keeps them
        ("lon", "i4"),
        ("acc", "f4"),
        ("kept", "i4"),  # a checkpoint has it
        ("x", "f8"),
        ("y", "f8"),
        ("along", "f8"),
        ("segment", "i4"),
        ("status", "i4"),  # NOWHERE: a higher-ranked device has the word
        ("leapt", "i4"),  # nobody drives that fast from the one before
        ("rank0", "i8"),  # seen_at of the newest fix up to here, by rank
        ("rank1", "i8"),
    ],
    align=True,
)
RAW = ("seen", "seq", "body", "device", "lat", "lon", "acc")

GAP, ESCORT = 1, 2
RELATION = np.dtype(
    [
        ("kind", "i4"),
        ("of", "i4"),  # whose gap it is: the follower, the principal
        ("ahead", "i4"),  # of a gap
        ("others", "i4", (2,)),  # of a principal: its escorts, into a list
        ("stale", "i8"),
    ],
    align=True,
)
# What holds for one relation on one piece of the way.
LIMIT = np.dtype(
    [
        ("starts", "f8"),  # metre of the way; to where the next one starts
        ("on", "i4"),  # 0: nobody judges it here
        ("limit", "f8"),
        ("rejoin", "f8"),
        ("lasting", "i8"),
    ],
    align=True,
)
STATE = np.dtype(
    [
        ("upto", "i8"),  # the newest instant that it contains
        ("known", "i8"),  # the newest of them at which anything was known
        ("since", "i8"),
        ("began", "i8"),
        ("decided", "i8"),
        ("on", "i4"),
        ("peak", "f8"),
        ("told", "f8"),  # the peak when it began
        ("along", "f8"),
        ("x", "f8"),
        ("y", "f8"),
    ],
    align=True,
)
SAID = np.dtype(
    [
        ("relation", "i4"),
        ("what", "i4"),
        ("at", "i8"),
        ("on", "i4"),
        ("began", "i8"),
        ("decided", "i8"),
        ("peak", "f8"),
        ("told", "f8"),
        ("along", "f8"),
        ("x", "f8"),
        ("y", "f8"),
    ],
    align=True,
)
TAKEN_BACK, BEGUN, ENDED = 1, 2, 3
DONE, FULL, FULL_WITHIN = 0, 1, 2
FAR, WITHIN, TOGETHER, UNKNOWN = 1, 0, -1, 2
OVER = -2  # handed over: the relation is none any more
EVER = 1 << 62


@compiled
def _after(f: Any, p: Any) -> bool:
    """Does `f` stand behind `p` in the total order?"""
    if f.seen != p.seen:
        return bool(f.seen > p.seen)
    if f.device != p.device:
        return bool(f.device > p.device)
    if f.seq != p.seq:
        return bool(f.seq > p.seq)
    return bool(f.body > p.body)


@compiled
def _first_behind(points: Any, n: int, at: int) -> int:
    """The place of the first point that was seen later."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if points[middle].seen <= at:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _used_before(points: Any, i: int) -> int:
    """The place of the last point before this place that counts, or -1."""
    i -= 1
    while i >= 0 and points[i].status == NOWHERE:
        i -= 1
    return i


@compiled
def _used_from(points: Any, n: int, i: int) -> int:
    while i < n and points[i].status == NOWHERE:
        i += 1
    return i


@compiled
def _within(edges: Any, first: int, last: int, x: float, y: float) -> bool:
    inside = False
    for e in range(first, last):
        ay, by = edges[e, 1], edges[e, 3]
        if (ay > y) != (by > y) and x < edges[e, 0] + (y - ay) / (by - ay) * (edges[e, 2] - edges[e, 0]):
            inside = not inside
    return inside


@compiled
def _metres(p: Any) -> float:
    return UNKNOWN_ACCURACY_M if math.isnan(p.acc) else float(p.acc)


@compiled
def derive(road: Any, leg: int, points: Any, start: int, until: int, n: int) -> int:
    """What follows from points[start:n], after those before them. Ends early behind `until`, where nothing is new. Returns where."""
    plan = road.legs[leg]
    line = plan.line
    low = road.vertices[road.ranges[line, 0], 2]
    high = road.vertices[road.ranges[line, 1] - 1, 2]
    for i in range(start, n):
        p = points[i]
        was_segment, was_status, was_leapt, was_rank0, was_rank1 = p.segment, p.status, p.leapt, p.rank0, p.rank1
        p.rank0 = points[i - 1].rank0 if i > 0 else 0
        p.rank1 = points[i - 1].rank1 if i > 0 else 0
        counted = counts_now(p, p.rank, p.seen)
        if p.rank == 0:
            p.rank0 = p.seen
        elif p.rank == 1:
            p.rank1 = p.seen
        p.status = NOWHERE
        p.segment = -1
        p.leapt = 0
        if counted:
            b = _used_before(points, i)
            last = points[b].segment if b >= 0 else -1
            distance, segment, along = nearest(road.vertices, road.boxes, road.big, road.ranges, line, last, p.x, p.y)
            p.along = along
            half = road.parts[part_at(road.parts, plan.parts[0], plan.parts[1], along)].half
            if distance <= half + _metres(p):
                p.status = HALT if along <= low + 1.0 or along >= high - 1.0 else ROAD
            else:
                p.status = OFF
                for e in range(plan.stops[0], plan.stops[1]):
                    area = road.exempt[e]
                    if _within(road.edges, road.outlines[area], road.outlines[area + 1], p.x, p.y):
                        p.status = HALT
                        break
            if p.status != OFF:
                p.segment = segment
            if b >= 0:
                q = points[b]
                if q.status != OFF and p.status != OFF:
                    way = abs(p.along - q.along)
                else:
                    way = math.hypot(p.x - q.x, p.y - q.y)
                if (way - _metres(p) - _metres(q)) * 1e6 > LEAP_MPS * (p.seen - q.seen):
                    p.leapt = 1
        if (
            i >= until
            and counted
            and p.segment == was_segment
            and p.status == was_status
            and p.leapt == was_leapt
            and p.rank0 == was_rank0
            and p.rank1 == was_rank1
        ):
            return i
    return n


@compiled
def as_point(p: Any, f: Any, series: Any, tv: Any) -> None:
    """Fill a point from a row of FIX."""
    p.seen = f.seen
    p.seq = f.seq
    p.body = f.body
    p.device = f.device
    p.rank = f.rank
    p.lat = round(f.lat * E7)
    p.lon = round(f.lon * E7)
    p.acc = f.acc
    p.kept = 0
    x, y = project(series, tv, p.lat / E7, p.lon / E7)
    p.x = x
    p.y = y


@compiled
def place_points(points: Any, series: Any) -> None:
    """Metres of points that have only degrees."""
    tv = np.empty(10)
    for i in range(len(points)):
        x, y = project(series, tv, points[i].lat / E7, points[i].lon / E7)
        points[i].x = x
        points[i].y = y


@compiled
def as_points(fixes: Any, series: Any, out: Any) -> None:
    tv = np.empty(10)
    for i in range(len(fixes)):
        as_point(out[i], fixes[i], series, tv)


@compiled
def _has_earlier(points: Any, n: int, f: Any) -> bool:
    """Is there a point of the same device and cell of the grid that `f` does not stand before?"""
    start = f.seen // GRID_US * GRID_US
    i = n if n == 0 or f.seen > points[n - 1].seen else _first_behind(points, n, f.seen)
    while i > 0 and points[i - 1].seen >= start:
        i -= 1
        if points[i].device == f.device and not _after(points[i], f):
            return True
    return False


@compiled
def admit(
    road: Any, series: Any, legs: Any, members: Any, points: Any, counts: Any, changed: Any, from_us: Any, to_us: int,
    longest_us: int, fixes: Any, start: int, late: Any, waiting: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Take fixes[start:] in, where they stand behind what is there; others of the members are listed in `late`.

    `members`: of each device its member's place or -1. `changed`: of each member, an instant behind which its positions are new.
    Returns (next fix, listed so far, DONE or FULL)."""
    tv = np.empty(10)
    for i in range(start, len(fixes)):
        f = fixes[i]
        m = members[f.device]
        if m < 0 or f.seen < from_us[m] or f.seen > to_us:
            continue
        n = counts[m]
        mine = points[m]
        if n > 0 and not _after(f, mine[n - 1]):
            if not _has_earlier(mine, n, f):
                late[waiting] = i
                waiting += 1
            continue
        if _has_earlier(mine, n, f):
            continue
        if n == points.shape[1]:
            return i, waiting, FULL
        as_point(mine[n], f, series, tv)
        counts[m] = n + 1
        derive(road, legs[m], mine, n, n + 1, n + 1)
        if mine[n].status != NOWHERE:
            b = _used_before(mine, n)
            before = f.seen - 1 if b < 0 or f.seen - mine[b].seen > longest_us else mine[b].seen
            changed[m] = min(changed[m], before)
    return len(fixes), waiting, DONE


@compiled
def _where(points: Any, n: int, at: int, stale_us: int) -> tuple[int, float, float, float, float]:
    """(how, chainage, x, y, accuracy) of a member at an instant; NOWHERE: nobody knows."""
    i = _first_behind(points, n, at)
    j = _used_before(points, i)
    if j < 0:
        return NOWHERE, 0.0, 0.0, 0.0, 0.0
    a = points[j]
    if a.seen == at:
        if a.leapt != 0:
            return NOWHERE, 0.0, 0.0, 0.0, 0.0
        return a.status, a.along, a.x, a.y, _metres(a)
    k = _used_from(points, n, i)
    if k == n:
        return NOWHERE, 0.0, 0.0, 0.0, 0.0
    b = points[k]
    if b.leapt != 0 or b.seen - a.seen > stale_us:
        return NOWHERE, 0.0, 0.0, 0.0, 0.0
    part = (at - a.seen) / (b.seen - a.seen)
    return (
        min(a.status, b.status),
        a.along + (b.along - a.along) * part,
        a.x + (b.x - a.x) * part,
        a.y + (b.y - a.y) * part,
        max(_metres(a), _metres(b)),
    )


@compiled
def _verdict(distance_m: float, unsure_m: float, limit_m: float, rejoin_m: float) -> int:
    """Beyond the limit by more than accuracy, or within it, or so near that it is together again."""
    if distance_m - unsure_m > limit_m:
        return FAR
    if distance_m > limit_m or unsure_m > limit_m:
        return UNKNOWN
    return TOGETHER if distance_m <= rejoin_m else WITHIN


@compiled
def _in_force(r: Any, s: Any, limits: Any, along: float, at: int) -> Any:
    """What a stretch is judged by: what held where it began, or here when none is under way."""
    if s.on != 0 or (s.since != 0 and at - s.known <= r.stale):
        along = s.along
    return limits[part_at(limits, 0, len(limits), along)]


@compiled
def _look(
    r: Any, s: Any, limits: Any, others: Any, points: Any, counts: Any, at: int
) -> tuple[int, float, float, float, float]:
    """(verdict, distance, chainage, x, y): what is known of one relation at an instant."""
    how, along, x, y, accuracy = _where(points[r.of], counts[r.of], at, r.stale)
    if how in (NOWHERE, OFF):
        return UNKNOWN, 0.0, along, x, y
    if limits[part_at(limits, 0, len(limits), along)].on == 0:
        return OVER, 0.0, along, x, y
    q = _in_force(r, s, limits, along, at)
    if r.kind == GAP:
        ahead, its_along, _, _, its_accuracy = _where(points[r.ahead], counts[r.ahead], at, r.stale)
        if ahead in (NOWHERE, OFF):
            return UNKNOWN, 0.0, along, x, y
        if limits[part_at(limits, 0, len(limits), its_along)].on == 0:
            return OVER, 0.0, along, x, y
        distance = abs(its_along - along)
        verdict = _verdict(distance, accuracy + its_accuracy, q.limit, q.rejoin)
        if verdict == FAR and (how == HALT or ahead == HALT):
            verdict = UNKNOWN
        return verdict, distance, along, x, y
    verdict = FAR if how == ROAD else UNKNOWN
    least = 1e300
    for e in range(r.others[0], r.others[1]):
        m = others[e]
        its, its_along, its_x, its_y, its_accuracy = _where(points[m], counts[m], at, r.stale)
        if its == NOWHERE:
            verdict = UNKNOWN if verdict == FAR else verdict
            continue
        # by road it is no nearer than by air: an escort off the road may be known to be far, never to be near
        away = math.hypot(its_x - x, its_y - y) if its == OFF else abs(its_along - along)
        found = _verdict(away, accuracy + its_accuracy, q.limit, q.rejoin)
        if its == OFF and found != FAR:
            found = UNKNOWN
        least = min(least, away)
        if found == TOGETHER or verdict == TOGETHER:
            verdict = TOGETHER
        elif found == WITHIN or verdict == WITHIN:
            verdict = WITHIN
        elif found == UNKNOWN:
            verdict = UNKNOWN
    return verdict, least, along, x, y


@compiled
def _frontier(r: Any, limits: Any, others: Any, points: Any, counts: Any, lasts: Any) -> int:
    """Up to when it can be judged: all its members have passed that instant, or are stale by the fixes of the others. Who has been
    handed over is waited for by nobody."""
    if r.kind == GAP:
        if len(limits) > 1:
            b = _used_before(points[r.of], counts[r.of])
            p = points[r.of][max(b, 0)]
            if b >= 0 and p.status != OFF and limits[part_at(limits, 0, len(limits), p.along)].on == 0:
                return int(p.seen)
        return int(min(lasts[r.of], lasts[r.ahead]))
    newest = lasts[r.of]
    for e in range(r.others[0], r.others[1]):
        newest = max(newest, lasts[others[e]])
    found = lasts[r.of]
    for e in range(r.others[0], r.others[1]):
        last = lasts[others[e]]
        if last + r.stale >= newest:
            found = min(found, last)
    return int(found)


@compiled
def _rounded_up(at: int) -> int:
    return -(-at // GRID_US) * GRID_US


@compiled
def _first_instant(r: Any, points: Any, counts: Any, starts_us: int) -> int:
    """No earlier one can be known; EVER: none can."""
    first = max(starts_us, 0)
    for m in (r.of, r.ahead):
        if m >= 0:
            i = _used_from(points[m], counts[m], 0)
            if i == counts[m]:
                return EVER
            first = max(first, points[m][i].seen)
    return _rounded_up(first)


@compiled
def _next_known(r: Any, pieces: int, points: Any, counts: Any, at: int) -> int:
    """No instant between `at` and this one can be known. On a way of several pieces the follower alone tells that it is over."""
    found = at + GRID_US
    for m in (r.of, r.ahead):
        if m >= 0 and (m == r.of or pieces == 1) and _where(points[m], counts[m], at, r.stale)[0] == NOWHERE:
            i = _first_behind(points[m], counts[m], at)
            b = _used_before(points[m], i)
            if b >= 0 and points[m][b].seen == at:
                continue
            i = _used_from(points[m], counts[m], i)
            found = max(found, EVER if i == counts[m] else _rounded_up(points[m][i].seen))
    return found


@compiled
def _say(out: Any, n: int, relation: int, what: int, at: int, s: Any) -> int:
    said = out[n]
    said.relation = relation
    said.what = what
    said.at = at
    said.on = s.on
    said.began = s.began
    said.decided = s.decided
    said.peak = s.peak
    said.told = s.told
    said.along = s.along
    said.x = s.x
    said.y = s.y
    return n + 1


@compiled
def _step(r: Any, s: Any, limits: Any, verdict: int, distance: float, along: float, x: float, y: float, at: int) -> int:
    """One instant at which something is known. Returns BEGUN, ENDED or 0."""
    what = 0
    if verdict == FAR:
        if s.on != 0:
            s.peak = max(s.peak, distance)
        else:
            if s.since == 0 or at - s.known > r.stale:
                s.since = at
                s.peak = distance
                s.along = along
                s.x = x
                s.y = y
            s.peak = max(s.peak, distance)
            if at - s.since >= limits[part_at(limits, 0, len(limits), s.along)].lasting:
                s.on = 1
                s.began = s.since
                s.decided = at
                s.told = s.peak
                what = BEGUN
    else:
        if verdict in (TOGETHER, OVER) and s.on != 0:
            s.on = 0
            what = ENDED
        if s.on == 0:
            s.since = 0
    s.known = at
    return what


@compiled
def judge(
    relations: Any, limits: Any, others: Any, points: Any, counts: Any, changed: Any, states: Any, frames: Any, framed: Any,
    starts_us: int, ends_us: int, start: int, within: bool, out: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Bring relations[start:] up to their frontiers, taken back before what has changed. `limits`: (relations, pieces of the way). Returns (how much was said, the relation
    under way, DONE or what is full). FULL: read `out`, give more frames, go on from there; FULL_WITHIN: with `within`, for that one
    has been taken back already."""
    n = 0
    lasts = np.zeros(len(counts), np.int64)
    for m in range(len(counts)):
        b = _used_before(points[m], counts[m])
        if b >= 0:
            lasts[m] = points[m][b].seen
    for k in range(start, len(relations)):
        r = relations[k]
        s = states[k]
        upto = min(_frontier(r, limits[k], others, points, counts, lasts), ends_us - 1)
        back = min(upto, changed[r.of])
        if r.kind == GAP:
            back = min(back, changed[r.ahead])
        else:
            for e in range(r.others[0], r.others[1]):
                back = min(back, changed[others[e]])
        if back < s.upto and not (within and k == start):
            if n == len(out):
                return n, k, FULL
            while framed[k] > 1 and frames[k, framed[k] - 1].upto > back:
                framed[k] -= 1
            states[k] = frames[k, framed[k] - 1]
            n = _say(out, n, k, TAKEN_BACK, s.upto, s)
        at = s.upto + GRID_US if s.upto != 0 else _first_instant(r, points, counts, starts_us)
        while at <= upto:
            if n == len(out):
                return n, k, FULL_WITHIN
            frame = frames[k, framed[k] - 1]
            if s.upto > frame.upto and at // FRAME_US > frame.upto // FRAME_US:
                if framed[k] == frames.shape[1]:
                    return n, k, FULL_WITHIN
                frames[k, framed[k]] = s
                framed[k] += 1
            verdict, distance, along, x, y = _look(r, s, limits[k], others, points, counts, at)
            if verdict == UNKNOWN:
                at = min(_next_known(r, limits.shape[1], points, counts, at), upto // GRID_US * GRID_US + GRID_US)
                s.upto = at - GRID_US
                continue
            s.upto = at
            what = _step(r, s, limits[k], verdict, distance, along, x, y, at)
            if what != 0:
                n = _say(out, n, k, what, at, s)
            at += GRID_US
    return n, len(relations), DONE

"""The compiled scan: every rule over every fix, one vehicle's row at a time.

A fix costs what is near it. The scan stops before a fix for which a buffer might be too small and says so; the caller makes
room and goes on from there.
"""

from __future__ import annotations

import math
from typing import Any

from pipeline.detect.ahead import LEAD, look_ahead
from pipeline.detect.arrive import IN_ORDER, read, triage
from pipeline.detect.compiled import bare, compiled
from pipeline.detect.corridor import nearest, part_at
from pipeline.detect.form import (
    AREA,
    DEVIATION,
    HANDOVER_US,
    IN,
    OUTSIDE,
    STILL_MPS,
    STOPPED,
    UNKNOWN_ACCURACY_M,
    UNSURE,
)
from pipeline.detect.ground import cell_at, depth, from_centre, metres, roughly
from pipeline.detect.pairs import find_pair, new_pair
from pipeline.detect.places import look_up
from pipeline.detect.rules.areas import REQUIRED, SURE, applies, area_step, concerns, idle, side_of
from pipeline.detect.rules.crossing import crossing_step, short_step
from pipeline.detect.rules.deviation import corridor_side, deviation_step
from pipeline.detect.rules.held import emit, hold_false
from pipeline.detect.rules.stop import stop_step
from pipeline.detect.state import admit
from pipeline.detect.way import crossed, crossed_nearby, deep_by, look_at, looked_at, looks, way_to

DONE, OUT_FULL, PAIRS_FULL = 0, 1, 2
NO_ROOM, UNKNOWN = -1, -2  # of `take`: for its fixes; is a name of the record, or its place
LEG_BITS = 62  # movements in force at a time have a bit each: nobody is on two, and what is over or to come needs none


@bare
def counts_now(row: Any, rank: int, seen: int) -> bool:
    """A lower-ranked device counts only while the higher-ranked ones have given no fix for the handover time."""
    if rank >= 1 and row.rank0 != 0 and seen - row.rank0 <= HANDOVER_US:
        return False
    return not (rank >= 2 and row.rank1 != 0 and seen - row.rank1 <= HANDOVER_US)


@bare
def note_key(row: Any, f: Any) -> None:
    """This fix is now the vehicle's newest in the total order."""
    row.seen = f.seen
    row.device = f.device
    row.seq = f.seq
    row.body = f.body
    row.n += 1


@bare
def settle(row: Any, f: Any, accuracy: float) -> tuple[float, float, float]:
    """Where it is, and the weight of that. While its receiver says that it stands still, the mean of its fixes, weighted by their
    accuracy: a parked receiver's drift crosses no border. A fix that cannot be of the same place begins anew."""
    weight = 1.0 / max(accuracy, 3.0) ** 2
    if not f.speed < STILL_MPS:
        return f.x, f.y, 0.0
    before = row.still_weight
    if before > 0.0 and metres(f.x - row.still_x, f.y - row.still_y) <= 3.0 * max(accuracy, UNKNOWN_ACCURACY_M):
        share = weight / (before + weight)
        return row.still_x + (f.x - row.still_x) * share, row.still_y + (f.y - row.still_y) * share, before + weight
    return f.x, f.y, weight


@bare
def listed(items: Any, first: int, last: int, wanted: int) -> bool:
    for k in range(first, last):  # noqa: SIM110  # compiled: a loop, not a generator
        if items[k] == wanted:
            return True
    return False


@bare
def scan(st: Any, rows: Any, pairs: Any, legs: Any, fixes: Any, use: Any, start: int, out: Any) -> tuple[int, int, int]:
    """Judge fixes[start:] in this order where `use` is 1. Returns (next fix, records written to `out`, DONE or what was too small)."""
    reach = st.box[5]
    most_pairs = pairs.shape[1]
    n = 0
    for i in range(start - LEAD, len(fixes)):
        look_ahead(st, rows, pairs, legs, fixes, start, i)
        if i < start or use[i] != 1:
            continue
        f = fixes[i]
        slot = f.slot
        row = rows[slot]
        v = st.vehicles[row.vehicle]
        counted = counts_now(row, f.rank, f.seen)
        accuracy = UNKNOWN_ACCURACY_M if math.isnan(f.acc) else f.acc
        x, y, weight = settle(row, f, accuracy)
        cell = cell_at(st.box, x, y)
        e0 = 0
        e1 = 0
        if cell >= 0:
            e0 = st.starts[cell]
            e1 = st.starts[cell + 1]
        must0, must1 = v.required[0], v.required[1]
        could = must1 - must0
        for e in range(e0, e1):
            area = st.entries[e].area
            could += st.area_watches[area + 1] - st.area_watches[area]
        way = way_to(row, f, x, y, accuracy, st.crossing_us)
        far = looks(way.length_m, reach)
        for look in range(1, far + 1):
            other = look_at(st.box, way, look, far)
            if other >= 0:
                for e in range(st.starts[other], st.starts[other + 1]):
                    area = st.entries[e].area
                    could += st.area_watches[area + 1] - st.area_watches[area]
        leg0, leg1 = v.legs[0], v.legs[1]
        if row.pairs + could > most_pairs:
            return i, n, PAIRS_FULL
        if n + 2 * (row.pairs + could) + (leg1 - leg0) + 2 > len(out):
            return i, n, OUT_FULL

        note_key(row, f)
        if f.rank == 0:
            row.rank0 = f.seen
        elif f.rank == 1:
            row.rank1 = f.seen
        if not counted:
            continue
        row.still_x = x
        row.still_y = y
        row.still_weight = weight
        gap = row.used != 0 and f.seen - row.used > v.gap
        row.used = f.seen
        row.used_acc = accuracy
        row.used_lat = f.lat
        row.used_lon = f.lon
        row.used_speed = f.speed
        stamp = row.n

        # ---- areas: those near, those on a long way to here, then those that are remembered or required
        exempt = 0
        allowed_bits = 0
        aside = from_centre(st.box, x, y)
        # deeper than that, inside or outside, and all that is asked here has its answer
        need = way.length_m + SURE * accuracy + st.margin_m
        for e in range(e0, e1):
            area = st.entries[e].area
            deep = roughly(st.entries[e], aside, need)
            if deep == 0.0:
                deep = deep_by(st, e, aside, SURE * accuracy + st.margin_m, x, y)
            here = deep > -accuracy
            if here and (st.area_flags[area] != 0 or listed(st.homes, v.homes[0], v.homes[1], area)):
                exempt = 1
            for k in range(leg0, leg1):
                leg_plan = st.legs[k]
                for q in range(leg_plan.stops[0], leg_plan.stops[1]):
                    if st.exempt[q] == area:
                        # a way in is longer than `need`
                        by = depth(st.edges, st.near, st.entries[e], reach, aside, x, y)
                        if by > -max(accuracy, st.access[q]):
                            if leg_plan.starts <= f.seen < leg_plan.ends:
                                allowed_bits |= 1 << ((k - leg0) % LEG_BITS)
                            if by > -accuracy:
                                exempt = 1
            for wi in range(st.area_watches[area], st.area_watches[area + 1]):
                w = st.watches[wi]
                if not concerns(w, st.bound, row.vehicle, v.role):
                    continue
                side = side_of(deep, accuracy, w.enter, w.exit)
                # depth changes by no more than the way that is gone: from here it cannot have been deep enough
                if way.length_m > 0.0 and side != IN and deep + way.length_m >= SURE * way.accuracy_m + w.enter:
                    if far == 0:
                        cuts = crossed_nearby(st.edges, st.near, st.entries[e], aside, way)
                    else:
                        cuts = crossed(st.area_boxes, st.outlines, st.edges, area, way)
                    if cuts >= 2:
                        n = crossing_step(st, row, pairs, slot, wi, way, f, out, n, i)
                k = find_pair(pairs, slot, row.pairs, wi)
                if k < 0:
                    if side != IN and w.kind != REQUIRED:
                        continue
                    k = row.pairs
                    new_pair(pairs, slot, k, wi)
                    row.pairs += 1
                p = pairs[slot, k]
                p.stamp = stamp
                in_force = applies(st.windows, st.utc_offset, w.schedule[0], w.schedule[1], f.seen)
                since = p.held.since
                kind = area_step(w, p, side, in_force, f)
                if kind != 0:
                    n = emit(out, n, i, slot, kind, AREA, wi, p.held, f.seen)
                elif p.went != 0 or (p.held.since == 0) != (since == 0):
                    n = short_step(st, p, side, since, way, f, out, n, i, slot)
        for look in range(1, far + 1):
            other = look_at(st.box, way, look, far)
            if other < 0:
                continue
            for e in range(st.starts[other], st.starts[other + 1]):
                area = st.entries[e].area
                cuts = crossed(st.area_boxes, st.outlines, st.edges, area, way)
                if cuts < 2 or looked_at(st, way, look, far, area):
                    continue
                for wi in range(st.area_watches[area], st.area_watches[area + 1]):
                    if concerns(st.watches[wi], st.bound, row.vehicle, v.role):
                        n = crossing_step(st, row, pairs, slot, wi, way, f, out, n, i)
        for m in range(must0, must1):
            wi = st.must[m]
            if find_pair(pairs, slot, row.pairs, wi) < 0:
                new_pair(pairs, slot, row.pairs, wi)
                row.pairs += 1
        k = 0
        while k < row.pairs:
            p = pairs[slot, k]
            w = st.watches[p.watch]
            if p.stamp != stamp:
                p.stamp = stamp
                in_force = applies(st.windows, st.utc_offset, w.schedule[0], w.schedule[1], f.seen)
                since = p.held.since
                kind = area_step(w, p, OUTSIDE, in_force, f)
                if kind != 0:
                    n = emit(out, n, i, slot, kind, AREA, p.watch, p.held, f.seen)
                elif p.went != 0 or (p.held.since == 0) != (since == 0):
                    n = short_step(st, p, OUTSIDE, since, way, f, out, n, i, slot)
            if idle(p):
                row.pairs -= 1
                if k < row.pairs:
                    pairs[slot, k] = pairs[slot, row.pairs]
                continue
            k += 1

        # ---- the road
        on_movement = False
        for k in range(leg0, leg1):
            leg_plan = st.legs[k]
            leg = legs[slot, k - leg0]
            if f.seen < leg_plan.starts or f.seen >= leg_plan.ends:
                kind = hold_false(leg.held)
                if kind != 0:
                    n = emit(out, n, i, slot, kind, DEVIATION, k, leg.held, min(f.seen, leg_plan.ends))
                leg.joined = 0
                leg.segment = -1
                continue
            on_movement = True
            distance, segment, along = nearest(
                st.vertices, st.boxes, st.big, st.ranges, leg_plan.line, leg.segment, x, y
            )
            leg.segment = segment
            leg.along = along
            part0, part1 = leg_plan.parts[0], leg_plan.parts[1]
            part = st.parts[part_at(st.parts, part0, part1, along)]
            if exempt == 0 and distance <= part.half + accuracy:
                for c in range(leg_plan.checkpoints[0], leg_plan.checkpoints[1]):
                    if abs(along - st.checkpoints[c, 0]) <= st.checkpoints[c, 1] + accuracy:
                        exempt = 1
            # a stretch is judged as where it began: the region that was responsible then keeps it
            judged_at = leg.held.along if leg.held.since != 0 else along
            host = st.vehicles[st.parts[part_at(st.parts, part0, part1, judged_at)].host]
            if host.off_on == 1:
                side = corridor_side(distance, accuracy, part.half, part.exit)
                allowed = (allowed_bits >> ((k - leg0) % LEG_BITS)) & 1 == 1
                kind = deviation_step(host, leg, side, allowed, distance, along, f)
                if kind != 0:
                    n = emit(out, n, i, slot, kind, DEVIATION, k, leg.held, f.seen)

        # ---- standing
        if v.stop_on == 1:
            kind, at = stop_step(v, row.stop, on_movement, exempt, gap, f, x, y, accuracy)
            if kind != 0:
                n = emit(out, n, i, slot, kind, STOPPED, 0, row.stop.held, at)
    return len(fixes), n, DONE


@compiled
def forward(world: Any, fixes: Any, use: Any, start: int, admits: bool) -> tuple[int, int, int, int]:
    """As `scan`, in a boxed `World`. When it is through and `admits`, the fixes are remembered; the last of what it returns is what `admit`
    does, else 0."""
    w = world.held
    return _scan_and_admit(w, fixes, use, start, admits)


@bare
def _scan_and_admit(w: Any, fixes: Any, use: Any, start: int, admits: bool) -> tuple[int, int, int, int]:
    v = w.vehicles
    start, n, why = scan(w.plan, v.rows, v.pairs, v.legs, fixes, use, start, w.record.out)
    frames = admit(v, w.record.due, fixes, use) if admits and why == DONE else 0
    return start, n, why, frames


@compiled
def take(
    world: Any, stamp: int, block: Any, n: int, places: Any, names: int
) -> tuple[int, bool, int, tuple[int, int, int, int]]:
    """Columns of a record of n fixes become rows, `use` says what to do with each, and when all are in order they are judged and
    remembered. `names`: how many names the record has; their `places` in the plan, or none where the box's record has what `Names` says
    of them. Returns how many fixes are out of order, or why nothing was done; is there more to do than to go on; when the last one was
    received; what `forward` has returned."""
    w = world.held
    v, record = w.vehicles, w.record
    nothing = (0, 0, DONE, 0)
    if v.free[1] < n or len(v.found) < n:
        return NO_ROOM, True, 0, nothing
    known = record.names[:names]
    if len(places) > 0 and look_up(record.by_place, places, known) != 0:
        return UNKNOWN, True, 0, nothing
    fixes, use = record.fixes[:n], record.use[:n]
    read(block, known, record.series, fixes)
    late = triage(v.rows, v.keys, stamp, fixes, use)
    if late:
        return late, True, 0, nothing
    start, said, why, frames = _scan_and_admit(w, fixes, use, 0, True)
    more = said != 0 or why != DONE or frames != 0 or v.tally[IN_ORDER] != n
    return 0, more, fixes[n - 1].received, (start, said, why, frames)


__all__ = ["DONE", "IN", "NO_ROOM", "OUT_FULL", "PAIRS_FULL", "UNKNOWN", "UNSURE", "forward", "scan", "take"]

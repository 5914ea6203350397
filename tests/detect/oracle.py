"""The rules written once more, in their plainest form: one vehicle, one fix after the other, shapely for the geometry, no state that is shared.

Nothing of `pipeline.detect` is imported here: the two are held together by Hypothesis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import shapely

from pipeline.model.observation import Fix
from pipeline.plan.model import Area, AreaRule, CompiledPlan

Row = tuple[str, str, float, float | None, str]  # rule, object, began, ended, severity
ORDER = ["critical", "high", "medium", "low"]
REACH = 500.0


@dataclass
class Stretch:
    """What has been true since when."""

    since: int | None = None
    told: bool = False
    severity: str = "low"
    came: int | None = None  # over the border, of a stretch that is not told
    went: int | None = None

    def drop(self) -> None:
        self.since, self.told = None, False


Point = tuple[float, float, float, int, float | None]  # x, y, accuracy, instant, speed


def is_way(rule: AreaRule, a: Point, b: Point) -> bool:
    """Is the straight line between these two a fair guess?"""
    length, lasted = math.hypot(b[0] - a[0], b[1] - a[1]), b[3] - a[3]
    return 0 < lasted <= rule.crossing_us and 0 < length <= 3000 and length / (lasted / 1e6) <= 70


def over_border(area: Area, rule: AreaRule, way: tuple[Point, Point] | None, inward: bool) -> int | None:
    """When it came in, towards a fix that is inside, or went out, from one that is."""
    if not way or not is_way(rule, *way) or not any(p[4] is not None and p[4] >= 1.5 for p in way):
        return None
    a, b = way
    inner = shapely.Point(b[:2] if inward else a[:2])
    margin = 2 * max(a[2], b[2]) + rule.enter_margin_m
    if not area.polygon.contains(inner) or area.polygon.boundary.distance(inner) < margin:
        return None
    line = shapely.LineString([a[:2], b[:2]])
    cuts = [
        line.project(p) / line.length
        for p in shapely.get_parts(line.intersection(area.polygon.boundary))
        if not p.is_empty
    ]
    if not cuts:
        return None
    part = max(cuts) if inward else min(cuts)
    return a[3] + min(b[3] - a[3], 1000 * round(part * (b[3] - a[3]) / 1000))


@dataclass
class Oracle:
    plan: CompiledPlan
    rows: list[list[Any]] = field(default_factory=list)
    later: list[tuple[int, CompiledPlan]] = field(default_factory=list)  # from when another plan is in force

    def run(self, fixes: list[Fix]) -> list[Row]:
        """Fixes of one vehicle, in order."""
        vehicle = self.plan.vehicles[fixes[0].vehicle]
        ranks = {d: i for i, d in enumerate(vehicle.devices)}
        newest: dict[int, int] = {}
        areas: dict[tuple[str, str], tuple[Stretch, list[bool]]] = {}
        off, joined = Stretch(), False
        stop = Stretch()
        here: tuple[float, float] | None = None
        here_since, here_exempt = 0, False
        away: tuple[float, float, int, bool] | None = None
        still: tuple[float, float, float] | None = None
        used: int | None = None
        before: Point | None = None
        for f in fixes:
            while self.later and self.later[0][0] <= f.seen_at_us:
                if self._another_plan(*self.later.pop(0), areas, off, stop):
                    joined = False
            rank = ranks[f.device]
            superior = [newest[r] for r in newest if r < rank]
            newest[rank] = f.seen_at_us
            if any(f.seen_at_us - t <= 60_000_000 for t in superior):
                continue
            t = f.seen_at_us
            accuracy = 10.0 if f.accuracy_m is None else float(f.accuracy_m)
            x, y = (float(v[0]) for v in self.plan.projection.to_xy([f.lat], [f.lon]))
            # standing still: the weighted mean
            weight = 1 / max(accuracy, 3.0) ** 2
            if f.speed_mps is not None and f.speed_mps < 1.5:
                if still and math.hypot(x - still[0], y - still[1]) <= 3 * max(accuracy, 10.0):
                    share = weight / (still[2] + weight)
                    still = still[0] + (x - still[0]) * share, still[1] + (y - still[1]) * share, still[2] + weight
                else:
                    still = x, y, weight
                x, y = still[0], still[1]
            else:
                still = None
            gap = used is not None and t - used > 60_000_000
            used = t
            point = shapely.Point(x, y)
            way = None if before is None else (before, (x, y, accuracy, t, f.speed_mps))
            before = x, y, accuracy, t, f.speed_mps

            exempt = allowed = False
            movement = self.plan.movements[0] if self.plan.movements else None
            route = self.plan.routes[movement.route] if movement else None
            road = shapely.LineString(route.xy) if route else None
            for area in self.plan.areas:
                deep = area.polygon.exterior.distance(point) * (1 if area.polygon.contains(point) else -1)
                if deep > -accuracy and area.stop_allowed:
                    exempt = True
                if movement and area.id in movement.stop_areas:
                    gap_m = road.distance(area.polygon) if road else 0.0
                    if deep > -max(accuracy, gap_m if gap_m <= 500 else 0.0):
                        allowed = True
                    if deep > -accuracy:
                        exempt = True
                for rule in area.rules:
                    stretch, armed = areas.setdefault((area.id, rule.rule), (Stretch(), [False]))
                    inside = deep > 0 and deep >= 2 * accuracy + rule.enter_margin_m
                    outside = deep < 0 and -deep >= accuracy + rule.exit_margin_m
                    if way and not inside:
                        self._crossing(area, rule, stretch, armed, *way)
                    was = Stretch(stretch.since, stretch.told)
                    self._area(area.id, rule, stretch, armed, inside, outside, t)
                    self._short(area, rule, was, stretch, inside, outside, t, way)

            if route and road and movement:
                distance = road.distance(point)
                for c in route.checkpoints:
                    if (
                        distance <= route.half_width_m + accuracy
                        and abs(road.project(point) - c.chainage_m) <= c.radius_m + accuracy
                    ):
                        exempt = True
                s = self.plan.regions["r"].rules.get("route.deviation")
                if s:
                    is_in = distance <= route.exit_width_m and accuracy <= route.half_width_m
                    is_out = distance > route.half_width_m + accuracy
                    joined = joined or is_in
                    if is_in or allowed:
                        if off.told:
                            self._end("route.deviation", route.id, t)
                        off.drop()
                    elif joined and is_out:
                        grave = s.severity
                        if distance >= s.params["critical_at_m"]:
                            grave = "critical"
                        elif distance >= s.params["high_at_m"]:
                            grave = min(grave, "high", key=ORDER.index)
                        off.severity = grave if off.since is None else min(off.severity, grave, key=ORDER.index)
                        off.since = t if off.since is None else off.since
                        if off.told:
                            self._open("route.deviation", route.id)[4] = off.severity
                        elif t - off.since >= s.params["min_duration_us"]:
                            off.told = True
                            self.rows.append(["route.deviation", route.id, off.since, None, off.severity])
                    elif joined and not off.told:
                        off.drop()

            s = self.plan.regions["r"].rules.get("stop.unscheduled")
            if s and movement:
                radius = s.params["radius_m"]
                moved_to: tuple[float, float, int, bool] | None = None
                if here is None or (gap and not stop.told):
                    here, here_since, here_exempt, away = (x, y), t, exempt, None
                    continue
                d = math.hypot(x - here[0], y - here[1])
                if d <= radius:
                    away = None
                    here_exempt = here_exempt or exempt
                elif stop.told and d <= radius + 2 * accuracy:
                    continue
                elif away is None:
                    away = x, y, t, exempt
                    continue
                else:
                    began_away = away[2]
                    if math.hypot(x - away[0], y - away[1]) <= radius:
                        moved_to = away[0], away[1], away[2], away[3] or exempt
                    else:
                        moved_to = x, y, t, exempt
                    here, here_since, here_exempt, away = (moved_to[0], moved_to[1]), moved_to[2], moved_to[3], None
                    if stop.told:
                        self._end("stop.unscheduled", "", began_away)
                        stop.drop()
                        continue
                if not stop.told and not here_exempt and t - here_since >= s.params["min_duration_us"]:
                    stop.told = True
                    self.rows.append(["stop.unscheduled", "", here_since, None, s.severity])
        # what a plan took away and the next gave back has its old beginning, and so is the same episode: the last word counts
        return sorted({(r[0], r[1], r[2]): (r[0], r[1], r[2], r[3], r[4]) for r in self.rows}.values())

    def _another_plan(
        self,
        at: int,
        plan: CompiledPlan,
        areas: dict[tuple[str, str], tuple[Stretch, list[bool]]],
        off: Stretch,
        stop: Stretch,
    ) -> bool:
        """What this plan does not have any more ends now. True: the vehicle is on another way."""
        before, self.plan = self.plan, plan
        known = {(a.id, r.rule) for a in plan.areas for r in a.rules}
        for (name, rule), (stretch, _) in list(areas.items()):
            if (name, rule) not in known:
                if stretch.told:
                    self._end(rule, name, at)
                del areas[name, rule]
        rules = plan.regions["r"].rules
        if stop.told and "stop.unscheduled" not in rules:
            self._end("stop.unscheduled", "", at)
            stop.drop()
        way = [[(m.id, m.route) for m in p.movements] for p in (before, plan)]
        if off.told and (way[0] != way[1] or "route.deviation" not in rules):
            self._end("route.deviation", before.movements[0].route, at)
            off.drop()
        if way[0] != way[1] or "route.deviation" not in rules:
            off.drop()
        return way[0] != way[1]

    def _open(self, rule: str, obj: str) -> list[Any]:
        return next(r for r in reversed(self.rows) if r[0] == rule and r[1] == obj)

    def _end(self, rule: str, obj: str, at: int) -> None:
        self._open(rule, obj)[3] = at

    def _crossing(
        self,
        area: Area,
        rule: AreaRule,
        h: Stretch,
        armed: list[bool],
        a: Point,
        b: Point,
    ) -> None:
        """Did the straight line from a fix to the next, which is not inside, go through the area?"""
        left, lasted = rule.rule == "area.left", b[3] - a[3]
        length = math.hypot(b[0] - a[0], b[1] - a[1])
        going_on = h.since is not None or h.went is not None
        if rule.rule == "area.required" or not is_way(rule, a, b) or (going_on and not left):
            return
        line = shapely.LineString([a[:2], b[:2]])
        pieces = [
            tuple(line.project(shapely.Point(end)) / length for end in piece.coords)
            for piece in shapely.get_parts(line.intersection(area.polygon))
            if piece.geom_type == "LineString" and not piece.is_empty
        ]
        whole = [(p, q) for p, q in pieces if p * length > 1e-6 and (1 - q) * length > 1e-6]
        if not whole:
            return
        p, q = max(whole, key=lambda piece: piece[1] - piece[0])
        middle = line.interpolate((p + q) / 2, normalized=True)
        if area.polygon.boundary.distance(middle) < 2 * max(a[2], b[2]) + rule.enter_margin_m:
            return
        came, went = (a[3] + min(lasted, 1000 * round(part * lasted / 1000)) for part in (p, q))
        if went - came < rule.dwell_us or not (left or rule.schedule.applies(came)):
            return
        if not left:
            self.rows.append([rule.rule, area.id, came, went, rule.severity])
            return
        if h.told:
            self._end(rule.rule, area.id, came)
        h.drop()
        h.came = None
        armed[0] = rule.schedule.applies(went)
        if armed[0]:
            h.since = went

    def _short(
        self,
        area: Area,
        rule: AreaRule,
        was: Stretch,
        h: Stretch,
        inside: bool,
        outside: bool,
        t: int,
        way: tuple[Point, Point] | None,
    ) -> None:
        """A stretch that is not told: where the straight lines to its first fix and from its last one meet the border."""
        left = rule.rule == "area.left"
        if rule.rule == "area.required" or was.told or h.told:
            return
        if was.since is None and h.since is not None:
            at = over_border(area, rule, way, inward=not left)
            h.came, h.went = t if at is None or not rule.schedule.applies(at) else at, None
        elif inside and not left:
            h.went = None
        elif was.since is not None and h.since is None and way:
            at = over_border(area, rule, way, inward=left)
            h.went = way[0][3] if at is None else at
        if h.went is not None and (inside if left else outside):
            if h.came is not None and h.went - h.came >= rule.dwell_us:
                self.rows.append([rule.rule, area.id, h.came, h.went, rule.severity])
            h.went = None

    def _area(self, obj: str, rule: Any, h: Stretch, armed: list[bool], inside: bool, outside: bool, t: int) -> None:
        in_force = rule.schedule.applies(t)
        left = rule.rule == "area.left"
        if rule.rule in ("area.entered", "area.forbidden"):
            true, false = inside and in_force, outside or not in_force
        elif rule.rule == "area.required":
            true, false = outside and in_force, inside or not in_force
        else:
            if inside:
                armed[0] = True
            begun = h.since is not None
            if outside and not begun and armed[0] and not in_force:
                armed[0] = False
            true, false = outside and (begun or armed[0]), inside
        if false:
            if h.told:
                self._end(rule.rule, obj, t)
            h.drop()
        elif true:
            h.since = t if h.since is None else h.since
            if not h.told and t - h.since >= rule.dwell_us:
                h.told = True
                self.rows.append([rule.rule, obj, h.since, None, rule.severity])
        elif not h.told and not left:
            h.drop()

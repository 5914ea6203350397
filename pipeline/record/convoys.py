"""How far along the road a vehicle on a movement is, and the gaps between neighbours of its convoy, every ten seconds.

A gap is a function of the four fixes around its instant, so that a replay repeats it. It is for looking at: what is told about
separated convoys is detect's. The nearest point of the road counts, so a hairpin may make a gap jump for one instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.model.wire import Fixes
from pipeline.plan.legs import WayKey, stretch_at, stretches, way_key, way_line
from pipeline.plan.model import CompiledPlan, Movement, movements_of_vehicles

GRID_US = 10_000_000
STALE_US = 60_000_000
KEEP = 60  # instants of the grid


@dataclass(frozen=True, slots=True)
class Gap:
    region: str
    convoy: str
    ahead: str
    behind: str
    at_us: int
    gap_m: float
    limit_m: float


@dataclass(slots=True)
class _March:
    """A convoy on one movement."""

    movement: Movement
    members: tuple[str, ...]
    limit_m: float
    last: dict[str, tuple[int, float]] = field(default_factory=dict)
    grid: dict[int, dict[str, float]] = field(default_factory=dict)


def _road(plan: CompiledPlan, movement: Movement, known: dict[WayKey | str, shapely.LineString]) -> shapely.LineString:
    key = way_key(movement) if movement.legs else movement.route
    if key not in known:
        known[key] = shapely.LineString(
            way_line(plan, movement)[0] if movement.legs else plan.routes[movement.route].xy
        )
        shapely.prepare(known[key])
    return known[key]


class AlongTheRoad:
    """Not thread-safe. Vehicles that are on no movement cost nothing."""

    def __init__(self, plan: CompiledPlan) -> None:
        self._plan = plan
        self._handed_over = {m.id: bool(m.legs) for m in plan.movements}
        self._ways = {m.id: stretches(plan, m) for m in plan.movements}
        roads: dict[WayKey | str, shapely.LineString] = {}  # one for all who drive there
        self._lines = {m.id: _road(plan, m, roads) for m in plan.movements}
        self._movements = movements_of_vehicles(plan)
        self._marches: dict[str, _March] = {}
        for movement in plan.movements:
            if movement.convoy and (convoy := plan.convoys.get(movement.convoy)):
                members = tuple(m for m in convoy.members if m in movement.vehicles)
                self._marches[movement.id] = _March(movement, members, convoy.max_gap_m)

    def feed(self, fixes: Fixes) -> tuple[npt.NDArray[np.float64] | None, list[Gap]]:
        """The road kilometre of each fix (NaN: on no road), or None when none is on a movement; and the gaps that they complete."""
        mine = [i for i, name in enumerate(fixes.names) if name in self._movements]
        if not mine:
            return None, []
        chosen = np.flatnonzero(np.isin(fixes.vehicle, mine))
        if not len(chosen):
            return None, []
        km = np.full(len(fixes), np.nan)
        x, y = self._plan.projection.to_xy(fixes.lat[chosen], fixes.lon[chosen])
        by_movement: dict[str, list[tuple[int, int]]] = {}
        for k, i in enumerate(chosen.tolist()):
            at_us = int(fixes.seen_at_us[i])
            for movement in self._movements[fixes.names[fixes.vehicle[i]]]:
                if movement.starts_us <= at_us < movement.ends_us:
                    by_movement.setdefault(movement.id, []).append((k, i))
                    break
        gaps: list[Gap] = []
        for name, places in by_movement.items():
            way = self._ways[name]
            points = shapely.points(x[[k for k, _ in places]], y[[k for k, _ in places]])
            line = self._lines[name]
            along = shapely.line_locate_point(line, points)
            near = shapely.distance(line, points) <= max(2000.0, *(s.route.half_width_m for s in way))
            for (_, i), s, on in zip(places, along.tolist(), near.tolist(), strict=True):
                if on:
                    km[i] = self._km(name, s)
            if name in self._marches:
                for (_, i), s, on in sorted(
                    zip(places, along.tolist(), near.tolist(), strict=True),
                    key=lambda p: int(fixes.seen_at_us[p[0][1]]),
                ):
                    if on:
                        vehicle = fixes.names[fixes.vehicle[i]]
                        gaps += self._place(self._marches[name], vehicle, int(fixes.seen_at_us[i]), s)
        return km, gaps

    def _km(self, movement: str, along_m: float) -> float:
        """Of a movement of one route along its whole route, beyond its stretch too."""
        way = self._ways[movement]
        if not self._handed_over[movement]:
            return way[0].route.road_km(along_m)
        return way[stretch_at(way, along_m)].road_km(along_m)

    def _place(self, march: _March, vehicle: str, at_us: int, s: float) -> list[Gap]:
        if vehicle not in march.members:
            return []
        before = march.last.get(vehicle)
        if before is not None and at_us <= before[0]:
            return []
        march.last[vehicle] = (at_us, s)
        if before is None or at_us - before[0] > STALE_US:
            return []
        out = []
        for instant in range(before[0] // GRID_US * GRID_US + GRID_US, at_us + 1, GRID_US):
            here = before[1] + (s - before[1]) * (instant - before[0]) / (at_us - before[0])
            cell = march.grid.setdefault(instant, {})
            cell[vehicle] = here
            place = march.members.index(vehicle)
            for ahead, behind in ((place - 1, place), (place, place + 1)):
                if ahead >= 0 and behind < len(march.members):
                    a, b = march.members[ahead], march.members[behind]
                    if a in cell and b in cell:
                        m = march.movement
                        out.append(Gap(m.region, str(m.convoy), a, b, instant, abs(cell[a] - cell[b]), march.limit_m))
        if len(march.grid) > KEEP:
            for old in sorted(march.grid)[:-KEEP]:
                del march.grid[old]
        return out

"""Where things are on the road: kilometres, convoys as lines, the nearest units. For people, not for the rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import shapely

from pipeline.desk.live import Position
from pipeline.plan.describe import where
from pipeline.plan.legs import stretch_at, stretches, way_line
from pipeline.plan.model import CompiledPlan, Convoy, Movement, Route, movements_of_vehicles

ON_THE_ROAD_M = 2_000.0


class Whereabouts:
    """Geometry of one plan, ready to be asked."""

    def __init__(self, plan: CompiledPlan) -> None:
        self.plan = plan
        self._movements = movements_of_vehicles(plan)
        self._lines = {route.id: shapely.LineString(route.xy) for route in plan.routes.values()}
        self._ways = {
            m.id: (stretches(plan, m), shapely.LineString(way_line(plan, m)[0])) for m in plan.movements if m.legs
        }

    def _xy(self, lat: float, lon: float) -> tuple[float, float]:
        x, y = self.plan.projection.to_xy([lat], [lon])
        return float(x[0]), float(y[0])

    def on_route(self, route: Route, lat: float, lon: float) -> tuple[float, float]:
        """Metres along the route and metres off it."""
        point = shapely.Point(self._xy(lat, lon))
        line = self._lines[route.id]
        return float(line.project(point)), float(line.distance(point))

    def road(self, lat: float, lon: float) -> tuple[Route, float, float] | None:
        """The nearest route within reach: route, metres along it, metres off it."""
        found = [(route, *self.on_route(route, lat, lon)) for route in self.plan.routes.values()]
        best = min(found, key=lambda f: f[2], default=None)
        return best if best and best[2] <= ON_THE_ROAD_M else None

    def words(self, vehicle: str, lat: float, lon: float) -> dict[str, Any]:
        """Road, kilometre, the nearest place: in English and Urdu."""
        hint = next((self._road_of(m, lat, lon) for m in self._movements.get(vehicle, ())), None)
        xy = self._xy(lat, lon)
        found = where(self.plan, xy, hint)
        return {
            "en": found.text,
            "ur": where(self.plan, xy, hint, "ur").text,
            "off_m": None if found.off_road_m is None else round(found.off_road_m),
        }

    def _road_of(self, movement: Movement, lat: float, lon: float) -> str:
        """The route of the leg that is nearest: of a movement that is handed over it is on one road or the other."""
        if len(movement.way) == 1:
            return movement.route
        way, line = self._ways[movement.id]
        return way[stretch_at(way, float(line.project(shapely.Point(self._xy(lat, lon)))))].route.id

    # ---- convoys --------------------------------------------------------------------------------------------

    def movement_of(self, convoy: Convoy, at_us: int) -> Movement | None:
        """The one in force, else the next to come."""
        mine = [m for m in self.plan.movements if m.convoy == convoy.id and m.ends_us > at_us]
        return min(mine, key=lambda m: m.starts_us, default=None)

    def convoys(self, positions: Mapping[str, Position], at_us: int) -> list[dict[str, Any]]:
        """Each convoy as a line along its road: `progress` in metres from where its movement begins."""
        out = []
        for convoy in self.plan.convoys.values():
            movement = self.movement_of(convoy, at_us)
            if movement is None or movement.route not in self.plan.routes:
                continue
            out.append(
                self._led(convoy, movement, positions) if movement.legs else self._strip(convoy, movement, positions)
            )
        return out

    def _strip(self, convoy: Convoy, movement: Movement, positions: Mapping[str, Position]) -> dict[str, Any]:
        route = self.plan.routes[movement.route]
        sign = 1 if movement.to_chainage_m >= movement.from_chainage_m else -1
        start, length = movement.from_chainage_m, abs(movement.to_chainage_m - movement.from_chainage_m)
        units: list[dict[str, Any]] = []
        for vehicle in convoy.members:
            if (at := positions.get(vehicle)) is None:
                units.append({"id": vehicle, "m": None})
                continue
            along, off = self.on_route(route, at.lat, at.lon)
            units.append(
                {"id": vehicle, "m": round(sign * (along - start)), "off_m": round(off), "seen_us": at.seen_at_us}
            )
        points: list[dict[str, Any]] = [
            {
                "name": dict(c.name),
                "m": round(sign * (c.chainage_m - start)),
                "km": round(route.road_km(c.chainage_m)),
            }
            for c in route.checkpoints
        ]
        return {
            "id": convoy.id,
            "name": dict(convoy.name),
            "road": route.road,
            "km_at_start": route.road_km(start),
            "km_sign": route.km_sign * sign,
            "length_m": round(length),
            "limit_m": convoy.max_gap_m,
            "off_limit_m": route.half_width_m,
            "checkpoints": sorted((p for p in points if 0 <= p["m"] <= length), key=lambda p: p["m"]),
            "units": units,
        }

    def _led(self, convoy: Convoy, movement: Movement, positions: Mapping[str, Position]) -> dict[str, Any]:
        """Of a movement that is handed over: metres of its whole way; road and kilometres are those where its front is."""
        way, line = self._ways[movement.id]
        units: list[dict[str, Any]] = []
        for vehicle in convoy.members:
            if (at := positions.get(vehicle)) is None:
                units.append({"id": vehicle, "m": None})
                continue
            point = shapely.Point(self._xy(at.lat, at.lon))
            along, off = line.project(point), line.distance(point)
            units.append({"id": vehicle, "m": round(along), "off_m": round(off), "seen_us": at.seen_at_us})
        front = way[stretch_at(way, max((u["m"] for u in units if u["m"] is not None), default=0.0))]
        points: list[dict[str, Any]] = [
            {"name": dict(c.name), "m": round(m), "km": round(s.route.road_km(c.chainage_m))}
            for s in way
            for c in s.route.checkpoints
            if (m := s.on_way(c.chainage_m)) is not None
        ]
        return {
            "id": convoy.id,
            "name": dict(convoy.name),
            "road": front.route.road,
            "km_at_start": front.road_km(front.starts_m) - front.km_sign * front.starts_m / 1000,
            "km_sign": front.km_sign,
            "length_m": round(line.length),
            "limit_m": convoy.max_gap_m,
            "off_limit_m": front.route.half_width_m,
            "checkpoints": sorted(points, key=lambda p: p["m"]),
            "units": units,
            "led_by": [{"region": s.region, "m": round(s.starts_m)} for s in way],
        }

    # ---- whom to call ---------------------------------------------------------------------------------------

    def nearest_units(
        self, positions: Mapping[str, Position], lat: float, lon: float, count: int = 5
    ) -> list[dict[str, Any]]:
        """By road where both are on the same one, else as the crow flies; each with the age of its fix."""
        here = self.road(lat, lon)
        found = []
        for vehicle, at in positions.items():
            if vehicle not in self.plan.vehicles:
                continue
            direct = _metres(lat, lon, at.lat, at.lon)
            by_road = None
            if here:
                along, off = self.on_route(here[0], at.lat, at.lon)
                if off <= ON_THE_ROAD_M:
                    by_road = abs(along - here[1]) + off + here[2]
            found.append((direct if by_road is None else by_road, vehicle, by_road is not None))
        found.sort()
        return [{"vehicle": v, "m": round(m), "by_road": road} for m, v, road in found[:count]]


def _metres(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Along a great circle (haversine); enough for a list that people read."""
    a, b = math.radians(lat1), math.radians(lat2)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return 2 * 6_371_000 * math.asin(math.sqrt(h))

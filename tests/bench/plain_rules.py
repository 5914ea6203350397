"""Two rules as one writes them on an afternoon: inside an area for so long, and standing for so long. One fix at a time, shapely and dicts.

What our engine is compared with. It imports nothing of ours, so that it also runs where only a peer is installed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import shapely

DWELL_S, EXIT_M = 15.0, 30.0
RADIUS_M, STANDING_S = 60.0, 180.0
UNKNOWN_ACCURACY_M = 30.0


@dataclass
class Vehicle:
    inside: dict[int, tuple[float, bool]] = field(default_factory=dict)  # since, told
    anchor: tuple[float, float, float] | None = None  # x, y, since
    standing: bool = False


class Rules:
    """`rings`: areas as lists of (lon, lat)."""

    def __init__(self, rings: list[list[tuple[float, float]]], lat0: float, lon0: float) -> None:
        self.lat0, self.lon0 = lat0, lon0
        self.north = 111_132.0
        self.east = 111_320.0 * math.cos(math.radians(lat0))
        self.areas = [shapely.Polygon([self.metres(lat, lon) for lon, lat in ring]) for ring in rings]
        for polygon in self.areas:
            shapely.prepare(polygon)
        self.borders = [polygon.exterior for polygon in self.areas]
        self.tree = shapely.STRtree(self.areas)

    def metres(self, lat: float, lon: float) -> tuple[float, float]:
        return (lon - self.lon0) * self.east, (lat - self.lat0) * self.north

    def step(self, vehicle: Vehicle, fix: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """What begins or ends with this fix."""
        x, y = self.metres(fix["lat"], fix["lon"])
        at = fix["at_s"]
        accuracy = fix.get("accuracy_m", UNKNOWN_ACCURACY_M)
        point = shapely.Point(x, y)
        near = {int(i) for i in self.tree.query(shapely.box(x - 100, y - 100, x + 100, y + 100))}
        for i in near | set(vehicle.inside):
            polygon = self.areas[i]
            contains = bool(shapely.contains(polygon, point))
            border = float(point.distance(self.borders[i])) if i in near else math.inf
            since, told = vehicle.inside.get(i, (0.0, False))
            if contains and border > accuracy:
                if not since:
                    vehicle.inside[i] = at, False
                elif not told and at - since >= DWELL_S:
                    vehicle.inside[i] = since, True
                    yield "area.forbidden", "begin"
            elif not contains and since and border > max(accuracy, EXIT_M):
                del vehicle.inside[i]
                if told:
                    yield "area.forbidden", "end"
        if vehicle.anchor is None or math.hypot(x - vehicle.anchor[0], y - vehicle.anchor[1]) > RADIUS_M:
            vehicle.anchor = x, y, at
            if vehicle.standing:
                vehicle.standing = False
                yield "stop.unscheduled", "end"
        elif not vehicle.standing and at - vehicle.anchor[2] >= STANDING_S:
            vehicle.standing = True
            yield "stop.unscheduled", "begin"

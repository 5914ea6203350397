"""Where something is, as people say it: the road's kilometre, and how far in which direction of the nearest named
place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import atan2, degrees, hypot

from pipeline.geo.routes import project_point
from pipeline.plan.model import CompiledPlan, Place, Route

NEAR_ROAD_M = 10_000.0
"""Farther from a road than this, its kilometre says nothing."""
BESIDE_ROAD_M = 2_000.0
"""Within this of several roads the longest one is named: a highway's kilometre posts are what people know."""
AT_PLACE_M = 1_000.0
FAR_PLACE_M = 80_000.0

DIRECTIONS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")

CATALOGUE: dict[str, dict[str, str]] = {
    "en": {
        "road": "{road} km {km}", "at": "{place}", "from": "{distance} km {direction} of {place}", "join": ", ",
        **{d: d for d in DIRECTIONS},
    },
    "ur": {
        "road": "{road} کلومیٹر {km}", "at": "{place}", "from": "{place} سے {distance} کلومیٹر {direction}",
        "join": "، ",
        "north": "شمال", "north-east": "شمال مشرق", "east": "مشرق", "south-east": "جنوب مشرق",
        "south": "جنوب", "south-west": "جنوب مغرب", "west": "مغرب", "north-west": "شمال مغرب",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Where:
    """`text` is the sentence's half; the rest is what it was made of. None: nothing near enough."""

    text: str
    road: str | None = None
    route: str | None = None
    km: float | None = None
    off_road_m: float | None = None
    place_name: str | None = None
    distance_km: float | None = None
    direction: str | None = None


def where(plan: CompiledPlan, xy: tuple[float, float], route_hint: str | None = None, language: str = "en") -> Where:
    """Describe a point (metres of the plan). `route_hint`, the route that it is on, wins over other roads while it
    is near."""
    words = CATALOGUE.get(language, CATALOGUE["en"])
    x, y = float(xy[0]), float(xy[1])
    parts: list[str] = []
    road = _road(plan, x, y, route_hint)
    route, off_road_m, km = road if road else (None, None, None)
    if route is not None and km is not None:
        parts.append(words["road"].format(road=route.road, km=round(km)))
    place, distance_m = _place(plan.places, x, y)
    name = direction = None
    if place is not None:
        name = _name(place.name, language)
        direction = direction_of(x - place.xy[0], y - place.xy[1])
        if distance_m < AT_PLACE_M:
            parts.append(words["at"].format(place=name))
        else:
            distance = max(1, round(distance_m / 1000))
            parts.append(words["from"].format(distance=distance, direction=words[direction], place=name))
    if not parts:
        lon, lat = plan.projection.to_lonlat(x, y)
        parts.append(f"{float(lat):.4f}, {float(lon):.4f}")
    return Where(
        text=words["join"].join(parts),
        road=route.road if route else None,
        route=route.id if route else None,
        km=km,
        off_road_m=off_road_m,
        place_name=name,
        distance_km=distance_m / 1000 if place is not None else None,
        direction=direction,
    )


def direction_of(east_m: float, north_m: float) -> str:
    """One of eight: where a point lies that is so far east and north."""
    return DIRECTIONS[round(degrees(atan2(east_m, north_m)) / 45.0) % 8]


def _road(plan: CompiledPlan, x: float, y: float, hint: str | None) -> tuple[Route, float, float] | None:
    def measured(route: Route) -> tuple[Route, float, float]:
        away, along = project_point(route.xy, route.chainage_m, x, y)
        return route, away, route.road_km(along)

    if hint is not None and hint in plan.routes:
        found = measured(plan.routes[hint])
        if found[1] <= NEAR_ROAD_M:
            return found
    near = [found for found in map(measured, plan.routes.values()) if found[1] <= NEAR_ROAD_M]
    beside = [found for found in near if found[1] <= BESIDE_ROAD_M]
    if beside:
        return max(beside, key=lambda found: (found[0].chainage_m[-1], found[0].id))
    return min(near, key=lambda found: (found[1], found[0].id), default=None)


def _place(places: tuple[Place, ...], x: float, y: float) -> tuple[Place | None, float]:
    best, best_m = None, FAR_PLACE_M
    for place in places:
        away = hypot(x - place.xy[0], y - place.xy[1])
        if away < best_m:
            best, best_m = place, away
    return best, best_m


def _name(name: Mapping[str, str], language: str) -> str:
    return name.get(language) or name["en"]

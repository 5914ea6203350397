"""Whether the shapes of a plan can be true: corners, crossings, jumps, swapped coordinates, kilometres that the road
does not have.

Distances here are great circles: good enough to find a fault, before there is a projection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt

import shapely
from shapely.validation import explain_validity

from pipeline.plan import schema
from pipeline.plan.faults import Fault
from pipeline.plan.read import Placed

EARTH_M = 6_371_008.8
MAX_STEP_M = 5_000.0
MAX_SPAN_M = 150_000.0
MAX_DISTRICT_SPAN_M = 600_000.0
MAX_VERTICES = 20_000
KM_SLACK = 1.0  # a road's posts and its drawn line never agree quite
_MOST = 5  # faults of one kind for one line

Point = tuple[float, float]


def distance_m(a: Point, b: Point) -> float:
    """Great circle between two (lat, lon)."""
    lat1, lon1, lat2, lon2 = map(radians, (*a, *b))
    h = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_M * asin(min(1.0, sqrt(h)))


def length_m(line: Sequence[Point]) -> float:
    return sum(distance_m(a, b) for a, b in pairwise(line))


def point_at_km(route: schema.RouteIn, km: float | None, at_end: bool) -> Point:
    """Where a kilometre of a route is; without one its start, or its end. The line has two points or more."""
    if km is None:
        return route.line[-1] if at_end else route.line[0]
    left = max((km - route.km_at_start) * route.km_sign * 1000.0, 0.0)
    for a, b in pairwise(route.line):
        step = distance_m(a, b)
        if left <= step and step > 0:
            part = left / step
            return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part
        left -= step
    return route.line[-1]


def open_ring(corners: Sequence[Point]) -> list[Point]:
    """The corners without the last one when it repeats the first."""
    out = list(corners)
    while len(out) > 1 and out[0] == out[-1]:
        out.pop()
    return out


def _outside(points: Sequence[Point], bounds: schema.BoundsIn | None) -> tuple[int, str, str] | None:
    """The first point outside the region: its place in the list, problem and cure."""
    if bounds is None:
        return None
    for number, (lat, lon) in enumerate(points):
        if not bounds.has(lat, lon):
            if bounds.has(lon, lat):
                return number, "latitude and longitude are swapped", f"Swap them: [{lon:g}, {lat:g}], latitude first"
            return (
                number,
                "the point lies outside the region's bounds",
                "Look for a wrong digit, or widen bounds in region.yaml",
            )
    return None


def check_place(region: Placed[schema.RegionIn], number: int, place: schema.PlaceIn) -> Iterator[Fault]:
    if found := _outside([(place.lat, place.lon)], region.item.bounds):
        yield region.fault(("places", number, "lat"), f"{place.lat:g}, {place.lon:g}", found[1], found[2])


def check_area(area: Placed[schema.AreaIn], bounds: schema.BoundsIn | None) -> Iterator[Fault]:
    item = area.item
    if item.circle is not None:
        if found := _outside([(item.circle.lat, item.circle.lon)], bounds):
            yield area.fault(("circle", "lat"), f"{item.circle.lat:g}, {item.circle.lon:g}", found[1], found[2])
        return
    if item.polygon is None:
        return
    corners = open_ring(item.polygon)
    distinct = len(set(corners))
    if distinct < 3:
        told = f"{distinct} corner{'s' if distinct != 1 else ''}"
        yield area.fault(("polygon",), told, "a polygon needs 3 or more", "Add one, or give a circle")
        return
    if found := _outside(corners, bounds):
        yield area.fault(("polygon", found[0]), "{:g}, {:g}".format(*corners[found[0]]), found[1], found[2])
        return
    lats, lons = [c[0] for c in corners], [c[1] for c in corners]
    middle = (min(lats) + max(lats)) / 2
    span = max(
        distance_m((min(lats), lons[0]), (max(lats), lons[0])), distance_m((middle, min(lons)), (middle, max(lons)))
    )
    limit = MAX_DISTRICT_SPAN_M if item.kind in ("district", "zone") else MAX_SPAN_M
    if span > limit:
        problem = f"the area is too big: one of kind {item.kind} spans at most {limit / 1000:.0f} km"
        yield area.fault(("polygon",), f"{span / 1000:.0f} km", problem, "Look for a wrong digit in a corner")
        return
    polygon = shapely.Polygon([(lon, lat) for lat, lon in corners])
    if shapely.MultiPoint([(lon, lat) for lat, lon in corners]).convex_hull.area == 0:
        yield area.fault(
            ("polygon",), f"{len(corners)} corners", "the corners lie on one line", "Move one, or give a circle"
        )
    elif not polygon.is_valid:
        why = explain_validity(polygon)
        at = why[why.find("[") :] if "[" in why else ""
        problem = "the polygon's border crosses or touches itself" + (f" near longitude, latitude {at}" if at else "")
        yield area.fault(
            ("polygon",), f"{len(corners)} corners", problem, "List the corners in the order in which one walks around"
        )


def check_route(route: Placed[schema.RouteIn], bounds: schema.BoundsIn | None) -> Iterator[Fault]:
    item, line = route.item, route.item.line
    if len(line) < 2:
        yield route.fault(
            ("line",),
            f"{len(line)} point{'s' if len(line) != 1 else ''}",
            "a route needs 2 or more",
            "Add the road's points in order",
        )
        return
    if len(line) > MAX_VERTICES:
        cure = "Simplify it: rahdar plan import --tolerance 5"
        yield route.fault(("line",), f"{len(line)} points", f"a route has at most {MAX_VERTICES}", cure)
        return
    if found := _outside(line, bounds):
        number, problem, cure = found
        yield _at_point(route, number + 1, "{:g}, {:g}".format(*line[number]), problem, cure)
    else:
        yield from _steps(route)
    exit_width = item.exit_width_m
    if exit_width is not None and exit_width >= item.half_width_m:
        problem = f"not narrower than half_width_m ({item.half_width_m:g}): a vehicle at the edge would flap"
        yield route.fault(
            ("exit_width_m",), f"{exit_width:g}", problem, f"Give {item.half_width_m * 0.75:g}, or leave it out"
        )
    for number, checkpoint in enumerate(item.checkpoints):
        if checkpoint.id in [c.id for c in item.checkpoints[:number]]:
            yield route.fault(
                ("checkpoints", number, "id"),
                checkpoint.id,
                "the checkpoint stands twice",
                "Give each an id of its own",
            )
        yield from _km(route, ("checkpoints", number, "km"), checkpoint.km, item)
    for number, limit in enumerate(item.speed_limits):
        at = ("speed_limits", number)
        yield from km_range(route, at, limit.from_km, limit.to_km, item)


def _at_point(route: Placed[schema.RouteIn], number: int, value: str, problem: str, cure: str) -> Fault:
    """A fault of the n-th point of a line, on the very line of the file when the points are a block of text."""
    fault = route.fault(("line", number - 1), value, problem, cure)
    entry = route.tree.data["routes"][route.path[1]]["line"]
    if isinstance(entry, str) and fault.line is not None and "\n" in entry:
        before = 0
        for row, text in enumerate(entry.split("\n"), 1):
            before += len(text.split())
            if before >= number:
                return replace(fault, line=fault.line + row)
    return fault


def _steps(route: Placed[schema.RouteIn]) -> Iterator[Fault]:
    line = route.item.line
    repeated = jumps = 0
    for number, (a, b) in enumerate(pairwise(line), 2):
        step = distance_m(a, b)
        if step < 0.05:
            repeated += 1
            if repeated <= _MOST:
                yield _at_point(route, number, "{:g}, {:g}".format(*b), "the point before is repeated", "Remove one")
        elif step > MAX_STEP_M:
            jumps += 1
            if jumps <= _MOST:
                problem = f"it lies {step / 1000:.1f} km from the point before; at most {MAX_STEP_M / 1000:.0f} km"
                cure = "Look for a wrong digit, or give points between"
                yield _at_point(route, number, "{:g}, {:g}".format(*b), problem, cure)


def _km(
    entry: Placed[schema.Entry],
    at: tuple[str | int, ...],
    km: float,
    route: schema.RouteIn,
) -> Iterator[Fault]:
    ends = sorted((route.km_at_start, route.km_at_start + route.km_sign * length_m(route.line) / 1000))
    if not ends[0] - KM_SLACK <= km <= ends[1] + KM_SLACK:
        problem = f"{route.road} has no such kilometre on route {route.id}"
        yield entry.fault(
            at, f"{km:g}", problem, f"Give {ends[0]:.1f} to {ends[1]:.1f}, or mend km_at_start of the route"
        )


def km_range(
    entry: Placed[schema.Entry],
    at: tuple[str | int, ...],
    from_km: float | None,
    to_km: float | None,
    route: schema.RouteIn,
) -> Iterator[Fault]:
    """Faults of a stretch between two kilometres of a route."""
    if len(route.line) < 2:
        return
    for key, km in (("from_km", from_km), ("to_km", to_km)):
        if km is not None:
            yield from _km(entry, (*at, key), km, route)
    if from_km is not None and from_km == to_km:
        yield entry.fault(
            (*at, "to_km"), f"{to_km:g}", "the stretch is empty: it ends where it starts", "Give two kilometres"
        )

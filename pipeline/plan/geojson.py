"""A plan as GeoJSON (RFC 7946): for the desk's map, and to look at in any other program.

Every feature has `layer` (area, corridor, route, checkpoint, km_post, place, handover), `id`, `name` and what its layer needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.geo.projection import Projection
from pipeline.geo.routes import heading_at, point_at
from pipeline.plan.compile import to_lonlat
from pipeline.plan.legs import stretches
from pipeline.plan.model import Area, CompiledPlan, Movement, Place, Route

COARSE_M = 500.0
"""Whoever has no need of residences sees only this circle, whose centre is rounded to the same."""
DIGITS = 6  # 0.1 m
STEPS = (100, 50, 10, 5, 1)


def plan_geojson(plan: CompiledPlan, *, public: bool = False) -> dict[str, Any]:
    """A FeatureCollection. `public`: residences only roughly, without their names' owner being findable."""
    features: list[dict[str, Any]] = []
    for area in plan.areas:
        features.append(_area(area, plan, public))
    for route in plan.routes.values():
        features += _route(route, plan)
    features += map(_place, plan.places)
    for movement in plan.movements:
        features += _handovers(movement, plan)
    return {
        "type": "FeatureCollection",
        "plan_hash": plan.hash,
        "invented": all(region.invented for region in plan.regions.values()),
        "regions": [{"id": r.id, "name": dict(r.name), "bounds": list(r.bounds_lonlat)} for r in plan.regions.values()],
        "features": features,
    }


def _feature(geometry: dict[str, Any], layer: str, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"layer": layer, **properties}}


def _pairs(lonlat: Iterable[Iterable[float]]) -> list[list[float]]:
    return [[round(float(lon), DIGITS), round(float(lat), DIGITS)] for lon, lat in lonlat]


def _polygon(lonlat: shapely.Polygon) -> dict[str, Any]:
    turned = shapely.geometry.polygon.orient(lonlat)
    rings = [_pairs(turned.exterior.coords), *(_pairs(ring.coords) for ring in turned.interiors)]
    return {"type": "Polygon", "coordinates": rings}


def _point(lonlat: Iterable[float]) -> dict[str, Any]:
    return {"type": "Point", "coordinates": _pairs([lonlat])[0]}


def _back(plan: CompiledPlan, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack(plan.projection.to_lonlat(xy[:, 0], xy[:, 1]))


def _area(area: Area, plan: CompiledPlan, public: bool) -> dict[str, Any]:
    coarse = public and area.kind == "residence"
    shape = area.lonlat
    if coarse:
        shape = to_lonlat(shapely.Point(_coarse_xy(area)).buffer(COARSE_M, quad_segs=8), plan.projection)
    centre = shape.representative_point()
    return _feature(
        _polygon(shape),
        "area",
        id=area.id,
        name=dict(area.name),
        kind=area.kind,
        region=area.region,
        coarse=coarse,
        stop_allowed=area.stop_allowed,
        rules=sorted({rule.rule for rule in area.rules}),
        label_at=_pairs([(centre.x, centre.y)])[0],
    )


def _coarse_xy(area: Area) -> tuple[float, float]:
    """On a grid that tells no more than itself; metres."""
    centre = area.polygon.centroid
    return COARSE_M * round(centre.x / COARSE_M), COARSE_M * round(centre.y / COARSE_M)


def coarse_centre(area: Area, projection: Projection) -> tuple[float, float]:
    """Latitude and longitude of the circle that stands for a residence."""
    x, y = _coarse_xy(area)
    lon, lat = projection.to_lonlat(np.array([x]), np.array([y]))
    return float(lat[0]), float(lon[0])


def _route(route: Route, plan: CompiledPlan) -> Iterator[dict[str, Any]]:
    common = {"region": route.region, "road": route.road}
    corridor = shapely.buffer(shapely.LineString(route.xy), route.half_width_m, quad_segs=4)
    corridor = shapely.simplify(corridor, route.half_width_m * 0.02)
    yield _feature(
        _polygon(to_lonlat(corridor, plan.projection)),
        "corridor",
        id=route.id,
        name=dict(route.name),
        half_width_m=route.half_width_m,
        **common,
    )
    yield _feature(
        {"type": "LineString", "coordinates": _pairs(route.lonlat)},
        "route",
        id=route.id,
        name=dict(route.name),
        length_m=round(float(route.chainage_m[-1]), 1),
        km_at_start=route.km_at_start,
        km_sign=route.km_sign,
        **common,
    )
    if route.checkpoints:
        at = np.array([c.chainage_m for c in route.checkpoints])
        for checkpoint, lonlat in zip(
            route.checkpoints, _back(plan, point_at(route.xy, route.chainage_m, at)), strict=True
        ):
            yield _feature(
                _point(lonlat),
                "checkpoint",
                id=checkpoint.id,
                name=dict(checkpoint.name),
                route=route.id,
                km=round(route.road_km(checkpoint.chainage_m), 3),
                radius_m=checkpoint.radius_m,
                **common,
            )
    yield from _km_posts(route, plan)


def _km_posts(route: Route, plan: CompiledPlan) -> Iterator[dict[str, Any]]:
    """One each whole kilometre. `step` is the coarsest rhythm that it belongs to: a map zoomed out shows step >= 10,
    say."""
    low, high = sorted((route.km_at_start, route.road_km(float(route.chainage_m[-1]))))
    kms = list(range(ceil(low - 1e-6), floor(high + 1e-6) + 1))
    if not kms:
        return
    at = np.clip([route.chainage_of_km(km) for km in kms], 0.0, route.chainage_m[-1])
    for km, s, lonlat in zip(kms, at, _back(plan, point_at(route.xy, route.chainage_m, at)), strict=True):
        yield _feature(
            _point(lonlat),
            "km_post",
            id=f"{route.id}:{km}",
            name={"en": f"{route.road} km {km}"},
            route=route.id,
            road=route.road,
            km=km,
            step=next(step for step in STEPS if km % step == 0),
            heading_deg=round(heading_at(route.xy, route.chainage_m, float(s)), 1),
        )


def _handovers(movement: Movement, plan: CompiledPlan) -> Iterator[dict[str, Any]]:
    """Where one region leaves a movement to the next."""
    way = stretches(plan, movement)
    for number, (before, after) in enumerate(pairwise(way), 1):
        if before.region != after.region:
            at = point_at(after.route.xy, after.route.chainage_m, [after.on_route(after.starts_m)])
            yield _feature(
                _point(_back(plan, at)[0]),
                "handover",
                id=f"{movement.id}:{number}",
                name=dict(movement.name),
                movement=movement.id,
                from_region=before.region,
                to_region=after.region,
                road=after.route.road,
                km=round(after.road_km(after.starts_m), 3),
            )


def _place(place: Place) -> dict[str, Any]:
    return _feature(_point((place.lon, place.lat)), "place", id=place.name["en"], name=dict(place.name))

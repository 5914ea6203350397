"""The plan as GeoJSON: what a map draws, and what it must not give away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import shapely

from pipeline.plan.geojson import COARSE_M, plan_geojson
from pipeline.plan.model import CompiledPlan


@pytest.fixture(scope="module")
def drawn(hazara: CompiledPlan) -> dict[str, Any]:
    return orjson.loads(orjson.dumps(plan_geojson(hazara)))  # type: ignore[no-any-return]


def layer(collection: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    return (f for f in collection["features"] if f["properties"]["layer"] == name)


def test_every_geometry_is_valid_and_in_longitude_latitude(drawn: dict[str, Any]) -> None:
    assert drawn["type"] == "FeatureCollection" and drawn["invented"] is True
    for feature in drawn["features"]:
        assert feature["type"] == "Feature"
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid and not geometry.is_empty, feature["properties"]["id"]
        west, south, east, north = geometry.bounds
        assert 72 < west <= east < 75 and 33 < south <= north < 37
        assert feature["properties"]["name"]["en"]


def test_outer_rings_run_against_the_clock(drawn: dict[str, Any]) -> None:
    for feature in drawn["features"]:
        if feature["geometry"]["type"] == "Polygon":
            outer, *inner = feature["geometry"]["coordinates"]
            assert outer[0] == outer[-1]
            assert shapely.LinearRing(outer).is_ccw
            assert not any(shapely.LinearRing(ring).is_ccw for ring in inner)


def test_nothing_of_the_plan_is_left_out(drawn: dict[str, Any], hazara: CompiledPlan) -> None:
    assert {f["properties"]["id"] for f in layer(drawn, "area")} == {a.id for a in hazara.areas}
    assert {f["properties"]["id"] for f in layer(drawn, "route")} == set(hazara.routes)
    assert {f["properties"]["id"] for f in layer(drawn, "corridor")} == set(hazara.routes)
    assert len(list(layer(drawn, "checkpoint"))) == sum(len(r.checkpoints) for r in hazara.routes.values())
    assert len(list(layer(drawn, "place"))) == len(hazara.places)


def test_a_post_each_kilometre_with_its_step(drawn: dict[str, Any]) -> None:
    posts = {
        f["properties"]["km"]: f["properties"]["step"]
        for f in layer(drawn, "km_post")
        if f["properties"]["road"] == "N-35"
    }
    assert sorted(posts) == list(range(40, 373))
    assert [posts[km] for km in (40, 41, 45, 50, 100, 200, 214)] == [10, 1, 5, 50, 100, 100, 1]


def test_a_corridor_is_as_wide_as_its_route_says(drawn: dict[str, Any], hazara: CompiledPlan) -> None:
    (corridor,) = (f for f in layer(drawn, "corridor") if f["properties"]["id"] == "n-35")
    polygon = shapely.geometry.shape(corridor["geometry"])
    route = hazara.routes["n-35"]
    x, y = route.xy[1000]
    dx, dy = route.xy[1001] - route.xy[999]
    length = float((dx**2 + dy**2) ** 0.5)
    for off_m, inside in ((0.9, True), (1.1, False)):
        lon, lat = hazara.projection.to_lonlat(x - dy / length * 150 * off_m, y + dx / length * 150 * off_m)
        assert polygon.contains(shapely.Point(float(lon), float(lat))) is inside


def test_in_public_a_residence_is_only_roughly_where_it_is(hazara: CompiledPlan) -> None:
    true = {a.id: a for a in hazara.areas}
    public = {f["properties"]["id"]: f for f in layer(plan_geojson(hazara, public=True), "area")}
    residences = [a for a in hazara.areas if a.kind == "residence"]
    assert residences
    for area in residences:
        feature = public[area.id]
        shape = shapely.geometry.shape(feature["geometry"])
        assert feature["properties"]["coarse"] is True
        lon, lat = shape.centroid.x, shape.centroid.y
        x, y = hazara.projection.to_xy(lat, lon)
        for value in (float(x), float(y)):
            assert abs(value - COARSE_M * round(value / COARSE_M)) < 1, "the centre tells no more than its grid"
        assert shape.area > 2 * area.lonlat.area
        assert "true" not in feature["properties"]
    assert public["dasu-camp"]["properties"]["coarse"] is False
    assert shapely.geometry.shape(public["dasu-camp"]["geometry"]).equals_exact(true["dasu-camp"].lonlat, 1e-3)

"""The demonstration's second region: it loads by itself, beside its neighbour, and hands over where their roads meet."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from pipeline.geo.routes import project_point
from pipeline.plan.copies import copied_from, copies
from pipeline.plan.legs import stretch_at, stretches, way_line
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan


@pytest.fixture(scope="module")
def malakand(root: Path) -> CompiledPlan:
    return load_plan(root / "plans" / "malakand")


@pytest.fixture(scope="module")
def both(root: Path) -> CompiledPlan:
    return load_plan(root / "plans")


def test_every_file_says_that_it_is_invented(root: Path, malakand: CompiledPlan) -> None:
    for path in sorted((root / "plans" / "malakand").glob("*.yaml")):
        assert path.read_text(encoding="utf-8").startswith("# INVENTED."), path.name
    assert malakand.regions["malakand"].invented


@pytest.mark.parametrize(
    ("route", "town", "km"),
    [
        ("n-95", "Chakdara", 0), ("n-95", "Mingora", 39), ("n-95", "Khwazakhela", 63), ("n-95", "Bahrain", 98), ("n-95", "Kalam", 134),
        ("n-90", "Khwazakhela", 0), ("n-90", "Shangla Top", 18), ("n-90", "Alpuri", 26), ("n-45", "Malakand", 71), ("n-45", "Chakdara", 87),
    ],
)  # fmt: skip
def test_the_roads_pass_their_towns_at_their_kilometres(
    malakand: CompiledPlan, route: str, town: str, km: float
) -> None:
    road = malakand.routes[route]
    (place,) = (p for p in malakand.places if p.name["en"] == town)
    away, along = project_point(road.xy, road.chainage_m, *place.xy)
    assert away < 50
    assert road.road_km(along) == pytest.approx(km, abs=0.1)
    assert place.name["ur"]


def test_the_roads_do_not_cross_themselves_and_meet_only_at_junctions(both: CompiledPlan) -> None:
    lines = {name: shapely.LineString(both.routes[name].xy) for name in ("n-95", "n-90", "n-45", "n-35")}
    assert all(line.is_simple for line in lines.values())
    assert lines["n-90"].intersection(lines["n-95"]).buffer(5).area < 100
    assert lines["n-90"].distance(lines["n-35"]) < 5
    assert lines["n-95"].distance(lines["n-35"]) > 10_000


def test_forbidden_places_are_clear_of_the_roads_and_stops_beside_theirs(both: CompiledPlan) -> None:
    areas = {a.id: a for a in both.areas}
    roads = [shapely.LineString(r.xy).buffer(r.half_width_m) for r in both.routes.values() if r.region == "malakand"]
    for name in ("emerald-track", "karora-slide"):
        assert not any(road.intersects(areas[name].polygon) for road in roads), name
    for movement in both.movements:
        line = shapely.LineString(way_line(both, movement)[0])
        for stop in movement.stop_areas:
            assert areas[stop].stop_allowed
            assert areas[stop].polygon.distance(line) < 1500, (movement.id, stop)


def test_by_itself_it_leads_as_far_as_its_own_roads(malakand: CompiledPlan) -> None:
    delta = next(m for m in malakand.movements if m.id == "delta-over")
    assert [leg.route for leg in delta.legs] == ["n-95", "n-90"]
    assert malakand.convoys["delta"].members == ("e-21", "c-21", "c-22", "c-23", "e-22")
    assert "hazara:n-35" in malakand.left_out and "hazara:e-7" in malakand.left_out


def test_beside_its_neighbour_it_hands_over_at_besham(both: CompiledPlan) -> None:
    assert not both.left_out
    delta = next(m for m in both.movements if m.id == "delta-over")
    way = stretches(both, delta)
    assert [(s.route.id, s.region) for s in way] == [("n-95", "malakand"), ("n-90", "malakand"), ("n-35", "hazara")]
    assert [s.leg.escorts for s in way] == [("e-21", "e-22"), ("e-21", "e-22"), ("e-7", "e-9")]
    handover = way[2].starts_m
    assert handover == pytest.approx(79_000, abs=200)
    assert way[stretch_at(way, handover - 1000)].road_km(handover - 1000) == pytest.approx(54, abs=0.2)
    assert way[stretch_at(way, handover + 1000)].road_km(handover + 1000) == pytest.approx(179, abs=0.1)
    xy, metres = way_line(both, delta)
    (besham,) = (p for p in both.places if p.name["en"] == "Besham")
    away, along = project_point(xy, metres, *besham.xy)
    assert away < 50 and along == pytest.approx(handover, abs=50)


def test_each_cell_hears_of_those_whom_it_leads(both: CompiledPlan) -> None:
    to = copies(both)
    assert to["e-7"] == ("malakand",) and to["c-21"] == ("hazara",) and to["c-26"] == ("hazara",)
    assert "c-24" not in to and "e-1" not in to
    assert copied_from(both) == {"malakand": ("hazara",), "hazara": ("malakand",)}

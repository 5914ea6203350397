"""The demonstration's plan: it loads, it says that it is invented, and the demo's stories can happen on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from pipeline.geo.routes import project_point
from pipeline.plan.model import CompiledPlan


def test_every_file_says_that_it_is_invented(root: Path, hazara: CompiledPlan) -> None:
    files = sorted((root / "plans" / "hazara").glob("*.yaml"))
    assert len(files) == 9
    for path in files:
        assert path.read_text(encoding="utf-8").startswith("# INVENTED."), path.name
    assert hazara.regions["hazara"].invented


@pytest.mark.parametrize(
    ("town", "km"),
    [("Abbottabad", 40), ("Mansehra", 64), ("Battagram", 124), ("Thakot", 149), ("Besham", 178), ("Pattan", 211), ("Dasu", 248), ("Chilas", 372)],
)  # fmt: skip
def test_the_highway_passes_its_towns_at_their_kilometres(hazara: CompiledPlan, town: str, km: float) -> None:
    route = hazara.routes["n-35"]
    (place,) = (p for p in hazara.places if p.name["en"] == town)
    away, along = project_point(route.xy, route.chainage_m, *place.xy)
    assert away < 50
    assert route.road_km(along) == pytest.approx(km, abs=0.1)
    assert place.name["ur"]


def test_the_highway_is_a_mountain_road_that_does_not_cross_itself(hazara: CompiledPlan) -> None:
    route = hazara.routes["n-35"]
    line = shapely.LineString(route.xy)
    assert line.is_simple
    assert 1500 <= len(route.xy) <= 2500
    assert line.length == pytest.approx(332_000, rel=1e-3)


def test_the_quarry_is_forbidden_to_all_but_patrols_and_clear_of_the_highway(hazara: CompiledPlan) -> None:
    areas = {a.id: a for a in hazara.areas}
    quarry, route = areas["quarry-track"], hazara.routes["n-35"]
    (rule,) = quarry.rules
    assert rule.rule == "area.forbidden" and rule.mode == "live" and "patrol" not in rule.roles
    assert rule.dwell_us == 5_000_000
    assert quarry.polygon.distance(shapely.LineString(route.xy)) > route.half_width_m
    spur = hazara.routes["quarry-spur"]
    assert quarry.polygon.contains(shapely.Point(spur.xy[-1]))
    assert project_point(route.xy, route.chainage_m, *spur.xy[0])[0] < 5, "the spur begins on the highway"


def test_three_kinds_of_alert_fit_into_two_minutes(hazara: CompiledPlan) -> None:
    rules = hazara.regions["hazara"].rules
    assert rules["route.deviation"].params["min_duration_us"] == 10_000_000
    assert rules["stop.unscheduled"].params == {"radius_m": 40.0, "min_duration_us": 30_000_000}
    for name in ("route.deviation", "stop.unscheduled", "area.forbidden", "sos.pressed"):
        assert rules[name].mode == "live" and rules[name].response and rules[name].respond_within_us > 0


def test_movements_are_always_in_force_and_stops_lie_beside_their_road(hazara: CompiledPlan) -> None:
    areas = {a.id: a for a in hazara.areas}
    for movement in hazara.movements:
        assert movement.starts_us == 0 and movement.ends_us > 250_000_000_000_000_000
        line = shapely.LineString(hazara.routes[movement.route].xy)
        for stop in movement.stop_areas:
            assert areas[stop].stop_allowed
            assert areas[stop].polygon.distance(line) < 1000
    alpha, bravo = (next(m for m in hazara.movements if m.convoy == c) for c in ("alpha", "bravo"))
    assert alpha.from_chainage_m < alpha.to_chainage_m and bravo.from_chainage_m > bravo.to_chainage_m


def test_nowhere_on_the_no_stopping_stretch_is_a_stop_allowed(hazara: CompiledPlan) -> None:
    areas = {a.id: a for a in hazara.areas}
    stretch = areas["besham-no-stopping"]
    route = hazara.routes["n-35"]
    for km, inside in ((166, False), (170, True), (174, False)):
        i = int(route.chainage_m.searchsorted(route.chainage_of_km(km)))
        assert stretch.polygon.contains(shapely.Point(route.xy[i])) is inside
    assert not any(a.stop_allowed and a.polygon.intersects(stretch.polygon) for a in hazara.areas)


def test_forty_vehicles_and_both_wire_formats(hazara: CompiledPlan) -> None:
    assert len(hazara.vehicles) == 40
    assert set(hazara.device_format.values()) == {"owntracks"}
    assert hazara.vehicles["c-1"].call_sign == "C-1"
    assert hazara.convoys["alpha"].members == ("e-1", "c-1", "c-2", "c-3", "e-2")
    assert hazara.convoys["alpha"].escorts == ("e-1", "e-2")

"""What a sound plan becomes: every word of its files finds its place in metres and microseconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.model.times import format_us, parse_us
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.plan.rules import RULES
from tests.plan.overlay import SOUND


def test_a_region_and_its_rules(vale: CompiledPlan) -> None:
    region = vale.regions["vale"]
    assert region.name == {"en": "Vale", "ur": "وادی"}
    assert region.cells == ("vale", "vale-north") == vale.cells
    assert region.invented
    assert region.bounds_lonlat == (72.5, 34.5, 73.5, 35.5)
    stop = region.rules["stop.unscheduled"]
    assert (stop.mode, stop.owner, stop.respond_within_us) == ("live", "shift-officer", 300_000_000)
    assert stop.params == {"radius_m": 50.0, "min_duration_us": 120_000_000}


def test_what_a_rule_leaves_out_is_its_default(vale: CompiledPlan) -> None:
    params = vale.regions["vale"].rules["area.required"].params
    assert params == {
        "dwell_us": 60_000_000,
        "enter_margin_m": RULES["area.required"].params["enter_margin_m"].default,
        "exit_margin_m": RULES["area.required"].params["exit_margin_m"].default,
    }
    assert vale.regions["vale"].rules["area.required"].severity == "medium"


def test_a_rule_that_is_not_named_is_absent(vale: CompiledPlan) -> None:
    assert set(vale.regions["vale"].rules) == {"area.forbidden", "area.required", "stop.unscheduled"}


def test_a_circle_has_the_size_that_was_asked_for(vale: CompiledPlan) -> None:
    camp = next(a for a in vale.areas if a.id == "camp")
    assert camp.polygon.area == pytest.approx(np.pi * 300**2, rel=1e-9)
    assert len(camp.polygon.exterior.coords) == 65
    x, y = vale.projection.to_xy(35.05, 73.01)
    assert camp.polygon.centroid.x == pytest.approx(float(x), abs=0.01)
    assert camp.lonlat.centroid.coords[0] == pytest.approx((73.01, 35.05), abs=1e-6)
    assert camp.stop_allowed and float(y) == pytest.approx(camp.polygon.centroid.y, abs=0.01)


def test_an_area_rule_takes_what_it_says_and_the_rest_from_the_region(vale: CompiledPlan) -> None:
    pit = next(a for a in vale.areas if a.id == "pit")
    (rule,) = pit.rules
    assert (rule.dwell_us, rule.exit_margin_m, rule.severity, rule.mode) == (5_000_000, 30.0, "high", "live")
    assert rule.roles == {"principal"}
    assert not pit.stop_allowed


def test_a_route_in_metres_and_kilometres(vale: CompiledPlan) -> None:
    spine = vale.routes["spine"]
    assert spine.xy.shape == spine.lonlat.shape == (6, 2)
    assert tuple(spine.lonlat[0]) == (73.0, 35.0)
    assert spine.chainage_m[0] == 0 and spine.chainage_m[-1] == pytest.approx(11_095, abs=5)
    assert spine.road_km(1000) == 11 and spine.chainage_of_km(11) == 1000
    assert (spine.half_width_m, spine.exit_width_m) == (100, 70)
    (middle,) = spine.checkpoints
    assert middle.chainage_m == pytest.approx(5000)


def test_vehicles_devices_and_logins(vale: CompiledPlan) -> None:
    coach = vale.vehicles["c-1"]
    assert (coach.call_sign, coach.cell, coach.devices, coach.home_areas) == ("C-1", "vale", ("t-1", "ph-1"), ("camp",))
    assert vale.vehicles["c-2"].cells_served == ("vale", "vale-north")
    assert vale.vehicles["e-1"].cells_served == ("vale-north",)
    assert vale.device_subject == {"t-1": "c-1", "ph-1": "c-1", "t-2": "c-2", "t-3": "e-1", "g-1": "gate"}
    assert vale.device_format == {"ph-1": "owntracks"}
    assert set(vale.logins) == {"t-1", "ph-1", "t-2", "g-1", "hub"}, (
        "a gateway speaks for t-3, which has no login of its own"
    )
    assert vale.logins["hub"].devices == ("t-3",)
    assert vale.cell_of_login("t-1") == "vale"


def test_a_convoy_and_its_movement(vale: CompiledPlan) -> None:
    alpha = vale.convoys["alpha"]
    assert (alpha.members, alpha.principals, alpha.escorts) == (("e-1", "c-1", "c-2"), ("c-1", "c-2"), ("e-1",))
    (up,) = vale.movements
    assert up.vehicles == alpha.members
    assert format_us(up.starts_us) == "2026-11-23T16:30:00.000000Z", "21:30 in Karachi"
    assert format_us(up.ends_us) == "2026-11-23T21:00:00.000000Z"
    assert up.from_chainage_m == pytest.approx(1000) and up.to_chainage_m == pytest.approx(10_000)
    assert up.stop_areas == {"camp"}


# 2026-11-27 is a Friday; the pit is forbidden Friday and Sunday, 21:30 to 05:00 in Karachi
@pytest.mark.parametrize(
    ("local", "applies"),
    [
        ("2026-11-27T21:29:59.999999", False),
        ("2026-11-27T21:30:00", True),
        ("2026-11-27T23:59:59.999999", True),
        ("2026-11-28T00:00:00", True),
        ("2026-11-28T04:59:59.999999", True),
        ("2026-11-28T05:00:00", False),
        ("2026-11-28T21:30:00", False),
        ("2026-11-29T21:29:59", False),
        ("2026-11-29T21:30:00", True),
        ("2026-11-30T00:00:00", True),  # Monday: the window ran over the end of the week
        ("2026-11-30T04:59:59", True),
        ("2026-11-30T05:00:00", False),
    ],
)
def test_a_schedule_across_midnight_and_across_the_week(vale: CompiledPlan, local: str, applies: bool) -> None:
    pit = next(a for a in vale.areas if a.id == "pit")
    assert pit.rules[0].schedule.applies(parse_us(f"{local}+05:00")) is applies


def test_the_hash_is_of_the_content_and_of_nothing_else(vale: CompiledPlan, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another-name"
    shutil.copytree(SOUND, elsewhere)
    assert load_plan(elsewhere).hash == vale.hash
    assert load_plan(tmp_path).hash == vale.hash, "a folder of this one region is the same plan"
    with (elsewhere / "convoys.yaml").open("a") as file:
        file.write("# a comment counts: the evidence is the file\n")
    assert load_plan(elsewhere).hash != vale.hash


def test_regions_are_loaded_together_into_one_projection(vale: CompiledPlan, tmp_path: Path) -> None:
    shutil.copytree(SOUND, tmp_path / "vale")
    (tmp_path / "dale").mkdir()
    (tmp_path / "dale" / "region.yaml").write_text(
        "id: dale\nname: Dale\nbounds: {west: 71.0, south: 33.0, east: 72.5, north: 34.5}\n"
        "places: [{name: Elm, lat: 34.0, lon: 72.0}]\n"
    )
    (tmp_path / "dale" / "rules.yaml").write_text("rules: {}\n")
    (tmp_path / "dale" / "movements.yaml").write_text(
        "movements: [{id: through, name: Through, route: spine, vehicles: [c-1], starts: 2026-11-25 08:00, ends: 2026-11-25 12:00}]\n"
    )
    both = load_plan(tmp_path)
    assert set(both.regions) == {"vale", "dale"}
    assert both.cells == ("dale", "vale", "vale-north")
    assert both.projection.covers(33.0, 71.0) and both.projection.covers(35.5, 73.5)
    assert {m.id: m.region for m in both.movements} == {"up": "vale", "through": "dale"}
    assert both.routes["spine"].chainage_m[-1] == pytest.approx(vale.routes["spine"].chainage_m[-1], rel=5e-4)
    assert both.hash != vale.hash

"""Two lines of one rule on an area, and two movements, are refused where one vehicle could get two episodes of one id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.plan.load import PlanError, load_plan
from pipeline.plan.model import movements_of_vehicles
from tests.plan.overlay import SOUND

Entry = dict[str, Any]
NIGHT = {"from": "22:00", "to": "05:00"}


def told(folder: Path) -> list[str]:
    """`key: value` and problem of every fault; none: the plan is sound."""
    try:
        load_plan(folder)
    except PlanError as refused:
        return [f"{fault.key}: {fault.value}; {fault.problem}" for fault in refused.faults]
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SOUND, tmp_path / "vale")
    return tmp_path / "vale"


def lines(folder: Path, *rules: Entry) -> list[str]:
    """What is said of the camp with these lines; what they leave out is `area.forbidden`, always, for everybody."""
    camp: Entry = {
        "id": "camp",
        "name": "Camp",
        "kind": "site",
        "circle": {"lat": 35.05, "lon": 73.01, "radius_m": 300},
    }
    camp["rules"] = [{"rule": "area.forbidden"} | rule for rule in rules]
    (folder / "areas.yaml").write_text(json.dumps({"areas": [camp]}), encoding="utf-8")
    return told(folder)


def window(days: str, start: str, end: str) -> Entry:
    return {"schedule": [{"days": days.split(), "from": start, "to": end}]}


@pytest.mark.parametrize(
    ("one", "other", "whom"),
    [
        pytest.param({}, {"exit_margin_m": 200, "severity": "critical"}, "c-1 and 2 more", id="other margins"),
        pytest.param({}, {"mode": "shadow"}, "c-1 and 2 more", id="a shadow beside a live one"),
        pytest.param({}, {"roles": ["escort"]}, "e-1", id="everybody, and a role"),
        pytest.param({"roles": ["principal", "escort"]}, {"roles": ["escort", "patrol"]}, "e-1", id="a role in both"),
        pytest.param({"vehicles": ["c-1", "c-2"]}, {"vehicles": ["c-2", "e-1"]}, "c-2", id="a vehicle in both"),
        pytest.param({"roles": ["principal"]}, {"vehicles": ["c-2", "e-1"]}, "c-2", id="a vehicle of that role"),
        pytest.param({}, {"schedule": [NIGHT]}, "c-1 and 2 more", id="always, and at night"),
        pytest.param(window("mon", "08:00", "12:00"), window("mon", "11:59", "14:00"), "c-1 and 2 more", id="a minute"),
        pytest.param(window("mon", "08:00", "12:00"), window("mon", "09:00", "10:00"), "c-1 and 2 more", id="within"),
        pytest.param(window("sun", "22:00", "05:00"), window("mon", "04:59", "09:00"), "c-1 and 2 more", id="the week's end"),
        pytest.param(window("sun", "22:00", "05:00"), window("sun", "23:00", "01:00"), "c-1 and 2 more", id="both over it"),
        pytest.param({"rule": "area.required", "dwell": "0 s"}, {"rule": "area.required"}, "c-1 and 2 more", id="required"),
    ],
)  # fmt: skip
def test_two_lines_of_one_rule_that_may_concern_one_vehicle_at_one_time_are_refused(
    folder: Path, one: Entry, other: Entry, whom: str
) -> None:
    rule = one.get("rule", "area.forbidden")
    for pair in ((one, other), (other, one)):
        (fault,) = lines(folder, *pair)
        assert fault.startswith(f"areas.camp.rules[2].rule: {rule}; rules[1] on line 1 says it of {whom} at the same")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {"rule": "area.required"}, id="two rules"),
        pytest.param({}, {"mode": "off"}, id="one is off"),
        pytest.param({"roles": ["principal"]}, {"roles": ["escort"]}, id="two roles"),
        pytest.param({"roles": ["principal"]}, {"roles": ["principal"], "vehicles": ["e-1"]}, id="nobody is both"),
        pytest.param({"roles": ["ambulance"]}, {}, id="a role that nobody has"),
        pytest.param({"vehicles": ["c-1"]}, {"vehicles": ["c-2"]}, id="two vehicles"),
        pytest.param({"schedule": [NIGHT]}, window("mon tue wed thu fri sat sun", "05:00", "22:00"), id="night and day"),
        pytest.param(window("mon", "08:00", "12:00"), window("tue", "08:00", "12:00"), id="two days"),
        pytest.param(window("sun", "22:00", "05:00"), window("mon", "05:00", "09:00"), id="beside the week's end"),
        pytest.param(window("sun", "22:00", "24:00"), window("mon", "00:00", "09:00"), id="at the week's end"),
    ],
)  # fmt: skip
def test_two_lines_that_never_concern_one_vehicle_at_one_time_are_sound(folder: Path, one: Entry, other: Entry) -> None:
    assert lines(folder, one, other) == lines(folder, other, one) == []


def test_a_line_takes_the_roles_and_the_mode_of_its_region(folder: Path) -> None:
    rules = folder / "rules.yaml"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace("mode: live\n", "mode: live\n    roles: [escort]\n", 1), encoding="utf-8")
    assert lines(folder, {}, {"roles": ["principal"]}) == []
    assert len(lines(folder, {}, {"roles": ["escort"]})) == 1
    rules.write_text(text.replace("mode: live\n", "mode: off\n", 1), encoding="utf-8")
    assert lines(folder, {}, {}) == []


def test_of_three_lines_every_pair_is_named(folder: Path) -> None:
    found = [fault.split(" on line")[0] for fault in lines(folder, {}, {"dwell": "0 s"}, {"roles": ["escort"]})]
    assert found == [
        "areas.camp.rules[2].rule: area.forbidden; rules[1]",
        "areas.camp.rules[3].rule: area.forbidden; rules[1]",
        "areas.camp.rules[3].rule: area.forbidden; rules[2]",
    ]


def movements(folder: Path, *entries: Entry) -> list[str]:
    """What is said of these movements on the spine road, called m-1, m-2 and so on; without a window they are always in force."""
    named = [
        {"id": f"m-{n}", "name": "M"}
        | ({} if "legs" in entry else {"route": "spine"})
        | ({} if "starts" in entry else {"always": True})
        | entry
        for n, entry in enumerate(entries, 1)
    ]
    (folder / "movements.yaml").write_text(json.dumps({"movements": named}), encoding="utf-8")
    return [fault.replace(f"{folder.as_posix()}/", "") for fault in told(folder)]


def between(start: str, end: str) -> Entry:
    return {"starts": f"2026-11-23 {start}", "ends": f"2026-11-23 {end}"}


EARLY = between("08:00", "12:00")
ONE, TWO, CONVOY = {"vehicles": ["c-1"]}, {"vehicles": ["c-2", "c-1"]}, {"convoy": "alpha"}
LEGS = {"vehicles": ["c-1"], "legs": [{"route": "spine", "to_km": 15}, {"route": "spine", "from_km": 15}]}
ON_1 = "on movements.m-1 in movements.yaml on line 1 at the same time"


@pytest.mark.parametrize(
    ("one", "other", "problems"),
    [
        pytest.param(ONE, TWO, ["movements.m-2.vehicles[2]: c-1"], id="always"),
        pytest.param(ONE | EARLY, TWO, ["movements.m-1.vehicles[1]: c-1"], id="always, and for a while"),
        pytest.param(ONE | EARLY, TWO | between("11:59", "14:00"), ["movements.m-2.vehicles[2]: c-1"], id="a minute"),
        pytest.param(ONE | EARLY, TWO | between("12:00", "14:00"), [], id="one ends where the other starts"),
        pytest.param(ONE | EARLY, TWO | between("12:01", "14:00"), [], id="one after the other"),
        pytest.param(ONE, {"vehicles": ["c-2"]}, [], id="two vehicles"),
        pytest.param(ONE | EARLY, TWO | {"starts": "2026-11-23T06:59:00Z", "ends": "2026-11-23T08:00:00Z"},
                     ["movements.m-2.vehicles[2]: c-1"], id="a zone of its own"),
        pytest.param(CONVOY, {"vehicles": ["vale:e-1"]}, ["movements.m-2.vehicles[1]: e-1"], id="a member of a convoy"),
        pytest.param(ONE, CONVOY, ["movements.m-2.convoy: c-1"], id="a convoy with who is elsewhere"),
        pytest.param(CONVOY, CONVOY, ["movements.m-2.convoy: alpha"], id="a convoy, which is said once"),
        pytest.param({"vehicles": ["c-1", "c-1"]}, {"vehicles": ["c-2"]}, [], id="named twice on one"),
        pytest.param(LEGS,
                     {"vehicles": ["c-2"]}, [], id="two legs are one movement"),
        pytest.param(LEGS,
                     ONE, ["movements.m-2.vehicles[1]: c-1"], id="a movement with legs, and another"),
    ],
)  # fmt: skip
def test_nobody_is_on_two_movements_at_a_time(folder: Path, one: Entry, other: Entry, problems: list[str]) -> None:
    found = movements(folder, one, other)
    assert [fault.split(";")[0] for fault in found] == problems
    assert all(" at the same time" in fault and " on line 1" in fault for fault in found)


def test_both_movements_are_named(folder: Path) -> None:
    (fault,) = movements(folder, ONE | EARLY, {"vehicles": ["c-2"]} | EARLY, ONE | between("09:00", "10:00"))
    assert fault == f"movements.m-3.vehicles[1]: c-1; {ON_1}, and each of the two would judge it"


def test_of_three_movements_every_pair_is_named(folder: Path) -> None:
    found = movements(folder, ONE | EARLY, ONE | between("09:00", "10:00"), ONE | between("09:30", "14:00"))
    assert [(fault.split(".")[1], fault.split("on movements.")[1][:3]) for fault in found] == [
        ("m-2", "m-1"), ("m-3", "m-1"), ("m-3", "m-2"),
    ]  # fmt: skip


def test_a_vehicle_that_is_lent_is_on_no_movement_at_home(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "plans", tmp_path / "plans")
    file = tmp_path / "plans" / "hazara" / "movements.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("[e-5, e-6,", "[e-5, e-6, e-7,"), encoding="utf-8")
    (fault,) = told(tmp_path / "plans")
    assert fault.startswith("movements.delta-over.convoy: e-7; on movements.reserve in ")


def test_nobody_of_the_demonstration_is_on_two(root: Path) -> None:
    assert all(len(its) == 1 for its in movements_of_vehicles(load_plan(root / "plans")).values())

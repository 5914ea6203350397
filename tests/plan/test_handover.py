"""What is wrong with a movement that is handed over is told with its place and its cure; what is not loaded is left out and told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.plan.load import PlanError, load_plan

HARD = [
    pytest.param(
        "malakand/movements.yaml", "from_km: 178, to_km: 211}", "from_km: 186, to_km: 211}",
        "movements.delta-over.legs[3].from_km: ", "it begins that far from where the leg before it ends",
        id="the roads' ends do not meet",
    ),
    pytest.param(
        "malakand/movements.yaml", "{route: n-90, from_km: 0, to_km: 55}", "{route: n-90, from_km: 55, to_km: 0}",
        "movements.delta-over.legs[2].from_km: ", "it begins that far from where the leg before it ends",
        id="a leg is driven the wrong way",
    ),
    pytest.param(
        "malakand/movements.yaml", "hazara:n-35", "hazzara:n-35",
        "movements.delta-over.legs[3].route: hazzara:n-35", "there is no region hazzara. The regions are hazara, malakand",
        id="a region that there is not",
    ),
    pytest.param(
        "malakand/movements.yaml", "hazara:n-35", "hazara:n-53",
        "movements.delta-over.legs[3].route: hazara:n-53", "there is no such route",
        id="a road that the region has not",
    ),
    pytest.param(
        "malakand/convoys.yaml", "hazara:e-7", "hazara:e-77",
        "convoys.delta.members[2]: hazara:e-77", "there is no such vehicle",
        id="a vehicle that the region has not",
    ),
    pytest.param(
        "malakand/convoys.yaml", "hazara:e-7", "hazara:c-24",
        "convoys.delta.members[2]: hazara:c-24", "there is no such vehicle",
        id="a vehicle of another region than is said",
    ),
    pytest.param(
        "malakand/vehicles.yaml", "devices: [c-22-tracker], home: [mingora-lines], cells_served: [hazara:hazara]",
        "devices: [c-22-tracker], home: [mingora-lines]",
        "movements.delta-over.legs[3]: c-22", "it may not serve hazara, where it is led. Add hazara:hazara to the cells_served of c-22",
        id="a vehicle that may not be led there",
    ),
    pytest.param(
        "hazara/vehicles.yaml", "home: [pattan-depot], cells_served: [malakand:malakand]", "home: [pattan-depot]",
        "convoys.delta.members[2]: hazara:e-7",
        "this convoy is judged in malakand, which it may not serve. Add malakand:malakand to the cells_served of e-7",
        id="a member that may not be known where its convoy is judged",
    ),
    pytest.param(
        "malakand/vehicles.yaml", "cells_served: [hazara:hazara]", "cells_served: [hazara:hazra]",
        "vehicles.c-21.cells_served[1]: hazara:hazra", "there is no such cell", id="a cell that the region has not",
    ),
    pytest.param(
        "malakand/movements.yaml", "{route: n-90, from_km: 0, to_km: 55}", "{route: n-90, from_km: 0, to_km: 55, cell: swat}",
        "movements.delta-over.legs[2].cell: swat", "malakand declares no such cell", id="a leg in a cell that there is not",
    ),
    pytest.param(
        "malakand/movements.yaml", "{route: n-90, from_km: 0, to_km: 55}", "{route: n-90, from_km: 0, to_km: 55, region: dir}",
        "movements.delta-over.legs[2].region: dir", "there is no such region", id="a leg led by a region that there is not",
    ),
    pytest.param(
        "malakand/movements.yaml", "{route: n-90, from_km: 0, to_km: 55}", "{route: n-90, from_km: 0, to_km: 75}",
        "movements.delta-over.legs[2].to_km: 75", "N-90 has no such kilometre", id="a leg beyond its road",
    ),
    pytest.param(
        "malakand/movements.yaml", "    route: n-95\n", "    route: n-95\n    legs: [{route: n-90}]\n",
        "movements.echo-up", "a movement has a route, or legs in several regions", id="both a route and legs",
    ),
    pytest.param(
        "malakand/movements.yaml", "    route: n-95\n", "", "movements.echo-up", "a movement has a route, or legs in several regions",
        id="neither a route nor legs",
    ),
    pytest.param(
        "malakand/movements.yaml", "    convoy: delta\n", "    convoy: delta\n    to_km: 3\n",
        "movements.delta-over", "each leg has kilometres of its own", id="kilometres beside the legs",
    ),
]  # fmt: skip


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    for region in ("hazara", "malakand"):
        shutil.copytree(root / "plans" / region, tmp_path / "plans" / region)
    return tmp_path / "plans"


def changed(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(("file", "old", "new", "where", "told"), HARD)
def test_a_fault_of_a_movement_that_is_handed_over_is_told(
    folder: Path, file: str, old: str, new: str, where: str, told: str
) -> None:
    changed(folder, file, old, new)
    with pytest.raises(PlanError) as caught:
        load_plan(folder)
    said = [str(fault) for fault in caught.value.faults]
    assert any(where in line and told in line for line in said), said


def test_one_region_alone_lets_pass_what_only_the_other_can_know(folder: Path) -> None:
    changed(folder, "malakand/movements.yaml", "hazara:n-35", "hazara:n-53")
    changed(folder, "malakand/convoys.yaml", "hazara:e-7", "hazara:e-77")
    assert {"hazara:n-53", "hazara:e-77"} <= set(load_plan(folder / "malakand").left_out)


def test_a_folder_with_one_region_is_all_that_there_is(folder: Path) -> None:
    shutil.rmtree(folder / "hazara")
    with pytest.raises(PlanError, match="there is no region hazara"):
        load_plan(folder)


def test_a_leg_may_be_led_by_another_region_than_its_road(folder: Path) -> None:
    """The hand-over is at a kilometre of one road: from Alpuri on Hazara leads."""
    old = "      - {route: n-90, from_km: 0, to_km: 55}\n"
    new = (
        "      - {route: n-90, from_km: 0, to_km: 26}\n      - {route: n-90, from_km: 26, to_km: 55, region: hazara}\n"
    )
    changed(folder, "malakand/movements.yaml", old, new)
    delta = next(m for m in load_plan(folder).movements if m.id == "delta-over")
    assert [(leg.route, leg.region) for leg in delta.legs] == [
        ("n-95", "malakand"), ("n-90", "malakand"), ("n-90", "hazara"), ("n-35", "hazara"),
    ]  # fmt: skip
    alone = next(m for m in load_plan(folder / "malakand").movements if m.id == "delta-over")
    assert [(leg.route, leg.region) for leg in alone.legs] == [("n-95", "malakand"), ("n-90", "malakand")]

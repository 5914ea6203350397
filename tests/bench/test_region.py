"""The measurement of a region's quiet hour measures one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.bench_region import fill_plan, measure_region
from pipeline.plan.load import load_plan


def test_the_shipped_region_is_filled_up(root: Path, tmp_path: Path) -> None:
    fill_plan(root / "plans" / "hazara", tmp_path / "plan", 60, 200)
    plan, shipped = load_plan(tmp_path / "plan"), load_plan(root / "plans" / "hazara")
    assert (len(plan.vehicles), len(plan.sensors)) == (60, 200)
    assert shipped.vehicles.keys() < plan.vehicles.keys() and shipped.sensors.keys() < plan.sensors.keys()
    assert plan.regions["hazara"].rules == shipped.regions["hazara"].rules


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_region_costs_something_and_is_told_nothing(root: Path) -> None:
    rows = {row.name: row for row in asyncio.run(measure_region(root / "plans" / "hazara", seconds=10, warm_s=5))}
    assert rows.keys() == {"region.cpu", "region.memory", "region.messages_unacknowledged"}
    assert 0.01 < rows["region.cpu"].value < 2.0 and 100 < rows["region.memory"].value < 2000
    assert rows["region.messages_unacknowledged"].value == 0
    assert rows["region.cpu"].episodes >= 40 and ", 0 alerts," in rows["region.cpu"].conditions

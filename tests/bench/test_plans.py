"""What the measurements are made on is a plan like any other."""

from __future__ import annotations

from pathlib import Path

from agents.bench import home_of, write_plan
from pipeline.plan.load import load_plan


def test_the_plan_of_the_latency_bench_is_sound(tmp_path: Path) -> None:
    plan = load_plan(write_plan(tmp_path, 12))
    assert set(plan.vehicles) == {f"v-{i}" for i in range(12)}
    lat, lon = home_of(11)
    west, south, east, north = plan.regions["bench"].bounds_lonlat
    assert west < lon < east and south < lat < north

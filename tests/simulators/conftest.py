"""A small plan made by hand, so that these tests do not hang on the demo's: a winding road, a gap, a tunnel."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from pipeline.geo.projection import fit
from pipeline.plan.model import Area, AreaKind, CompiledPlan, Login, Region, Route, Vehicle
from simulators.world import World


def _area(plan_id: str, kind: AreaKind, x: float, y: float, radius_m: float) -> Area:
    shape = shapely.Point(x, y).buffer(radius_m)
    return Area(plan_id, "test", {"en": plan_id}, kind, shape, shape)


@pytest.fixture(scope="session")
def plan() -> CompiledPlan:
    projection = fit(72.5, 34.5, 73.5, 35.5)
    y = np.linspace(-20_000, 20_000, 400)
    x = 600 * np.sin(y / 900) + 120 * np.sin(y / 170)
    steps = np.hypot(np.diff(x), np.diff(y))
    chainage = np.concatenate([[0], np.cumsum(steps)])
    lon, lat = projection.to_lonlat(x, y)
    xy, lonlat = np.column_stack([x, y]), np.column_stack([lon, lat])
    route = Route("r", "test", {"en": "r"}, "N-0", xy, chainage, lonlat, 100.0, 1, 60.0, 40.0)

    def beside(share: float) -> tuple[float, float]:
        i = int(share * len(x))
        return float(x[i]), float(y[i])

    areas = (_area("gap", "coverage_gap", *beside(0.25), 1500.0), _area("tunnel", "tunnel", *beside(0.75), 600.0))
    vehicles = {v: Vehicle(v, "test", "test", v, "car", "escort", (f"d-{v}",)) for v in ("a", "b", "c", "d")}
    logins = {f"d-{v}": Login(f"d-{v}", "device", (f"d-{v}",), "test") for v in vehicles}
    region = Region("test", {"en": "test"}, "Asia/Karachi", ("test",), {}, True, (72.5, 34.5, 73.5, 35.5))
    return CompiledPlan(
        hash="0",
        projection=projection,
        regions={"test": region},
        areas=areas,
        routes={"r": route},
        vehicles=vehicles,
        sensors={},
        convoys={},
        movements=(),
        logins=logins,
        places=(),
        device_subject={f"d-{v}": v for v in vehicles},
        cells=("test",),
    )


@pytest.fixture(scope="session")
def world(plan: CompiledPlan) -> World:
    return World(plan, seed=7)

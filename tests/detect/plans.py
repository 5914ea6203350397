"""Small plans for the detectors, made in code: metres around one point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyproj
import shapely

from pipeline.geo.projection import Projection, fit
from pipeline.geo.routes import chainage
from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix
from pipeline.model.wire import BatchBuilder
from pipeline.plan.model import (
    Area,
    AreaRule,
    Checkpoint,
    CompiledPlan,
    Movement,
    Region,
    Route,
    RuleSetting,
    Schedule,
    Vehicle,
)

T0 = 1_780_000_000_000_000
SECOND = 1_000_000
FOREVER = 4_000_000_000_000_000
PROJECTION = fit(72.5, 34.5, 73.5, 35.5)


def setting(rule: str, **params: float) -> RuleSetting:
    return RuleSetting(rule, "live", "medium", "post", "do", 60 * SECOND, params)


RULES = {
    "route.deviation": setting("route.deviation", min_duration_us=10e6, high_at_m=300.0, critical_at_m=1000.0),
    "stop.unscheduled": setting("stop.unscheduled", radius_m=50.0, min_duration_us=60e6),
}


def area(name: str, polygon: shapely.Polygon, *rules: AreaRule, stop_allowed: bool = False) -> Area:
    return Area(name, "r", {"en": name}, "zone", polygon, polygon, tuple(rules), stop_allowed)


def watch(rule: str, dwell_s: float = 10, enter: float = 0.0, leave: float = 30.0, **more: Any) -> AreaRule:
    kept: dict[str, Any] = {"roles": frozenset(), "vehicles": frozenset(), "schedule": Schedule()} | more
    crossing_us = int(kept.get("crossing_s", 120) * SECOND)
    return AreaRule(
        rule, kept["roles"], kept["vehicles"], kept["schedule"], int(dwell_s * SECOND), enter, leave, "high", "live",
        crossing_us,
    )  # fmt: skip


def square(x: float, y: float, half: float) -> shapely.Polygon:
    return shapely.box(x - half, y - half, x + half, y + half)


def plan(
    areas: Sequence[Area] = (),
    line: Any = None,
    vehicles: Sequence[str] = ("v1",),
    rules: dict[str, RuleSetting] | None = None,
    half_m: float = 100.0,
    exit_m: float = 70.0,
    stops: Sequence[str] = (),
    devices: int = 1,
    projection: Projection = PROJECTION,
    content: str = "test",
    bounds: tuple[float, float, float, float] = (72.5, 34.5, 73.5, 35.5),
    checkpoints: tuple[Checkpoint, ...] = (),
) -> CompiledPlan:
    """All `vehicles` on one movement along `line` (metres), if there is one."""
    region = Region("r", {"en": "R"}, "Asia/Karachi", ("c",), RULES if rules is None else rules, True, bounds)
    fleet = {v: Vehicle(v, "r", "c", v, "car", "escort", tuple(f"{v}-d{i}" for i in range(devices))) for v in vehicles}
    routes, movements = {}, []
    if line is not None:
        xy = np.asarray(line, float)
        routes["n1"] = Route("n1", "r", {"en": "N"}, "N-1", xy, chainage(xy), xy, 0.0, 1, half_m, exit_m, checkpoints)
        end = float(routes["n1"].chainage_m[-1])
        movements.append(
            Movement("m1", "r", {"en": "M"}, tuple(vehicles), None, "n1", 0, FOREVER, 0.0, end, frozenset(stops))
        )
    subjects = {d: v.id for v in fleet.values() for d in v.devices}
    return CompiledPlan(
        content,
        projection,
        {"r": region},
        tuple(areas),
        routes,
        fleet,
        {},
        {},
        tuple(movements),
        {},
        (),
        subjects,
        ("c",),
    )


@cache
def _back(definition: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(definition, "EPSG:4326", always_xy=True)


def fix(
    at_s: float,
    x: float,
    y: float,
    vehicle: str = "v1",
    accuracy: float | None = 5.0,
    speed: float | None = 10.0,
    device: int = 0,
    seq: int = 0,
    body: int = 1,
    received_s: float | None = None,
    projection: Projection = PROJECTION,
) -> Fix:
    lon, lat = _back(projection.definition).transform(x, y)
    seen = T0 + round(at_s * SECOND)
    return Fix(
        vehicle=vehicle,
        device=f"{vehicle}-d{device}",
        seen_at_us=seen,
        received_at_us=seen if received_s is None else T0 + round(received_s * SECOND),
        lat=float(lat),
        lon=float(lon),
        speed_mps=speed,
        accuracy_m=accuracy,
        seq=seq,
        body=body,
    )


def feed(engine: Any, fixes: Sequence[Fix], batch: int = 1000) -> Ledger:
    """The ledger of these fixes, in this order."""
    ledger = Ledger()
    for start in range(0, len(fixes), batch):
        builder = BatchBuilder("c")
        builder.extend(fixes[start : start + batch])
        ledger.apply(engine.feed(builder.build()))
    return ledger


def rows(ledger: Ledger) -> list[tuple[str, str, str, float, float | None]]:
    """(rule, subject, object, began, ended) in seconds since T0."""
    return [
        (
            e.rule,
            e.subject,
            e.object,
            (e.began_at_us - T0) / SECOND,
            None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND,
        )
        for e in ledger.sorted()
    ]

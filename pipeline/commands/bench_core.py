"""What detect's engine does on this machine: an invented country of roads and areas, driven about by a seeded fleet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.detect.checkpoint import state_bytes
from pipeline.detect.engine import Engine
from pipeline.detect.tables import build_tables
from pipeline.detect.warm import warm_up
from pipeline.geo.projection import fit
from pipeline.geo.routes import chainage
from pipeline.model.wire import COLUMNS, Fixes, ObservationBatch, decode_observations, encode_observations
from pipeline.plan.model import (
    Area,
    AreaRule,
    CompiledPlan,
    Movement,
    Region,
    Route,
    RuleSetting,
    Schedule,
    Vehicle,
    names_of,
)

Floats = npt.NDArray[np.float64]
START_US = 1_780_000_000_000_000
FOREVER_US = 4_000_000_000_000_000
SIDE_M = 200_000.0
STEP_US = 5_000_000
SPEED_MPS = 15.0
NOISE_M = 6.0


@dataclass(frozen=True)
class Row:
    """One line of `rahdar bench`. `target` None: nothing to reach."""

    name: str
    value: float
    unit: str
    target: float | None
    seed: int
    episodes: int
    conditions: str


def invented_plan(vehicles: int, areas: int, routes: int, seed: int, vertices: int = 2000) -> CompiledPlan:
    """Everything live: four kinds of areas of 24 corners that cover a third of the ground however many they are, roads of `vertices` points, every vehicle on one of them."""
    rng = np.random.default_rng(seed)
    projection = fit(72.0, 34.0, 74.6, 36.2)
    rules = {
        name: RuleSetting(name, "live", "high", "bench", "none", 60_000_000, params)
        for name, params in {
            "route.deviation": {"min_duration_us": 10_000_000, "high_at_m": 300.0, "critical_at_m": 1000.0},
            "stop.unscheduled": {"radius_m": 60.0, "min_duration_us": 180_000_000},
            "device.silent": {
                "expected_within_us": 300_000_000,
                "reemerge_within_us": 1_200_000_000,
                "coverage_margin_m": 600.0,
            },
        }.items()
    }
    region = Region("r", {"en": "R"}, "Asia/Karachi", ("c",), rules, True, (72.0, 34.0, 74.6, 36.2))
    kinds = ("area.entered", "area.forbidden", "area.left", "area.forbidden")
    made_areas = []
    for i in range(areas):
        around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = 2000 * np.sqrt(1000 / areas) * (0.7 + 0.6 * rng.random(24))
        centre = (rng.random(2) - 0.5) * SIDE_M
        corners = np.c_[centre[0] + radius * np.cos(around), centre[1] + radius * np.sin(around)]
        polygon = shapely.Polygon(corners)
        rule = AreaRule(kinds[i % 4], frozenset(), frozenset(), Schedule(), 15_000_000, 0.0, 30.0, "medium", "live")
        made_areas.append(Area(f"a{i}", "r", {"en": f"A{i}"}, "zone", polygon, polygon, (rule,)))
    made_routes = {}
    for i in range(routes):
        course = rng.normal(0, 0.15, vertices - 1).cumsum() + rng.uniform(0, 2 * np.pi)
        steps = np.c_[np.cos(course), np.sin(course)] * 80.0
        xy = np.vstack([(rng.random(2) - 0.5) * SIDE_M * 0.7, steps]).cumsum(axis=0)
        made_routes[f"n{i}"] = Route(
            f"n{i}", "r", {"en": f"N{i}"}, f"N-{i}", xy, chainage(xy), xy, 0.0, 1, 150.0, 110.0
        )
    ids = [f"v{i}" for i in range(vehicles)]
    fleet = {v: Vehicle(v, "r", "c", v, "car", ("escort", "principal")[i % 2], (f"d{i}",)) for i, v in enumerate(ids)}
    movements = []
    for i, route in enumerate(made_routes.values()):
        mine = tuple(ids[i :: len(made_routes)])
        movements.append(
            Movement(
                f"m{i}", "r", {"en": "M"}, mine, None, route.id, 0, FOREVER_US, 0.0,
                float(route.chainage_m[-1]), frozenset(),
            )
        )  # fmt: skip
    return CompiledPlan(
        "bench", projection, {"r": region}, tuple(made_areas), made_routes, fleet, {}, {}, tuple(movements), {}, (), {}
    )


class Drive:
    """A fleet on its roads: noise of a few metres, now and then a detour or a halt."""

    def __init__(self, plan: CompiledPlan, seed: int) -> None:
        self.rng = np.random.default_rng(seed + 1)
        self.plan = plan
        self.ids = list(plan.vehicles)
        self.names = tuple(self.ids) + tuple(plan.vehicles[v].devices[0] for v in self.ids)
        n = len(self.ids)
        self.route = np.arange(n) % len(plan.routes)
        self.routes = list(plan.routes.values())
        place = {name: i for i, name in enumerate(names_of(plan))}
        self.places = np.array([place[name] for name in self.names], np.int32)
        self.along = self.rng.uniform(5_000, 60_000, n)
        self.at_us = np.full(n, START_US, np.int64) + self.rng.integers(0, STEP_US, n)
        self.seq = np.zeros(n, np.int64)
        self.aside = np.zeros(n)
        self.halted = np.zeros(n, np.int64)

    def fixes(self, who: npt.NDArray[np.int64]) -> Fixes:
        """The next fix of each of these vehicles (indices, each at most once)."""
        rng = self.rng
        n = len(who)
        turned = rng.random(n) < 0.0005
        self.aside[who[turned]] = np.where(self.aside[who[turned]] > 0, 0.0, 400.0)
        self.halted[who] = np.where(rng.random(n) < 0.0005, 60, np.maximum(self.halted[who] - 1, 0))
        moving = self.halted[who] == 0
        self.along[who] += np.where(moving, SPEED_MPS * STEP_US / 1e6, 0.0)
        self.at_us[who] += STEP_US
        self.seq[who] += 1
        x, y = np.empty(n), np.empty(n)
        for r, route in enumerate(self.routes):
            mine = self.route[who] == r
            s = self.along[who[mine]] % route.chainage_m[-1]
            x[mine] = np.interp(s, route.chainage_m, route.xy[:, 0])
            y[mine] = np.interp(s, route.chainage_m, route.xy[:, 1])
        x += rng.normal(0, NOISE_M, n) + self.aside[who]
        y += rng.normal(0, NOISE_M, n)
        lon, lat = self.plan.projection.to_lonlat(x, y)
        used = np.concatenate([who, who + len(self.ids)])
        place = np.arange(n, dtype=np.int32)
        values = {
            "vehicle": place,
            "device": place + n,
            "seen_at_us": self.at_us[who],
            "received_at_us": self.at_us[who] + 1_000_000,
            "lat": lat,
            "lon": lon,
            "seq": self.seq[who],
            "body": rng.integers(1, 1 << 62, n),
            "speed_mps": np.where(moving, SPEED_MPS, 0.0),
            "course_deg": np.full(n, np.nan),
            "accuracy_m": np.full(n, 8.0),
            "altitude_m": np.full(n, np.nan),
            "flags": np.zeros(n),
        }
        names = tuple(self.names[i] for i in used.tolist())
        return Fixes(names, **{name: values[name].astype(dtype) for name, dtype in COLUMNS})

    def batches(self, size: int, count: int) -> Iterator[ObservationBatch]:
        order = self.rng.permutation(len(self.ids))
        place = 0
        for _ in range(count):
            if place + size > len(order):
                order, place = self.rng.permutation(len(self.ids)), 0
            yield as_read(self.record(order[place : place + size]))
            place += size

    def record(self, who: npt.NDArray[np.int64]) -> ObservationBatch:
        """The next fix of each of these vehicles."""
        places = self.places[np.concatenate([who, who + len(self.ids)])]
        return ObservationBatch(self.fixes(who), (), "c", "bench", places=places)


def as_read(batch: ObservationBatch) -> ObservationBatch:
    """As a worker has it, from the bytes of a record."""
    return decode_observations(encode_observations(batch))


@dataclass(frozen=True)
class Timing:
    seconds: float
    fixes: int
    changes: int


def timed(engine: Engine, batches: list[ObservationBatch]) -> Timing:
    """CPU time of this thread over these records."""
    changes = 0
    began = time.thread_time()
    for batch in batches:
        changes += len(engine.feed(batch))
    return Timing(time.thread_time() - began, sum(len(b.fixes) for b in batches), changes)


def measure_core(seed: int = 1, vehicles: int = 10_000, quick: bool = False) -> Iterator[Row]:
    """The rows of `rahdar bench core`, the headline first, each as soon as it is known."""
    plan = invented_plan(vehicles, 1000, 20, seed)
    warm_up(plan, build_tables(plan))
    engine, drive = Engine(plan, 6 * 3600 * 1_000_000), Drive(plan, seed)
    for batch in drive.batches(1000, 30):
        engine.feed(batch)
    conditions = f"{vehicles} vehicles, 1,000 areas, 20 roads of 2,000 points, rules area.*, route.deviation, stop.unscheduled, device.silent"
    many = 20 if quick else 100
    whole = best([timed(engine, list(drive.batches(1000, many))) for _ in range(3)])
    yield Row(
        "core.fixes_per_cpu_second",
        whole.fixes / whole.seconds,
        "fixes/s",
        700_000,
        seed,
        whole.changes,
        conditions + ", records of 1,000",
    )
    tens = best([timed(engine, list(drive.batches(10, 10 * many))) for _ in range(3)])
    yield Row(
        "core.fixes_per_cpu_second_in_tens",
        tens.fixes / tens.seconds,
        "fixes/s",
        250_000,
        seed,
        tens.changes,
        conditions + ", records of 10",
    )
    ones = best([timed(engine, list(drive.batches(1, 10 * many))) for _ in range(3)])
    yield Row(
        "core.one_fix", ones.seconds / ones.fixes * 1e6, "us", 60, seed, ones.changes, conditions + ", records of 1"
    )
    yield Row(
        "core.state_per_vehicle",
        state_bytes(engine) / engine.vehicles.count,
        "bytes",
        1000,
        seed,
        0,
        conditions + ", histories not counted",
    )
    yield _backlog(plan, seed, conditions)
    few, many_areas = (invented_plan(1, areas, 1, seed).areas for areas in (100, 10_000))
    costs = {}
    for name, these in (("few", few), ("many", many_areas), ("elsewhere", (*few, *_elsewhere(plan, 9_900, seed)))):
        other = replace(plan, areas=these)
        spread_engine, spread = Engine(other, 6 * 3600 * 1_000_000), Drive(other, seed)
        for batch in spread.batches(1000, 20):
            spread_engine.feed(batch)
        costs[name] = best([timed(spread_engine, list(spread.batches(1000, many))) for _ in range(3)])
    for name, row, what in (
        ("many", "core.cost_10000_areas_over_100", "a third of the ground covered by either"),
        ("elsewhere", "core.cost_10000_areas_over_100_if_9900_are_elsewhere", "where nobody drives"),
    ):
        yield Row(
            row,
            costs[name].seconds / costs[name].fixes / (costs["few"].seconds / costs["few"].fixes),
            "ratio",
            1.5,
            seed,
            costs[name].changes,
            f"{vehicles} vehicles, records of 1,000, one run, {what}; {costs['few'].changes} changes of 100 areas",
        )


def _elsewhere(plan: CompiledPlan, areas: int, seed: int) -> tuple[Area, ...]:
    """So many that no road comes near."""
    roads = shapely.union_all([shapely.LineString(route.xy).simplify(50.0) for route in plan.routes.values()])
    shapely.prepare(roads)
    candidates = invented_plan(1, 3 * areas, 1, seed + 1).areas
    near = shapely.dwithin(roads, np.array([a.polygon for a in candidates], object), 2_000.0)
    found = [replace(a, id=f"elsewhere-{a.id}") for a, is_near in zip(candidates, near, strict=True) if not is_near]
    assert len(found) >= areas
    return tuple(found[:areas])


def best(timings: list[Timing]) -> Timing:
    """The quickest of some repetitions: what others do on this machine only ever adds."""
    return min(timings, key=lambda t: t.seconds / t.fixes)


def _backlog(plan: CompiledPlan, seed: int, conditions: str) -> Row:
    """A truck comes out of the gorge: 5,000 late fixes of one vehicle in one record, the newest first."""
    engine, drive = Engine(plan, 8 * 3600 * 1_000_000), Drive(plan, seed)
    who = np.array([7])
    parts = [drive.fixes(who) for _ in range(5000)]
    first = parts[0]
    merged = Fixes(
        first.names, **{name: np.concatenate([getattr(p, name) for p in reversed(parts)]) for name, _ in COLUMNS}
    )
    newest = drive.fixes(who)
    engine.feed(ObservationBatch(newest, (), "c", "bench"))
    took = timed(engine, [ObservationBatch(merged, (), "c", "bench")])
    return Row(
        "core.backlog_5000_newest_first", took.seconds, "s", 1.0, seed, took.changes, conditions + ", one record"
    )

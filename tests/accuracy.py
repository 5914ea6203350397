"""`make accuracy`: what the rules find and what they invent, over invented days whose truth is known. Writes docs/campaigns/accuracy-DATE.md.

Every vehicle-day stands eleven hours in a depot and drives the rest on the demonstration plan's longest road: it turns off the road,
stands where nobody should, and passes forbidden circles. Truth is the noiseless track, judged by geometry alone: nothing of
`pipeline.detect` says what is true. An episode counts as found when one of its rule (and area) overlaps the true stretch, with two
reports' room at each end; as invented when it overlaps nothing that is even half true.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.detect.engine import Engine
from pipeline.model.episode import Episode, Ledger
from pipeline.model.times import parse_us
from pipeline.model.wire import COLUMNS, Fixes, ObservationBatch
from pipeline.plan.load import load_plan
from pipeline.plan.model import Area, AreaRule, CompiledPlan, Movement, RuleSetting, Schedule, Vehicle
from simulators.fleet import Journey, Track, Truth
from simulators.gps import GpsQuality, Receiver
from simulators.world import World

ROOT = Path(__file__).resolve().parent.parent
Floats = npt.NDArray[np.float64]

START_US = 1_780_000_000_000_000
DAY_S = 86_400
SECOND = 1_000_000
PARKED_UNTIL_S = 11 * 3600
MOVING_UNTIL_S = 23 * 3600
CIRCLE_M, DEPOT_M = 400.0, 200.0
DWELL_S, OFF_S, STOP_S, STOP_M = 15, 20, 180, 60.0
INTERVALS = (1, 5, 30, 120)


@dataclass(frozen=True)
class Sky:
    name: str
    gorge: float
    quality: GpsQuality


SKIES = (
    Sky("clear sky", 0.0, GpsQuality()),
    Sky("gorge", 1.0, GpsQuality()),
    Sky("urban", 0.0, GpsQuality(clear_m=9.0, correlation_s=25.0, outlier_share=0.01, outlier_m=80.0)),
)


@dataclass(frozen=True)
class Stretch:
    """What is true of one rule and object, in seconds of the day. `sure` False: only half true, so neither found nor invented."""

    rule: str
    object: str
    begin_s: float
    end_s: float
    sure: bool


@dataclass
class Score:
    """Of one rule under one sky at one interval."""

    true: int = 0
    found: int = 0
    told: int = 0
    invented: int = 0
    delays_s: list[float] = field(default_factory=list)


def ground(days: int) -> tuple[CompiledPlan, World, str]:
    """The demonstration plan's longest road, with circles on it and one movement that never ends."""
    plan = load_plan(ROOT / "plans" / "hazara")
    road = max(plan.routes.values(), key=lambda r: float(r.chainage_m[-1]))
    length = float(road.chainage_m[-1])
    region = plan.regions[road.region]

    def rule(name: str, **params: float) -> RuleSetting:
        return RuleSetting(name, "live", "high", "post", "look", 60 * SECOND, params)

    rules = {
        "route.deviation": rule("route.deviation", min_duration_us=OFF_S * 1e6, high_at_m=300.0, critical_at_m=1000.0),
        "stop.unscheduled": rule("stop.unscheduled", radius_m=STOP_M, min_duration_us=STOP_S * 1e6),
    }
    watch = AreaRule(
        "area.forbidden", frozenset(), frozenset(), Schedule(), DWELL_S * SECOND, 0.0, 30.0, "high", "live"
    )

    def circle(name: str, at_m: float, radius_m: float, *watches: AreaRule, stop: bool = False) -> Area:
        x, y = (float(np.interp(at_m, road.chainage_m, road.xy[:, k])) for k in (0, 1))
        polygon = shapely.Point(x, y).buffer(radius_m)
        return Area(name, road.region, {"en": name}, "zone", polygon, polygon, watches, stop)

    areas = [circle(f"c{i}", length * (i + 1) / 13, CIRCLE_M, watch) for i in range(12)]
    areas.append(circle("depot", length / 26, DEPOT_M, stop=True))
    fleet = {
        f"v{i}": Vehicle(f"v{i}", road.region, region.cells[0], f"V{i}", "car", "escort", (f"d{i}",))
        for i in range(days)
    }
    always = Movement("m", road.region, {"en": "M"}, tuple(fleet), None, road.id, 0, 1 << 60, 0.0, length, frozenset())
    made = replace(
        plan,
        regions={road.region: replace(region, rules=rules)},
        areas=tuple(areas),
        routes={road.id: replace(road, checkpoints=())},
        vehicles=fleet,
        movements=(always,),
        convoys={},
        sensors={},
    )
    return made, World(made, 1), road.id


def reporting_every(plan: CompiledPlan, interval_s: int) -> CompiledPlan:
    """A plan says how often its trackers report: what is a gap in the data follows from it."""
    fleet = {v.id: replace(v, expected_interval_us=max(10, interval_s) * SECOND) for v in plan.vehicles.values()}
    return replace(plan, vehicles=fleet)


def day(world: World, road: str, number: int) -> Track:
    """A night in the depot, then up and down the road with something every quarter of an hour."""
    rng = world.rng("accuracy", str(number))
    length = world.roads[road].path.length_m
    at = length / 26
    journey = Journey(world, road, at).dwell(PARKED_UNTIL_S)
    now_s, up = float(PARKED_UNTIL_S), True
    while now_s < MOVING_UNTIL_S:
        metres = float(rng.uniform(6_000, 14_000))
        if not 8_000 < at + (metres + 8_000) * (1 if up else -1) < length - 8_000:
            up = not up
        sign = 1.0 if up else -1.0
        speed = float(rng.uniform(11, 18))
        at += sign * metres
        journey.drive(at, speed)
        if rng.random() < 0.5:
            aside, along = float(rng.choice((-1, 1)) * rng.uniform(300, 700)), float(rng.uniform(1500, 4000))
            journey.detour(aside, along, float(rng.uniform(8, 12)), backwards=not up)
            at += sign * (along + 500.0)
        else:
            journey.dwell(float(rng.uniform(300, 900)))
        now_s = float(journey.track().ends_s)
    return journey.track()


def runs(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and behind the last index of each stretch that is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def true_stretches(plan: CompiledPlan, road: str, truth: Truth) -> list[Stretch]:
    """By geometry, from the noiseless track at one hertz."""
    found = []
    x, y = truth.x_m, truth.y_m
    for area in plan.areas:
        if not area.rules:
            continue
        centre = area.polygon.centroid
        away = np.hypot(x - centre.x, y - centre.y)
        for a, b in runs(away < CIRCLE_M + 60):
            inside = away[a:b] < CIRCLE_M
            sure = int(inside.sum()) >= DWELL_S + 15
            found.append(Stretch("area.forbidden", area.id, a, b, sure))
    route = plan.routes[road]
    line = shapely.LineString(route.xy)
    shapely.prepare(line)
    near = shapely.dwithin(line, shapely.points(x, y), route.half_width_m)
    for a, b in runs(~near):
        distance = shapely.distance(line, shapely.points(x[a:b], y[a:b]))
        sure = int((distance > route.half_width_m + 60).sum()) >= OFF_S + 20
        found.append(Stretch("route.deviation", road, a, b, sure))
    for a, b in runs(truth.speed_mps < 0.3):
        parked = any(not area.rules and shapely.contains_xy(area.polygon, x[a], y[a]) for area in plan.areas)
        if b - a >= 30 and not parked:
            found.append(Stretch("stop.unscheduled", "", a, b, b - a >= STOP_S + 60))
    return found


def columns(plan: CompiledPlan, world: World, track: Track, number: int, sky: Sky, interval_s: int) -> Fixes:
    t = np.arange(number % interval_s, DAY_S, interval_s, dtype=float)
    truth = track.at(t)
    seen = Receiver(world.rng("gps", sky.name, str(number)), sky.quality).observe(truth, np.full(len(t), sky.gorge))
    lat, lon = world.to_latlon(seen.x_m, seen.y_m)
    n = len(t)
    stamps = START_US + (t * SECOND).astype(np.int64)
    values: dict[str, Any] = {
        "vehicle": np.zeros(n), "device": np.ones(n), "seen_at_us": stamps, "received_at_us": stamps + SECOND, "lat": lat,
        "lon": lon, "seq": np.arange(n), "body": np.arange(1, n + 1), "speed_mps": seen.speed_mps, "course_deg": seen.course_deg,
        "accuracy_m": seen.accuracy_m, "altitude_m": np.full(n, np.nan), "flags": np.zeros(n),
    }  # fmt: skip
    return Fixes(
        (f"v{number}", f"d{number}"), **{name: np.asarray(values[name]).astype(dtype) for name, dtype in COLUMNS}
    )


def judged(engine: Engine, fixes: Fixes, record: int = 1000) -> Ledger:
    ledger = Ledger()
    for start in range(0, len(fixes), record):
        cut = slice(start, start + record)
        part = {name: getattr(fixes, name)[cut] for name, _ in COLUMNS}
        ledger.apply(engine.feed(ObservationBatch(Fixes(fixes.names, **part), (), "c", "accuracy")))
    return ledger


def score(scores: dict[str, Score], ledger: Ledger, stretches: list[Stretch], interval_s: int) -> None:
    room = 2.0 * interval_s + 10.0
    needs = {"area.forbidden": DWELL_S, "route.deviation": OFF_S, "stop.unscheduled": STOP_S}

    def touch(e: Episode, begin: float, end: float, s: Stretch) -> bool:
        alike = e.rule == s.rule and e.object in (s.object, "")
        return alike and begin < s.end_s + room and end > s.begin_s - room

    told = []
    for e in ledger.sorted():
        end = DAY_S if e.ended_at_us is None else (e.ended_at_us - START_US) / SECOND
        told.append((e, (e.began_at_us - START_US) / SECOND, end))
        scores[e.rule].told += 1
    for s in stretches:
        if not s.sure:
            continue
        scores[s.rule].true += 1
        first = next((e for e, begin, end in told if touch(e, begin, end, s)), None)
        if first is not None:
            scores[s.rule].found += 1
            decided = (parse_us(str(first.evidence["decided_at"])) - START_US) / SECOND
            scores[s.rule].delays_s.append(decided - s.begin_s - needs[s.rule])
    for e, begin, end in told:
        if not any(touch(e, begin, end, s) for s in stretches):
            scores[e.rule].invented += 1


def measure(days: int) -> dict[tuple[str, int], dict[str, Score]]:
    plan, world, road = ground(days)
    rules = ("area.forbidden", "route.deviation", "stop.unscheduled")
    out = {(sky.name, i): {rule: Score() for rule in rules} for sky in SKIES for i in INTERVALS}
    engines = {key: Engine(reporting_every(plan, key[1])) for key in out}
    for number in range(days):
        track = day(world, road, number)
        stretches = true_stretches(plan, road, track.at(np.arange(0, DAY_S, 1.0)))
        for sky in SKIES:
            for interval_s in INTERVALS:
                fixes = columns(plan, world, track, number, sky, interval_s)
                ledger = judged(engines[sky.name, interval_s], fixes)
                score(out[sky.name, interval_s], ledger, stretches, interval_s)
                engines[sky.name, interval_s].forget(0)
        print(f"\r{number + 1} of {days} vehicle-days", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return out


def table(scores: dict[tuple[str, int], dict[str, Score]], days: int) -> list[str]:
    lines = [
        "| rule | sky | report every | true | recall | precision | false per vehicle-day | delay, median / 95 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rule in next(iter(scores.values())):
        for (sky, interval_s), by_rule in scores.items():
            s = by_rule[rule]
            recall = s.found / s.true if s.true else float("nan")
            precision = 1 - s.invented / s.told if s.told else float("nan")
            middle, late = np.percentile(s.delays_s, [50, 95]) if s.delays_s else (float("nan"), float("nan"))
            lines.append(
                f"| `{rule}` | {sky} | {interval_s} s | {s.true} | {recall:.3f} | {precision:.3f} | {s.invented / days:.3f} | "
                f"{middle:.0f} s / {late:.0f} s |"
            )
    return lines


def main() -> int:
    """0 when what DESIGN asks for is reached: recall 0.99 and 0.02 false per vehicle-day at clear sky up to 30 s."""
    days = int(os.environ.get("RAHDAR_DAYS", "150"))
    began = time.monotonic()
    scores = measure(days)
    today = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")  # noqa: TID251  # a dated table is the point
    lines = [
        f"# Accuracy, {today}",
        "",
        f"{days} vehicle-days of 24 h for each line, seed 1, {platform.system()}, Python {platform.python_version()}, "
        f"{time.monotonic() - began:.0f} s. `make accuracy` makes this page; its docstring says what is true, found and invented.",
        "",
        f"Rules as the plan's defaults: forbidden circles of {CIRCLE_M:.0f} m on the road, dwell {DWELL_S} s; detours of 300 to 700 m for "
        f"1.5 to 4 km, {OFF_S} s; halts of 5 to 15 min, {STOP_S} s within {STOP_M:.0f} m. Delay: from the instant at which the rule "
        "could first hold of the truth, to the fix that decided it.",
        "",
        *table(scores, days),
        "",
    ]
    page = ROOT / "docs" / "campaigns" / f"accuracy-{today}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    clear = [s for (sky, i), by in scores.items() if sky == "clear sky" and i <= 30 for s in by.values()]
    good = all(s.found >= 0.99 * s.true and s.invented <= 0.02 * days for s in clear)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

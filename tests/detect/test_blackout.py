"""`area.blackout`: against its oracle in any order and any records, across checkpoints, and the cases that people care for."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import shapely

from pipeline.detect.engine import Engine
from pipeline.model.episode import Change, Episode, Ledger
from pipeline.model.observation import Tick
from pipeline.model.wire import ObservationBatch, Placed, columns
from pipeline.plan.model import Area, CompiledPlan
from tests.detect.plans import SECOND, T0, fix, plan, setting
from tests.detect.restarts import restarted

VEHICLES = tuple(f"v{i}" for i in range(6))
PARAMS: dict[str, float] = {"vehicles": 3, "silent_for_us": 60e6, "within_us": 90e6, "near_m": 1000.0}
SILENT = {"expected_within_us": 300e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
RULES = {
    "area.blackout": setting("area.blackout", **PARAMS),
    "device.silent": setting("device.silent", **SILENT),
}
Heard = tuple[int, int, float]  # received, vehicle (-1: a Tick), x in metres
Told = list[tuple[float, float | None, float | None]]


def world(areas: Sequence[Area] = (), rules: Any = None) -> CompiledPlan:
    return plan(areas, vehicles=VEHICLES, rules=RULES if rules is None else rules)


def records(what: Sequence[Heard]) -> list[ObservationBatch]:
    out = []
    for at, vehicle, x in what:
        if vehicle < 0:
            tick = Placed(0, Tick(source="a", at_us=T0 + at * SECOND))
            out.append(ObservationBatch(columns([]), (tick,), "", "test", "a"))
        else:
            f = fix(at, x, 0.0, VEHICLES[vehicle], received_s=float(at))
            out.append(ObservationBatch(columns([f]), (), "c", "test", "a"))
    return out


def changes(engine: Engine, batches: Sequence[ObservationBatch]) -> list[Change]:
    return [change for batch in batches for change in engine.feed(batch)]


def ledger(world: CompiledPlan, what: Sequence[Heard]) -> Told:
    folded = Ledger()
    folded.apply(changes(Engine(world), records(what)))
    return told(folded)


def told(folded: Ledger) -> Told:
    return [
        ((e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND, e.peak)
        for e in folded.sorted()
        if e.rule == "area.blackout"
    ]


def oracle(what: Sequence[Heard]) -> Told:
    """The rule in its plainest form: second by second, with everything known beforehand."""
    end = max(at for at, vehicle, _ in what if vehicle < 0)
    heard = {v: sorted((at, x) for at, vehicle, x in what if vehicle == v) for v in range(len(VEHICLES))}
    out: Told = []
    for now in range(end + 1):
        absent = []
        for v, fixes in heard.items():
            last = max((f for f in fixes if f[0] <= now), default=None)
            if last is not None and now >= last[0] + 60:
                absent.append((v, *last))
        most = 0
        for _, at, x in absent:
            about = {v for v, other, there in absent if abs(other - at) <= 90 and abs(there - x) <= 1000.0}
            most = max(most, len(about))
        dark = bool(out) and out[-1][1] is None
        if not dark and most >= 3:
            out.append((float(now), None, float(most)))
        elif dark and most < 2:
            out[-1] = (out[-1][0], float(now), out[-1][2])
        elif dark:
            out[-1] = (out[-1][0], None, max(float(most), out[-1][2] or 0.0))
    return out


def invented(seed: int) -> list[Heard]:
    """Vehicles that drive to and fro past a place where now and then nobody is heard."""
    rng = random.Random(seed)
    until = 1500
    what: list[Heard] = [(at, -1, 0.0) for at in range(0, until + 1, 5)]
    jams = [(at, at + rng.randint(30, 300)) for at in range(rng.randint(60, 200), until, rng.randint(300, 600))]
    for vehicle in range(len(VEHICLES)):
        home = rng.uniform(-1500, 1500)
        at = rng.randint(0, 20)
        while at < until:
            x = home + 300 * math.sin(at / 97 + vehicle)
            if not any(a <= at < b and abs(x) < 1000 for a, b in jams):
                what.append((at, vehicle, round(x, 1)))
            at += rng.choice((5, 10, 20)) if rng.random() > 0.03 else rng.randint(60, 200)
    return what


def test_the_ledger_is_the_oracles_in_any_order() -> None:
    found = 0
    for seed in range(15):
        what = invented(seed)
        expected = oracle(what)
        found += len(expected)
        in_order = sorted(what, key=lambda h: (h[0], h[1] < 0))
        assert ledger(world(), in_order) == expected, seed
        shuffled = list(what)
        random.Random(seed).shuffle(shuffled)
        assert ledger(world(), shuffled) == expected, seed
        assert ledger(world(), [*shuffled, *in_order]) == expected, "twice is once"
    assert found >= 20, "worlds in which nothing happens ask for nothing"


@pytest.mark.parametrize("seed", range(8))
def test_a_restart_from_any_checkpoint_changes_nothing(seed: int) -> None:
    what, dice = invented(seed), random.Random(seed)
    if seed % 2:
        dice.shuffle(what)
    else:  # a little behind the Ticks
        what.sort(key=lambda h: h[0] + (dice.uniform(0, 100) if h[1] >= 0 else 0.0))
    folded, restarts = restarted(lambda: Engine(world()), records(what), seed, again=0.6)
    assert restarts > 3
    assert told(folded) == oracle(what)


def quiet(until_s: int, *stops_at: int, x: Sequence[float] = ()) -> list[Heard]:
    """One report in ten seconds of each vehicle, until it is heard no more."""
    out: list[Heard] = [(at, -1, 0.0) for at in range(0, until_s + 1, 5)]
    for vehicle, stop in enumerate(stops_at):
        place = x[vehicle] if x else 0.0
        out += [(at, vehicle, place) for at in range(0, stop + 1, 10)]
    return sorted(out, key=lambda h: (h[0], h[1] < 0))


def test_it_is_told_before_each_of_them_is_silent() -> None:
    engine = Engine(world())
    said = changes(engine, records(quiet(500, 100, 110, 120, 500)))
    assert [(c.episode.rule, (c.episode.began_at_us - T0) / SECOND) for c in said if c.kind == "begin"] == [
        ("area.blackout", 180.0),
        ("device.silent", 400.0),
        ("device.silent", 410.0),
        ("device.silent", 420.0),
    ]
    evidence = said[0].episode.evidence
    assert evidence["vehicles"] == ["v0", "v1", "v2"]
    assert evidence["silent"] == 3
    assert said[0].episode.subject == said[0].cell == "c"


def test_an_absence_ends_with_a_fix_that_its_ticks_have_overtaken() -> None:
    """Each fix comes soon after the one before it, so there is no pause; only the Ticks were there first."""
    ahead = quiet(75, 10, 10, 10)
    behind = [(at, vehicle, 0.0) for at in range(20, 80, 10) for vehicle in range(3)]
    later = [heard for heard in quiet(200, 200, 200, 200) if heard[0] > 75]
    assert ledger(world(), ahead) == [(70.0, None, 3.0)]
    assert ledger(world(), [*ahead, *behind]) == []
    assert ledger(world(), [*ahead, *behind, *later]) == oracle([*ahead, *behind, *later]) == []


def test_it_is_told_of_trackers_that_have_already_been_told_one_by_one() -> None:
    """An operator may wait longer for several than for one."""
    rules = RULES | {"device.silent": setting("device.silent", **SILENT | {"expected_within_us": 60e6})}
    rules["area.blackout"] = setting("area.blackout", **PARAMS | {"silent_for_us": 120e6})
    assert ledger(world(rules=rules), quiet(200, 10, 10, 10)) == [(130.0, None, 3.0)]


def test_two_or_far_apart_or_at_other_times_is_no_blackout() -> None:
    assert ledger(world(), quiet(500, 100, 110, 500)) == []
    assert ledger(world(), quiet(500, 100, 110, 120, x=(0.0, 2000.0, 4000.0))) == []
    assert ledger(world(), quiet(800, 100, 300, 500)) == []


def test_who_is_at_home_or_in_a_gap_of_the_plan_does_not_count() -> None:
    here = shapely.box(-100, -100, 100, 100)
    for kind in ("depot", "tunnel"):
        area = Area("d", "r", {"en": "D"}, kind, here, here)  # type: ignore[arg-type]
        assert ledger(world([area]), quiet(500, 100, 110, 120)) == []


def test_our_own_outage_is_no_blackout() -> None:
    away = [h for h in quiet(900, 900, 900, 900, 900) if not 100 < h[0] < 800]
    assert ledger(world(), away) == []
    deaf = []
    for at, vehicle, x in quiet(900, 900, 900, 900, 900):
        if vehicle >= 0 and not 100 < at < 800:
            deaf += records([(at, vehicle, x)])
        elif vehicle < 0:
            tick = Tick(source="a", at_us=T0 + at * SECOND, healthy=not 100 < at < 800)
            deaf.append(ObservationBatch(columns([]), (Placed(0, tick),), "", "test", "a"))
    assert changes(Engine(world()), deaf) == [], "while ingest says that it misses messages, nobody is accused"


def test_it_needs_no_rule_for_the_single_tracker() -> None:
    alone = {"area.blackout": RULES["area.blackout"]}
    assert ledger(world(rules=alone), quiet(500, 100, 110, 120)) == [(180.0, None, 3.0)]


def test_what_is_forgotten_changes_nothing() -> None:
    """A cell that is dark for longer than anything is kept keeps its beginning, and what was over stays told."""
    horizon_us = 600 * SECOND
    engine, folded = Engine(world(), horizon_us), Ledger()
    back: list[Heard] = [(at, v, 0.0) for v in range(3) for at in range(400, 700, 10)]
    late: list[Heard] = [(4000, v, 0.0) for v in range(3)]
    what = sorted([*quiet(5000, 100, 110, 120), *back, *late], key=lambda h: (h[0], h[1] < 0))
    folded.apply(changes(engine, records(what)))
    assert told(folded) == oracle(what)
    assert [e.ended_at_us is None for e in blackouts(folded)] == [False, False, True]


def blackouts(folded: Ledger) -> list[Episode]:
    return [e for e in folded.sorted() if e.rule == "area.blackout"]

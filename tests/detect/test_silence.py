"""`device.silent`: against its oracle in any order and any records, across checkpoints, and the cases that people care for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.engine import Engine
from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix, Tick
from pipeline.model.wire import ObservationBatch, Placed, columns
from pipeline.plan.model import Area, CompiledPlan, Movement
from tests.detect.plans import FOREVER, SECOND, T0, fix, plan, setting
from tests.detect.restarts import restarted

PARAMS = {"expected_within_us": 120e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
RULES = {"device.silent": setting("device.silent", **PARAMS)}
LIVE_S, BLIND_S = 60, 15


@dataclass(frozen=True)
class Heard:
    """A fix of a vehicle's first device, taken by `source`; or (vehicle None) a Tick of it."""

    received_s: int
    vehicle: str | None = None
    age_s: int = 1
    x: float = 0.0
    source: str = "a"


def world(areas: Sequence[Area] = (), **more: Any) -> CompiledPlan:
    return plan(areas, vehicles=("v1", "v2"), rules=RULES, **more)


def batch(what: Sequence[Heard]) -> list[ObservationBatch]:
    """As normalise writes them: records of one source each, in this order."""
    out: list[ObservationBatch] = []
    for heard in what:
        at_us = T0 + heard.received_s * SECOND
        if heard.vehicle is None:
            placed = Placed(0, Tick(source=heard.source, at_us=at_us))
            out.append(ObservationBatch(columns([]), (placed,), "", "test", heard.source))
            continue
        f = fix(heard.received_s - heard.age_s, heard.x, 0.0, heard.vehicle, received_s=float(heard.received_s))
        f = Fix(**{name: getattr(f, name) for name in f.__struct_fields__} | {"seq": heard.received_s})
        if out and len(out[-1].fixes) and out[-1].source == heard.source and len(out[-1].fixes) < 3:
            out[-1] = replace(out[-1], fixes=columns([*out[-1].fixes.rows(), f]))
        else:
            out.append(ObservationBatch(columns([f]), (), "c", "test", heard.source))
    return out


def ledger(plan: CompiledPlan, batches: Sequence[ObservationBatch]) -> list[tuple[str, float, float | None]]:
    engine, folded = Engine(plan), Ledger()
    for record in batches:
        folded.apply(engine.feed(record))
    return told(folded)


def told(folded: Ledger) -> list[tuple[str, float, float | None]]:
    return [
        (e.subject, (e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND)
        for e in folded.sorted()
        if e.rule == "device.silent"
    ]


def oracle(what: Sequence[Heard], within_s: int = 120) -> list[tuple[str, float, float | None]]:
    """The rule in its plainest form: second by second, for one device after the other, with everything known beforehand."""
    out: list[tuple[str, float, float | None]] = []
    for vehicle in ("v1", "v2"):
        live = sorted(
            (h.received_s, h.age_s * -1, h.x, h.source) for h in what if h.vehicle == vehicle and h.age_s <= LIVE_S
        )
        stamps = sorted({at for at, *_ in live})
        for n, start in enumerate(stamps):
            source = [h for h in live if h[0] == start][-1][3]
            ticks = sorted({h.received_s for h in what if h.vehicle is None and h.source == source})
            end = stamps[n + 1] if n + 1 < len(stamps) else None
            if not ticks:
                continue
            blind = {s for a, b in itertools.pairwise(ticks) if b - a > BLIND_S for s in range(a, b)}
            listened, at = 0, start
            while listened < within_s and at < 100_000:
                if at not in blind:
                    listened += 1
                at += 1
            if at <= ticks[-1] and (end is None or at < end):
                out.append((f"{vehicle}-d0", float(at), None if end is None else float(end)))
    return sorted(out, key=lambda e: (e[1], e[0]))


def shuffled(items: Sequence[Heard], seed: int) -> list[Heard]:
    copy = list(items)
    random.Random(seed).shuffle(copy)
    return copy


def invented(seed: int) -> list[Heard]:
    """Devices that come and go, backlogs, two sources, and stretches in which nobody listens."""
    rng = random.Random(seed)
    what: list[Heard] = []
    for source in "ab":
        at = rng.randint(0, 5)
        while at < 3600:
            what.append(Heard(at, source=source))
            at += 5 if rng.random() > 0.01 else rng.randint(16, 400)
    for vehicle in ("v1", "v2"):
        at = 10
        while at < 3600:
            what.append(
                Heard(at, vehicle, rng.choice((1, 3, 59, 60, 61, 500)), rng.uniform(-500, 500), rng.choice("ab"))
            )
            at += rng.choice((0, 5, 10, 30)) if rng.random() > 0.06 else rng.randint(100, 700)
    return what


@pytest.mark.parametrize("seed", range(40))
def test_the_ledger_is_the_oracles_in_any_order(seed: int) -> None:
    what = invented(seed)
    expected = oracle(what)
    assert expected, "a world in which nothing happens asks for nothing"
    assert ledger(world(), batch(sorted(what, key=lambda h: (h.received_s, h.vehicle is None)))) == expected
    assert ledger(world(), batch(shuffled(what, seed))) == expected
    assert ledger(world(), batch([*shuffled(what, seed + 1), *shuffled(what, seed + 2)])) == expected, "twice is once"


@given(
    st.lists(
        st.builds(Heard, st.integers(0, 60).map(lambda n: n * 20), st.sampled_from(("v1", "v2", None, None)), st.sampled_from((1, 61))),
        max_size=40,
    ),
    st.integers(0, 10),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_small_worlds_in_any_order(what: list[Heard], seed: int) -> None:
    assert ledger(world(), batch(shuffled(what, seed))) == oracle(what)


@pytest.mark.parametrize("seed", range(10))
def test_a_restart_from_any_checkpoint_changes_nothing(seed: int) -> None:
    records = batch(shuffled(invented(seed), seed)[:400])
    folded, _ = restarted(lambda: Engine(world()), records, seed, again=0.6)
    assert told(folded) == ledger(world(), records)


def ticks(until_s: int, source: str = "a") -> list[Heard]:
    return [Heard(at, source=source) for at in range(0, until_s + 1, 5)]


def test_it_begins_at_the_deadline_and_not_when_somebody_looked() -> None:
    what = [Heard(10, "v1"), *ticks(100), Heard(1000, source="a")]
    assert ledger(world(), batch(what)) == [], "from 100 to 1000 nobody listened"
    what = [Heard(10, "v1"), *ticks(500)]
    assert ledger(world(), batch(what)) == [("v1-d0", 130.0, None)]


def test_a_backlog_ends_no_silence_and_the_next_live_fix_does() -> None:
    what = [Heard(10, "v1"), *ticks(750), Heard(600, "v1", age_s=300)]
    assert ledger(world(), batch(what)) == [("v1-d0", 130.0, None)]
    assert ledger(world(), batch([*what, Heard(700, "v1", age_s=60)])) == [("v1-d0", 130.0, 700.0)]


def test_our_own_outage_accuses_nobody() -> None:
    """Ingest was away from 20 s to 600 s: the deadline of 120 s has 10 s behind it and 110 s before it."""
    what = [Heard(10, "v1"), *ticks(20), *(Heard(at, source="a") for at in range(600, 1000, 5))]
    assert ledger(world(), batch(what)) == [("v1-d0", 710.0, None)]


def test_a_tunnel_has_its_own_time() -> None:
    tunnel = Area("t", "r", {"en": "T"}, "tunnel", shapely.box(500, -50, 3000, 50), shapely.box(0, 0, 1, 1))
    before = [Heard(10, "v1", x=450.0), *ticks(2000)]
    assert (
        ledger(
            world([tunnel]),
            batch([*before, Heard(605, "v1", x=3100.0), *[Heard(at, "v1", x=9e3) for at in range(700, 2000, 60)]]),
        )
        == []
    )
    assert ledger(world([tunnel]), batch(before)) == [("v1-d0", 610.0, None)]
    assert ledger(world([tunnel]), batch([Heard(10, "v1", x=300.0), *ticks(200)])) == [("v1-d0", 130.0, None)]


def test_a_tracker_at_home_may_be_off_until_a_movement_needs_it() -> None:
    home = Area("h", "r", {"en": "H"}, "depot", shapely.box(-100, -100, 100, 100), shapely.box(0, 0, 1, 1))
    what = [Heard(10, "v1"), *ticks(3000)]
    assert ledger(world([home]), batch(what)) == []
    line = [[0.0, 0.0], [5000.0, 0.0]]
    base = world([home], line=line)
    moving = Movement(
        "m1", "r", {"en": "M"}, ("v1",), None, "n1", T0 + 1000 * SECOND, FOREVER, 0.0, 5000.0, frozenset()
    )
    assert ledger(replace(base, movements=(moving,)), batch(what)) == [("v1-d0", 1120.0, None)]


def test_without_the_rule_nothing_is_kept() -> None:
    engine = Engine(plan(vehicles=("v1", "v2")))
    for record in batch([Heard(10, "v1"), *ticks(900)]):
        assert not [c for c in engine.feed(record) if c.episode.rule == "device.silent"]
    assert [judge.name for judge in engine.judges if judge.on] == ["clocks"]  # for the next plan may ask
    assert not any(judge.dirty for judge in engine.judges)

"""What is given up beyond the horizon: nothing that was told is told otherwise for that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pipeline.detect.engine import Engine, NeedHistoryError
from pipeline.detect.timed import Timed
from pipeline.model import topics
from pipeline.model.episode import Change, Episode, Ledger
from pipeline.model.observation import Fix, Other, Tick
from pipeline.model.wire import BatchBuilder, ObservationBatch
from tests.detect.plans import SECOND, T0, fix, plan, setting
from tests.detect.restarts import taken_over
from tests.detect.test_handover import two
from tests.detect.test_sensors import Said, sensor, world
from tests.detect.test_timeline import order

HOUR = 3600
HORIZON_US = 6 * HOUR * SECOND
FLEET = ("v0", "v1", "v2")
BLACKOUT = {"area.blackout": setting("area.blackout", vehicles=3, silent_for_us=60e6, within_us=90e6, near_m=1000.0)}


def record(*what: Fix | Other, source: str = "a", copy: bool = False) -> ObservationBatch:
    builder = BatchBuilder("c", source=source, copy=copy)
    builder.extend(what)
    return builder.build()


def tick(at_s: float, source: str = "a", trusted: bool = True) -> ObservationBatch:
    what = Tick(source=source, at_us=T0 + round(at_s * SECOND), clock_trusted=trusted)
    return record(what, source=source)


def fed(
    engine: Any, records: Iterable[ObservationBatch], *plans: Any, log: list[ObservationBatch] | None = None
) -> list[Change]:
    """`log`: what was fed before; what is fed is added."""
    log, changes = [] if log is None else log, list[Change]()
    for one in records:
        try:
            changes += engine.feed(one, *plans)
        except NeedHistoryError as need:
            engine.load_history(log, need.from_us)
            changes += engine.feed(one, *plans)
        log.append(one)
    return changes


def told(changes: list[Change]) -> list[tuple[str, float, float | None]]:
    def s(us: int | None) -> float | None:
        return None if us is None else (us - T0) / SECOND

    def row(e: Episode) -> tuple[str, float, float | None]:
        return e.rule, (e.began_at_us - T0) / SECOND, s(e.ended_at_us)

    ledger = Ledger()
    ledger.apply(changes)
    return [row(e) for e in ledger.sorted()]


def test_a_blackout_that_is_long_over_stays_over() -> None:
    """Two of its three are back, and the third is silent for half a day, when nobody knows of the two any more."""
    of = plan(vehicles=FLEET, rules=BLACKOUT)
    last_s = 13 * HOUR
    records = []
    for t in range(0, 500, 5):
        records += [record(*(fix(t, 0, 0, v, received_s=t) for v in FLEET))] if t <= 100 and t % 10 == 0 else []
        records.append(tick(t))
    for t in range(500, last_s, 15):
        records += [record(fix(t, 0, 0, "v0", received_s=t), fix(t, 0, 0, "v1", received_s=t)), tick(t)]
    engine = Engine(of, HORIZON_US)
    changes = fed(engine, records)
    expected = [("area.blackout", 160.0, 500.0)]
    assert told(changes) == expected
    restored = Engine(of, HORIZON_US)
    taken_over(engine, restored)
    assert told(changes + fed(restored, [tick(last_s + 5)])) == expected
    back = [record(fix(last_s + 7, 0, 0, "v2", received_s=last_s + 7)), tick(last_s + 10)]
    assert told(changes + fed(engine, back)) == expected


def test_a_clock_that_was_in_doubt_half_a_day_ago_was_so() -> None:
    """It is in doubt again when the first time is just being forgotten."""
    of = plan(rules={"clock.suspect": setting("clock.suspect")})
    second_s = 12 * HOUR + 300
    doubtful = [*range(0, 601, 5), *range(second_s, second_s + 901, 5)]
    records = [tick(t, trusted=t not in doubtful) for t in range(0, second_s + 1500, 5)]
    kept, trimmed = fed(Engine(of), records), fed(Engine(of, HORIZON_US), records)
    assert told(kept) == told(trimmed) == [
        ("clock.suspect", 0.0, 660.0), ("clock.suspect", second_s, second_s + 960.0),
    ]  # fmt: skip
    assert [c.kind for c in trimmed] == ["begin", "end"] * 2


def test_a_clock_in_doubt_when_the_power_went_is_over_and_not_unsaid() -> None:
    of = plan(rules={"clock.suspect": setting("clock.suspect")})
    records = [tick(t, trusted=t < 300) for t in range(0, 605, 5)]
    records += [tick(600 + 12 * HOUR + 1800 + t) for t in range(0, 100, 5)]
    changes = fed(Engine(of, HORIZON_US), records)
    assert [c.kind for c in changes] == ["begin", "end"]
    assert told(changes) == [("clock.suspect", 300.0, 660.0)]


def test_an_alarm_whose_end_is_heard_of_after_the_horizon_ends() -> None:
    """Whoever heard the sensor ticks no more: that it was clear for long enough is known when another has listened for an hour."""
    of = world([sensor("smoke", "smoke")])
    heard = [Said(5, "smoke", "smoke", False), Said(10, "smoke", "smoke", True), Said(95, "smoke", "smoke", False)]
    records = [*(tick(t, "old") for t in range(0, 105, 5)), *(record(s.observation(), source="old") for s in heard)]
    records += [tick(t, "new") for t in range(105, 8 * HOUR, 15)]
    later = [record(Said(8 * HOUR, "smoke", "smoke", False).observation(), source="new"), tick(8 * HOUR + 5, "new")]
    for horizon_us in (None, HORIZON_US):
        engine = Engine(of, horizon_us)
        changes = fed(engine, [*records, *later])
        assert told(changes) == [("sensor.alarm", 10.0, 100 + HOUR + 25.0)]
        # and it stays so when what is told of it is given up as well
        assert fed(engine, (tick(t, "new") for t in range(8 * HOUR + 10, 16 * HOUR, 15))) == []


def test_a_clock_that_jumps_ahead_makes_no_sensor_deaf() -> None:
    """Ten hours, and it says itself that it is not to be trusted."""
    of = world([sensor("smoke", "smoke"), sensor("attic", "smoke", site="t")])
    ahead = [tick(t + 10 * HOUR, trusted=False) for t in range(100, 200, 5)]
    seen = [record(Said(t, name, "smoke", True).observation()) for t, name in ((20, "smoke"), (110, "attic"))]
    engine = Engine(of, HORIZON_US)
    changes = fed(engine, [tick(0), seen[0], *ahead, seen[1], tick(10 * HOUR + 205, trusted=False)])
    assert [c.episode.subject for c in changes if c.kind == "begin"] == ["smoke", "attic"]


def test_what_only_the_next_version_says_is_kept_until_its_time() -> None:
    """A clock that is ahead had its engine made early, and the memory is tidied just then."""

    def within(s: float, content: str) -> Any:
        params = {"expected_within_us": s * 1e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
        return plan(vehicles=FLEET[1:], rules={"device.silent": setting("device.silent", **params)}, content=content)

    slow, fast = within(7200, "slow"), within(100, "fast")
    plans = {p.hash: p for p in (slow, fast)}
    engine, log = Timed(slow, HORIZON_US), list[ObservationBatch]()
    first = [record(order("plan", 1000, 50, hash="fast")), record(fix(100, 0, 0, "v2", received_s=100))]
    changes = fed(engine, first, plans, log=log)
    for t in range(0, 1500, 5):
        changes += fed(engine, [record(fix(t + 30, 0, 0, "v1", received_s=t)), tick(t)], plans, log=log)
        if t == 980:
            engine.forget(1800 * SECOND)
    assert told(changes) == [("device.silent", 1000.0, None)]


def test_a_cell_that_a_later_plan_adds_is_judged_in_its_partition() -> None:
    full = two(("c1", "cb2"))
    convoy = replace(full.convoys["k"], escorts=(), principals=("c1",), cell="cb")
    full = replace(full, convoys={"k": convoy}, hash="full")
    vehicles = {n: replace(v, region="a", cell="ca", cells_served=("ca",)) for n, v in full.vehicles.items()}
    base = replace(
        full, regions={"a": full.regions["a"]}, convoys={}, movements=(), cells=("ca",), vehicles=vehicles,
        routes={"n-a": full.routes["n-a"]}, hash="base",
    )  # fmt: skip
    plans = {p.hash: p for p in (base, full)}
    mine, other = (next(i for i in range(2) if ("cb" in topics.Cells(i, 2)) == here) for here in (True, False))
    for partition in (mine, other):
        engine = Timed(base, HORIZON_US, cells=topics.Cells(partition, 2))
        records = [record(order("plan", 100, 50, hash="full"))]
        for t in range(0, 900, 10):
            records.append(record(fix(t, 3000 + 10 * t, 0, "c1", received_s=t + 1), copy=t >= 100))
            records += [record(fix(t, 1000 + 10 * t, 0, "cb2", received_s=t + 1)), tick(t), tick(t + 5)]
        changes = fed(engine, records, plans)
        assert told(changes) == ([("convoy.separated", 100.0, None)] if partition == mine else [])


def test_a_device_whose_ingest_gave_up_its_name_is_told_as_silent() -> None:
    """Another one ticks on: an hour later its Ticks count for both. Whether the old one comes back, and when, changes nothing of that."""
    params = {"expected_within_us": 100e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
    of = plan(vehicles=FLEET[:1], rules={"device.silent": setting("device.silent", **params)})
    records = [tick(t, name) for t in range(0, 300, 5) for name in ("old", "new")]
    records += [record(fix(200, 0, 0, "v0", received_s=201), source="old")]
    nobody = range(4000, 5000)
    records += [tick(t, "new") for t in range(300, 2 * HOUR, 10) if t not in nobody]
    expected = [("device.silent", 295 + HOUR + 6.0, None)]  # 94 s before, and 6 s behind it
    for horizon_us in (None, HORIZON_US, 600 * SECOND):
        engine = Engine(of, horizon_us)
        changes = fed(engine, records)
        assert told(changes) == expected
        restored = Engine(of, horizon_us)
        taken_over(engine, restored)
        assert fed(restored, [tick(2 * HOUR + 30, "new")]) == []
    # a clock that is not trusted speaks for nobody else
    assert (
        told(fed(Engine(of), [*records[:121], *(tick(t + 9 * HOUR, "new", trusted=False) for t in (305, 310))])) == []
    )
    back = [tick(t, "old") for t in range(2 * HOUR, 2 * HOUR + 60, 5)]
    for order_ in ([*records, *back], [*back, *records[::-1]]):
        assert told(fed(Engine(of), order_)) == expected
    # the time in which nobody had a Tick is no time either
    later = record(fix(3880, 0, 0, "v0", received_s=3881), source="old")
    for order_ in ([*records, later, *back], [*back, later, *records[::-1]]):
        assert told(fed(Engine(of), order_)) == [("device.silent", 5005.0, None)]  # 95 s from 3895 on


def test_one_fix_from_two_ingests_in_one_instant_is_the_same_whoever_comes_first() -> None:
    params = {"expected_within_us": 100e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
    of = plan(vehicles=FLEET[:1], rules={"device.silent": setting("device.silent", **params)})
    ticks = [tick(t, name) for t in range(0, 900, 5) for name in "ab" if name == "a" or t < 150 or t > 700]
    twice = [record(fix(100, 0, 0, "v0", received_s=101), source=name) for name in "ab"]
    for again in ([], [record(fix(800, 0, 0, "v0", received_s=801), source="a")]):
        found = {
            repr(told(fed(Engine(of), order_)))
            for order_ in ([*twice, *ticks, *again], [*twice[::-1], *ticks, *again], [*again, *ticks, *twice[::-1]])
        }
        assert len(found) == 1


def test_under_an_order_what_is_long_over_is_forgotten_though_one_goes_on() -> None:
    """Of one device: silent for ten minutes in every hour, and at the end for good."""
    params = {"expected_within_us": 100e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
    of = plan(vehicles=FLEET[:1], rules={"device.silent": setting("device.silent", **params)}, content="one")
    later = replace(of, hash="later")
    engine, log, changes = Timed(of, HORIZON_US), list[ObservationBatch](), list[Change]()
    changes += fed(engine, [record(order("plan", 1000, 50, hash="later"))], {"later": later}, log=log)
    for t in range(0, 30 * HOUR, 15):
        heard = t % HOUR < 3000 and t % 60 == 0
        changes += fed(engine, [record(*[fix(t, 0, 0, "v0", received_s=t)] if heard else []), tick(t)], log=log)
        if t % HOUR == 0:
            engine.forget(1800 * SECOND)
            del log[:-2000]
    assert len(told(changes)) == 30
    assert max(len(held) for held in engine.told.values()) <= 14  # of two horizons
    assert all(len(held) <= 14 for layer in engine.layers for held in layer.told.values())


def test_a_vehicle_that_a_later_plan_has_in_another_cell_is_not_silent_in_the_old_one() -> None:
    params = {"expected_within_us": 100e6, "reemerge_within_us": 600e6, "coverage_margin_m": 100.0}
    here = plan(vehicles=FLEET[:1], rules={"device.silent": setting("device.silent", **params)}, content="here")
    elsewhere = next(name for name in map(str, range(99)) if name not in topics.Cells(topics.partition_of("c", 2), 2))
    moved = replace(here.vehicles["v0"], cell=elsewhere, cells_served=(elsewhere,))
    there = replace(here, vehicles={"v0": moved}, cells=("c", elsewhere), hash="there")
    engine = Timed(here, HORIZON_US, cells=topics.Cells(topics.partition_of("c", 2), 2))
    records = [record(order("plan", 500, 50, hash="there"))]
    records += [one for t in range(0, 500, 10) for one in (record(fix(t, 0, 0, "v0", received_s=t)), tick(t))]
    assert told(fed(engine, [*records, *(tick(t) for t in range(500, 3000, 5))], {"there": there})) == []

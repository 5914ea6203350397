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
    """Whoever heard the sensor ticks no more: that it was clear for long enough is only known when another hears it."""
    of = world([sensor("smoke", "smoke")])
    heard = [Said(5, "smoke", "smoke", False), Said(10, "smoke", "smoke", True), Said(95, "smoke", "smoke", False)]
    records = [*(tick(t, "old") for t in range(0, 105, 5)), *(record(s.observation(), source="old") for s in heard)]
    records += [tick(t, "new") for t in range(105, 8 * HOUR, 30)]
    later = [record(Said(8 * HOUR, "smoke", "smoke", False).observation(), source="new"), tick(8 * HOUR + 5, "new")]
    for horizon_us in (None, HORIZON_US):
        engine = Engine(of, horizon_us)
        changes = fed(engine, [*records, *later])
        assert told(changes) == [("sensor.alarm", 10.0, 125.0)]
        # and it stays so when what is told of it is given up as well
        assert fed(engine, (tick(t, "new") for t in range(8 * HOUR + 10, 16 * HOUR, 30))) == []


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

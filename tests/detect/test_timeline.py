"""The plan as a timeline: each fix is judged by what was in force when it was seen, whenever the order for it came in."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import NeedHistoryError
from pipeline.detect.timed import Timed
from pipeline.model.episode import Change, Episode, Ledger
from pipeline.model.observation import Fix, Order, Other, Press, Tick
from pipeline.model.times import format_us
from pipeline.model.wire import BatchBuilder, ObservationBatch
from pipeline.plan.model import Convoy, Movement, RuleSetting
from pipeline.plan.timeline import Timeline, UnknownPlanError
from tests.detect.oracle import Oracle
from tests.detect.plans import RULES, SECOND, T0, area, fix, plan, rows, setting, square, watch
from tests.detect.restarts import BESIDE, taken_over
from tests.detect.test_law import day
from tests.detect.test_oracle import agree, drive, fixes_of
from tests.detect.test_sensors import Said, sensor, world

FLEET = ("v1", "v2", "v3")
LAKE = area("lake", square(900, 250, 160), watch("area.forbidden"), watch("area.left", dwell_s=0))
CAMP = area("camp", square(2000, 0, 250), watch("area.entered", dwell_s=20), watch("area.required"))
BASE = plan([LAKE, CAMP], line=[(0, 0), (2500, 0)], vehicles=FLEET, devices=2, content="base")
DRY = replace(BASE, areas=(CAMP,), hash="dry")
QUIET = replace(
    BASE,
    hash="quiet",
    regions={"r": replace(BASE.regions["r"], rules={k: v for k, v in RULES.items() if k != "stop.unscheduled"})},
)
WIDER = plan(
    [area("lake", square(900, 250, 300), watch("area.forbidden")), CAMP], line=[(0, 0), (2500, 0)], vehicles=FLEET,
    devices=2, half_m=250, exit_m=200, content="wider",
)  # fmt: skip
FEWER = plan([LAKE, CAMP], line=[(0, 0), (2500, 0)], vehicles=("v1", "v3"), devices=2, content="fewer")
PLANS = {p.hash: p for p in (BASE, DRY, QUIET, WIDER, FEWER)}


def order(what: str, at_s: float, received_s: float | None = None, **fields: Any) -> Order:
    at = T0 + round(at_s * SECOND)
    fields = {key.rstrip("_"): value for key, value in fields.items()}
    return Order(
        what=what, effective_from_us=at, seen_at_us=at, received_at_us=at if received_s is None else T0 + round(received_s * SECOND),
        plan_hash=fields.get("hash", ""), fields=fields, body=zlib.crc32(repr(fields).encode()),
    )  # fmt: skip


def tick(at_s: float) -> Tick:
    return Tick(source="", at_us=T0 + round(at_s * SECOND))


MOVED = (
    order("cancel", 200, movement="m1"),
    order("create", 300, movement={"id": "m2", "name": "x", "vehicles": ["v1", "v2"], "route": "n1", "always": True}),
    order("swap", 400.5, movement="m2", out="v1", in_="v3"),
    order("divert", 500, movement="m2", route="n1", from_km=0.5, to_km=2.0),
)
SWITCHED = (
    order("plan", 150, hash="dry"),
    order("plan", 320, hash="wider"),
    order("cancel", 450, movement="m1"),
    order("plan", 600, hash="quiet"),
)


def records(what: Sequence[Fix | Other], size: int) -> list[ObservationBatch]:
    out = []
    for start in range(0, len(what), size):
        builder = BatchBuilder("c")
        builder.extend(what[start : start + size])
        out.append(builder.build())
    return out


def instant(o: Fix | Other) -> int:
    if isinstance(o, Order):
        return o.received_at_us
    return o.at_us if isinstance(o, Tick) else o.seen_at_us


def told(what: Sequence[Fix | Other], size: int = 1000, base: Any = BASE) -> Ledger:
    engine, ledger, fed = Timed(base), Ledger(), list[ObservationBatch]()
    for record in records(what, size):
        try:
            changes = engine.feed(record, PLANS)
        except NeedHistoryError as need:
            engine.load_history(fed, need.from_us)
            changes = engine.feed(record, PLANS)
        ledger.apply(changes)
        fed.append(record)
    return ledger


def lines(what: Sequence[Fix | Other], size: int = 1000) -> list[str]:
    return told(what, size).lines().decode().splitlines()


# ---- the law


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 1 << 30), st.sampled_from([1, 7, 60, 1000]), st.sampled_from([MOVED, SWITCHED, MOVED + SWITCHED[:1]])
)
# orders that are refused leave one version, and what it told is amended then
@example(seed=124, size=1, orders=MOVED)
@example(seed=60, size=60, orders=MOVED)
def test_the_order_in_which_orders_and_fixes_come_changes_nothing(
    seed: int, size: int, orders: tuple[Order, ...]
) -> None:
    what = sorted([*day(seed % 7, 150), *orders], key=instant)
    whole = lines(what)
    dice = random.Random(seed)
    mixed = [*what, *dice.choices(what, k=20)]
    dice.shuffle(mixed)
    assert lines(mixed, size) == whole
    assert lines([*(o for o in what if not isinstance(o, Order)), *orders[::-1]], size) == whole


WITHOUT = (
    order("plan", 100, hash="fewer"),
    order("plan", 250, hash="wider"),
    order("plan", 400, hash="fewer"),
    order("plan", 520, hash="base"),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30), st.sampled_from([1, 7, 60, 1000]), st.integers(0, 3))
def test_a_vehicle_that_a_plan_forgets_is_judged_again_when_that_is_put_right(seed: int, size: int, wrong: int) -> None:
    """One of the plans without it may also be replaced by another of the very same instant."""
    dice = random.Random(seed)
    right = order("plan", (WITHOUT[wrong].effective_from_us - T0) / SECOND, 700, hash="base")
    what = sorted(
        [*day(seed % 7, 150), *WITHOUT, msgspec.structs.replace(right, seen_at_us=right.received_at_us)], key=instant
    )
    whole = lines(what)
    assert any('"subject":"v2"' in line for line in whole)
    mixed = [*what, *dice.choices(what, k=20)]
    dice.shuffle(mixed)
    assert lines(mixed, size) == whole
    orders = [o for o in what if isinstance(o, Order)]
    assert lines([*orders, *(o for o in what if not isinstance(o, Order))], size) == whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drive, st.lists(st.tuples(st.integers(1, 900), st.sampled_from(["base", "dry", "quiet", "wider"])), max_size=4))
def test_each_fix_is_judged_by_the_plan_of_its_instant(drawn: Any, switches: list[tuple[int, str]]) -> None:
    fixes = fixes_of(*drawn)
    orders = [order("plan", at, received_s=0, hash=name) for at, name in sorted(dict(switches).items())]
    timeline = Timeline(BASE).with_orders(orders, PLANS)
    expected = Oracle(BASE, later=[(v.from_us, v.plan) for v in timeline.versions[1:]]).run(fixes)
    for what in (
        [*orders, *fixes],
        [*fixes, *orders],
        sorted([*fixes, *orders], key=lambda o: getattr(o, "effective_from_us", o.seen_at_us)),
    ):
        ledger = told(what, 7)
        ours = sorted((e.rule, e.object, e.began_at_us, e.ended_at_us, e.severity) for e in ledger.sorted())
        assert agree(ours, expected)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30))
def test_restarts_from_any_checkpoint_change_nothing(seed: int) -> None:
    dice = random.Random(seed)
    orders = dice.choice([MOVED, SWITCHED, MOVED + SWITCHED[:1], WITHOUT])
    fixes = day(seed % 5, 150)
    late = sorted([*fixes, *orders], key=lambda o: instant(o) + dice.choice([0, 0, 0, 5, 90]) * SECOND)
    ledger, _ = restarted(records(late, dice.choice([1, 7, 40])), seed)
    assert ledger.lines() == told(late).lines()


def restarted(batches: Sequence[ObservationBatch], seed: int, base: Any = BASE) -> tuple[Ledger, int]:
    dice = random.Random(seed)
    engine, recovery, folded, topic = Timed(base, 6 * 3600 * SECOND), Recovery(0), Ledger(), dict[bytes, bytes]()
    epoch, restarts = 1, 0
    former, until = engine, 0

    def fed(engine: Timed, at: int) -> list[Change]:
        while True:
            try:
                return engine.feed(batches[at - 1], PLANS)
            except NeedHistoryError as need:
                engine.load_history(batches[: at - 1], need.from_us)

    for at in range(1, len(batches) + 1):
        changes = fed(engine, at)
        if at <= until:
            assert fed(former, at) == changes, "a replay did not repeat itself"
        folded.apply(changes)
        if dice.random() < 0.1:
            written = recovery.checkpoint(engine, at, epoch)
            topic.update([*written.blocks, written.manifest])
            if dice.random() < 0.6:
                former, until = engine, at + BESIDE
                recovery, engine, epoch = Recovery(0), Timed(base, 6 * 3600 * SECOND), epoch + 1
                for key, value in topic.items():
                    recovery.see(key, value)
                assert recovery.restore(engine, epoch, PLANS) == at
                restarts += 1
    return folded, restarts


def test_what_was_received_last_is_known_to_every_version() -> None:
    """A checkpoint says one time for all of them: what is told by it would be told otherwise after a restart."""
    engine = Timed(BASE, 6 * 3600 * SECOND)
    for record in records([fix(10, 0, 0), SWITCHED[0], tick(200), fix(220, 300, 0)], 1):
        engine.feed(record, PLANS)
    late = msgspec.structs.replace(fix(20, 30, 0), received_at_us=T0 + 400 * SECOND)
    engine.feed(records([late], 1)[0], PLANS)
    assert len(engine.live) == 2
    assert [s.received_us for s in engine.live] == [T0 + 400 * SECOND] * 2
    engine.feed(records([order("plan", 300, 410, hash="wider")], 1)[0], PLANS)
    engine.feed(records([tick(420)], 1)[0], PLANS)
    assert [s.received_us for s in engine.live] == [T0 + 400 * SECOND] * 3


# ---- what people care for


def lake_and_stop(until_s: int = 400) -> list[Fix]:
    """Into the lake at once, and standing there."""
    return [fix(0, 300, 0), fix(20, 500, 0), *(fix(t, 900, 250, speed=0.0) for t in range(40, until_s, 10))]


def test_an_edit_that_does_not_concern_it_leaves_an_episode_alone() -> None:
    before = rows(told(lake_and_stop()))
    assert (
        rows(told([*lake_and_stop(200), order("plan", 200, hash="quiet"), *lake_and_stop()[len(lake_and_stop(200)) :]]))
        != before
    )
    lake = [r for r in before if r[0] == "area.forbidden"]
    after = told([*lake_and_stop(200), order("plan", 200, hash="quiet"), *lake_and_stop()[len(lake_and_stop(200)) :]])
    assert [r for r in rows(after) if r[0] == "area.forbidden"] == lake
    (stop,) = [e for e in after.sorted() if e.rule == "stop.unscheduled"]
    assert stop.ended_at_us == T0 + 200 * SECOND
    assert stop.evidence["ended_by"] == "PLAN_REMOVED"


def test_what_the_plan_no_longer_has_ends_when_time_says_so_and_nothing_else_is_heard() -> None:
    engine, ledger = Timed(BASE), Ledger()
    switch = order("plan", 600, received_s=390, hash="dry")  # given before it is in force
    for record in records([*lake_and_stop(), switch, tick(599)], 1):
        ledger.apply(engine.feed(record, PLANS))
    assert [r[4] for r in rows(ledger) if r[0] == "area.forbidden"] == [None]
    ledger.apply(engine.feed(records([tick(600)], 1)[0], PLANS))
    assert [r[4] for r in rows(ledger) if r[0] == "area.forbidden"] == [600.0]
    ledger.apply(engine.feed(records([fix(590, 0, 0)], 1)[0], PLANS))  # it had left before: it only came late
    assert [r[4] for r in rows(ledger) if r[0] == "area.forbidden"] == [590.0]


def test_a_rule_that_goes_live_tells_what_is_open() -> None:
    shadow = replace(setting("stop.unscheduled", radius_m=50.0, min_duration_us=60e6), mode="shadow")
    region = replace(BASE.regions["r"], rules={**RULES, "stop.unscheduled": shadow})
    quiet = replace(BASE, regions={"r": region}, hash="shadow")
    engine = Timed(quiet)
    first = engine.feed(records(lake_and_stop(200), 100)[0], PLANS)
    assert [(c.kind, c.mode) for c in first if c.episode.rule == "stop.unscheduled"] == [("begin", "shadow")]
    second = engine.feed(records([order("plan", 200, hash="base")], 1)[0], PLANS)
    assert [(c.kind, c.mode) for c in second if c.episode.rule == "stop.unscheduled"] == [("amend", "live")]


def test_a_plan_that_is_not_at_hand_is_asked_for_and_nothing_has_changed() -> None:
    engine = Timed(BASE)
    record = records([*lake_and_stop(), order("plan", 200, hash="dry")], 1000)[0]
    with pytest.raises(UnknownPlanError) as asked:
        engine.feed(record, {})
    assert asked.value.plan_hash == "dry"
    ledger = Ledger()
    ledger.apply(engine.feed(record, PLANS))
    assert ledger.lines() == told([*lake_and_stop(), order("plan", 200, hash="dry")]).lines()


def test_an_order_beyond_the_horizon_waits_for_the_day_to_be_settled() -> None:
    engine = Timed(BASE, horizon_us=3600 * SECOND)
    engine.feed(records([*lake_and_stop(), order("plan", 0, received_s=3601, hash="dry")], 1000)[0], PLANS)
    assert engine.simple and engine.counts["orders_beyond_horizon"] == 1
    engine.feed(records([order("plan", 0, received_s=3600, hash="dry")], 1000)[0], PLANS)
    assert not engine.simple


def test_what_began_earlier_than_was_told_is_told_under_a_later_plan_too() -> None:
    """Two doubtful Ticks, the later one first: the episode that replaces the first one's has no evidence that would tell it from it."""
    region = replace(BASE.regions["r"], rules={**RULES, "clock.suspect": setting("clock.suspect")})
    clocked = replace(BASE, regions={"r": region}, hash="clocked")
    plans = {"later": replace(clocked, areas=(CAMP,), hash="later")}
    ticks = [Tick(source="n", at_us=T0 + at * SECOND, clock_trusted=at not in (170, 200)) for at in (0, 200, 170, 400)]
    engine, ledger = Timed(clocked), Ledger()
    for record in records([ticks[0], order("plan", 50, hash="later"), *ticks[1:]], 1):
        ledger.apply(engine.feed(record, plans))
    (doubt,) = ledger.sorted()
    assert (doubt.rule, doubt.began_at_us, doubt.ended_at_us) == ("clock.suspect", T0 + 170 * SECOND, T0 + 260 * SECOND)


# ---- convoys


def convoy_world() -> Any:
    rules: dict[str, RuleSetting] = {
        "convoy.separated": setting("convoy.separated", min_duration_us=60e6, rejoin_factor=0.8, stale_after_us=120e6),
        "device.silent": setting(
            "device.silent", expected_within_us=300e6, reemerge_within_us=600e6, coverage_margin_m=100.0
        ),
    }
    members = ("e1", "c1", "e2")
    base = plan(line=((0.0, 0.0), (40_000.0, 0.0)), vehicles=(*members, "c2"), rules=rules, content="convoys")
    convoy = Convoy("k", "r", {"en": "K"}, members, ("c1",), ("e1", "e2"), 500.0)
    (moving,) = base.movements
    movement: Movement = replace(moving, vehicles=members, convoy="k")
    return replace(base, convoys={"k": convoy}, movements=(movement,))


CONVOYS = convoy_world()


def march(seed: int) -> list[Fix | Other]:
    """The last one stays behind for some minutes; another car of the same kind drives along."""
    dice = random.Random(seed)
    out: list[Fix | Other] = []
    for n, name in enumerate(("e1", "c1", "e2", "c2")):
        behind, lost = 200.0 * n, dice.uniform(200, 400)
        for t in range(n, 1500, 10):
            if name == "e2" and lost < t < lost + 300:
                behind += dice.uniform(20, 60)
            if name == "e2" and t > lost + 600 and behind > 700:
                behind -= 100
            if name == "c1" and 900 < t < 1300:
                continue
            out.append(fix(t, 15.0 * t - behind, 0.0, name, speed=15.0))
    out += [tick(t) for t in range(0, 1501, 5)]
    return sorted(out, key=instant)


DELAYED = (
    order("cancel", 500, movement="m1"),
    order(
        "create", 700, received_s=760, movement={"id": "m2", "name": "x", "convoy": "k", "route": "n1", "always": True}
    ),
    order("swap", 900, received_s=905, movement="m2", out="c1", in_="c2"),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30), st.sampled_from([3, 40, 1000]))
def test_convoys_and_silence_are_under_the_law_too(seed: int, size: int) -> None:
    what = sorted([*march(seed % 4), *DELAYED], key=instant)
    whole = told(what, base=CONVOYS)
    assert {e.rule for e in whole.sorted()} >= {"convoy.separated"}
    dice = random.Random(seed)
    late = sorted(what, key=lambda o: instant(o) + dice.choice([0, 0, 0, 20, 50]) * SECOND * (not isinstance(o, Tick)))
    assert told(late, size, base=CONVOYS).lines() == whole.lines()
    ledger, _ = restarted(records(late, size), seed, CONVOYS)
    assert ledger.lines() == whole.lines()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30), st.sampled_from([1, 3, 40, 1000]), st.sampled_from(["until", ""]))
def test_time_that_goes_on_at_one_blow_is_heard_by_every_version(seed: int, size: int, source: str) -> None:
    """After an outage, or at a recording's end: which items share a record with that Tick is no matter."""
    what = sorted([*march(seed % 4), *DELAYED], key=instant)
    what = [o for o in what if not (isinstance(o, Tick) and o.at_us > T0 + 350 * SECOND)]
    what = [o for o in what if not (isinstance(o, Fix) and o.vehicle == "c2" and o.seen_at_us > T0 + 60 * SECOND)]
    what.append(Tick(source=source, at_us=T0 + 3 * 3600 * SECOND))
    whole = told(what, base=CONVOYS)
    silent = [e.began_at_us - T0 for e in whole.sorted() if e.rule == "device.silent" and e.subject == "c2-d0"]
    # nobody listened in between, or somebody says that all of it was listened to
    assert silent == ([353 * SECOND] if source == "until" else [])
    assert told(what, size, base=CONVOYS).lines() == whole.lines()
    mixed = random.Random(seed).sample(what, len(what))
    assert told(mixed, size, base=CONVOYS).lines() == whole.lines()
    ledger, _ = restarted(records(what, size), seed, CONVOYS)
    assert ledger.lines() == whole.lines()


def test_a_gap_ends_with_the_order_that_ends_the_movement() -> None:
    def gaps(*orders: Order) -> list[Episode]:
        ledger = told(sorted([*march(1), *orders], key=instant), base=CONVOYS)
        return [e for e in ledger.sorted() if e.rule == "convoy.separated"]

    (whole, *_) = gaps()
    middle = (whole.began_at_us - T0) / SECOND + 100
    (cut, *_) = gaps(order("cancel", middle, movement="m1"))
    assert (cut.id, cut.ended_at_us) == (whole.id, T0 + round(middle * SECOND))
    assert cut.evidence["ended_by"] == "PLAN_REMOVED"
    other = order("create", 0, movement={"id": "m9", "name": "x", "vehicles": ["c2"], "route": "n1", "always": True})
    assert gaps(replace_at(other, middle)) == gaps(), "an order for somebody else is none of its business"


def replace_at(of: Order, at_s: float) -> Order:
    return order(of.what, at_s, **of.fields)


def test_changes_are_told_once() -> None:
    """What is published is the difference: nothing begins twice, nothing ends that did not begin."""
    engine, seen = Timed(BASE), list[Change]()
    for record in records(sorted([*day(3, 150), *SWITCHED], key=instant), 5):
        seen += engine.feed(record, PLANS)
    begun = [c.episode.id for c in seen if c.kind == "begin"]
    assert len(begun) == len(set(begun))
    assert {c.episode.id for c in seen if c.kind == "end"} <= {*begun, *itertools.chain(*(c.was_ids for c in seen))} | {
        c.episode.id for c in seen if c.kind == "amend"
    }


# ---- sensors


def guard(what: Sequence[Fix | Other], plans: dict[str, Any], size: int = 1000) -> Ledger:
    engine, ledger = Timed(plans["base"]), Ledger()
    for record in records(what, size):
        ledger.apply(engine.feed(record, plans))
    return ledger


def test_a_sensor_that_the_plan_drops_ends_what_it_told_and_the_others_go_on() -> None:
    smoke, other = sensor("smoke", "smoke"), sensor("attic", "smoke", site="t")
    both, one = world([smoke, other]), world([other])
    plans = {"base": replace(both, hash="base"), "one": replace(one, hash="one")}
    what = [
        Said(10, "smoke", "smoke", True).observation(),
        Said(20, "attic", "smoke", True).observation(),
        *(tick(t) for t in range(5, 400, 5)),
        order("plan", 100, received_s=101, hash="one"),
    ]
    expected = [("sensor.alarm", "attic", "smoke", 20.0, 220.0), ("sensor.alarm", "smoke", "smoke", 10.0, 100.0)]
    for seed in range(6):
        dice = random.Random(seed)
        mixed = sorted(what, key=instant) if not seed else dice.sample(what, len(what))
        ledger = guard(mixed, plans, dice.choice([1, 10, 1000]))
        assert sorted(rows(ledger)) == expected
        (ended,) = [e for e in ledger.sorted() if e.subject == "smoke"]
        assert ended.evidence["ended_by"] == "PLAN_REMOVED"


# ---- for weeks


def long_shift(hours: int) -> list[Fix | Other]:
    """One goes in and out of the lake, one stands in it all the time, one is silent from the second hour on; an order every hour."""
    out: list[Fix | Other] = []
    for t in range(0, hours * 3600, 60):
        x, y = (900.0, 250.0) if t // 1200 % 2 else (400.0, 0.0)
        out += [fix(t, x, y, "v1"), fix(t + 1, 900, 250, "v2", speed=0.0)]
        if t < 3600:
            out.append(fix(t + 2, 900, 250, "v3", speed=0.0))
    out += [tick(t) for t in range(0, hours * 3600, 30)]
    for n in range(1, hours):
        what = order("cancel", 3600 * n, movement="m1") if n % 2 else order(
            "create", 3600 * n, movement={"id": "m1", "name": "x", "vehicles": list(FLEET), "route": "n1", "always": True}
        )  # fmt: skip
        out.append(what)
    return sorted(out, key=instant)


@pytest.mark.parametrize("again", [0.0, 0.3])
def test_versions_that_are_over_are_let_go_and_nobody_notices(again: float) -> None:
    what = long_shift(9)
    expected = told(what).lines()
    engine, ledger, recovery, topic, epoch = Timed(BASE, 1800 * SECOND), Ledger(), Recovery(0), dict[bytes, Any](), 1
    dice, most = random.Random(4), 0
    batches = records(what, 20)
    for at, record in enumerate(batches, 1):
        try:
            ledger.apply(engine.feed(record, PLANS))
        except NeedHistoryError as need:
            engine.load_history(batches[: at - 1], need.from_us)
            ledger.apply(engine.feed(record, PLANS))
        if at % 5 == 0:
            engine.forget(600 * SECOND)
            written = recovery.checkpoint(engine, at, epoch)
            topic.update([*written.blocks, written.manifest])
            if dice.random() < again:
                recovery, engine, epoch = Recovery(0), Timed(BASE, 1800 * SECOND), epoch + 1
                for key, value in topic.items():
                    recovery.see(key, value)
                assert recovery.restore(engine, epoch, PLANS) == at
        most = max(most, len(engine.live))
    assert ledger.lines() == expected
    assert most <= 5, "versions that are over stay in memory"


def test_who_was_only_named_in_a_version_still_comes_into_it_after_a_restart() -> None:
    """A record with fixes of two vehicles on either side of a switch names both in each version's engine."""
    bare = replace(BASE, areas=(), hash="bare")  # nothing is open that would take it along
    standing = [fix(t, 900, 0, speed=0.0) for t in range(40, 70, 10)]
    switch = order("plan", 72, hash="dry")
    other = fix(80, 300, 0, vehicle="v2")
    later = [fix(t, 900, 0, speed=0.0) for t in range(80, 400, 10)]
    first, rest = [*records([switch], 1), *records([*standing, other], 40)], records(later, 40)
    whole = Timed(bare, 6 * 3600 * SECOND)
    ledger, again, written = Ledger(), Ledger(), Recovery(0)
    for record in first:
        changes = whole.feed(record, PLANS)
        ledger.apply(changes)
        again.apply(changes)
    checkpoint = written.checkpoint(whole, len(first), 1)
    recovery, restored = Recovery(0), Timed(bare, 6 * 3600 * SECOND)
    for key, value in (*checkpoint.blocks, checkpoint.manifest):
        recovery.see(key, value)
    recovery.restore(restored, 2, PLANS)
    for record in rest:
        ledger.apply(whole.feed(record, PLANS))
        while True:
            try:
                again.apply(restored.feed(record, PLANS))
                break
            except NeedHistoryError as need:
                restored.load_history(first, need.from_us)
    assert ledger.lines() == again.lines()
    assert "stop.unscheduled" in {e.rule for e in again.sorted()}


def test_history_that_is_missing_halfway_costs_no_press_and_no_change() -> None:
    """Nobody had been in the second version, and the third has to be read back for what comes late into it: the record is fed twice."""
    camp = area("camp", square(0, 0, 250), watch("area.entered", dwell_s=10))
    versions = [plan([camp], rules={}, vehicles=FLEET[:2], content=name) for name in ("one", "two", "three")]
    plans = {p.hash: p for p in versions}

    def ticks(*at_s: float) -> list[ObservationBatch]:
        return records([tick(t) for t in at_s], 1)

    first = [
        *records([fix(t, 5000, 0, seq=t) for t in range(0, 90, 5)], 100),
        *records([order("plan", 100, 90, hash="two"), order("plan", 200, 91, hash="three")], 1),
        *ticks(95, 105, 150, 205),
        *records([fix(t, 0, 0, "v2", seq=t) for t in range(205, 300, 5)], 100),
        *ticks(300),
    ]
    at_us = T0 + 150 * SECOND
    press = Press(subject="v2", what="sos", seen_at_us=at_us, received_at_us=T0 + 305 * SECOND, device="v2-d0")
    late: list[Fix | Other] = [fix(t, 0, 0, "v2", seq=t, received_s=305) for t in range(130, 170, 5)]
    rest = [*records([*late, press], 100), *records([fix(320, 5000, 0, "v2", seq=320), tick(330)], 100)]
    ledgers = []
    for restarts in (False, True):
        engine, ledger = Timed(versions[0], 6 * 3600 * SECOND), Ledger()
        for record in first:
            ledger.apply(engine.feed(record, plans))
        if restarts:
            before, engine = engine, Timed(versions[0], 6 * 3600 * SECOND)
            taken_over(before, engine, len(first), plans)
        for record in rest:
            while True:
                try:
                    ledger.apply(engine.feed(record, plans))
                    break
                except NeedHistoryError as need:
                    assert restarts
                    engine.load_history(first, need.from_us)
        ledgers.append(ledger)
    assert [e.rule for e in ledgers[0].sorted()] == ["area.entered", "sos.pressed"]
    assert ledgers[0].lines() == ledgers[1].lines()


def test_presses_are_told_with_the_second_try_when_the_first_found_history_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Timed(BASE, 6 * 3600 * SECOND)
    engine.feed(*records([order("plan", 150, 0, hash="dry"), tick(160)], 2), PLANS)
    press = Press(subject="v1", what="sos", seen_at_us=T0 + 170 * SECOND, received_at_us=T0 + 170 * SECOND, device="d")
    whole, tries = engine._pass_time, list[int]()

    def missing() -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise NeedHistoryError(T0)
        return whole()

    monkeypatch.setattr(engine, "_pass_time", missing)
    (record,) = records([fix(170, 2000, 0, seq=1), fix(200, 2000, 0, seq=2), press], 3)
    with pytest.raises(NeedHistoryError):
        engine.feed(record, PLANS)
    assert {c.episode.rule for c in engine.feed(record, PLANS)} == {"sos.pressed", "area.entered"}


def test_an_order_that_is_refused_is_nobodys_news() -> None:
    engine = Timed(BASE, 6 * 3600 * SECOND)
    for record in records(day(1, 100), 20):
        engine.feed(record, PLANS)
    assert engine.feed(*records([order("cancel", 50, 500, movement="nobody")], 1), PLANS) == []
    assert len(engine.timeline.refused) == 1


def test_a_vehicle_may_have_been_on_any_number_of_movements() -> None:
    """One a day, by orders, for longer than a machine word has bits."""
    base = replace(
        plan([], line=[(0, 0), (4000, 0)], rules={"route.deviation": RULES["route.deviation"]}), movements=()
    )
    engine, ledger = Timed(base, 6 * 3600 * SECOND), Ledger()
    for k in range(70):
        at = k * 86_400
        movement = {
            "id": f"m{k}",
            "name": "x",
            "vehicles": ["v1"],
            "route": "n1",
            "starts": format_us(T0 + at * SECOND),
        }
        movement["ends"] = format_us(T0 + (at + 3600) * SECOND)
        made = order("create", at, movement=movement)
        driven = [fix(at + t, 10 * t, 0 if t < 30 or t >= 200 else 600, seq=t) for t in range(0, 300, 10)]
        for record in records([made, tick(at), *driven], 40):
            ledger.apply(engine.feed(record))
        engine.forget(1800 * SECOND)
    found = [(e.evidence["movement"], (e.began_at_us - T0) // SECOND % 86_400) for e in ledger.sorted()]
    assert found == [(f"m{k}", 30) for k in range(70)]

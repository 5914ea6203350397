"""The law: the ledger is a function of the fixes and the plan. Order, batch sizes, duplicates, restarts and lost memory change nothing."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import Engine, NeedHistoryError
from pipeline.detect.tables import build_tables
from pipeline.model.episode import Change, Ledger
from pipeline.model.observation import Fix, Press
from pipeline.model.wire import BatchBuilder, ObservationBatch
from pipeline.plan.model import names_of
from tests.detect.plans import SECOND, T0, area, feed, fix, plan, square, watch
from tests.detect.restarts import taken_over

FLEET = ("v1", "v2", "v3")
PLAN = plan(
    [
        area("lake", square(900, 250, 160), watch("area.forbidden"), watch("area.left", dwell_s=0)),
        area("camp", square(2000, 0, 250), watch("area.entered", dwell_s=20), watch("area.required")),
    ],
    line=[(0, 0), (2500, 0)],
    vehicles=FLEET,
    devices=2,
)
TABLES = build_tables(PLAN)
HORIZON_US = 6 * 3600 * SECOND


def day(seed: int, n: int = 400) -> list[Fix]:
    """Three vehicles wander between road, lake and camp; some fixes are said by a second device."""
    rng = np.random.default_rng(seed)
    out = []
    for number, vehicle in enumerate(FLEET):
        x, y = 0.0, 0.0
        aim = np.array([2000.0, 0.0])
        for k in range(n):
            if rng.random() < 0.05:
                aim = np.array([(900, 250), (2000, 0), (400, 0), (1200, 600)][rng.integers(4)], float)
            if rng.random() < 0.7:
                step = aim - (x, y)
                x, y = np.array([x, y]) + step * min(1.0, 60.0 / max(1.0, float(np.hypot(*step))))
            noise = rng.normal(0, 6, 2)
            out.append(
                fix(
                    k * 5 + number, x + noise[0], y + noise[1], vehicle=vehicle, seq=k, body=int(rng.integers(1, 1 << 60)),
                    device=int(rng.random() < 0.1), speed=float(rng.choice([0.0, 8.0])), accuracy=6.0,
                )
            )  # fmt: skip
    out.sort(key=lambda f: (f.seen_at_us, f.vehicle))
    return out


def lines(fixes: list[Fix], batch: int = 1000) -> bytes:
    return feed(Engine(PLAN, tables=TABLES), fixes, batch).lines()


@pytest.mark.parametrize("batch", [1, 3, 50, 5000])
def test_batch_sizes_change_nothing(batch: int) -> None:
    fixes = day(1)
    whole = lines(fixes)
    assert whole.count(b"\n") > 10
    assert lines(fixes, batch) == whole


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30), st.integers(1, 200))
def test_neither_order_nor_repetition_changes_a_byte(seed: int, batch: int) -> None:
    fixes = day(seed % 5, 150)
    dice = random.Random(seed)
    mixed = [*fixes, *dice.choices(fixes, k=len(fixes) // 5)]
    dice.shuffle(mixed)
    assert lines(mixed, batch) == lines(fixes)


def test_of_two_bodies_the_smaller_counts_whichever_came_first() -> None:
    """Same device, instant and number, but another place: one of them lies, and all of us must believe the same one."""
    fixes = day(2, 120)
    liar = fixes[60]
    x = fix(0, 5000, 5000).lat
    other = Fix(**{**{n: getattr(liar, n) for n in liar.__struct_fields__}, "lat": x, "body": liar.body - 1})
    first = Engine(PLAN, tables=TABLES)
    one = feed(first, [*fixes[:60], other, *fixes[60:]]).lines()
    second = Engine(PLAN, tables=TABLES)
    two = feed(second, [*fixes, other], 10).lines()
    assert one == two == lines([*fixes[:60], other, *fixes[61:]])
    assert first.counts["conflicts"] == second.counts["conflicts"] == 1


def test_a_lower_ranked_device_waits_for_the_higher_one_to_be_silent() -> None:
    """The phone says that it stands in the lake; the tracker knows better."""
    tracker = [fix(t, 10 * t, 0, vehicle="v1") for t in range(0, 100, 5)]
    phone = [fix(t + 1, 900, 250, vehicle="v1", device=1) for t in range(0, 300, 5)]
    both = sorted([*tracker, *phone], key=lambda f: f.seen_at_us)
    told = [e for e in feed(Engine(PLAN, tables=TABLES), both).sorted() if e.rule == "area.forbidden"]
    assert [(e.began_at_us - T0) // SECOND for e in told] == [156]  # 60 s after the tracker's last word at 95


class Log:
    """What the stage has around an engine: observations with offsets, a compacted topic of snapshots, changes in order."""

    def __init__(self, batches: list[ObservationBatch]) -> None:
        self.batches = batches
        self.snapshots: list[tuple[bytes, bytes | None]] = []
        self.changes: dict[int, list[Change]] = {}
        self.read_back = 0

    def ledger(self) -> bytes:
        ledger = Ledger()
        for offset in sorted(self.changes):
            ledger.apply(self.changes[offset])
        return ledger.lines()

    def owner(self, horizon_us: int | None, the_plan: Any = PLAN) -> Owner:
        recovery = Recovery(0)
        for key, value in self.snapshots:
            recovery.see(key, value)
        epoch = recovery.newest_epoch + 1
        self.snapshots.append(Recovery.marker(0, epoch))
        recovery.see(*self.snapshots[-1])
        tables = TABLES if the_plan is PLAN else build_tables(the_plan)
        engine = Engine(the_plan, horizon_us, tables)
        owner = Owner(self, engine, recovery, epoch, recovery.restore(engine, epoch))
        if owner.next:
            owner.checkpoint()
        return owner


class Owner:
    def __init__(self, log: Log, engine: Engine, recovery: Recovery, epoch: int, start: int) -> None:
        self.log, self.engine, self.recovery, self.epoch, self.next = log, engine, recovery, epoch, start

    def step(self) -> None:
        batch = self.log.batches[self.next]
        self.recovery.mark(int(batch.fixes.received_at_us[-1]), self.next, int(batch.fixes.seen_at_us.max()))
        try:
            changes = self.engine.feed(batch)
        except NeedHistoryError as need:
            start = self.recovery.history_from(need.from_us)
            self.log.read_back += 1
            self.engine.load_history(self.log.batches[start : self.next], need.from_us)
            changes = self.engine.feed(batch)
        before = self.log.changes.get(self.next)
        if before is not None:
            assert [c.episode for c in changes] == [c.episode for c in before], "a replay did not repeat itself"
        self.log.changes[self.next] = changes
        self.next += 1

    def checkpoint(self, torn: int | None = None) -> None:
        """`torn`: the process dies after so many of the checkpoint's records."""
        written = self.recovery.checkpoint(self.engine, self.next, self.epoch)
        records = [*written.blocks, written.manifest, *((key, None) for key in written.tombstones)]
        self.log.snapshots += records[:torn]


def late(fixes: list[Fix], seed: int) -> list[Fix]:
    """Some come minutes late, some twice; received_at never runs backwards."""
    dice = random.Random(seed)
    coming = []
    for f in fixes:
        delay = dice.choice([1, 1, 1, 1, 2, 30, 400]) * SECOND
        coming.append((f.seen_at_us + delay, f))
        if dice.random() < 0.1:
            coming.append((f.seen_at_us + delay + dice.randrange(600) * SECOND, f))
    coming.sort(key=lambda c: c[0])
    return [Fix(**{**{n: getattr(f, n) for n in f.__struct_fields__}, "received_at_us": at}) for at, f in coming]


def records(fixes: list[Fix], size: int) -> list[ObservationBatch]:
    out = []
    for start in range(0, len(fixes), size):
        builder = BatchBuilder("c")
        builder.extend(fixes[start : start + size])
        out.append(builder.build())
    return out


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30))
def test_dying_at_any_time_changes_nothing(seed: int) -> None:
    """Killed between records and within checkpoints, with late fixes and a memory of only some minutes."""
    dice = random.Random(seed)
    fixes = late(day(seed % 4, 150), seed)
    log = Log(records(fixes, dice.choice([1, 5, 40])))
    owner = log.owner(HORIZON_US)
    while owner.next < len(log.batches):
        owner.step()
        roll = dice.random()
        if roll < 0.15:
            owner.checkpoint()
        elif roll < 0.18:
            owner.checkpoint(torn=dice.randrange(4))
            owner = log.owner(HORIZON_US)
        elif roll < 0.21:
            owner = log.owner(HORIZON_US)
        elif roll < 0.3:
            owner.engine.forget(120 * SECOND)
    assert log.ledger() == lines(fixes)


def test_history_is_read_back_when_it_is_needed() -> None:
    """A restart forgets the past; a fix that is minutes late brings it back, and only that does."""
    fixes = day(3, 200)
    straggler = fixes.pop(100)
    ordered = [
        *fixes,
        Fix(
            **{
                **{n: getattr(straggler, n) for n in straggler.__struct_fields__},
                "received_at_us": fixes[-1].seen_at_us,
            }
        ),
    ]
    log = Log(records(ordered, 7))
    owner = log.owner(HORIZON_US)
    for _ in range(60):
        owner.step()
    owner.checkpoint()
    owner = log.owner(HORIZON_US)
    assert owner.next == 60
    while owner.next < len(log.batches):
        owner.step()
    assert log.read_back == 1
    assert log.ledger() == lines(ordered)


def test_what_a_zombie_writes_does_not_count() -> None:
    """The old owner goes on after the new one's marker: its checkpoints are void."""
    fixes = day(1, 100)
    log = Log(records(fixes, 10))
    old = log.owner(HORIZON_US)
    for _ in range(10):
        old.step()
    old.checkpoint()
    new = log.owner(HORIZON_US)
    for _ in range(10):
        old.step()
    old.checkpoint()
    assert new.next == 10
    third = log.owner(HORIZON_US)
    assert third.next == 10


def test_blocks_that_nobody_lists_are_given_up() -> None:
    """However long it runs, the topic holds about one state, compacted."""
    fixes = day(1, 200)
    log = Log(records(fixes, 2))
    owner = log.owner(HORIZON_US)
    while owner.next < len(log.batches):
        owner.step()
        owner.checkpoint()
    kept = dict(log.snapshots)
    alive = [value for value in kept.values() if value is not None]
    whole = sum(len(b.state) + len(b.base or b"") for b in _entries(owner))
    assert sum(map(len, alive)) < 20 * whole
    assert len(alive) < 60


def _entries(owner: Owner) -> Any:
    from pipeline.detect.checkpoint import _entry

    return [_entry(owner.engine, slot) for slot in range(owner.engine.vehicles.count)]


def test_a_state_is_read_under_another_plan_by_name() -> None:
    """An area more, and in another place of the list: what was open stays open and ends once."""
    inside = [fix(t, 900, 250) for t in range(0, 60, 5)]
    outside = [fix(t, 900, 900) for t in range(60, 120, 5)]
    log = Log(records([*inside, *outside], 3))
    owner = log.owner(HORIZON_US)
    for _ in range(4):
        owner.step()
    owner.checkpoint()
    other = plan(
        [area("aaa", square(-3000, 0, 100), watch("area.forbidden")), *reversed(PLAN.areas)],
        line=[(0, 0), (2500, 0)], vehicles=FLEET, devices=2, content="another",
    )  # fmt: skip
    owner = log.owner(HORIZON_US, other)
    assert owner.next == 4
    while owner.next < len(log.batches):
        owner.step()
    assert log.ledger() == lines([*inside, *outside])


def test_a_press_is_told_once() -> None:
    """Sent again and again by an anxious thumb and a bad network: the same press is one episode, another press another."""

    def press(at_s: int) -> Press:
        return Press(subject="v1", what="sos", seen_at_us=T0 + at_s * SECOND, received_at_us=T0 + at_s * SECOND)

    engine = Engine(PLAN, tables=TABLES)
    changes = []
    for p in (press(1), press(1), press(9)):
        builder = BatchBuilder("c")
        builder.add(p)
        changes += engine.feed(builder.build())
    assert [(c.kind, c.episode.rule, c.episode.began_at_us - T0, c.mode) for c in changes] == [
        ("begin", "sos.pressed", 1 * SECOND, "live"),
        ("begin", "sos.pressed", 9 * SECOND, "live"),
    ]


@pytest.mark.parametrize("dies", [False, True])
def test_of_two_presses_in_one_second_the_smaller_counts_whichever_was_heard_first(dies: bool) -> None:
    """Of the vehicle's tracker and its phone. The first is never held back for the other: it is amended."""

    def press(device: str, lat: float) -> ObservationBatch:
        builder = BatchBuilder("c")
        builder.add(Press(subject="v1", what="sos", seen_at_us=T0, received_at_us=T0, device=device, lat=lat, lon=73.0))
        return builder.build()

    one, two = press("v1-d0", 35.0), press("v1-d1", 35.5)
    ledgers, kinds = [], []
    for order in ((one, two, one), (two, one, two)):
        engine, ledger, changes = Engine(PLAN, HORIZON_US, TABLES), Ledger(), list[Change]()
        for batch in order:
            changes += engine.feed(batch)
            if dies:
                before, engine = engine, Engine(PLAN, HORIZON_US, TABLES)
                taken_over(before, engine)
        ledger.apply(changes)
        ledgers.append(ledger.lines())
        kinds.append([(c.kind, c.revision) for c in changes])
    assert kinds == [[("begin", 1)], [("begin", 1), ("amend", 2)]]
    assert ledgers[0] == ledgers[1]
    assert b"v1-d0" in ledgers[0]


def test_a_press_is_known_however_long_ago_it_was() -> None:
    """A device that finds an old press in its memory after a restart of ours half a day later tells nothing new."""
    builder = BatchBuilder("c")
    builder.add(Press(subject="v1", what="sos", seen_at_us=T0, received_at_us=T0, device="v1-d0"))
    press = builder.build()
    engine = Engine(PLAN, HORIZON_US, TABLES)
    assert len(engine.feed(press)) == 1
    feed(engine, [fix(13 * 3600, 0, 0)])
    restored = Engine(PLAN, HORIZON_US, TABLES)
    taken_over(engine, restored)
    assert engine.feed(press) == restored.feed(press) == []


def test_places_say_the_same_as_names_and_wrong_ones_are_not_used() -> None:
    """A record with places, one whose places are of another plan, and one with places out of range."""
    world = plan([area("a", square(0, 0, 100), watch("area.entered", 0))], vehicles=("v1", "v2"))
    names = names_of(world)
    fixes = [fix(t, 400 - 40 * t, 0, vehicle) for t in range(20) for vehicle in ("v2", "v1")]
    builder = BatchBuilder("c", world.hash, "", {name: place for place, name in enumerate(names)})
    builder.extend([*fixes, fix(30, 0, 0, "nobody")])
    right = builder.build()
    assert right.places is not None
    expected = feed(Engine(world), fixes).lines()
    assert expected
    for record in (
        right,
        dataclasses.replace(right, plan_hash="another", places=right.places[::-1].copy()),
        dataclasses.replace(right, places=np.full(len(right.places), 1000, np.int32)),
        dataclasses.replace(right, places=None),
    ):
        ledger = Ledger()
        ledger.apply(Engine(world).feed(record))
        assert ledger.lines() == expected

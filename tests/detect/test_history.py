"""How far back a vehicle can be taken: keyframes by count and by time, what was let go, and where in the topic it is found again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import Engine, NeedHistoryError
from pipeline.model.episode import Change, Ledger
from pipeline.model.observation import Fix, Flag
from pipeline.model.wire import BatchBuilder, ObservationBatch
from tests.detect.plans import SECOND, T0, area, fix, plan, square, watch
from tests.detect.restarts import taken_over

HOUR = 3600
HORIZON_US = 6 * HOUR * SECOND
HOT_US = 1800 * SECOND
TOPIC_US = 48 * HOUR * SECOND
PLAN = plan([area("camp", square(0, 0, 250), watch("area.entered", dwell_s=10))], rules={})


def record(*fixes: Fix) -> ObservationBatch:
    builder = BatchBuilder("c")
    for f in fixes:
        builder.add(f)
    return builder.build()


class Owner:
    """An engine whose topic keeps two days, started again from its checkpoint before the record `dies_at`."""

    def __init__(self, batches: Sequence[ObservationBatch], forgets: bool = True, dies_at: int = -1) -> None:
        self.batches, self.forgets, self.dies_at = batches, forgets, dies_at
        self.engine, self.recovery = Engine(PLAN, HORIZON_US), Recovery(0)
        self.ledger, self.changes = Ledger(), list[Change]()
        self.asked: list[int] = []
        for offset, batch in enumerate(batches):
            self._step(offset, batch)

    def _step(self, offset: int, batch: ObservationBatch) -> None:
        if offset == self.dies_at:
            before, self.engine = self.engine, Engine(PLAN, HORIZON_US)
            self.recovery = taken_over(before, self.engine, offset, recovery=self.recovery)
        now_us = int(batch.fixes.received_at_us[-1])
        self.recovery.mark(now_us, offset, int(batch.fixes.seen_at_us.max()))
        while True:
            try:
                changes = self.engine.feed(batch)
                break
            except NeedHistoryError as need:
                self.asked.append(need.from_us)
                back = self.batches[self.recovery.history_from(need.from_us) : offset]
                there = [b for b in back if now_us - int(b.fixes.received_at_us[-1]) <= TOPIC_US]
                self.engine.load_history(there, need.from_us)
        self.ledger.apply(changes)
        self.changes += changes
        if self.forgets:
            self.engine.forget(HOT_US)

    @property
    def told(self) -> list[tuple[float, float | None]]:
        return [
            ((e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND)
            for e in self.ledger.sorted()
        ]


@pytest.mark.parametrize("dies_at", [-1, 150, 236])
def test_who_sends_seldom_is_taken_back_to_a_keyframe_and_not_to_what_the_topic_has_lost(dies_at: int) -> None:
    """Sixty hours in the camp, a fix every quarter of an hour: too few for a keyframe by count."""
    n = 60 * 4
    fixes = [fix(-HOUR, 5000, 0), *(fix(900 * k, 0, 0, speed=0.0, seq=k) for k in range(n)), fix(900 * n, 5000, 0)]
    late = fix(900 * (n - 8) + 100, 1, 0, speed=0.0, seq=n, received_s=900 * (n - 4) + 50)
    fixes.insert(next(i for i, f in enumerate(fixes) if f.received_at_us > late.received_at_us), late)
    owner = Owner([record(f) for f in fixes], dies_at=dies_at)
    assert owner.told == [(0.0, 900.0 * n)]
    assert [c.kind for c in owner.changes] == ["begin", "end"]


def test_a_keyframe_stands_before_the_oldest_fix_that_another_source_may_bring() -> None:
    """Fixes are as late as their own stamps say, and an ingest that was held up brings stamps from before ours."""
    n = 270 * 80
    whole = [fix(10 * k, 0, 0, speed=0.0, seq=k) for k in range(n)]
    stamp_s = 10 * (n - 1) - 1
    late = fix(stamp_s - 6 * HOUR, 0, 0, speed=0.0, seq=n, received_s=stamp_s)
    records = [record(*whole[k : k + 270]) for k in range(0, n, 270)]
    owner = Owner([*records, record(late), record(fix(10 * n + 20, 5000, 0))])
    assert owner.told == [(0.0, 10.0 * n + 20)]


def test_what_was_let_go_of_the_very_instant_of_a_keyframe_is_asked_for() -> None:
    """A keyframe behind a record's last fix, another fix of that same second, the last of its chunk: only the topic still has it."""
    at = 286 * 5
    first = [fix(5 * k, 5000, 0, seq=k) for k in range(286)] + [fix(at, 900, 0, seq=286)]
    second = [fix(at, 0, 0, seq=287), *(fix(at + 5 * k, 0, 0, seq=287 + k) for k in range(1, 381))]
    late = fix(at + 7, 1, 0, seq=5000, received_s=at + 5 * 380)
    out = [fix(at + 5 * 381 + 5 * k, 5000, 0, seq=6000 + k) for k in range(1, 4)]
    batches = [record(*first), record(*second), record(late), record(*out)]
    kept, gone = Owner(batches, forgets=False), Owner(batches)
    assert (kept.asked, gone.asked) == ([], [T0 + at * SECOND])
    assert kept.ledger.lines() == gone.ledger.lines()
    assert [c.kind for c in gone.changes] == ["begin", "end"]


@pytest.mark.parametrize("dies_at", [-1, 503])
def test_history_is_found_while_our_clock_is_behind(dies_at: int) -> None:
    """Two hours: what the devices say is newer than anything that we have stamped."""
    behind_s = 2 * HOUR

    def seen(t: float, x: float, received_s: float | None = None) -> Fix:
        f = fix(t, x, 0, seq=int(t), received_s=(t if received_s is None else received_s) - behind_s)
        return Fix(**{**{n: getattr(f, n) for n in f.__struct_fields__}, "flags": int(Flag.CLOCK_UNTRUSTED)})

    fixes = [seen(t, 0 if 3000 <= t < 3600 or 4000 <= t < 5600 else 5000) for t in range(0, 6000, 10)]
    fixes.insert(505, seen(3705, 4990, 5050))
    owner = Owner([record(f) for f in fixes], forgets=False, dies_at=dies_at)
    assert owner.told == [(3000.0, 3600.0), (4000.0, 5600.0)]
    assert len(owner.asked) == (dies_at >= 0)


def test_one_device_in_another_year_hides_no_history() -> None:
    recovery = Recovery(0)
    for k in range(20):
        recovery.mark(k * 600 * SECOND, k, (k * 600 + (40 * 365 * 86_400 if k == 3 else 0)) * SECOND)
    assert recovery.history_from(10_000 * SECOND) == 17

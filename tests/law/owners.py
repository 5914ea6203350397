"""Engines that are killed: what a partition's owner has around it is a topic of observations, one of snapshots and one of changes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import NeedHistoryError
from pipeline.detect.timed import Timed
from pipeline.model.episode import Change, Ledger
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan
from tests.law.ground import TABLES, the_plan, the_plans


@dataclass
class Partition:
    """`horizon_us` as the engine's; None: nothing is given up. `plans`: what a switch may name."""

    cells: frozenset[str]
    batches: Sequence[ObservationBatch]
    horizon_us: int | None
    plan: CompiledPlan = field(default_factory=the_plan)
    plans: Mapping[str, CompiledPlan] = field(default_factory=the_plans)
    snapshots: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    changes: dict[int, list[Change]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hire()

    def hire(self) -> None:
        """A new owner: reads the snapshots up to its own marker, and goes on from the newest manifest that is whole."""
        before = Recovery(0)
        for key, value in self.snapshots:
            before.see(key, value)
        self.epoch = before.newest_epoch + 1
        self.snapshots.append(Recovery.marker(0, self.epoch))
        self.recovery = Recovery(0)
        for key, value in self.snapshots:
            self.recovery.see(key, value)
        self.engine = Timed(self.plan, self.horizon_us, TABLES.get(self.plan.hash), self.cells, TABLES)
        self.next = self.recovery.restore(self.engine, self.epoch, self.plans)
        if self.next:
            self.checkpoint()

    @property
    def over(self) -> bool:
        return self.next == len(self.batches)

    def step(self) -> None:
        """One record. Raises AssertionError when it was processed before and now says something else."""
        batch = self.batches[self.next]
        if len(batch.fixes):
            self.recovery.mark(int(batch.fixes.received_at_us[-1]), self.next, int(batch.fixes.seen_at_us.max()))
        while True:
            try:
                changes = self.engine.feed(batch, self.plans)
                break
            except NeedHistoryError as need:
                start = self.recovery.history_from(need.from_us)
                self.engine.load_history(self.batches[start : self.next], need.from_us)
        before = self.changes.setdefault(self.next, changes)
        assert before == changes, "a replay did not repeat itself"
        self.next += 1

    def checkpoint(self, torn: int | None = None) -> None:
        """`torn`: only so many of its records were written."""
        written = self.recovery.checkpoint(self.engine, self.next, self.epoch)
        self.snapshots += [*written.blocks, written.manifest, *((key, None) for key in written.tombstones)][:torn]

    def kill(self, dice: random.Random) -> None:
        """Within a checkpoint, or between two."""
        if dice.random() < 0.5:
            self.checkpoint(torn=dice.randrange(6))
        self.hire()

    def wake_late(self, dice: random.Random) -> None:
        """It only slept. Meanwhile a new owner has said that it is there, and died before its first checkpoint was whole. The old one goes on and
        writes a checkpoint: what it says then counts for nothing, and nobody begins where it stood."""
        self.snapshots.append(Recovery.marker(0, self.epoch + 1))
        until = min(self.next + dice.randint(1, 20), len(self.batches))
        said, self.changes = self.changes, {}
        while self.next < until:
            self.step()
        self.changes = said
        self.checkpoint()
        self.hire()

    def fold(self, ledger: Ledger) -> None:
        for offset in sorted(self.changes):
            ledger.apply(self.changes[offset])

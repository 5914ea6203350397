"""Settling a day: all of it again, out of `raw`, by the plans that were in force then and without a horizon; what differs is published.

Whatever came later than the horizon takes part now. The owners of the partitions say nothing more about such a day: what they admit is
younger. Changes are marked `settled` and page nobody, but for a press that was never told. An episode that is open waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.plans import Plans
from agents.transport import RAW_RECORDS, make_app, read_topic
from pipeline.detect.judge import differences, overlap
from pipeline.detect.timed import Timed
from pipeline.model import topics
from pipeline.model.episode import CHANGES_VERSION, Change, ChangeBatch, Episode, decode_changes, encode_changes
from pipeline.model.wire import ObservationBatch, RawBatch, WireError, decode_raw
from pipeline.normalise.normalise import Normaliser
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings

log = logging.getLogger("rahdar.settle")

RUN_UP_US = 43_200_000_000  # what was open when the day began is known by then
NO_HORIZON_US = 100 * 366 * 86_400_000_000
PRESS = "sos.pressed"


@dataclass
class Day:
    """One partition: what was published, what should have been, and the youngest owner."""

    published: dict[str, Change] = field(default_factory=dict)
    epoch: int = 0
    engine: Timed | None = None
    rebuilt: dict[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """`changes`: by partition. `waiting`: episodes of the day that are not over."""

    changes: dict[int, list[Change]]
    epochs: dict[int, int]
    records: int
    episodes: int
    waiting: int

    def counts(self) -> dict[str, int]:
        kinds = [c.kind for mine in self.changes.values() for c in mine]
        return {kind: kinds.count(kind) for kind in ("begin", "end", "amend", "retract")}


class Settlement:
    def __init__(self, settings: Settings, plan: CompiledPlan, from_us: int, to_us: int) -> None:
        self.settings, self.plan = settings, plan
        self.from_us, self.to_us = from_us, to_us
        self.plans = Plans(settings, plan)
        self.days = {p: Day() for p in range(settings.partitions)}
        self._normalisers: dict[str, Normaliser] = {}
        self.records = 0

    async def run(self) -> Settled:
        """Raises ConnectionError, OSError."""
        await self.plans.refresh()
        for partition, day in self.days.items():
            await self._read_published(partition, day)
        for partition in self.days:
            await self._read_raw(partition)
        changes = {p: list(self._differences(day)) for p, day in self.days.items()}
        mine = [e for day in self.days.values() for e in self._of_day(day.rebuilt)]
        return Settled(
            {p: c for p, c in changes.items() if c},
            {p: day.epoch for p, day in self.days.items()},
            self.records,
            len(mine),
            sum(e.ended_at_us is None for e in mine),
        )

    async def _read_published(self, partition: int, day: Day) -> None:
        async for _, _, value in read_topic(self.settings.log_url, topics.EPISODES.name, partition):
            try:
                record = decode_changes(value or b"")
            except msgspec.MsgspecError:
                continue
            if record.epoch >= day.epoch:  # what an older owner wrote behind a younger one's is void
                day.epoch = record.epoch
                fold(day.published, record.changes)

    async def _read_raw(self, partition: int) -> None:
        async for _, _, value in read_topic(self.settings.log_url, topics.RAW.name, partition):
            try:
                record = decode_raw(value or b"")
            except WireError:
                continue  # rejected when it came by
            if not self._counts(record):
                continue
            self.records += 1
            out = (await self._normaliser(record.plan_hash)).record(record)
            for cell, batch in (*out.batches.items(), *out.copies.items()):
                where = topics.partition_of(cell, self.settings.partitions) if cell else partition
                self._feed(where, batch)

    def _counts(self, record: RawBatch) -> bool:
        """Whatever was received before the run-up is of other days; orders come from where all of them are kept."""
        newest = max([*(i.received_at_us for i in record.items), *(t.at_us for t in record.ticks)], default=0)
        return newest >= self.from_us - RUN_UP_US

    async def _normaliser(self, plan_hash: str) -> Normaliser:
        found = self._normalisers.get(plan_hash)
        if found is None:
            plan = await self.plans.plan(plan_hash) or self.plan
            found = self._normalisers[plan_hash] = Normaliser(plan, NO_HORIZON_US)
        return found

    def _feed(self, partition: int, batch: ObservationBatch) -> None:
        day = self.days[partition]
        if day.engine is None:
            cells = topics.Cells(partition, self.settings.partitions)
            day.engine = Timed(self.plans.timeline.base, None, None, cells)
            orders = list(self.plans.timeline.orders)
            day.engine.restore_orders(orders, self.plans.known, 0, 0)
        fold(day.rebuilt, day.engine.feed(batch, self.plans.known))

    # ---- what differs -------------------------------------------------------------------------------------------------------

    def _of_day(self, known: dict[str, Change]) -> list[Episode]:
        found = [c.episode for c in known.values() if self.from_us <= c.episode.began_at_us < self.to_us]
        return sorted(found, key=lambda e: (e.began_at_us, e.rule, e.subject, e.object))

    def _differences(self, day: Day) -> Iterable[Change]:
        after = {e.id: e for e in self._of_day(day.rebuilt) if e.ended_at_us is not None}
        before = {e.id: e for e in self._of_day(day.published) if e.ended_at_us is not None}
        waiting = {e.id for known in (day.rebuilt, day.published) for e in self._of_day(known) if e.ended_at_us is None}
        after = {i: e for i, e in after.items() if i not in waiting or i in day.published}
        before = {i: e for i, e in before.items() if i not in waiting}
        for kind, episode, was in differences(before, after, _replaces):
            known = day.published.get(episode.id)
            source = day.rebuilt.get(episode.id) or known
            assert source is not None
            newest = max(
                [source.revision, *(day.published[i].revision for i in (episode.id, *was) if i in day.published)]
            )
            yield msgspec.structs.replace(
                source,
                kind=kind,
                episode=episode,
                was_ids=was,
                revision=newest + 1,
                mode="live" if episode.rule == PRESS else "shadow",
                settled=True,
            )


def fold(known: dict[str, Change], changes: Iterable[Change]) -> None:
    for change in changes:
        for gone in change.was_ids:
            known.pop(gone, None)
        if change.kind == "retract":
            known.pop(change.episode.id, None)
        else:
            known[change.episode.id] = change


def _replaces(a: Episode, b: Episode) -> bool:
    return (a.rule, a.subject, a.object) == (b.rule, b.subject, b.object) and overlap(a, b)


async def publish(settings: Settings, settled: Settled) -> None:
    """As the youngest owner of each partition would. Raises ConnectionError, OSError."""
    app = make_app("rahdar-settle", settings.log_url)
    topic = app.topic(topics.EPISODES.name, partitions=settings.partitions, **RAW_RECORDS)
    await app.maybe_start_producer()
    try:
        sent: list[Any] = []
        for partition, changes in settled.changes.items():
            by_cell: dict[str, list[Change]] = {}
            for change in changes:
                by_cell.setdefault(change.cell, []).append(change)
            for cell, mine in by_cell.items():
                batch = ChangeBatch(
                    version=CHANGES_VERSION,
                    partition=partition,
                    epoch=settled.epochs[partition],
                    input_offset=-1,
                    changes=mine,
                )
                sent.append(await topic.send(key=cell.encode(), value=encode_changes(batch), partition=partition))
        for durable in sent:
            await durable
    finally:
        await app.producer.stop()


def settle_day(settings: Settings, plan: CompiledPlan, from_us: int, to_us: int, write: bool) -> Settled:
    async def run() -> Settled:
        settled = await Settlement(settings, plan, from_us, to_us).run()
        if write and settled.changes:
            await publish(settings, settled)
        return settled

    return asyncio.run(run())


__all__ = ["Settled", "Settlement", "publish", "settle_day"]

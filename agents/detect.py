"""detect: observations in, changes of episodes out; state in checkpoints that never claim more than is durable.

The stream is taken with `noack()`. What is acknowledged is what a durable manifest covers; recovery seeks to the manifest's own
offset and never to the committed one. A new owner appends an epoch marker and reads up to it, so that whatever an older owner still
writes afterwards is recognised by its epoch and counts for nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, cast

import faust

from agents.patiently import LONGEST_PAUSE_S, patiently
from agents.plans import Plans
from agents.transport import RAW_RECORDS, on_assigned, on_revoked, read_topic, seek
from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import NeedHistoryError
from pipeline.detect.tables import build_tables
from pipeline.detect.timed import Timed
from pipeline.detect.warm import warm_up
from pipeline.model import topics
from pipeline.model.episode import CHANGES_VERSION, Change, ChangeBatch, encode_changes
from pipeline.model.observation import Order
from pipeline.model.times import format_us
from pipeline.model.wire import ObservationBatch, RawItem, Reject, WireError, decode_observations, encode_reject
from pipeline.plan.model import CompiledPlan
from pipeline.plan.timeline import UnknownPlanError, key_of
from pipeline.settings import Settings

log = logging.getLogger("rahdar.detect")

CHECKPOINT_S = 1.0  # at most this often, when rows changed
IDLE_CHECKPOINT_S = 30.0  # when only time went on: a restart replays no more Ticks than these
HOT_US = 1_800_000_000  # history in memory; older fixes are read back from the topic when one arrives that late
FORGET_S = 60.0


@dataclass(slots=True)
class Owned:
    """A partition that is ours: its engine, and what it has done since the last durable manifest."""

    partition: int
    epoch: int
    engine: Timed
    recovery: Recovery
    next_input: int
    unacked: list[faust.EventT[bytes]] = field(default_factory=list)
    in_flight: list[Awaitable[Any]] = field(default_factory=list)
    checkpointed_at: float = 0.0
    forgot_at: float = 0.0
    fed: int = 0
    unchanged: int = -1
    """`fed` as it was when the engine had nothing new for a checkpoint: it changes only by what it is fed."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    midway: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a record is half done: the engine has it and `next_input` does not know. A checkpoint of that would never tell its changes."""


class DetectStage:
    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan) -> None:
        self.app = app
        self.settings = settings
        self.plan = plan
        self.owned: dict[int, Owned] = {}
        self.plans = Plans(settings, plan)
        self.tables = {plan.hash: build_tables(plan)}
        warm_up(plan, self.tables[plan.hash])
        self.horizon_us = int(settings.horizon_s * 1_000_000)
        n = settings.partitions
        self.observations = app.topic(topics.OBSERVATIONS.name, partitions=n, **RAW_RECORDS)
        self.episodes = app.topic(topics.EPISODES.name, partitions=n, **RAW_RECORDS)
        self.snapshots = app.topic(topics.SNAPSHOTS.name, partitions=n, **RAW_RECORDS)
        self.rejects = app.topic(topics.REJECTS.name, partitions=n, **RAW_RECORDS)

    async def started(self) -> None:
        """Nothing but its agent."""

    async def stopped(self) -> None:
        """Nothing of its own is open."""

    # ---- owning -------------------------------------------------------------------------------------------------------

    async def assigned(self, tps: set[Any]) -> None:
        for tp in sorted(tps):
            if tp.topic == topics.OBSERVATIONS.name:
                await self._own(tp.partition)

    async def revoked(self, tps: set[Any]) -> None:
        for tp in tps:
            if tp.topic == topics.OBSERVATIONS.name and (owned := self.owned.get(tp.partition)):
                # else the agent is in the midst of a record, which the next owner does again
                if not owned.midway.locked():
                    await self._checkpoint(owned)
                del self.owned[tp.partition]

    async def _read_snapshots(self, partition: int) -> Recovery:
        recovery = Recovery(partition)
        async for _, key, value in read_topic(self.settings.log_url, topics.SNAPSHOTS.name, partition):
            recovery.see(key or b"", value)
        return recovery

    async def _own(self, partition: int) -> None:
        owner, recovery = secrets.token_bytes(8), await self._read_snapshots(partition)
        while True:
            epoch = recovery.newest_epoch + 1
            await self._deliver(self.snapshots, partition, *Recovery.marker(partition, epoch, owner))
            # up to our own marker: what stands before it is the last word of all older owners
            recovery = await self._read_snapshots(partition)
            if recovery.newest_epoch != epoch or recovery.newest_owner == owner:
                break  # else another was the first to claim it
        engine = await self._engine(recovery, partition)
        while True:
            try:
                start = recovery.restore(engine, epoch, self.plans.known)
                break
            except UnknownPlanError as unknown:
                await self._find(unknown.plan_hash)
        self.owned[partition] = Owned(partition, epoch, engine, recovery, start)
        if start:
            await self._checkpoint(self.owned[partition], first=True)
        await seek(self.app, topics.OBSERVATIONS.name, partition, start)

    async def _engine(self, recovery: Recovery, partition: int) -> Timed:
        """A fresh one that begins with the plan of the newest checkpoint, or the first plan that ever was; with ours when neither is at
        hand: what is open is then taken over by its names."""
        await self.plans.refresh()
        newest = recovery.newest()
        wanted = newest.plan_hash if newest is not None else self.plans.base_hash
        plan = (await self.plans.plan(wanted) if wanted else None) or self.plan
        tables = self.tables.get(plan.hash)
        if tables is None:
            tables = self.tables[plan.hash] = build_tables(plan)
        cells = topics.Cells(partition, self.settings.partitions)
        return Timed(plan, self.horizon_us, tables, cells, self.tables)

    async def _find(self, plan_hash: str) -> None:
        """Ingest has it kept before anybody is told of it: it is there, or the log is not."""
        while await self.plans.sought(plan_hash) is None:
            log.error("the content of plan %s is not at hand", plan_hash)
            await asyncio.sleep(LONGEST_PAUSE_S)

    # ---- the work -----------------------------------------------------------------------------------------------------

    async def process(self, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            owned = self.owned.get(event.message.partition)
            if owned is None:
                continue
            if event.message.offset < owned.next_input:
                owned.unacked.append(event)  # done before: acknowledged with what comes after it
                continue
            try:
                async with owned.midway:
                    await self._one(owned, event)
            except Exception:
                # Not a bad message (those are values): a fault of ours or of the machine. The offset stays; a restart tries again.
                log.critical("partition %d offset %d", owned.partition, event.message.offset, exc_info=True)
                os._exit(70)

    async def _one(self, owned: Owned, event: faust.EventT[bytes]) -> None:
        offset = event.message.offset
        try:
            batch = decode_observations(event.value)
        except WireError as error:
            item = RawItem(offset, "", topics.OBSERVATIONS.name, event.value, 0)
            value = encode_reject(Reject(1, "detect", "malformed", str(error), item))
            await self._deliver(self.rejects, owned.partition, b"detect", value)
        else:
            changes = await self._feed(owned, batch, offset)
            if changes:
                value = encode_changes(
                    ChangeBatch(
                        version=CHANGES_VERSION,
                        partition=owned.partition,
                        epoch=owned.epoch,
                        input_offset=offset,
                        changes=changes,
                    )
                )
                # not awaited here: the order is the producer's, and no manifest is written before it is durable
                owned.in_flight.append(
                    await self.episodes.send(key=batch.cell.encode(), value=value, partition=owned.partition)
                )
        owned.next_input = offset + 1
        owned.unacked.append(event)

    async def _feed(self, owned: Owned, batch: ObservationBatch, offset: int) -> list[Change]:
        if len(batch.fixes):
            owned.recovery.mark(int(batch.fixes.received_at_us[-1]), offset, int(batch.fixes.seen_at_us.max()))
        while True:
            try:
                owned.fed += 1
                changes = owned.engine.feed(batch, self.plans.known)
                break
            except NeedHistoryError as need:
                await self._read_back(owned, need.from_us, offset)
            except UnknownPlanError as unknown:
                await self._find(unknown.plan_hash)
        for placed in batch.others:
            if isinstance(placed.what, Order) and owned.partition == min(self.owned):
                self._say(owned.engine, placed.what)
        return changes

    @staticmethod
    def _say(engine: Timed, order: Order) -> None:
        for fault in engine.timeline.refused.get(key_of(order), ()):
            log.warning("order %s of %s changes nothing: %s", order.what, format_us(order.effective_from_us), fault)

    async def _read_back(self, owned: Owned, from_us: int, offset: int) -> None:
        """What the engine has let go, or had before a restart, is still in the topic."""
        batches = []
        start = owned.recovery.history_from(from_us)
        name = topics.OBSERVATIONS.name
        async for _, _, value in read_topic(self.settings.log_url, name, owned.partition, start=start, end=offset):
            if value is not None:
                try:
                    batches.append(decode_observations(value))
                except WireError:
                    continue  # rejected when it came by
        owned.engine.load_history(batches, from_us)
        log.info("partition %d: read history back from offset %d to %d", owned.partition, start, offset)

    async def _deliver(self, topic: faust.TopicT, partition: int, key: bytes, value: bytes | None) -> None:
        """Until it is durable; the log holds the rest meanwhile."""

        async def deliver() -> None:
            await (await topic.send(key=key, value=value, partition=partition))

        await patiently(topic, deliver, log)

    # ---- checkpoints --------------------------------------------------------------------------------------------------

    async def checkpoint_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        for owned in list(self.owned.values()):
            if loop.time() - owned.forgot_at >= FORGET_S:
                owned.forgot_at = loop.time()
                owned.engine.forget(HOT_US)
            if not owned.unacked:
                continue
            age = loop.time() - owned.checkpointed_at
            if age >= IDLE_CHECKPOINT_S or (age >= CHECKPOINT_S and self._changed(owned)):
                await self._checkpoint(owned)

    @staticmethod
    def _changed(owned: Owned) -> bool:
        """Asked of every partition several times a second, and most have had nothing since."""
        if owned.unchanged == owned.fed:
            return False
        if owned.engine.dirty:
            return True
        owned.unchanged = owned.fed
        return False

    async def _checkpoint(self, owned: Owned, first: bool = False) -> None:
        async with owned.writing:
            async with owned.midway:
                if not owned.unacked and not first:
                    return
                owned.checkpointed_at = asyncio.get_running_loop().time()
                events, owned.unacked = owned.unacked, []
                in_flight, owned.in_flight = owned.in_flight, []
                written = owned.recovery.checkpoint(owned.engine, owned.next_input, owned.epoch)
            for sent in in_flight:
                await sent
            for key, value in written.blocks:
                await self._deliver(self.snapshots, owned.partition, key, value)
            await self._deliver(self.snapshots, owned.partition, *written.manifest)
            for event in events:
                event.ack()
            for key in written.tombstones:
                await self._deliver(self.snapshots, owned.partition, key, None)


def detect_stage(app: faust.App, settings: Settings, plan: CompiledPlan) -> DetectStage:
    """Register detect on this app."""
    stage = DetectStage(app, settings, plan)

    @app.agent(stage.observations, name="detect")
    async def detect(stream: faust.StreamT[bytes]) -> None:
        await stage.process(cast("faust.Stream[bytes]", stream))

    @app.timer(interval=0.25)  # type: ignore[untyped-decorator]  # Faust's has no types
    async def checkpoint() -> None:
        try:
            await stage.checkpoint_when_due()
        except Exception:
            log.critical("checkpoint", exc_info=True)
            os._exit(70)

    on_assigned(app, stage.assigned)
    on_revoked(app, stage.revoked)
    return stage

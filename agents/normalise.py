"""normalise: raw in, observations by cell and rejects out; a record is acknowledged when all that came of it is durable."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter, deque
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any, cast

import faust

from agents.patiently import send_patiently
from agents.plans import Plans
from agents.transport import RAW_RECORDS, on_revoked
from pipeline.model import topics
from pipeline.model.wire import (
    ObservationBatch,
    RawItem,
    Reject,
    WireError,
    decode_raw,
    encode_observations,
    encode_reject,
)
from pipeline.normalise.normalise import Normalised, Normaliser
from pipeline.plan.copies import copied_from
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings

log = logging.getLogger("rahdar.normalise")

NORMALISERS = 16  # plans in use at a time; a backlog goes through some
WINDOW = 64  # records whose output is on its way to the disk


class NormaliseStage:
    """One record after the other; their output is awaited in the same order, some records later."""

    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan) -> None:
        self.n = settings.partitions
        self.horizon_us = int(settings.horizon_s * 1_000_000)
        self.plans = Plans(settings, plan)
        self.normaliser = Normaliser(plan, self.horizon_us)
        self._normalisers: dict[str, Normaliser] = {plan.hash: self.normaliser}
        self.raw = app.topic(topics.RAW.name, partitions=self.n, **RAW_RECORDS)
        self.observations = app.topic(topics.OBSERVATIONS.name, partitions=self.n, **RAW_RECORDS)
        self.rejects = app.topic(topics.REJECTS.name, partitions=self.n, **RAW_RECORDS)
        self._ticks_to = {plan.hash: ticks_to(plan, self.n)}
        self.counts: Counter[str] = Counter()
        self._in_flight: deque[tuple[faust.EventT[bytes], list[Awaitable[Any]]]] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    async def started(self) -> None:
        """Nothing but its agent."""

    async def stopped(self) -> None:
        """Nothing of its own is open."""

    async def process(self, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            try:
                await self._one(event)
            except Exception:
                # Not a bad message (those are values): a fault of ours or of the machine. The offset stays; a restart tries again.
                log.critical("offset %d", event.message.offset, exc_info=True)
                os._exit(70)

    async def _one(self, event: faust.EventT[bytes]) -> None:
        partition = event.message.partition
        sent: list[Awaitable[Any]] = []
        try:
            record = decode_raw(event.value)
        except WireError as error:
            item = RawItem(event.message.offset, "", topics.RAW.name, event.value, 0)
            value = encode_reject(Reject(1, "normalise", "malformed", str(error), item))
            sent.append(await send_patiently(self.rejects, b"normalise", value, partition, log))
        else:
            normaliser = await self._of(record.plan_hash)
            out = normaliser.record(record)
            self.counts.update(out.counts)
            for cell, batch, where in self._placed(out, partition, normaliser.plan):
                for part in parts(batch):
                    sent.append(
                        await send_patiently(
                            self.observations, key_of(cell, part), encode_observations(part), where, log
                        )
                    )
            for reject in out.rejects:
                key = reject.item.login.encode()
                sent.append(await send_patiently(self.rejects, key, encode_reject(reject), partition, log))
        self._in_flight.append((event, sent))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.ensure_future(self._settle())
        while len(self._in_flight) > WINDOW:
            self._room.clear()
            await self._room.wait()

    def _placed(
        self, out: Normalised, partition: int, plan: CompiledPlan
    ) -> Iterator[tuple[str, ObservationBatch, int]]:
        """(cell, record, partition) of all that goes on, in its order. Ticks belong to the partition that they came in, and stand behind
        the fixes before them wherever copies of these went by this plan; everything else goes where its cell lives."""
        for cell, batch in (*out.batches.items(), *out.copies.items()):
            if cell:
                yield cell, batch, topics.partition_of(cell, self.n)
        if (ticks := out.batches.get("")) is not None:
            yield "", ticks, partition
            for other in self._ticks_to[plan.hash].get(partition, ()):
                yield "", replace(ticks, copy=True), other

    async def _of(self, plan_hash: str) -> Normaliser:
        """Whose plan decides identity, cell and copies: the record says which; ours, when that one cannot be had."""
        found = self._normalisers.get(plan_hash)
        if found is not None:
            return found
        plan = await self.plans.sought(plan_hash)
        if plan is None:
            log.warning("plan %s is not at hand: %s decides who is who", plan_hash, self.normaliser.plan.hash)
            return self.normaliser
        while len(self._normalisers) >= NORMALISERS:
            oldest = next(name for name in self._normalisers if name != self.normaliser.plan.hash)
            del self._normalisers[oldest], self._ticks_to[oldest]
        found = self._normalisers[plan_hash] = Normaliser(plan, self.horizon_us)
        self._ticks_to[plan_hash] = ticks_to(plan, self.n)
        return found

    async def _settle(self) -> None:
        """Acknowledge in order, each record once its output is durable. What cannot be written ends the process."""
        while self._in_flight:
            event, sent = self._in_flight[0]
            try:
                for delivery in sent:
                    await delivery
            except asyncio.CancelledError:
                raise
            except BaseException:
                log.critical("offset %d: its output was not written", event.message.offset, exc_info=True)
                os._exit(70)
            event.ack()
            self._in_flight.popleft()
            self._room.set()

    async def settled(self, _: set[Any]) -> None:
        """Everything taken so far is durable and acknowledged."""
        while self._settling is not None and not self._settling.done():
            await asyncio.wait({self._settling})


def ticks_to(plan: CompiledPlan, partitions: int) -> dict[int, set[int]]:
    """Of each partition in which devices log in, the others that get copies of what they say, and so its Ticks."""
    to: dict[int, set[int]] = {}
    for cell, others in copied_from(plan).items():
        at = topics.partition_of(cell, partitions)
        to.setdefault(at, set()).update({topics.partition_of(other, partitions) for other in others} - {at})
    return to


MOST_FIXES = 1000
COPIED_TICK_KEY = b"_copied"


def key_of(cell: str, batch: ObservationBatch) -> bytes:
    """Whoever looks for the Ticks of a partition by their key finds its own."""
    return cell.encode() or (COPIED_TICK_KEY if batch.copy else topics.TICK_KEY)


def parts(batch: ObservationBatch) -> list[ObservationBatch]:
    """Records of at most so many fixes: a checkpoint falls between records, not within one."""
    n = len(batch.fixes)
    if n <= MOST_FIXES or batch.others:
        return [batch]
    out = []
    for start in range(0, n, MOST_FIXES):
        cut = slice(start, start + MOST_FIXES)
        out.append(replace(batch, fixes=batch.fixes.part(cut)))
    return out


def normalise_stage(app: faust.App, settings: Settings, plan: CompiledPlan) -> NormaliseStage:
    """Register normalise on this app."""
    stage = NormaliseStage(app, settings, plan)

    @app.agent(stage.raw, name="normalise")
    async def normalise(stream: faust.StreamT[bytes]) -> None:
        await stage.process(cast("faust.Stream[bytes]", stream))

    on_revoked(app, stage.settled)
    return stage

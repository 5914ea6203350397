"""record: observations, episodes and alerts into the database for people and reports. Nobody waits for it, so it writes seldom and much."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import faust
import msgspec

from agents.transport import RAW_RECORDS, on_assigned, on_revoked, seek
from pipeline.model import topics
from pipeline.model.alert import decode_event
from pipeline.model.episode import decode_changes
from pipeline.model.wire import WireError, decode_observations
from pipeline.plan.model import CompiledPlan
from pipeline.record.tables import path_of
from pipeline.record.write import Taken, Writer
from pipeline.settings import Settings

log = logging.getLogger("rahdar.record")

WRITE_EVERY_S = 0.25
MOST_ROWS = 2000
RETRY_S = 2.0
MOST_WAITING = 2000  # records
PRUNE_EVERY_S = 60.0


class RecordStage:
    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan) -> None:
        self.app = app
        n = settings.partitions
        self.observations = app.topic(topics.OBSERVATIONS.name, partitions=n, **RAW_RECORDS)
        self.episodes = app.topic(topics.EPISODES.name, partitions=n, **RAW_RECORDS)
        self.alerts = app.topic(topics.ALERTS.name, partitions=1, **RAW_RECORDS)
        self._thread = ThreadPoolExecutor(1, "record")
        self._writer = Writer(path_of(settings.record_url))
        self._taken = Taken()
        self._events: list[faust.EventT[bytes]] = []
        self._order = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()
        self._newest_us = 0
        self._task: asyncio.Task[None] | None = None

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def started(self) -> None:
        self._task = asyncio.ensure_future(self._guarded())

    async def stopped(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._in_thread(self._writer.close)
        self._thread.shutdown()

    async def assigned(self, tps: set[Any]) -> None:
        offsets = await self._in_thread(self._writer.offsets)
        for tp in tps:
            if tp.topic in (topics.OBSERVATIONS.name, topics.EPISODES.name, topics.ALERTS.name):
                await seek(self.app, tp.topic, tp.partition, offsets.get((tp.topic, tp.partition), 0))

    async def revoked(self, _: set[Any]) -> None:
        await self._write()

    async def take(self, stream: faust.Stream[bytes], put: Callable[[faust.EventT[bytes], Taken], int]) -> None:
        async for event in stream.noack().events():
            message = event.message
            try:
                self._taken.rows += put(event, self._taken)
            except (WireError, msgspec.MsgspecError, RecursionError) as error:
                log.error("%s %d offset %d: %s", message.topic, message.partition, message.offset, error)
            self._taken.offsets[message.topic, message.partition] = message.offset + 1
            self._events.append(event)
            if len(self._events) >= MOST_WAITING:
                self._room.clear()
                await self._room.wait()

    def put_observations(self, event: faust.EventT[bytes], taken: Taken) -> int:
        batch = decode_observations(event.value)
        if len(batch.fixes):
            self._newest_us = max(self._newest_us, int(batch.fixes.received_at_us[-1]))
        taken.observations.append(batch)
        return len(batch.fixes) + len(batch.others)

    @staticmethod
    def put_changes(event: faust.EventT[bytes], taken: Taken) -> int:
        batch = decode_changes(event.value)
        taken.changes.append(((event.message.topic, event.message.partition), batch))
        return len(batch.changes)

    @staticmethod
    def put_alerts(event: faust.EventT[bytes], taken: Taken) -> int:
        taken.events.append(decode_event(event.value))
        return 1

    async def _guarded(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.critical("record", exc_info=True)
            os._exit(70)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pruned = loop.time()
        while True:
            await asyncio.sleep(WRITE_EVERY_S if self._taken.rows < MOST_ROWS else 0)
            await self._write()
            if loop.time() - pruned > PRUNE_EVERY_S and self._newest_us:
                pruned = loop.time()
                async with self._order:
                    await self._in_thread(lambda: self._writer.prune(self._newest_us))

    async def _write(self) -> None:
        async with self._order:
            if not self._events:
                return
            taken, self._taken = self._taken, Taken()
            events, self._events = self._events, []
            self._room.set()
            while True:
                try:
                    await self._in_thread(lambda: self._writer.write(taken))
                    break
                except sqlite3.OperationalError as error:
                    # a full disk or a locked file: the log keeps the rest until it is over
                    log.warning("cannot record: %s", error)
                    await asyncio.sleep(RETRY_S)
            for event in events:
                event.ack()


def record_stage(app: faust.App, settings: Settings, plan: CompiledPlan) -> RecordStage:
    """Register record on this app."""
    stage = RecordStage(app, settings, plan)

    @app.agent(stage.observations, name="record-observations")
    async def observations(stream: faust.StreamT[bytes]) -> None:
        await stage.take(cast("faust.Stream[bytes]", stream), stage.put_observations)

    @app.agent(stage.episodes, name="record-episodes")
    async def episodes(stream: faust.StreamT[bytes]) -> None:
        await stage.take(cast("faust.Stream[bytes]", stream), stage.put_changes)

    @app.agent(stage.alerts, name="record-alerts")
    async def alerts(stream: faust.StreamT[bytes]) -> None:
        await stage.take(cast("faust.Stream[bytes]", stream), stage.put_alerts)

    on_assigned(app, stage.assigned)
    on_revoked(app, stage.revoked)
    return stage

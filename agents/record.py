"""record: observations, episodes and alerts into the database for people and reports. Nobody waits for it, so it writes seldom and much.

`RAHDAR_RECORD_URL` says where. SQLite is always written: it is the desk's memory. With `influx://` a second app, in a consumer group of
its own, writes to InfluxDB beside it, so that an InfluxDB that is away delays neither an alert nor the desk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import random
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import faust
import msgspec
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import DBAPIError

from agents.resume import positions_in
from agents.transport import RAW_RECORDS, end_offset, make_app, on_assigned, on_revoked, read_topic, seek
from pipeline.clock import Clock, scaled_clock
from pipeline.model import topics
from pipeline.model.alert import decode_event
from pipeline.model.episode import Change, decode_changes
from pipeline.model.wire import RawItem, Reject, WireError, decode_observations, decode_reject, encode_reject
from pipeline.notify.figures import Watch
from pipeline.plan.model import CompiledPlan
from pipeline.record.health import Health
from pipeline.record.influx import (
    MOST_LINES,
    AwayError,
    Influx,
    MisconfiguredError,
    SetAside,
    is_influx,
    place_of,
    read_token,
)
from pipeline.record.pending import Pending
from pipeline.record.points import Points, notify_line
from pipeline.record.schema import SYSTEM_BUCKET
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
        self._log_url = settings.log_url
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
        mine = {(tp.topic, tp.partition) for tp in tps}
        known = await self._in_thread(self._writer.offsets)
        kept = {tp: offset for tp, offset in known.items() if tp in mine}
        offsets = await positions_in(self._log_url, kept, self._begin_anew, log)
        for tp in tps:
            if tp.topic in (topics.OBSERVATIONS.name, topics.EPISODES.name, topics.ALERTS.name):
                await seek(self.app, tp.topic, tp.partition, offsets.get((tp.topic, tp.partition), 0))

    async def _begin_anew(self, topic: str, partition: int) -> None:
        await self._in_thread(partial(self._writer.begin_anew, topic, partition))

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


INFLUX_GROUP = "rahdar-record-influx"
MOST_PENDING = 20_000  # lines; then the log keeps the rest
LOOK_BACK = 200  # records of episodes: far enough to know the newest epoch
HEALTH_EVERY_S = 5.0
AWAY_S = (0.5, 15.0)
MISCONFIGURED_S = 30.0
SAY_AFTER_S = 60.0


class InfluxSink:
    """Takes what the topics say, writes it synchronously, and acknowledges what was answered. Ready to begin again at any time:
    a point that is written twice is one point."""

    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock, influx: Influx) -> None:
        self.app = app
        self.settings = settings
        self.clock = clock
        self.influx = influx
        self.points = Points(plan)
        self.pending = Pending()
        self.health = Health(settings.var)
        self.watch = Watch(settings.alert_url)
        self._host = socket.gethostname()
        self._thread = ThreadPoolExecutor(1, "influx")
        self._epochs: dict[int, int] = {}
        self._began: dict[str, int] = {}  # of episodes seen since the start
        self._order = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._generation = 0
        n = settings.partitions
        self.rejects = app.topic(topics.REJECTS.name, partitions=n, **RAW_RECORDS)
        for topic, take in (
            (app.topic(topics.OBSERVATIONS.name, partitions=n, **RAW_RECORDS), self._observations),
            (app.topic(topics.EPISODES.name, partitions=n, **RAW_RECORDS), self._changes),
            (app.topic(topics.ALERTS.name, partitions=1, **RAW_RECORDS), self._alert),
            (self.rejects, self._reject),
        ):
            self._agent(topic, take)
        on_revoked(app, self.revoked)

    def _agent(self, topic: faust.TopicT, take: Callable[[faust.EventT[bytes]], Awaitable[None]]) -> None:
        @self.app.agent(topic, name=f"influx-{topic.get_topic_name()}")
        async def agent(stream: faust.StreamT[bytes]) -> None:
            async for event in cast("faust.Stream[bytes]", stream).noack().events():
                try:
                    await take(event)
                except (WireError, msgspec.MsgspecError, RecursionError) as error:
                    m = event.message
                    log.error("%s %d offset %d: %s", m.topic, m.partition, m.offset, error)
                self.pending.events.append(event)
                if self.pending.rows >= MOST_PENDING:
                    self._room.clear()
                    await self._room.wait()

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def started(self) -> None:
        self._tasks = [asyncio.ensure_future(self._guarded(w)) for w in (self._run(), self._tell_health())]

    async def stopped(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._in_thread(self.influx.close)
        await self._in_thread(self.watch.close)
        self._thread.shutdown()

    async def revoked(self, _: set[Any]) -> None:
        """What was not answered yet is read again by the next owner: nobody waits for an InfluxDB that is away."""
        self._generation += 1
        self.pending = Pending()
        self._epochs.clear()
        self._room.set()

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            log.critical("record", exc_info=True)
            os._exit(70)

    # ---- taking -------------------------------------------------------------------------------------------------------

    async def _observations(self, event: faust.EventT[bytes]) -> None:
        batch = decode_observations(event.value)
        self.pending.add(batch, self.points)

    async def _changes(self, event: faust.EventT[bytes]) -> None:
        batch, p = decode_changes(event.value), event.message.partition
        if p not in self._epochs:
            self._epochs[p] = await self._epoch_before(p, event.message.offset)
        if batch.epoch < self._epochs[p]:
            return  # of an owner that was replaced
        self._epochs[p] = batch.epoch
        for change in batch.changes:
            self.pending.put(*self.points.change(change))
            self._began[change.episode.id] = change.episode.began_at_us
            for gone in change.was_ids:
                if gone != change.episode.id:
                    await self._mark_gone(change, gone)

    async def _epoch_before(self, partition: int, offset: int) -> int:
        newest, name = 0, topics.EPISODES.name
        start = max(0, offset - LOOK_BACK)
        async for _, _, value in read_topic(self.settings.log_url, name, partition, start=start, end=offset):
            if value is not None:
                newest = max(newest, decode_changes(value).epoch)
        return newest

    async def _mark_gone(self, change: Change, gone: str) -> None:
        """A change names what it replaces by id; the point is found by when that began."""
        began = self._began.pop(gone, None)
        if began is None:
            e = change.episode
            bucket, _ = self.points.change(change)
            began = await self._until_answered(
                lambda: self.influx.began_at_us(bucket, e.rule, e.subject, e.object, gone), lambda: True
            )
        if began is not None and began != change.episode.began_at_us:
            self.pending.put(*self.points.replaced(change, began))

    async def _alert(self, event: faust.EventT[bytes]) -> None:
        self.pending.put(*self.points.alert(decode_event(event.value)))

    async def _reject(self, event: faust.EventT[bytes]) -> None:
        point = self.points.reject(decode_reject(event.value))
        if point is not None:
            self.pending.put(*point)

    # ---- writing ------------------------------------------------------------------------------------------------------

    async def _until_answered(self, call: Callable[[], Any], wanted: Callable[[], bool]) -> Any:
        """An outage is not a bad point: try again, with jitter, for as long as it takes, and say so after a minute."""
        loop = asyncio.get_running_loop()
        since, said, pause = loop.time(), 0.0, AWAY_S[0]
        while wanted():
            try:
                return await self._in_thread(call)
            except AwayError as error:
                self.health.retries += 1
                now = loop.time()
                set_up = isinstance(error, MisconfiguredError)
                if now - said > SAY_AFTER_S and (set_up or now - since > SAY_AFTER_S):
                    said = now
                    log.error("cannot record, the log keeps it: %s", error)
                pause = MISCONFIGURED_S if set_up else min(pause * 2, AWAY_S[1])
                await asyncio.sleep(max(error.after_s, pause * random.uniform(0.5, 1.0)))  # noqa: S311  # jitter, not a secret
        return None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S if self.pending.rows < MOST_LINES else 0)
            await self._write()

    async def _write(self) -> None:
        if not self.pending.events:
            return
        taken, self.pending = self.pending, Pending()
        self._room.set()
        generation = self._generation

        def mine() -> bool:
            return generation == self._generation

        began = asyncio.get_running_loop().time()
        aside: list[SetAside] = []
        for bucket, lines in taken.lines():
            aside += await self._until_answered(partial(self.influx.write, bucket, lines), mine) or []
        if not mine():
            return
        for bad in aside:
            await self._keep(bad)
        for event in taken.events:
            event.ack()
        self.health.wrote(taken, len(aside), asyncio.get_running_loop().time() - began)

    async def _keep(self, bad: SetAside) -> None:
        """Among the rejects, with its reason, before what it came from is acknowledged."""
        log.error("set aside: %s: %s", bad.reason[:200], bad.line[:200])
        item = RawItem(0, "", bad.bucket, bad.line.encode(), 0)
        value = encode_reject(Reject(1, "record", "malformed", bad.reason[:400], item))
        while True:
            try:
                await (await self.rejects.send(key=b"record", value=value, partition=0))
                return
            except (OSError, ConnectionError, TimeoutError) as error:
                log.warning("cannot write to %s: %s", topics.REJECTS.name, error)
                await asyncio.sleep(RETRY_S)

    async def _tell_health(self) -> None:
        """The gauge that the watchdogs watch. It comes late when InfluxDB or the log is away, and then they see that it is missing."""
        while True:
            await asyncio.sleep(HEALTH_EVERY_S)
            try:
                lines = self.health.lines(self._host, self.clock.now_us(), await self._backlog())
                lines += await self._in_thread(self._telling)
                await self._in_thread(partial(self.influx.write, SYSTEM_BUCKET, lines))
            except (OSError, KafkaError) as error:  # an outage: what is recorded waits for its end, and so does this
                log.debug("no word on how the record is doing: %s", error)

    def _telling(self) -> list[str]:
        """Nothing while the outbox cannot be read: the watchdog hears that as well."""
        now_us = self.clock.now_us()
        try:
            return [notify_line(self._host, now_us, dataclasses.asdict(self.watch.figures(now_us)))]
        except DBAPIError as error:
            log.debug("no word on how telling goes: %s", error.orig)
            return []

    async def _backlog(self) -> int:
        """Records that wait in the log, over all our partitions."""
        consumer: Any = self.app.consumer
        total = 0
        for tp in consumer.assignment() if consumer else ():
            committed = consumer._committed_offset.get(tp)
            if committed is not None:
                total += max(0, await end_offset(self.settings.log_url, tp.topic, tp.partition) - committed)
        return total


class RecordAndInflux:
    """Both: the desk's memory on the app of the stage, InfluxDB on an app of its own."""

    def __init__(self, memory: RecordStage, sink: InfluxSink) -> None:
        self.memory = memory
        self.sink = sink

    async def started(self) -> None:
        await self.memory.started()
        await self.sink.app.start()
        await self.sink.started()

    async def stopped(self) -> None:
        await self.sink.app.stop()
        await self.sink.stopped()
        await self.memory.stopped()


def influx_sink(settings: Settings, plan: CompiledPlan) -> InfluxSink:
    """Raises ValueError that names the setting."""
    influx = Influx(place_of(settings.record_url), read_token(settings.influx_token_file))
    read = (topics.OBSERVATIONS, topics.EPISODES, topics.ALERTS, topics.REJECTS)
    app = make_app(INFLUX_GROUP, settings.log_url, unhurried=[topic.name for topic in read])
    return InfluxSink(app, settings, plan, scaled_clock(settings.speed, settings.clock_anchor_us), influx)


def record_stage(app: faust.App, settings: Settings, plan: CompiledPlan) -> RecordStage | RecordAndInflux:
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
    if is_influx(settings.record_url):
        return RecordAndInflux(stage, influx_sink(settings, plan))
    return stage

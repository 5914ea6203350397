"""alert: changes of episodes and people's commands in, transitions of alerts out; the state is the database's, not Faust's.

It reads from the positions in its own database, not from what is committed. What the database holds and the log does not yet is published
at the start: an event may come twice with the same number, never not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import faust
import msgspec
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from agents.patiently import patiently
from agents.resume import positions_in
from agents.transport import RAW_RECORDS, end_offset, on_assigned, on_revoked, read_topic, seek
from pipeline.alert.lease import LOOK_S, RENEW_S, Lease
from pipeline.alert.policy import patience_us
from pipeline.alert.sentence import words_for
from pipeline.alert.store import AlertStore, FencedError
from pipeline.alert.tables import sqlite_folder
from pipeline.clock import Clock, WallClock
from pipeline.model import topics
from pipeline.model.alert import AlertEvent, decode_command, encode_event
from pipeline.model.episode import decode_changes
from pipeline.model.observation import Tick
from pipeline.model.wire import WireError, decode_observations
from pipeline.people.chains import alert_chain
from pipeline.people.heads import FOLDER
from pipeline.people.keeper import HeadKeeper
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings

log = logging.getLogger("rahdar.alert")
T = TypeVar("T")

STALLED_AFTER_S = 15.0
LOOK_EVERY_S = 1.0


class AlertStage:
    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> None:
        self.app = app
        self.settings = settings
        self.clock = clock
        self.episodes = app.topic(topics.EPISODES.name, partitions=settings.partitions, **RAW_RECORDS)
        self.commands = app.topic(topics.COMMANDS.name, partitions=1, **RAW_RECORDS)
        self.alerts = app.topic(topics.ALERTS.name, partitions=1, **RAW_RECORDS)
        sqlite_folder(settings.alert_url)
        self._thread = ThreadPoolExecutor(1, "alerts")
        self.plan = plan
        self._lease: Lease | None = None
        self._store: AlertStore | None = None
        self._renewed_at = 0.0
        self._heads = HeadKeeper([alert_chain(settings.alert_url)], settings.var / FOLDER)
        self._order = asyncio.Lock()
        self._waiting: dict[str, list[faust.EventT[bytes]]] = {"changes": [], "commands": []}
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._published = self._marked = 0
        self._tick_from = -1
        self._ticked_at = 0.0
        self._ticked_us = 0
        self._heard = False

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # ---- one at a time ------------------------------------------------------------------------------------------------

    @property
    def store(self) -> AlertStore:
        assert self._store is not None, "the lease is not held yet"
        return self._store

    async def prepare(self) -> None:
        """Returns when this stage is the active one: only then may it join the group. Until then it is a hot standby."""
        loop = asyncio.get_running_loop()
        said = False
        while self._store is None:
            try:
                token = await self._in_thread(self._take_lease)
            except OperationalError as error:
                log.warning("cannot reach %s: %s", make_url(self.settings.alert_url).render_as_string(), error.orig)
                token = None
            if token is None:
                if not said:
                    log.info("alert: another stage is active; this one stands by")
                    said = True
                await asyncio.sleep(LOOK_S)
                continue
            self._renewed_at = loop.time()
            self._store = await self._in_thread(
                lambda held=token: AlertStore(  # type: ignore[misc]
                    self.settings.alert_url,
                    self.plan,
                    lambda episode: words_for(self.plan, episode),
                    held,
                    patience_us=round(patience_us(self.plan) * self.settings.speed),  # a process starts no faster
                )
            )

    def _take_lease(self) -> int | None:
        if self._lease is None:
            self._lease = Lease(self.settings.alert_url, WallClock().now_us)
        return self._lease.take()

    async def _renew(self) -> None:
        """Raises FencedError when another stage has the lease."""
        loop = asyncio.get_running_loop()
        if self._lease is not None and loop.time() - self._renewed_at >= RENEW_S:
            self._renewed_at = loop.time()
            if not await self._in_thread(self._lease.renew):
                raise FencedError("another alert stage holds the lease")

    # ---- positions ----------------------------------------------------------------------------------------------------

    async def assigned(self, tps: set[Any]) -> None:
        await self.prepare()
        mine = {(tp.topic, tp.partition) for tp in tps if tp.topic in (topics.EPISODES.name, topics.COMMANDS.name)}
        known = await self._in_thread(self.store.positions)
        kept = {tp: offset for tp, offset in known.items() if tp in mine}
        positions = await positions_in(self.settings.log_url, kept, self._begin_anew, log)
        published = await self._in_thread(lambda: self.store.published_up_to)
        if published and await end_offset(self.settings.log_url, topics.ALERTS.name, 0) == 0:
            log.critical("%s is empty, and %d events were in it: published again", topics.ALERTS.name, published)
            await self._in_thread(self.store.publish_again)
        for tp in tps:
            if (tp.topic, tp.partition) in mine:
                await seek(self.app, tp.topic, tp.partition, positions.get((tp.topic, tp.partition), 0))
        if self._worker is None:
            self._worker = asyncio.ensure_future(self._guarded(self._work()))
            self._watcher = asyncio.ensure_future(self._guarded(self._watch()))

    async def _begin_anew(self, topic: str, partition: int) -> None:
        await self._in_thread(lambda: self.store.begin_anew(topic, partition))

    async def revoked(self, _: set[Any]) -> None:
        """What was taken is finished before somebody else reads it."""
        while any(self._waiting.values()):
            self._wake.set()
            await asyncio.sleep(0.01)
        async with self._order:
            return

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except FencedError as error:
            log.critical("%s; this one stops", error)
            os._exit(70)
        except Exception:
            # not a bad message (those are values): a fault of ours or of the machine. A restart goes on from the database.
            log.critical("alert", exc_info=True)
            os._exit(70)

    # ---- the work -----------------------------------------------------------------------------------------------------

    async def take(self, kind: str, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            self._waiting[kind].append(event)
            self._wake.set()

    async def _work(self) -> None:
        """Whatever waits goes into one transaction; then it is published, then acknowledged."""
        async with self._order:
            while left := await self._in_thread(self.store.unpublished):  # a page at a time: none may be passed over
                await self._publish(left)
                await self._mark_published()
        while True:
            await self._wake.wait()
            self._wake.clear()
            async with self._order:
                for kind in ("commands", "changes"):
                    taken, self._waiting[kind] = self._waiting[kind], []
                    if not taken:
                        continue
                    now_us = self.clock.now_us()
                    if kind == "changes":
                        changes = [_place(e, decode_changes) for e in taken]
                        told = await self._in_thread(lambda c=changes, n=now_us: self.store.take_changes(c, n))  # type: ignore[misc]
                    else:
                        done = [_place(e, decode_command) for e in taken]
                        told = await self._in_thread(lambda c=done, n=now_us: self.store.take_commands(c, n))  # type: ignore[misc]
                    await self._publish(told)
                    for event in taken:
                        event.ack()

    async def _publish(self, told: list[AlertEvent]) -> None:
        if not told:
            return

        async def publish() -> None:
            sent = [
                await self.alerts.send(key=event.alert.id.encode(), value=encode_event(event), partition=0)
                for event in told
            ]
            for delivery in sent:
                await delivery

        await patiently(self.alerts, publish, log)
        self._published = max(self._published, told[-1].seq)

    async def _mark_published(self) -> None:
        """Once a second, not once an event: what is not marked comes twice after a crash, with the same number."""
        if (seq := self._published) > self._marked:
            await self._in_thread(lambda: self.store.published(seq))
            self._marked = seq

    # ---- time ---------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._ticked_at = loop.time()
        self._ticked_us = self.clock.now_us()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._renew()
            await self._look_for_ticks()
            silent = loop.time() - self._ticked_at > STALLED_AFTER_S
            async with self._order:
                now_us, since_us = self.clock.now_us(), self._ticked_us if silent else None
                told = await self._in_thread(lambda n=now_us, s=since_us: self.store.take_time(n, s, self._heard))  # type: ignore[misc]
                await self._publish(told)
                await self._mark_published()

    async def _look_for_ticks(self) -> None:
        """Ticks are in every partition: one is enough to know that ingest and normalise live. Reading it costs no group."""
        name = topics.OBSERVATIONS.name
        try:
            if self._tick_from < 0:
                self._tick_from = await end_offset(self.settings.log_url, name, 0)
            async for offset, key, value in read_topic(self.settings.log_url, name, 0, start=self._tick_from):
                self._tick_from = offset + 1
                if key != topics.TICK_KEY or value is None:
                    continue
                with contextlib.suppress(WireError):
                    for placed in decode_observations(value).others:
                        # while ingest itself misses messages, that it lives helps nobody
                        if isinstance(placed.what, Tick) and placed.what.healthy:
                            self._heard = True
                            self._ticked_at = asyncio.get_running_loop().time()
                            self._ticked_us = placed.what.at_us
        except (OSError, ConnectionError) as error:
            log.warning("cannot look for Ticks: %s", error)

    async def started(self) -> None:
        """The work begins when partitions are assigned."""
        self._heads.start()

    async def stopped(self) -> None:
        tasks = [task for task in (self._worker, self._watcher) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._store is not None:
            await self._mark_published()
            await self._in_thread(self._store.close)
        if self._lease is not None:
            if self._store is not None:
                with contextlib.suppress(OperationalError):  # it runs out by itself
                    await self._in_thread(self._lease.release)
            await self._in_thread(self._lease.close)
        self._thread.shutdown()
        await asyncio.to_thread(self._heads.stop)


def _place(event: faust.EventT[bytes], decode: Callable[[bytes], T]) -> tuple[str, int, int, T | None]:
    """Where a record stands, and what it says; None when it cannot be read (it is kept where it is, in its topic)."""
    message = event.message
    try:
        found: T | None = decode(event.value)
    except (msgspec.MsgspecError, RecursionError) as error:
        log.error("%s %d offset %d: %s", message.topic, message.partition, message.offset, error)
        found = None
    return message.topic, message.partition, message.offset, found


def alert_stage(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> AlertStage:
    """Register the alert stage on this app."""
    stage = AlertStage(app, settings, plan, clock)

    @app.agent(stage.episodes, name="alert-changes")
    async def changes(stream: faust.StreamT[bytes]) -> None:
        await stage.take("changes", cast("faust.Stream[bytes]", stream))

    @app.agent(stage.commands, name="alert-commands")
    async def commands(stream: faust.StreamT[bytes]) -> None:
        await stage.take("commands", cast("faust.Stream[bytes]", stream))

    on_assigned(app, stage.assigned)
    on_revoked(app, stage.revoked)
    return stage

"""ingest: the broker or the bridge to one, its spool, and the way from there into `rahdar.raw`; and the Ticks, so that time is data for everybody behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable
from typing import Any, Protocol
from urllib.parse import urlsplit

import faust
import orjson

from agents.orders import OrderDoor
from agents.patiently import send_patiently
from agents.plans import BASE, PLAN, Plans, encode_order, order_key
from agents.transport import RAW_RECORDS, make_app
from pipeline.cli import BadInput
from pipeline.clock import Clock
from pipeline.ingest.batcher import Batcher
from pipeline.ingest.bridge import Bridge, parse_address
from pipeline.ingest.broker import EmbeddedBroker, Tls
from pipeline.ingest.credentials import Verifier, read_credentials
from pipeline.ingest.spool import Spool
from pipeline.model import topics
from pipeline.model.observation import Tick
from pipeline.model.times import format_us
from pipeline.model.wire import RAW_VERSION, RawBatch, RawItem, encode_raw
from pipeline.normalise.normalise import UNREGISTERED
from pipeline.normalise.orders import is_order, order_of
from pipeline.normalise.peek import newest_seen_us
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.content import read_content
from pipeline.plan.model import CompiledPlan
from pipeline.plan.orders import SWITCH
from pipeline.settings import Settings

log = logging.getLogger("rahdar.ingest")

ORDER_KEY = b"_order"
IN_FLIGHT = 8
CURSOR_S = 1.0
"""The cursor moves this often: what it lags behind is sent again after a crash, and counts once."""


class Edge(Protocol):
    """Where messages come in: what it accepts is in the spool."""

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    def healthy(self) -> bool:
        """Nothing is being missed, and nothing was since this was last asked: the next Tick says so."""
        ...


class IngestStage:
    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> None:
        self.settings = settings
        self.plan = plan
        self.clock = clock
        self.n = settings.partitions
        self.source = f"ingest@{socket.gethostname()}"
        self.spool = Spool(settings.var / "spool", clock, seen_us=newest_seen_us)
        self.raw = app.topic(topics.RAW.name, partitions=self.n, **RAW_RECORDS)
        self._order = asyncio.Lock()
        self._handed = self.spool.decided if not self.spool.reader().behind else 0
        """Up to this id everything was handed to the producer, or was refused."""
        self._moved = asyncio.Event()
        self._edge: Edge | None = None
        self.plans = Plans(settings, plan)
        self.kept_plans = app.topic(topics.PLANS.name, partitions=1, **RAW_RECORDS)
        self.door = OrderDoor(settings.var / "orders", self.spool, lambda: self.plans.timeline)

    async def plan_known(self) -> None:
        """Have the plan's content kept before anybody is told of it. Another plan than the last one is a switch from now on: an order
        like any other, so that what is open goes on. Raises OSError."""
        await self.plans.refresh()
        content = await asyncio.to_thread(read_content, self.settings.plan)
        news = [] if self.plan.hash in self.plans.content else [(PLAN + self.plan.hash.encode(), content)]
        if not self.plans.base_hash:
            news.append((BASE, self.plan.hash.encode()))
        for key, value in news:
            await (await self._keep(key, value))
        await self.plans.refresh()

    async def switch(self) -> None:
        """Say so when the plan is not the one that was in force last."""
        switches = [o for o in self.plans.timeline.orders if o.what == SWITCH]
        last = switches[-1].plan_hash if switches else self.plans.base_hash
        if last == self.plan.hash:
            return
        fields = {"hash": self.plan.hash, "number": f"{self.spool.stamp()[0]}"}
        order = await self.door.give(orjson.dumps({"kind": "order", "what": SWITCH, "fields": fields}))
        log.info("the plan is %s from %s on", self.plan.hash, format_us(order.effective_from_us))

    async def _keep(self, key: bytes, value: bytes) -> Awaitable[Any]:
        return await send_patiently(self.kept_plans, key, value, 0, log)

    async def _give(self, item: RawItem) -> list[Awaitable[Any]]:
        """An order goes to everybody, and is kept."""
        value = encode_raw(RawBatch(RAW_VERSION, self.source, self._in_force(item.received_at_us), [item], []))
        async with self._order:
            sent = [await self.send(ORDER_KEY, partition, value) for partition in range(self.n)]
        try:
            order = order_of(item)
        except RefusedError as refused:
            log.error("an order in the spool is none: %s", refused.detail)
            return sent
        sent.append(await self._keep(order_key(order), encode_order(order)))
        self.plans.timeline = await self.plans.with_orders(self.plans.timeline, [order])
        self.door.told(item.id, order)
        return sent

    def _in_force(self, at_us: int) -> str:
        """The hash of the plan that decides identity, cell and copies."""
        return self.plans.timeline.at(at_us).hash

    def edge(self) -> Edge:
        """The embedded broker, or the bridge to the one that the setting names. Raises CredentialsError, OSError, ValueError."""
        s = self.settings
        url = urlsplit(s.mqtt_url)
        tls = None
        if s.mqtt_tls_cert_file and s.mqtt_tls_key_file:
            ca = s.mqtt_tls_ca_file
            tls = Tls(s.mqtt_tls_cert_file, s.mqtt_tls_key_file, ca, ca.with_name("crl.pem") if ca else None)
        if url.scheme != "embedded":
            self._edge = Bridge(parse_address(s.mqtt_url), self.spool, s.var / "bridge", tls, s.mqtt_tls_ca_file)
            return self._edge
        file = s.mqtt_passwords_file
        verifier = Verifier(read_credentials(file) if file else None, file)
        self._edge = EmbeddedBroker(url.hostname or "127.0.0.1", url.port or 1883, self.spool, verifier, tls)
        return self._edge

    async def send(self, key: bytes, cell_partition: int, value: bytes) -> Awaitable[Any]:
        """Hand it to the producer, which keeps the order; wait out what stops it."""
        return await send_patiently(self.raw, key, value, cell_partition, log)

    async def forward(self) -> None:
        """From the spool into raw, for ever. The cursor follows what is durable there."""
        loop = asyncio.get_running_loop()
        reader = self.spool.reader()
        batcher = Batcher()
        in_flight: dict[asyncio.Future[Any], int] = {}  # and the oldest id that each carries

        def fly(sent: Awaitable[Any], oldest: int) -> None:
            flying = asyncio.ensure_future(sent)
            flying.add_done_callback(
                lambda _: self.spool.durable.set()
            )  # one event to wait for, whatever it is that comes
            in_flight[flying] = oldest

        newest: RawItem | None = None
        moved_at, safe = loop.time(), 0
        while True:
            self.spool.durable.clear()
            items: list[RawItem] = []
            if len(in_flight) < IN_FLIGHT and reader.behind:
                items = reader.fresh() or await asyncio.to_thread(reader.read)
            if items:
                newest = items[-1]
                by_cell: dict[str, list[RawItem]] = {}
                for item in items:
                    if is_order(item):
                        given = await self._give(item)
                        fly(_arrived(*given), item.id)
                        continue
                    by_cell.setdefault(self.plan.cell_of_login(item.login) or UNREGISTERED, []).append(item)
                for cell, mine in by_cell.items():
                    batcher.add(cell, mine, loop.time())
            for cell, mine in batcher.take(loop.time(), idle=not in_flight):
                batch = RawBatch(RAW_VERSION, self.source, self._in_force(mine[-1].received_at_us), mine, [])
                async with self._order:
                    sent = await self.send(cell.encode(), topics.partition_of(cell, self.n), encode_raw(batch))
                fly(sent, mine[0].id)
            waiting = min(batcher.oldest(), default=None)
            if waiting is not None:
                self._handed = waiting - 1
            elif not reader.behind:
                self._handed = self.spool.decided
            self._moved.set()
            if newest is not None and newest.id > safe and loop.time() - moved_at >= CURSOR_S:
                oldest = min((*in_flight.values(), *batcher.oldest()), default=newest.id + 1)
                if oldest - 1 > safe:
                    # the stamp may be younger than the item's own: nothing was stamped later than `newest`
                    safe = oldest - 1
                    await asyncio.to_thread(self.spool.done, safe, newest.received_at_us)
                moved_at = loop.time()
            if items:
                continue
            due = []
            if (due_s := batcher.due_s(idle=not in_flight)) is not None:
                due.append(due_s)
            if newest is not None and newest.id > safe:
                due.append(moved_at + CURSOR_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, default=None)):
                    await self.spool.durable.wait()
            for done in [flying for flying in in_flight if flying.done()]:
                done.result()
                del in_flight[done]

    async def tick(self) -> None:
        """Every few seconds of the clock's time, into every partition, behind what was stamped before: a Tick says that nothing older
        is still to come, or whoever waits in the spool would be taken for silent."""
        every_s = self.settings.tick_s / self.settings.speed
        while True:
            at_us, trusted = self.spool.stamp()
            before = self.spool.stamped
            while self._handed < before:
                self._moved.clear()
                await self._moved.wait()
            healthy = self._edge is not None and self._edge.healthy()
            tick = Tick(source=self.source, at_us=at_us, healthy=healthy, clock_trusted=trusted)
            value = encode_raw(RawBatch(RAW_VERSION, self.source, self._in_force(at_us), [], [tick]))
            async with self._order:
                sent = [await self.send(topics.TICK_KEY, partition, value) for partition in range(self.n)]
            for delivery in sent:
                await delivery
            await asyncio.sleep(every_s)


async def _arrived(*sent: Awaitable[Any]) -> None:
    for delivery in sent:
        await delivery


async def run_ingest(settings: Settings, plan: CompiledPlan, clock: Clock, stop: asyncio.Event) -> None:
    """Until `stop`. What the broker accepted by then is in the spool, and goes on from there at the next start."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.ERROR)
    app = make_app("rahdar-ingest", settings.log_url)
    stage = IngestStage(app, settings, plan, clock)
    try:
        edge = stage.edge()
    except (ValueError, OSError) as why:
        raise BadInput(str(why)) from why
    await app.start()
    await stage.plan_known()
    work = [asyncio.ensure_future(stage.forward())]
    await stage.switch()
    work += [asyncio.ensure_future(stage.tick()), asyncio.ensure_future(stage.door.watch())]
    await edge.start()
    log.info("ingest: ready on %s", settings.mqtt_url)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait({stopping, *work}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            if (error := task.exception()) is not None:
                # neither a bad message nor an outage: a fault of ours. The cursor stays; a restart tries again.
                log.critical("ingest", exc_info=error)
                os._exit(70)
    finally:
        stopping.cancel()
        await edge.shutdown()
        await stage.spool.close()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await app.stop()

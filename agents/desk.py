"""desk: reads observations and alerts, in a group of its own, and serves the operators' page from this process."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any, cast

import faust
import msgspec
import orjson

from agents.transport import RAW_RECORDS, end_offset, on_assigned, seek
from pipeline.clock import Clock
from pipeline.desk.feed import Feed
from pipeline.desk.live import LiveState
from pipeline.desk.operators import FILE_NAME, Operators
from pipeline.desk.pump import Pump
from pipeline.desk.server import DeskServer
from pipeline.desk.services import Services
from pipeline.desk.sessions import SessionStore
from pipeline.desk.story import Story
from pipeline.desk.web import create_app
from pipeline.desk.where import Whereabouts
from pipeline.model import topics
from pipeline.model.alert import Command, decode_event, encode_command
from pipeline.model.wire import WireError, decode_observations
from pipeline.notify.links import SECRET_FILE, read_secret
from pipeline.people.audit import FILE_NAME as AUDIT
from pipeline.people.audit import AuditLog
from pipeline.people.chains import people_chain
from pipeline.people.heads import FOLDER
from pipeline.people.keeper import HeadKeeper
from pipeline.people.lockout import Lockout
from pipeline.people.tokens import TokenStore
from pipeline.plan.geojson import plan_geojson
from pipeline.plan.model import CompiledPlan
from pipeline.record.read import Reader
from pipeline.record.tables import path_of
from pipeline.settings import Settings

log = logging.getLogger("rahdar.desk")

LOOK_BACK = 200  # records of each partition: what the record may not yet hold
COMMAND_WITHIN_S = 10.0


class DeskStage:
    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> None:
        self.app = app
        self.settings = settings
        self.observations = app.topic(topics.OBSERVATIONS.name, partitions=settings.partitions, **RAW_RECORDS)
        self.alerts = app.topic(topics.ALERTS.name, partitions=1, **RAW_RECORDS)
        self.commands = app.topic(topics.COMMANDS.name, partitions=1, **RAW_RECORDS)
        self.reader = Reader(path_of(settings.record_url))
        self.sessions = SessionStore(settings.var / FILE_NAME)
        self.tokens = TokenStore(settings.var / FILE_NAME)
        self.lockout = Lockout(settings.var / FILE_NAME)
        self.audit = AuditLog(settings.var / AUDIT)
        self.heads = HeadKeeper([people_chain(settings.var)], settings.var / FOLDER)
        self.services = Services(
            live=LiveState(plan),
            feed=Feed(secrets.token_hex(4)),
            where=Whereabouts(plan),
            plan_geojson=orjson.dumps(plan_geojson(plan)),
            plan_geojson_public=orjson.dumps(plan_geojson(plan, public=True)),
            operators=Operators(settings.operators_file),
            sessions=self.sessions,
            tokens=self.tokens,
            lockout=self.lockout,
            audit=self.audit,
            clock=clock,
            send_command=self.send_command,
            records=cast(Any, self.reader),
            story=Story(settings.var),
            secure=(settings.desk_public_url or settings.desk_url).startswith("https://"),
            basemap_url=settings.basemap_url,
            link_secret=read_secret(settings.link_secret_file or settings.var / SECRET_FILE),
            speed=settings.speed,
        )
        self.pump = Pump(self.services)
        self.server = DeskServer(create_app(self.services), self.services, settings.desk_url)
        self._pumping: asyncio.Task[None] | None = None

    async def send_command(self, command: Command) -> None:
        """Returns when it is on disk: only then may anybody be told that it was done."""
        async with asyncio.timeout(COMMAND_WITHIN_S):
            sent: Any = await self.commands.send(
                key=command.alert_id.encode(), value=encode_command(command), partition=0
            )
            await sent

    async def assigned(self, tps: set[Any]) -> None:
        for tp in tps:
            if tp.topic == topics.OBSERVATIONS.name:
                end = await end_offset(self.settings.log_url, tp.topic, tp.partition)
                await seek(self.app, tp.topic, tp.partition, max(0, end - LOOK_BACK))
            elif tp.topic == topics.ALERTS.name:
                await seek(self.app, tp.topic, tp.partition, 0)  # all of them: the newest word on each counts

    async def see(self, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            try:
                self.services.live.apply_observations(decode_observations(event.value))
            except WireError as error:
                log.error("%s: %s", event.message.tp, error)
            event.ack()

    async def hear(self, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            try:
                self.pump.alert(decode_event(event.value))
            except (msgspec.MsgspecError, RecursionError) as error:
                log.error("%s: %s", event.message.tp, error)
            event.ack()

    async def started(self) -> None:
        fixes = await asyncio.to_thread(self.reader.latest_fixes)
        events = await asyncio.to_thread(self.reader.last_alert_events)
        self.services.live.load(fixes, events)
        self.heads.start()
        await self.server.start()
        self._pumping = asyncio.ensure_future(self.pump.run())
        log.info("desk: ready on %s", self.settings.desk_url)

    async def stopped(self) -> None:
        await self.server.stop()
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.gather(self._pumping, return_exceptions=True)
        for store in (self.sessions, self.tokens, self.lockout, self.audit):
            store.close()
        await asyncio.to_thread(self.heads.stop)


def desk_stage(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> DeskStage:
    """Register the desk on this app."""
    stage = DeskStage(app, settings, plan, clock)

    @app.agent(stage.observations, name="desk-observations")
    async def observations(stream: faust.StreamT[bytes]) -> None:
        await stage.see(cast("faust.Stream[bytes]", stream))

    @app.agent(stage.alerts, name="desk-alerts")
    async def alerts(stream: faust.StreamT[bytes]) -> None:
        await stage.hear(cast("faust.Stream[bytes]", stream))

    on_assigned(app, stage.assigned)
    return stage

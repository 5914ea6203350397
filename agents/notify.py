"""notify: takes tellings from the outbox and sends them; brings answers back as commands; shows vehicles and alerts to TAK.

It has no state of its own. The outbox is the alert database's; `rahdar.alerts` only wakes it, and fills TAK's picture.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import ssl
from typing import Any, cast
from urllib.parse import urlsplit

import faust
import msgspec

from agents.patiently import patiently
from agents.transport import RAW_RECORDS, end_offset, on_assigned, seek
from pipeline.alert.tables import sqlite_folder
from pipeline.cli import BadInput
from pipeline.clock import Clock
from pipeline.model import topics
from pipeline.model.alert import Command, decode_event, encode_command
from pipeline.model.observation import Fix
from pipeline.model.wire import WireError, decode_observations
from pipeline.notify.addresses import Addresses, AddressesError
from pipeline.notify.answers import answered
from pipeline.notify.channels import Channel
from pipeline.notify.channels.by_apprise import AppriseChannel
from pipeline.notify.channels.spool import SpoolChannel
from pipeline.notify.channels.webhook import WebhookChannel
from pipeline.notify.cot import Picture, Place
from pipeline.notify.leases import Leases
from pipeline.notify.links import SECRET_FILE, read_secret
from pipeline.notify.sender import DOWNLINK, Sender
from pipeline.notify.tak import Tak
from pipeline.people.secrets import FILE_NAME as ADDRESSES_KEY
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings, first_line
from pipeline.tls import client_context

log = logging.getLogger("rahdar.notify")

LOOK_BACK = 200  # records of observations: where everybody is
DAY_US = 86_400_000_000


class NotifyStage:
    """Raises BadInput when a setting of it cannot be used."""

    def __init__(self, app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> None:
        self.app, self.settings, self.plan, self.clock = app, settings, plan, clock
        self.alerts = app.topic(topics.ALERTS.name, partitions=1, **RAW_RECORDS)
        self.commands = app.topic(topics.COMMANDS.name, partitions=1, **RAW_RECORDS)
        self.observations = app.topic(topics.OBSERVATIONS.name, partitions=settings.partitions, **RAW_RECORDS)
        self.picture = Picture(plan)
        self.tak: Tak | None = None
        self.sender: Sender | None = None
        self._gsm: Any = None
        self._downlink: Any = None
        self._work: list[asyncio.Task[None]] = []
        settings.var.mkdir(parents=True, exist_ok=True)
        sqlite_folder(settings.alert_url)
        try:
            self.secret = read_secret(settings.link_secret_file or settings.var / SECRET_FILE)
            self.addresses = Addresses(
                settings.addresses_file, key_file=settings.addresses_key_file or settings.var / ADDRESSES_KEY
            )
        except (AddressesError, OSError) as why:
            raise BadInput(f"RAHDAR_ADDRESSES_FILE, RAHDAR_LINK_SECRET_FILE: {why}") from why
        name = settings.notify_name or f"{socket.gethostname()}:{settings.var.resolve()}"
        self.leases = Leases(settings.alert_url, name, settings.speed)

    # ---- starting and stopping ----------------------------------------------------------------------------------------------

    async def started(self) -> None:
        channels: dict[str, Channel] = {
            "apprise": AppriseChannel(),
            "webhook": WebhookChannel(lambda: self.clock.now_us() // 1_000_000),
            "spool": SpoolChannel(self.settings.var / "notices"),
        }
        desk_url = self.settings.desk_public_url or self.settings.desk_url
        self.sender = Sender(self.leases, self.plan, self.addresses, channels, self.clock, self.secret, desk_url)
        if self.settings.gsm_device:
            channels["gsm"] = self._start_gsm(self.settings.gsm_device, self.sender)
        if (downlink := self._start_downlink(self.sender)) is not None:
            channels[DOWNLINK] = downlink
        self._work.append(asyncio.ensure_future(self._guarded(self.sender.run())))
        if self.settings.tak_url:
            try:
                s = self.settings
                self.tak = Tak(s.tak_url, self.picture, self.clock.now_us, self._tak_tls(), s.tak_server_name)
            except (ValueError, OSError) as why:
                raise BadInput(f"RAHDAR_TAK_*: {why}") from why
            self._work.append(asyncio.ensure_future(self._guarded(self.tak.run())))

    def _start_gsm(self, device: str, sender: Sender) -> Channel:
        from pipeline.notify.channels.gsm import RECEIPT, GsmChannel

        loop = asyncio.get_running_loop()

        def replied(number: str, text: str) -> None:
            loop.call_soon_threadsafe(lambda: self._work.append(asyncio.ensure_future(self._answer(number, text))))

        self._gsm = GsmChannel(device, sender.report, replied)
        self._gsm.await_again(self.leases.awaited(RECEIPT))
        return cast(Channel, self._gsm)

    def _start_downlink(self, sender: Sender) -> Channel | None:
        """None: there is no login for it."""
        s = self.settings
        if s.notify_password_file is None and s.notify_cert_file is None:
            return None
        from pipeline.notify.channels.downlink import Broker, DownlinkChannel, read_key

        url = urlsplit(s.mqtt_url)
        secure = url.scheme == "mqtts" or (url.scheme == "embedded" and s.mqtt_tls_cert_file is not None)
        try:
            password = first_line(s.notify_password_file) if s.notify_password_file else None
            tls = client_context(s.mqtt_tls_ca_file, s.notify_cert_file, s.notify_key_file) if secure else None
            key = read_key(s.downlink_key_file or s.var / "downlink-key.pem")
        except (OSError, ValueError) as why:
            raise BadInput(f"RAHDAR_NOTIFY_PASSWORD_FILE, _CERT_FILE, RAHDAR_DOWNLINK_KEY_FILE: {why}") from why
        host = "127.0.0.1" if url.hostname in (None, "0.0.0.0") else url.hostname  # noqa: S104  # ours listens on all
        broker = Broker(host, url.port or (8883 if secure else 1883), password, tls)
        self._downlink = DownlinkChannel(broker, key, self._shard_of, self.clock.now_us, sender.report)
        return cast(Channel, self._downlink)

    def _shard_of(self, login: str) -> str:
        """As it was enrolled; a small fleet has one shard, called 0."""
        if self.settings.mqtt_register is None:
            return "0"
        from pipeline.ingest.devices import Devices, DevicesError

        try:
            device = Devices(self.settings.mqtt_register, self.clock).read().devices.get(login)
        except (OSError, DevicesError):
            return "0"
        return device.shard if device else "0"

    def _tak_tls(self) -> ssl.SSLContext | None:
        s = self.settings
        if s.tak_ca_file is None and s.tak_cert_file is None:
            return None
        password = first_line(s.tak_key_password_file) if s.tak_key_password_file else None
        return client_context(s.tak_ca_file, s.tak_cert_file, s.tak_key_file, password)

    async def stopped(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        for channel in (self._gsm, self._downlink):
            if channel is not None:
                await asyncio.to_thread(channel.close)
        if self.sender is not None:
            await self.sender.close()

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            log.critical("notify", exc_info=True)
            os._exit(70)  # what was under lease is sent by the next one, with "repeat"

    # ---- answers ------------------------------------------------------------------------------------------------------------

    async def _answer(self, number: str, text: str) -> None:
        """A reply by SMS: its code, from the officer's own number, acknowledges."""
        now_us = self.clock.now_us()
        assert self.sender is not None  # it was there before the modem
        found = await self.sender.patiently(
            lambda: answered(self.plan, self.addresses, self.leases, self.secret, number, text, now_us - DAY_US)
        )
        if found is None:
            log.warning("an SMS that answers nothing")
            return
        alert, officer = found
        digest = hashlib.blake2b(f"sms\0{alert}\0{officer}\0{now_us}".encode(), digest_size=12).hexdigest()
        command = Command(
            version=1, id=digest, what="acknowledge", alert_id=alert, by=officer, at_us=now_us, text="by SMS"
        )

        async def send() -> None:
            sent: Any = await self.commands.send(key=alert.encode(), value=encode_command(command), partition=0)
            await sent

        await patiently(self.commands, send, log)  # nobody sends their SMS twice

    # ---- what the log says --------------------------------------------------------------------------------------------------

    async def assigned(self, tps: set[Any]) -> None:
        for tp in tps:
            if tp.topic == topics.ALERTS.name:
                start = 0 if self.settings.tak_url else await end_offset(self.settings.log_url, tp.topic, tp.partition)
                await seek(self.app, tp.topic, tp.partition, start)
            elif tp.topic == topics.OBSERVATIONS.name:
                end = await end_offset(self.settings.log_url, tp.topic, tp.partition)
                await seek(self.app, tp.topic, tp.partition, max(0, end - LOOK_BACK))

    async def hear(self, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            try:
                if self.tak is not None:
                    self.picture.hear(decode_event(event.value))
                    self.tak.wake()
            except (msgspec.MsgspecError, RecursionError) as error:
                log.error("%s: %s", event.message.tp, error)
            if self.sender is not None:
                self.sender.wake()
            event.ack()

    async def see(self, stream: faust.Stream[bytes]) -> None:
        async for event in stream.noack().events():
            try:
                for fix in decode_observations(event.value).fixes.rows():
                    self._seen(fix)
            except WireError as error:
                log.error("%s: %s", event.message.tp, error)
            event.ack()

    def _seen(self, fix: Fix) -> None:
        self.picture.see(
            fix.vehicle, Place(fix.lat, fix.lon, fix.seen_at_us, fix.speed_mps, fix.course_deg, fix.accuracy_m)
        )


def notify_stage(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> NotifyStage:
    """Register the notify stage on this app."""
    stage = NotifyStage(app, settings, plan, clock)

    @app.agent(stage.alerts, name="notify-alerts")
    async def alerts(stream: faust.StreamT[bytes]) -> None:
        await stage.hear(cast("faust.Stream[bytes]", stream))

    if settings.tak_url:

        @app.agent(stage.observations, name="notify-observations")
        async def observations(stream: faust.StreamT[bytes]) -> None:
            await stage.see(cast("faust.Stream[bytes]", stream))

    on_assigned(app, stage.assigned)
    return stage

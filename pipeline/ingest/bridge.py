"""The way in from a real broker: one MQTT 5 session a shard, into the spool that the embedded broker writes to as well.

- The session is persistent and its client id fixed, so the broker keeps for us what comes while we are away. A session that should be
  there and is not has lost something: that is told, with the window of time.
- A message is acknowledged when it is on disk. Until then it counts against ReceiveMaximum, which is the back-pressure. Mosquitto 2.0.11
  keeps to it only until the first acknowledgement, so beyond a limit of our own nothing is read from the connection.
- Every connection is an object of its own, and an acknowledgement goes to the connection that brought the message: on a newer one its
  number belongs to another message.
- What cannot be kept is not acknowledged; a broker redelivers only on a new connection, so this one is given up.
- Callbacks hand over and never raise; the thread they run in is watched all the same, since paho's `is_connected` is not enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import ssl
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from pipeline.ingest.acl import NOTIFY, SHARDS, filters, login_of
from pipeline.ingest.broker import LINK_TOPIC, PAYLOAD_BYTES, Tls
from pipeline.ingest.intake import SAY_S, Intake, RateLimitedError
from pipeline.ingest.spool import Spool, SpoolFullError
from pipeline.ingest.wire import PACKET_BYTES
from pipeline.model.times import format_us
from pipeline.settings import first_line
from pipeline.tls import client_context

log = logging.getLogger("rahdar.bridge")

WINDOW = 500  # messages of a session on their way to the disk
MOST_OWED, MOST_OWED_BYTES = 2 * WINDOW, 32 * 1024 * 1024  # a broker that sends more has to wait
SESSION_S = 14 * 86_400
KEEP_ALIVE_S = 15
CONNECT_WITHIN_S = 10.0
WATCH_S = 1.0
PAUSE_S = (0.2, 5.0)
DROPPED = "$SYS/broker/publish/messages/dropped"
NOTICES = "$SYS/broker/log/N"
"""Mosquitto's own log, which alone says who came and who went. One shard of all listens to it."""
_CAME = re.compile(rb"(?:\d+: )?New client connected from \S+ as ([A-Za-z0-9_-]{1,32}) \(.*u'\1'\)\.?\Z")
_WENT = re.compile(
    rb"(?:\d+: )?Client ([A-Za-z0-9_-]{1,32}) (?:\S+ )?(?:(?:been )?disconnected(?!, not authorised)|closed its connection|has exceeded timeout)"
)
_SHARD = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """`mqtt[s]://HOST[:PORT][?shards=0,1,owntracks&password_file=FILE]`. Without shards: those of a small fleet."""

    host: str
    port: int
    tls: bool
    shards: tuple[str, ...] = SHARDS
    password_file: Path | None = None


def parse_address(url: str) -> Address:
    """Raises ValueError that names the setting."""

    def no(why: str) -> ValueError:
        return ValueError(
            f"RAHDAR_MQTT_URL: {why}; give mqtts://HOST:PORT, and ?shards=0,1 for some of the shards only"
        )

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise no(str(error)) from error
    if parts.scheme not in ("mqtt", "mqtts"):
        raise no(f"{parts.scheme!r} is not mqtt or mqtts")
    if not parts.hostname:
        raise no("no host")
    if parts.password is not None:
        raise no("a password does not belong in a URL: name a file that holds it, ?password_file=FILE")
    if parts.username is not None:
        raise no("the bridge's login is the name of its shard")
    asked = parse_qs(parts.query, keep_blank_values=True)
    if unknown := asked.keys() - {"shards", "password_file"}:
        raise no(f"unknown {', '.join(sorted(unknown))}")
    shards = tuple(dict.fromkeys(s for value in asked.get("shards", []) for s in value.split(",")))
    for shard in shards:
        if not _SHARD.match(shard):
            raise no(f"{shard[:40]!r} is no shard")
    file = asked.get("password_file", [""])[-1]
    return Address(
        parts.hostname,
        port or (8883 if parts.scheme == "mqtts" else 1883),
        parts.scheme == "mqtts",
        shards or SHARDS,
        Path(file) if file else None,
    )


class Bridge:
    """`counts`: messages, ignored:…, connects, ended:…, session_lost, dropped_by_broker, rate_limited. Has the embedded broker's start and shutdown."""

    def __init__(
        self, address: Address, spool: Spool, directory: Path, tls: Tls | None = None, ca: Path | None = None
    ) -> None:
        """`directory`: where it is kept which sessions there should be. `tls`: our own certificate and key; `{shard}` in their names
        stands for the shard. `ca`: who signed the broker's certificate. Raises ValueError, OSError."""
        self.address = address
        self.spool = spool
        self.intake = Intake(spool, spool.clock)
        self.counts: Counter[str] = Counter()
        self.directory = directory
        self.password = first_line(address.password_file) if address.password_file is not None else None
        if tls is not None and len(address.shards) > 1 and "{shard}" not in str(tls.certificate):
            raise ValueError(
                f"RAHDAR_MQTT_TLS_CERT_FILE is {tls.certificate} for {len(address.shards)} shards, each of which has its own: "
                "write {shard} for the shard, there and in RAHDAR_MQTT_TLS_KEY_FILE"
            )
        self.sessions = [Session(self, shard, tls, ca) for shard in address.shards]
        self._wounded = False
        self._said_s = -SAY_S

    async def start(self) -> None:
        """Returns at once: a broker that is not there yet is waited for. Raises OSError for our own disk."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.intake.start()
        for session in self.sessions:
            session.task = asyncio.ensure_future(session.run())

    async def shutdown(self) -> None:
        tasks = [session.task for session in self.sessions if session.task is not None]
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a session ended badly: %r", outcome)
        await self.intake.close()

    def healthy(self) -> bool:
        """Every session is there and listens, and since this was last asked nothing was lost that may have been anybody's."""
        wounded, self._wounded = self._wounded, False
        return not wounded and all(session.ready for session in self.sessions)

    def lost(self, topic: str, why: str) -> None:
        """A message of a device that says far too much was not kept, and does not come again. It is that device's loss: its last fix
        grows old, and no rule about others has to wait for it as for messages that we missed."""
        self.counts["rate_limited"] += 1
        now_s = time.monotonic()
        if now_s - self._said_s >= SAY_S:
            self._said_s = now_s
            log.error("%s: %s; what it publishes is lost (%d messages by now)", topic, why, self.counts["rate_limited"])

    def wound(self, kind: str, count: int = 1) -> None:
        """Something was lost on the way to us, and nobody knows whose it was."""
        self.counts[kind] += count
        self._wounded = True


class Session:
    """One shard. Connects, and connects again."""

    def __init__(self, bridge: Bridge, shard: str, tls: Tls | None, ca: Path | None) -> None:
        self.bridge = bridge
        self.shard = shard
        self.login = shard
        """Client id and user name: the broker makes them one, so that nobody takes over the session of somebody else."""
        self.marker = bridge.directory / f"{self.login}.session"
        self.tls = self._context(tls, ca) if bridge.address.tls else None
        self.task: asyncio.Task[None] | None = None
        self.connection: Connection | None = None
        self.generation = 0
        self._dropped: int | None = None
        self._links: dict[str, bytes] = {}

    def _context(self, tls: Tls | None, ca: Path | None) -> ssl.SSLContext:
        try:
            context = client_context(ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"RAHDAR_MQTT_TLS_CA_FILE {ca}: {error}") from error
        if tls is not None:
            files = [str(path).replace("{shard}", self.shard) for path in (tls.certificate, tls.key)]
            try:
                context.load_cert_chain(*files)
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"RAHDAR_MQTT_TLS_CERT_FILE {files[0]} and _KEY_FILE {files[1]}: {error}") from error
        return context

    @property
    def ready(self) -> bool:
        return self.connection is not None and self.connection.subscribed

    async def run(self) -> None:
        pause = PAUSE_S[0]
        while True:
            self.generation += 1
            self.connection = connection = Connection(self, self.generation)
            try:
                why = await connection.serve()
            finally:
                self.connection = None
                await connection.close()
            if connection.subscribed:
                pause = PAUSE_S[0]
            self.bridge.counts[f"ended:{why}"] += 1
            log.warning("shard %s: connection %d ended: %s", self.login, self.generation, why)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, PAUSE_S[1])

    # ---- the session that should be there ---------------------------------------------------------------------------------

    def came(self, present: bool) -> None:
        """The broker knows our session, or does not. Raises OSError."""
        if not present:
            with contextlib.suppress(FileNotFoundError, ValueError):
                last_us = int(self.marker.read_text())
                log.error(
                    "shard %s: the broker has lost our session: what was published between %s and %s may be lost",
                    self.login,
                    format_us(last_us),
                    format_us(self.bridge.spool.clock.now_us()),
                )
                self.bridge.wound("session_lost")

    def here(self) -> None:
        """Remember that the session was there at this time. Raises OSError."""
        new = self.marker.with_suffix(".new")
        new.write_text(f"{self.bridge.spool.clock.now_us()}\n")
        new.replace(self.marker)

    def dropped(self, payload: bytes) -> None:
        """The broker's own count of what it threw away since it started."""
        with contextlib.suppress(ValueError):
            now = int(payload)
            if self._dropped is not None and now > self._dropped:
                log.error("the broker dropped %d messages: its queue is full", now - self._dropped)
                self.bridge.wound("dropped_by_broker", now - self._dropped)
            self._dropped = now

    def noticed(self, payload: bytes) -> None:
        """A line of the broker's log. Of ourselves and of our notifier there is nothing to tell."""
        for pattern, state in ((_CAME, b"online"), (_WENT, b"offline")):
            if (found := pattern.match(payload)) is None:
                continue
            login = found[1].decode()
            if login in self.bridge.address.shards or login.startswith(NOTIFY) or self._links.get(login) == state:
                return
            self._links[login] = state
            self.bridge.spool.append(login, LINK_TOPIC + login, state).add_done_callback(lambda kept: kept.exception())


class Connection:
    """One connection, one paho client, one thread. Everything but the callbacks is in the event loop's thread."""

    def __init__(self, session: Session, generation: int) -> None:
        self.session = session
        self.bridge = session.bridge
        self.generation = generation
        self.subscribed = False
        self._loop = asyncio.get_running_loop()
        self._why: asyncio.Future[str] = self._loop.create_future()
        self._arrived: deque[paho.MQTTMessage] = deque()
        self._waking = threading.Lock()
        self._room = threading.Condition()
        self._owed = self._owed_bytes = 0
        self._over = False
        self._thread: threading.Thread | None = None
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            session.login,
            protocol=paho.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,  # a new connection is a new object
        )
        client.connect_timeout = CONNECT_WITHIN_S
        if self.bridge.password is not None:
            client.username_pw_set(session.login, self.bridge.password)
        if session.tls is not None:
            client.tls_set_context(session.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

    async def serve(self) -> str:
        """Until it is over; returns why."""
        address = self.bridge.address
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's own
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = WINDOW
        properties.MaximumPacketSize = PACKET_BYTES
        try:
            await asyncio.to_thread(
                self.client.connect, address.host, address.port, KEEP_ALIVE_S, clean_start=False, properties=properties
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            return f"cannot connect: {error}"
        self.client.loop_start()
        self._thread = self.client._thread  # paho has no public way to ask whether its thread lives
        deadline = self._loop.time() + CONNECT_WITHIN_S
        while True:
            done, _ = await asyncio.wait({self._why}, timeout=WATCH_S)
            if done:
                return self._why.result()
            if self._thread is None or not self._thread.is_alive():
                return "its thread died"
            if self.subscribed:
                with contextlib.suppress(OSError):
                    self.session.here()
            elif self._loop.time() > deadline:
                return "no answer"

    async def close(self) -> None:
        """What is not acknowledged by now never is on this connection."""
        self._end("closed")
        self._arrived.clear()

        def end() -> None:
            with contextlib.suppress(OSError, ValueError):
                self.client.disconnect()
            self.client.loop_stop()

        await asyncio.to_thread(end)

    # ---- in paho's thread ---------------------------------------------------------------------------------------------------

    def _tell(self, what: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: so are we
            self._loop.call_soon_threadsafe(what, *args)

    def _on_connect(self, _client: Any, _user: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._tell(self._end, str(reason).lower())
        else:
            self._tell(self._connected, bool(flags.session_present))

    def _on_subscribe(self, _client: Any, _user: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._tell(self._listens, refused)

    def _on_disconnect(self, _client: Any, _user: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._tell(self._end, str(reason).lower())

    def _on_message(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:
        with self._room:
            while (self._owed >= MOST_OWED or self._owed_bytes >= MOST_OWED_BYTES) and not self._over:
                self._room.wait()
            self._owed += 1
            self._owed_bytes += len(message.payload)
        self._arrived.append(message)
        if self._waking.acquire(blocking=False):  # one call for all that arrived until it comes
            self._tell(self._take)

    # ---- in the event loop --------------------------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        self.subscribed = False
        with self._room:
            self._over = True
            self._room.notify()
        if not self._why.done():
            self._why.set_result(why)

    def _connected(self, present: bool) -> None:
        if self._why.done():
            return
        self.bridge.counts["connects"] += 1
        log.info("shard %s: connection %d, session present: %s", self.session.login, self.generation, present)
        try:
            self.session.came(present)
        except OSError as error:
            self._end(f"our own disk: {error}")
            return
        # no retained message, and what is published with the flag keeps it: both brokers ignore and count it
        options = SubscribeOptions(qos=1, noLocal=False, retainAsPublished=True, retainHandling=2)
        counter = SubscribeOptions(qos=0, retainHandling=0)
        ours = [DROPPED, NOTICES] if self.session.shard == SHARDS[0] else [DROPPED]
        wanted = [(name, options) for name in filters(self.session.shard)]
        self.client.subscribe([*wanted, *((name, counter) for name in ours)])

    def _listens(self, refused: list[str]) -> None:
        if refused:
            self._end(f"not allowed to subscribe: {refused[0]}".lower())
        elif not self._why.done():
            self.subscribed = True
            try:
                self.session.here()
            except OSError as error:
                self._end(f"our own disk: {error}")

    def _take(self) -> None:
        self._waking.release()
        while self._arrived:
            message = self._arrived.popleft()
            try:
                self._one(message)
            except Exception:
                log.exception("shard %s: a message was not understood", self.session.login)
                self._ignore("malformed", message)

    def _one(self, message: paho.MQTTMessage) -> None:
        topic, payload = message.topic, bytes(message.payload)
        if topic == DROPPED:
            self.session.dropped(payload)
            self._done(message)
            return
        if topic == NOTICES:
            self.session.noticed(payload)
            self._done(message)
            return
        self.bridge.counts["messages"] += 1
        login = login_of(topic)
        if login is None:
            self._ignore("topic", message)
        elif message.qos == 0:
            self._ignore("qos0", message)
        elif message.retain:
            self._ignore("retained", message)
        elif not payload:
            self._ignore("empty", message)
        elif len(payload) > PAYLOAD_BYTES:
            self._ignore("oversized", message)
        else:
            kept = self.bridge.intake.put(login, topic, payload)
            if kept.done():
                self._kept(message, kept)
            else:
                kept.add_done_callback(lambda done: self._kept(message, done))

    def _ignore(self, why: str, message: paho.MQTTMessage) -> None:
        """It is done with: it would only come again."""
        self.bridge.counts[f"ignored:{why}"] += 1
        self._done(message)

    def _kept(self, message: paho.MQTTMessage, kept: asyncio.Future[int]) -> None:
        if kept.cancelled():
            return
        error = kept.exception()
        if error is None:
            self._done(message)
        elif isinstance(error, RateLimitedError):
            # unacknowledged it would hold up all others of its shard for good: it is lost, and that is said
            self.bridge.lost(message.topic, str(error))
            self._ignore("rate_limited", message)
        elif isinstance(error, SpoolFullError):
            self._end("disk")
        else:
            self._end(f"{type(error).__name__}: {error}")

    def _done(self, message: paho.MQTTMessage) -> None:
        """Acknowledge: to the connection that brought it, or to nobody."""
        with self._room:
            self._owed -= 1
            self._owed_bytes -= len(message.payload)
            self._room.notify()
        if message.qos == 1 and not self._why.done():
            self.client.ack(message.mid, 1)

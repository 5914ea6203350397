"""The embedded broker: amqtt 0.12.1, mended where it loses or lets in what it should not.

- A QoS 1 message is acknowledged when it is on disk, and not before; QoS 0 and retained telemetry is ignored and counted.
- Nothing is parsed that is larger than a packet may be; a silent connection is closed after its keep-alive.
- Everybody is somebody: a password or a client certificate, and a topic of one's own (`acl`). Client ids are kept apart by login,
  so that nobody can take over a session of somebody else.
- Devices hear nothing of one another: what they publish goes to the spool and to nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt import packet_class
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.packet import DISCONNECT, PINGREQ, SUBSCRIBE, UNSUBSCRIBE, MQTTFixedHeader
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from pipeline.ingest.acl import NOTIFY, may_publish, may_send_down, may_subscribe
from pipeline.ingest.authority import AuthorityError, read_revoked
from pipeline.ingest.credentials import LOGIN, Verifier
from pipeline.ingest.intake import Intake, RateLimitedError
from pipeline.ingest.spool import Spool, SpoolFullError
from pipeline.ingest.wire import PUBLISH, PacketError, PacketReader, parse_publish, read_packet

log = logging.getLogger("rahdar.broker")

CONNECT_WITHIN_S = 10.0
LONGEST_IDLE_S = 1800.0
UNACKNOWLEDGED = 200  # messages of one connection on their way to the disk
PAYLOAD_BYTES = 65_536
REREAD_S = 2.0  # passwords and revoked certificates: how soon a lost phone is cut off
LINK_TOPIC = "$link/"


@dataclass(frozen=True, slots=True)
class Tls:
    """`ca`: who signs client certificates; with it, a certificate is what lets in, and its CN is the login. `crl`: which of them
    no longer do; a file that need not be there yet."""

    certificate: Path
    key: Path
    ca: Path | None = None
    crl: Path | None = None


class Handler(BrokerProtocolHandler):  # type: ignore[misc]  # amqtt has no types
    """One connection. Reads packets whole, one after the other; acknowledges in the order of arrival."""

    broker: EmbeddedBroker
    packets: PacketReader
    serial: int | None = None
    """Of the certificate that it came with."""

    def cut_off(self) -> None:
        if self._reader_task is not None:
            self._reader_task.cancel()

    def _begin(self) -> None:
        self._owed: deque[tuple[int, asyncio.Future[int]]] = deque()
        self._paying: asyncio.Task[None] | None = None
        self._paid = asyncio.Event()

    async def _reader_loop(self) -> None:
        session, reader = self.session, self.packets
        assert session is not None and self._reader_ready is not None
        idle_s = session.keep_alive * 1.5 if session.keep_alive else LONGEST_IDLE_S
        self._begin()
        self._reader_ready.set()
        try:
            while True:
                packet = await read_packet(reader.stream, idle_s)
                if packet.kind == PUBLISH:
                    await self._published(session, packet)
                    continue
                if packet.kind == DISCONNECT:
                    await self.handle_disconnect(DisconnectPacket())
                    break
                if packet.kind not in (SUBSCRIBE, UNSUBSCRIBE, PINGREQ):
                    continue  # acknowledgements of what we never sent
                reader.serve(packet.body)
                header = MQTTFixedHeader(packet.kind, packet.flags, len(packet.body))
                parsed: Any = await packet_class(header).from_stream(reader, fixed_header=header)
                if packet.kind == SUBSCRIBE:
                    await self.handle_subscribe(parsed)
                elif packet.kind == UNSUBSCRIBE:
                    await self.handle_unsubscribe(parsed)
                else:
                    await self.handle_pingreq(parsed)
        except PacketError as error:
            self.broker.counts[f"closed:{error.why}"] += 1
        except TimeoutError:
            self.broker.counts["closed:silent"] += 1
        except (OSError, asyncio.IncompleteReadError, MQTTError, AMQTTError, NoDataError):
            self.broker.counts["closed:broken"] += 1
        except SpoolFullError:
            self.broker.counts["closed:disk"] += 1
        except asyncio.CancelledError:
            log.debug("connection taken over or closed")
        finally:
            if self._paying is not None:
                self._paying.cancel()
            await self.handle_connection_closed()
            self._reader_stopped.set()
            await self.stop()

    async def _published(self, session: Session, packet: Any) -> None:
        message = parse_publish(packet)
        broker = self.broker
        login = session.username or ""
        if message.qos == 2:
            raise PacketError("qos2")
        if may_send_down(login, message.topic):
            await self._sent_down(message)
            return
        if not may_publish(login, message.topic):
            raise PacketError("acl")
        if len(message.payload) > PAYLOAD_BYTES:
            raise PacketError("oversized")
        broker.counts["messages"] += 1
        if message.qos == 0 or message.packet_id is None:
            broker.counts["ignored:qos0"] += 1
            return
        if message.retain or not message.payload:
            broker.counts["ignored:retained" if message.retain else "ignored:empty"] += 1
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            done.set_result(0)
            self._owe(message.packet_id, done)
            return
        if message.topic.endswith(
            "/receipt"
        ):  # the notifier waits for it; it is also kept like any other word of a device
            await broker.internal_message_broadcast(message.topic, message.payload, 1)
        await broker.intake.room()
        kept = broker.intake.put(login, message.topic, message.payload)
        if kept.done() and isinstance(kept.exception(), RateLimitedError):
            raise PacketError("rate_limited")  # not acknowledged: the device still has it
        self._owe(message.packet_id, kept)
        while len(self._owed) > UNACKNOWLEDGED:
            self._paid.clear()
            await self._paid.wait()

    async def _sent_down(self, message: Any) -> None:
        """From the notifier to whoever subscribed. It asks for a receipt and sends again, so nothing of it is kept here."""
        if message.payload and len(message.payload) <= PAYLOAD_BYTES:
            await self.broker.internal_message_broadcast(message.topic, message.payload, 1)
        if message.packet_id is not None:
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            done.set_result(0)
            self._owe(message.packet_id, done)

    def _owe(self, packet_id: int, kept: asyncio.Future[int]) -> None:
        self._owed.append((packet_id, kept))
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay())

    async def _pay(self) -> None:
        """PUBACK what is on disk, in order. What could not be kept is not acknowledged: the connection ends, the device sends it again."""
        while self._owed:
            try:
                await self._owed[0][1]
            except SpoolFullError:
                self.broker.counts["closed:disk"] += 1
                self.cut_off()
                return
            acks = bytearray()
            while self._owed and self._owed[0][1].done() and self._owed[0][1].exception() is None:
                acks += b"\x40\x02" + self._owed.popleft()[0].to_bytes(2, "big")
            self._paid.set()
            if self.writer is None:
                return
            try:
                self.writer.write(bytes(acks))
                await self.writer.drain()
            except OSError:
                return


class EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """`counts`: messages, ignored:…, closed:…, refused (connections); its intake counts what was too much."""

    def __init__(self, host: str, port: int, spool: Spool, verifier: Verifier, tls: Tls | None = None) -> None:
        listener: dict[str, Any] = {"type": "tcp", "bind": f"{host}:{port}", "max_connections": 2000}
        if tls is not None:
            listener |= {"ssl": True, "certfile": str(tls.certificate), "keyfile": str(tls.key)}
            if tls.ca is not None:
                listener["cafile"] = str(tls.ca)
        super().__init__({"listeners": {"default": listener}, "plugins": {}})
        self.spool = spool
        self.verifier = verifier
        self.by_certificate = tls is not None and tls.ca is not None
        self.counts: Counter[str] = Counter()
        self.tls = tls
        self.intake = Intake(spool, spool.clock)
        self._present: Counter[str] = Counter()
        self._handlers: set[tuple[str, Handler]] = set()
        self._revoked: frozenset[int] = frozenset()
        self._crl_mark: tuple[int, int] | None = None
        self._rereading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises OSError, AuthorityError, amqtt's BrokerError."""
        if self.tls is not None and self.tls.crl is not None and self.tls.crl.exists():
            self._reread_crl()
        await self.intake.start()
        await super().start()
        self._rereading = asyncio.ensure_future(self._reread())

    async def shutdown(self) -> None:
        if self._rereading is not None:
            self._rereading.cancel()
        await super().shutdown()
        await self.intake.close()

    def healthy(self) -> bool:
        """It is in the same process as who asks."""
        return True

    async def _reread(self) -> None:
        """Who was shut out since is cut off, also on a connection that is open."""
        while True:
            await asyncio.sleep(REREAD_S)
            changed = await asyncio.to_thread(self.verifier.refresh)
            try:
                await asyncio.to_thread(self._reread_crl)
            except (OSError, AuthorityError) as error:
                log.error("revoked certificates stay as they were: %s", error)
            for login, handler in list(self._handlers):
                if (not self.by_certificate and login in changed) or handler.serial in self._revoked:
                    self.counts["closed:revoked"] += 1
                    log.warning("%s is shut out", login)
                    handler.cut_off()

    def _reread_crl(self) -> None:
        if self.tls is None or self.tls.ca is None or self.tls.crl is None:
            return
        try:
            found = self.tls.crl.stat()
        except FileNotFoundError:
            return  # none yet; and one that is gone takes nothing back
        mark = (found.st_mtime_ns, found.st_ino)
        if mark != self._crl_mark:
            self._crl_mark = mark
            self._revoked = read_revoked(self.tls.crl, self.tls.ca)

    @staticmethod
    def _create_ssl_context(listener: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(listener["certfile"], listener["keyfile"])
        if listener.get("cafile"):
            context.load_verify_locations(listener["cafile"])
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    # ---- coming in ----------------------------------------------------------------------------------------------------

    async def stream_connected(self, reader: Any, writer: Any, listener_name: str) -> None:
        try:
            await self._client_connected(listener_name, PacketReader(reader), StreamWriterAdapter(writer))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("connection ended: %s", error)
            writer.close()
        except asyncio.CancelledError:
            # the broker shuts down; asyncio's own callback on this task would print a cancelled one as a fault
            writer.close()

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        assert isinstance(reader, PacketReader)
        try:
            await reader.read_whole(CONNECT_WITHIN_S)
            made, session = await Handler.init_from_connect(reader, writer, self.plugins_manager)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, AMQTTError, MQTTError, NoDataError) as error:
            self.counts["refused"] += 1
            await writer.close()
            raise MQTTError(f"no CONNECT: {error}") from error
        login = await self._login(session)
        if login is None:
            self.counts["refused"] += 1
            log.warning("refused a connection from %s as %r", remote_address, (session.username or "")[:64])
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            await writer.close()
            raise MQTTError("not authorised")
        session.username, session.password = login, None
        serial = _serial(session)
        session.client_id = f"{login}/{session.client_id}"
        known = self._sessions.get(session.client_id)
        if session.clean_session:
            if known is not None and not known[0].transitions.is_connected():
                await self._delete_session(session.client_id)
                known = None
            session.parent = 0
        if known is not None:
            old = known[0]
            for name in (
                "will_flag",
                "will_message",
                "will_topic",
                "will_qos",
                "keep_alive",
                "username",
                "clean_session",
            ):
                setattr(old, name, getattr(session, name))
            session = old
            session.parent = 0 if session.clean_session else 1
        handler = made
        assert isinstance(handler, Handler)
        handler.broker = self
        handler.serial = serial
        handler.packets = reader
        return handler, session

    async def _login(self, session: Session) -> str | None:
        """Who this is, or None."""
        if self.by_certificate:
            certificate: Any = session.ssl_object.getpeercert() if session.ssl_object else None
            names = [v for rdn in (certificate or {}).get("subject", ()) for k, v in rdn if k == "commonName"]
            if _serial(session) in self._revoked:
                return None
            return names[0] if len(names) == 1 and LOGIN.match(names[0]) else None
        if await self.verifier.verify(session.username, session.password):
            return str(session.username)
        return None

    async def _authenticate(self, session: Session, _: Any) -> bool:
        return True  # whoever came so far was let in by `_initialize_client_session`

    async def _client_message_loop(self, client_session: Session, handler: BrokerProtocolHandler) -> None:
        login = client_session.username or ""
        assert isinstance(handler, Handler)
        me = (login, handler)
        self._handlers.add(me)
        self._present[login] += 1
        if self._present[login] == 1:
            self._tell_link(login, b"online")
        try:
            await super()._client_message_loop(client_session, handler)
        finally:
            self._handlers.discard(me)
            self._present[login] -= 1
            if not self._present[login]:
                del self._present[login]
                self._tell_link(login, b"offline")

    def _tell_link(self, login: str, state: bytes) -> None:
        """The broker's own word on who is there. Nobody waits for it; a full disk may cost it. Of our notifier it says nothing."""
        if login == NOTIFY:
            return
        self.spool.append(login, LINK_TOPIC + login, state).add_done_callback(lambda kept: kept.exception())

    # ---- what devices may do --------------------------------------------------------------------------------------------

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        if not may_subscribe(session.username or "", subscription[0]):
            self.counts["refused:subscription"] += 1
            return 0x80
        return int(await super().add_subscription(subscription, session))

    async def _broadcast_message(
        self, session: Session | None, topic: str | None, data: bytes | bytearray | None, force_qos: int | None = None
    ) -> None:
        """A last will is a message like any other. Ours (downlink) goes to whoever subscribed."""
        if session is None:
            await super()._broadcast_message(session, topic, data, force_qos)
            return
        login = session.username or ""
        if topic and data and len(data) <= PAYLOAD_BYTES and may_publish(login, topic):
            self.intake.put(login, topic, bytes(data)).add_done_callback(lambda kept: kept.exception())

    async def retain_message(self, *_: Any, **__: Any) -> None:
        """Nothing is retained."""


def _serial(session: Session) -> int | None:
    certificate: Any = session.ssl_object.getpeercert() if session.ssl_object else None
    number = (certificate or {}).get("serialNumber")
    return int(number, 16) if number else None

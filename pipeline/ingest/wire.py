"""MQTT packets, whole or not at all: nothing is parsed before its length is known to be bearable and its bytes are here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from amqtt.adapters import ReaderAdapter

PACKET_BYTES = 70_000
PACKET_WITHIN_S = 30.0
PUBLISH = 3


class PacketError(ConnectionResetError):
    """The other side does not keep to the protocol or to our limits. `why` is what it is counted under."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Packet:
    kind: int
    flags: int
    body: bytes


async def read_packet(reader: asyncio.StreamReader, idle_s: float | None) -> Packet:
    """The next packet. Raises PacketError, asyncio.IncompleteReadError at the end, TimeoutError after `idle_s` of silence."""
    async with asyncio.timeout(idle_s) as patience:
        first = (await reader.readexactly(1))[0]
        patience.reschedule(asyncio.get_running_loop().time() + PACKET_WITHIN_S)
        length, shift = 0, 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
            if shift > 21:
                raise PacketError("malformed")
        if length > PACKET_BYTES:
            raise PacketError("oversized")
        body = await reader.readexactly(length) if length else b""
    return Packet(first >> 4, first & 0x0F, body)


class PacketReader(ReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """Serves amqtt's parsers the bytes of one packet, and not a byte more."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.stream = reader
        self._left = b""

    def serve(self, body: bytes) -> None:
        self._left = body

    async def read_whole(self, idle_s: float | None) -> None:
        """Take the next packet, header and all: what amqtt reads a CONNECT from."""
        packet = await read_packet(self.stream, idle_s)
        self._left = bytes([packet.kind << 4 | packet.flags]) + _length(len(packet.body)) + packet.body

    async def read(self, n: int = -1) -> bytes:
        if n > len(self._left):
            raise PacketError("malformed")
        data, self._left = (self._left, b"") if n < 0 else (self._left[:n], self._left[n:])
        return data

    def feed_eof(self) -> None:
        self.stream.feed_eof()


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    packet_id: int | None
    qos: int
    retain: bool
    payload: bytes


def parse_publish(packet: Packet) -> Publish:
    """MQTT 3.1.1 section 3.3. Raises PacketError."""
    body, qos = packet.body, packet.flags >> 1 & 0x03
    if len(body) < 2 or qos == 3:
        raise PacketError("malformed")
    end = 2 + int.from_bytes(body[:2], "big")
    behind = end + 2 if qos else end
    if behind > len(body):
        raise PacketError("malformed")
    try:
        topic = body[2:end].decode()
    except UnicodeDecodeError:
        raise PacketError("malformed") from None
    number = int.from_bytes(body[end:behind], "big") if qos else None
    if not topic or "\0" in topic or "+" in topic or "#" in topic or number == 0:
        raise PacketError("malformed")
    return Publish(topic, number, qos, bool(packet.flags & 1), body[behind:])

"""Numbered events for many readers: each reader has a place in one ring, so a slow one costs nothing.

Numbers are only meaningful within one life of the process; an id is `<epoch>-<number>`, and an id of another
epoch, or one that has left the ring, is answered with a whole snapshot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

RING_EVENTS = 4096
RING_BYTES = 4 * 1024 * 1024  # a minute or two of a busy desk; who was away longer gets a snapshot


@dataclass(frozen=True, slots=True)
class Sent:
    """One event as it goes over the wire."""

    number: int
    name: str
    data: bytes

    def frame(self, epoch: str) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (epoch.encode(), self.number, self.name.encode(), self.data)


def frame(name: str, data: Any, event_id: str = "") -> bytes:
    """An event outside the numbering, or one that carries an id of its own."""
    head = f"id: {event_id}\n" if event_id else ""
    return head.encode() + b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


class Reader:
    """One connection's place in the ring."""

    def __init__(self, feed: Feed, after: int) -> None:
        self._feed = feed
        self.after = after
        self.wake = asyncio.Event()

    def next(self) -> list[Sent] | None:
        """What came since; None when the ring has lost some of it, and only a snapshot helps."""
        self.wake.clear()
        sent = self._feed.since(self.after)
        if sent:
            self.after = sent[-1].number
        return sent

    def skip(self) -> None:
        """A snapshot was sent: go on from now."""
        self.after = self._feed.number


class Feed:
    def __init__(self, epoch: str, ring_events: int = RING_EVENTS, ring_bytes: int = RING_BYTES) -> None:
        self.epoch = epoch
        self.number = 0
        self.closed = False
        self._ring: deque[Sent] = deque()
        self._bytes = 0
        self._limits = (ring_events, ring_bytes)
        self._readers: set[Reader] = set()

    @property
    def readers(self) -> int:
        return len(self._readers)

    def publish(self, name: str, data: Any) -> None:
        self.number += 1
        sent = Sent(self.number, name, orjson.dumps(data))
        self._ring.append(sent)
        self._bytes += len(sent.data)
        events, size = self._limits
        while len(self._ring) > events or (self._bytes > size and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft().data)
        self._wake()

    def since(self, after: int) -> list[Sent] | None:
        """Events with a number above `after`, in order; None when they are not all here."""
        missing = self.number - after
        if missing < 0 or missing > len(self._ring):
            return None
        return [self._ring[i] for i in range(len(self._ring) - missing, len(self._ring))]

    def id(self, number: int | None = None) -> str:
        return f"{self.epoch}-{self.number if number is None else number}"

    def place_of(self, event_id: str) -> int | None:
        """The number behind an id of this epoch that can still be resumed from, else None."""
        epoch, _, number = event_id.rpartition("-")
        if epoch != self.epoch or not number.isdecimal() or len(number) > 18:
            return None
        return int(number) if self.since(int(number)) is not None else None

    def join(self, after: int | None = None) -> Reader:
        reader = Reader(self, self.number if after is None else after)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)

    def close(self) -> None:
        """Let every connection end, so that the server can."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake.set()

"""A log in memory, with what a real one does to its users: it is slow, refuses, loses what was on its way, forgets nothing that it has said
is durable, gives partitions to others while somebody sleeps, and takes commits only from those whom it knows."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tests.law.loop import OWNER

Record = tuple[bytes | None, bytes | None]
LATENCY_S = (0.002, 0.02, 0.3)
SESSION_S = 6.0
PATIENCE_S = 3.6


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it gets: the chance that a send is refused, that a delivery fails (half of those were written all the same)."""

    refused: float = 0.0
    failed: float = 0.0


class Waiting(NamedTuple):
    record: Record
    delivered: asyncio.Future[int]


class Broker:
    def __init__(self, dice: random.Random, weather: Weather) -> None:
        self.dice = dice
        self.weather = weather
        self.log: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.committed: dict[tuple[str, int], int] = defaultdict(int)  # (topic, partition): one group a topic
        self._readers: dict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self.outside = contextvars.Context()
        """Of nobody: what goes on whoever dies."""

    def append(self, topic: str, partition: int, record: Record) -> int:
        log = self.log[topic, partition]
        log.append(record)
        self.call(topic)
        return len(log) - 1

    def call(self, topic: str) -> None:
        """Whoever waits for this topic looks again."""
        waiting = self._readers.pop(topic, [])
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)

    async def news(self, topic: str) -> None:
        reader = asyncio.get_running_loop().create_future()
        self._readers[topic].append(reader)
        await reader


class Producer:
    """Of one process. Order is kept within a partition; different partitions are written when they please."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._waiting: dict[tuple[str, int], deque[Waiting]] = defaultdict(deque)

    async def send(self, topic: str, partition: int, record: Record) -> asyncio.Future[int]:
        dice, weather = self.broker.dice, self.broker.weather
        if dice.random() < 0.1:
            await asyncio.sleep(0)
        if weather.refused and dice.random() < weather.refused:
            raise ConnectionError("refused")
        delivered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        queue = self._waiting[topic, partition]
        queue.append(Waiting(record, delivered))
        if len(queue) == 1:
            self._later(topic, partition)
        return delivered

    def _later(self, topic: str, partition: int) -> None:
        loop, wait_s = asyncio.get_running_loop(), self.broker.dice.choice(LATENCY_S)
        loop.call_later(wait_s, self._write, topic, partition, context=self.broker.outside)

    def _write(self, topic: str, partition: int) -> None:
        """Whatever waits, or some of it, in order."""
        queue, dice, weather = self._waiting[topic, partition], self.broker.dice, self.broker.weather
        for _ in range(dice.randint(1, len(queue)) if queue else 0):
            waiting = queue.popleft()
            fails = weather.failed and dice.random() < weather.failed
            offset = None
            if not fails or dice.random() < 0.5:
                offset = self.broker.append(topic, partition, waiting.record)
            if waiting.delivered.done():
                continue
            if fails or offset is None:
                waiting.delivered.set_exception(TimeoutError("no answer"))
                waiting.delivered.exception()  # looked at: who does not wait for it need not be told
            else:
                waiting.delivered.set_result(offset)
        if queue:
            self._later(topic, partition)

    def die(self) -> None:
        """Of what was on its way some arrives and some does not; of one partition never the later without the earlier."""
        for (topic, partition), queue in self._waiting.items():
            for waiting in list(queue)[: self.broker.dice.randint(0, len(queue))]:
                self.broker.append(topic, partition, waiting.record)
            queue.clear()


@dataclass(slots=True)
class Message:
    topic: str
    partition: int
    offset: int


class Event:
    """As Faust's, as far as the stages use it."""

    __slots__ = ("_consumer", "_generation", "message", "value")

    def __init__(self, message: Message, value: bytes, consumer: Consumer) -> None:
        self.message, self.value = message, value
        self._consumer, self._generation = consumer, consumer.generation

    def ack(self) -> None:
        if self._generation == self._consumer.generation:
            self._consumer.acked(self.message)


class Hooks(Protocol):
    """What a stage does when partitions come and go."""

    async def assigned(self, tps: set[Any]) -> None: ...

    async def revoked(self, tps: set[Any]) -> None: ...


class Partition(NamedTuple):
    topic: str
    partition: int


@dataclass
class Consumer:
    """One stage's reader in one process: a stream of events for its agent. Never commits past what is not acknowledged."""

    broker: Broker
    topic: str
    hooks: Hooks
    generation: int = 0
    position: dict[int, int] = field(default_factory=dict)
    open: bool = False
    idle: bool = False
    leaving: bool = False
    _positioning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _flight: dict[int, deque[int]] = field(default_factory=dict)
    _done: dict[int, set[int]] = field(default_factory=dict)
    _buffer: deque[Event] = field(default_factory=deque)

    # ---- the agent's side ---------------------------------------------------------------------------------------------

    def noack(self) -> Consumer:
        return self

    def events(self) -> Consumer:
        return self

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Event:
        while True:
            if not self._buffer and self.open:
                self._fetch()
            if self._buffer and self.open:
                event = self._buffer.popleft()
                self._flight.setdefault(event.message.partition, deque()).append(event.message.offset)
                if self.broker.dice.random() < 0.1:
                    await asyncio.sleep(0)
                    if event._generation != self.generation or not self.open:
                        continue  # taken away before the agent saw it
                self.idle = False
                return event
            self.idle = True
            await self.broker.news(self.topic)

    def _fetch(self) -> None:
        dice = self.broker.dice
        ready = [p for p, at in self.position.items() if at < len(self.broker.log[self.topic, p])]
        if not ready:
            return
        p = ready[int(dice.random() * len(ready))]
        start, log = self.position[p], self.broker.log[self.topic, p]
        end = min(len(log), start + dice.choice((1, 4, 16)))
        for offset in range(start, end):
            value = log[offset][1]
            assert value is not None
            self._buffer.append(Event(Message(self.topic, p, offset), value, self))
        self.position[p] = end

    def acked(self, message: Message) -> None:
        self._done.setdefault(message.partition, set()).add(message.offset)

    # ---- the group's side ---------------------------------------------------------------------------------------------

    def commit(self, generation: int) -> None:
        """`generation`: the group's own. Who was put out commits nothing."""
        if self.generation != generation:
            return
        for p, flight in self._flight.items():
            done = self._done.setdefault(p, set())
            while flight and flight[0] in done:
                offset = flight.popleft()
                done.discard(offset)
                self.broker.committed[self.topic, p] = max(offset + 1, self.broker.committed[self.topic, p])

    async def let_go(self, generation: int) -> None:
        """Revoked: no record flows, the agent becomes idle or its time is over, the stage finishes, its acks are committed."""
        self.open, self.leaving = False, True
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE_S
        while not self.idle and loop.time() < until:
            await asyncio.sleep(0.05)
            self.broker.call(self.topic)
        async with self._positioning:
            await self.hooks.revoked({Partition(self.topic, p) for p in self.position})
        self.commit(generation)
        self.position = {}

    async def take(self, generation: int, partitions: Sequence[int]) -> None:
        self.open = False  # a take of the generation before may have come late: nothing flows before the stage is ready
        self._flight, self._done = {}, {}
        self._buffer.clear()
        self.generation, self.leaving = generation, False
        async with self._positioning:
            self.position = {p: self.broker.committed[self.topic, p] for p in partitions}
            await self.hooks.assigned({Partition(self.topic, p) for p in partitions})
        if self.generation == generation and not self.leaving:
            self.open = True
            self.broker.call(self.topic)


class Topic:
    """As `app.topic`, bound to a process' producer."""

    def __init__(self, producer: Producer, name: str) -> None:
        self._producer, self.name = producer, name

    async def send(self, *, key: bytes, value: bytes | None, partition: int) -> asyncio.Future[int]:
        return await self._producer.send(self.name, partition, (key, value))


class Reading:
    """As `read_topic`: outside of any group, up to what is the end now."""

    def __init__(self, broker: Broker, topic: str, partition: int, start: int | None, end: int | None) -> None:
        self._log, self._at = broker.log[topic, partition], start or 0
        self._end = len(self._log) if end is None else min(end, len(self._log))

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> tuple[int, bytes | None, bytes | None]:
        if self._at >= self._end:
            raise StopAsyncIteration
        if self._at % 16 == 0:
            await asyncio.sleep(0)
        self._at += 1
        return self._at - 1, *self._log[self._at - 1]


__all__ = ["OWNER", "Broker", "Consumer", "Producer", "Reading", "Topic", "Weather"]

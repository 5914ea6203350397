"""What the suite's tests share: apps that collect what they read, and what a group has committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.transport import RAW_RECORDS, LogStore, declare_topics
from agents.transport.address import is_log, log_directory
from agents.transport.kafka import bootstrap
from pipeline.model.topics import TopicSpec

WITHIN_S = 20.0
RAW = RAW_RECORDS


@dataclass
class Collected:
    """What an agent has seen, as (partition, offset, value)."""

    seen: list[tuple[int, int, bytes]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: faust.EventT[bytes]) -> None:
        self.seen.append((event.message.partition, event.message.offset, event.value))
        self._changed.set()

    @property
    def values(self) -> list[bytes]:
        return [value for _, _, value in self.seen]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_count(self, count: int) -> None:
        await self.until(lambda: len(self.seen) >= count)


@contextlib.asynccontextmanager
async def running(*apps: faust.App) -> AsyncIterator[None]:
    """Start them, and stop them at the end."""
    started = []
    try:
        for app in apps:
            await app.start()
            started.append(app)
        yield
    finally:
        for app in reversed(started):
            await app.stop()


def collecting(app: faust.App, topic: str, partitions: int = 1) -> Collected:
    """Let this app's agent collect the topic."""
    collected = Collected()

    @app.agent(app.topic(topic, partitions=partitions, **RAW), name=f"collect-{topic}")
    async def collect(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            collected.add(event)

    return collected


async def make_topic(url: str, name: str, partitions: int = 1) -> None:
    await declare_topics(url, [TopicSpec(name, True, 86_400)], partitions)


async def fill(app: faust.App, topic: str, values: list[bytes], partition: int = 0) -> None:
    """Send these, in order, and wait until they are durable."""
    target = app.topic(topic, **RAW)
    await asyncio.gather(*[await target.send(key=b"k", value=value, partition=partition) for value in values])


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


async def committed_offset(url: str, group: str, topic: str, partition: int = 0) -> int | None:
    """What the group would go on from."""
    if is_log(url):
        store = LogStore.acquire(log_directory(url))
        try:
            tp = store.topic(topic).tp(partition)
            rows = store.query("select offset from committed where grp=? and tp=?", (group, tp))
            return int(rows[0][0]) if rows else None
        finally:
            await store.release()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap(url), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        offset = await consumer.committed(TopicPartition(topic, partition))
        return None if offset is None else int(offset)
    finally:
        await consumer.stop()

"""What Faust does not offer for Kafka: topics with their settings, and reading one from outside of any group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextvars import ContextVar
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # type: ignore[import-untyped]
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code  # type: ignore[import-untyped]

from agents.transport.schema import PartitionMismatchError, UnknownTopicError
from pipeline.kafka_url import kafka_place
from pipeline.model.topics import TopicSpec

TOMBSTONE_MS = 300_000
COMPACT_SEGMENT_MS = 600_000  # the segment that is written to is never compacted, and a new owner reads all of it
COMPACT_SEGMENT_BYTES = 16 << 20
SHORTEST_SEGMENT_MS, LONGEST_SEGMENT_MS = 3_600_000, 7 * 86_400_000
KNOWN_WITHIN_S = 10.0
FETCH_WAIT_MS = (
    10  # the next partition's fetch waits until the broker has answered the last one's, and what is there is there
)


def bootstrap(url: str) -> list[str]:
    """Its servers as a list of host:port. Raises ValueError."""
    return list(kafka_place(url).servers)


def replicas_of(brokers: int) -> int:
    return min(3, brokers)


def settings_of(spec: TopicSpec, brokers: int) -> dict[str, str]:
    """A topic's settings on that many brokers; all of them, since Kafka forgets what an alteration does not name."""
    settings = {"min.insync.replicas": str(max(1, replicas_of(brokers) - 1))}
    if brokers == 1 and not spec.by_cell:
        settings["flush.messages"] = "1"  # alerts and commands are few, and no other broker has them
    if spec.compacted:
        return settings | {
            "cleanup.policy": "compact",
            "delete.retention.ms": str(TOMBSTONE_MS),
            "min.cleanable.dirty.ratio": "0.1",
            "segment.ms": str(COMPACT_SEGMENT_MS),
            "segment.bytes": str(COMPACT_SEGMENT_BYTES),
        }
    retention_ms = -1 if spec.retention_s is None else spec.retention_s * 1000
    settings |= {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    if retention_ms > 0:
        # Kafka deletes whole segments, and not the one that is written to, which by default lasts a week
        settings["segment.ms"] = str(min(LONGEST_SEGMENT_MS, max(SHORTEST_SEGMENT_MS, retention_ms // 4)))
    return settings


@contextlib.asynccontextmanager
async def _admin(url: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**kafka_place(url).client_options())
    try:
        await admin.start()
    except KafkaConnectionError as error:
        await admin.close()
        raise ConnectionError(f"cannot reach Kafka at {url}: {error}") from error
    try:
        yield admin
    finally:
        await admin.close()


_kept: ContextVar[dict[str, list[Any]] | None] = ContextVar("readers", default=None)


@contextlib.asynccontextmanager
async def keep_readers() -> AsyncIterator[None]:
    """In here, who has been read with is read with again: a worker that takes thirty partitions reads sixty times, and each
    new connection costs some milliseconds of both sides."""
    kept: dict[str, list[Any]] = {}
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for consumers in kept.values():
            for consumer in consumers:
                await consumer.stop()


@contextlib.asynccontextmanager
async def _reader(url: str) -> AsyncIterator[Any]:
    kept = _kept.get()
    idle = kept.setdefault(url, []) if kept is not None else []
    consumer = idle.pop() if idle else await _new_reader(url)
    try:
        yield consumer
    except KafkaError as error:  # it went away while we asked: as much an outage as not being there at first
        await consumer.stop()
        raise ConnectionError(f"Kafka at {url} does not answer: {error!r}") from error
    except BaseException:
        await consumer.stop()
        raise
    if kept is None:
        await consumer.stop()
    else:
        consumer.unsubscribe()
        idle.append(consumer)


async def _new_reader(url: str) -> Any:
    consumer = AIOKafkaConsumer(
        **kafka_place(url).client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    try:
        await consumer.start()
    except BaseException as error:
        await consumer.stop()
        if isinstance(error, KafkaConnectionError):
            raise ConnectionError(f"cannot reach Kafka at {url}: {error}") from error
        raise
    return consumer


async def declare(url: str, specs: Sequence[TopicSpec], partitions: int) -> None:
    """Raises PartitionMismatchError, ConnectionError."""
    async with _admin(url) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        wanted = {spec.name: partitions if spec.by_cell else 1 for spec in specs}
        new = [
            NewTopic(spec.name, wanted[spec.name], replicas_of(brokers), topic_configs=settings_of(spec, brokers))
            for spec in specs
        ]
        made = await admin.create_topics(new)
        existing = set()
        for name, code, *_ in made.topic_errors:
            error = for_code(code)
            if error is TopicAlreadyExistsError:
                existing.add(name)
            elif code:
                raise error(f"topic {name}")
        if existing:
            answers = await admin.alter_configs(
                [
                    ConfigResource(ConfigResourceType.TOPIC, spec.name, settings_of(spec, brokers))
                    for spec in specs
                    if spec.name in existing
                ]
            )
            for code, message, _, name in (resource for answer in answers for resource in answer.resources):
                if code:
                    raise for_code(code)(f"topic {name}: {message}")
        await _check(admin, wanted)


async def _check(admin: Any, wanted: dict[str, int]) -> None:
    """Wait until every topic is known, and has as many partitions as it should."""
    deadline = asyncio.get_running_loop().time() + KNOWN_WITHIN_S
    while True:
        described = {topic["topic"]: topic for topic in await admin.describe_topics(list(wanted))}
        if all(not described.get(name, {"error_code": 1})["error_code"] for name in wanted):
            break
        if asyncio.get_running_loop().time() > deadline:
            raise ConnectionError(f"Kafka does not know the topics {sorted(wanted)} after {KNOWN_WITHIN_S:.0f} s")
        await asyncio.sleep(0.1)
    for name, count in wanted.items():
        found = len(described[name]["partitions"])
        if found != count:
            raise PartitionMismatchError(
                f"topic {name!r} has {found} partitions, not {count}; their number is fixed when the topic is made. "
                f"Set RAHDAR_PARTITIONS={found}, or use another cluster."
            )


async def read(
    url: str, topic: str, partition: int, start: int | None, end: int | None
) -> AsyncIterator[tuple[int, bytes | None, bytes | None]]:
    async with _reader(url) as consumer:
        tp = TopicPartition(topic, partition)
        if partition not in (consumer.partitions_for_topic(topic) or await partitions_of(consumer, topic)):
            raise UnknownTopicError(f"topic {topic!r} has no partition {partition}")
        consumer.assign([tp])
        stop = (await consumer.end_offsets([tp]))[tp] if end is None else end
        first = (await consumer.beginning_offsets([tp]))[tp]
        consumer.seek(tp, max(start or 0, first))
        # The position, not the last record seen, says where we are: offsets may be missing at the end.
        while await consumer.position(tp) < stop:
            for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
                if record.offset >= stop:
                    return
                yield record.offset, record.key, record.value


async def partitions_of(consumer: Any, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)
    await consumer._client.force_metadata_update()
    return set(consumer.partitions_for_topic(topic) or ())


async def ends(url: str, tps: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    async with _reader(url) as consumer:
        found = await consumer.end_offsets([TopicPartition(topic, partition) for topic, partition in tps])
        return {(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

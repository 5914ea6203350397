"""Topics on either transport: declaring them, and reading one from outside of any group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from agents.transport import kafka
from agents.transport.address import is_log, log_directory
from agents.transport.guards import App
from agents.transport.schema import StoreError
from agents.transport.store import LogStore
from pipeline.model.topics import TopicSpec

PAGE_RECORDS = 500
PAGE_BYTES = 4 << 20


def _url(where: App | str) -> str:
    return where if isinstance(where, str) else where.log_url


async def declare_topics(where: App | str, specs: Sequence[TopicSpec], partitions: int) -> None:
    """Make these topics, or bring those that exist to these settings. Raises PartitionMismatchError, ConnectionError.

    partitions: N, of topics that are cut by cell; the others have one.
    """
    url = _url(where)
    if not is_log(url):
        await kafka.declare(url, specs, partitions)
        return
    store = LogStore.acquire(log_directory(url))
    try:
        for spec in specs:
            await store.declare(spec, partitions)
    finally:
        await store.release()


async def read_topic(
    log_url: str, topic: str, partition: int, start: int | None = None, end: int | None = None
) -> AsyncIterator[tuple[int, bytes | None, bytes | None]]:
    """Yield (offset, key, value) from `start` (or the first that is there) up to `end` (or what is the end now),
    exclusive.

    Belongs to no group and commits nothing. A value of None is a deletion. Raises UnknownTopicError, ConnectionError.
    """
    if not is_log(log_url):
        async for found in kafka.read(log_url, topic, partition, start, end):
            yield found
        return
    store = LogStore.acquire(log_directory(log_url))
    try:
        known = store.topic(topic)
        if not 0 <= partition < known.partitions:
            raise StoreError(f"topic {topic!r} has {known.partitions} partitions; there is no {partition}")
        tp = known.tp(partition)
        stop = store.head(tp) if end is None else end
        offset = start or 0
        while offset < stop:
            page = store.read(tp, offset, PAGE_RECORDS, PAGE_BYTES)
            for record in page:
                if record.offset >= stop:
                    return
                yield record.offset, record.key, record.value
            if not page:
                return
            offset = page[-1].offset + 1
    finally:
        await store.release()


async def end_offset(log_url: str, topic: str, partition: int) -> int:
    """The offset that the next record will have. Raises UnknownTopicError, ConnectionError."""
    return (await _ends(log_url, [(topic, partition)]))[topic, partition]


async def beyond_the_end(log_url: str, kept: Mapping[tuple[str, int], int]) -> list[tuple[str, int]]:
    """Of positions that are kept elsewhere, (topic, partition) -> next offset, those that this log does not reach: it is not the log
    of which they were kept, but one that was made anew or has lost its end. Raises UnknownTopicError, ConnectionError."""
    known = {tp: offset for tp, offset in kept.items() if offset > 0}
    ends = await _ends(log_url, known.keys()) if known else {}
    return sorted(tp for tp, offset in known.items() if offset > ends[tp])


async def _ends(log_url: str, tps: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    if not is_log(log_url):
        return await kafka.ends(log_url, tps)
    store = LogStore.acquire(log_directory(log_url))
    try:
        return {(topic, n): store.head(store.topic(topic).tp(n)) for topic, n in tps}
    finally:
        await store.release()

"""Faust's producer on the embedded log. A send's future resolves when the record is on disk."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from faust.transport import base
from faust.types import TP
from faust.types.core import HeadersArg
from faust.types.tuples import RecordMetadata
from mode.utils.times import Seconds, want_seconds

from agents.transport.headers import pack_headers
from agents.transport.schema import FencedError, UnknownTopicError
from agents.transport.store import LogStore


def partition_of_key(key: bytes | None, partitions: int) -> int:
    """The same as `pipeline.model.topics.partition_of`, for a key's bytes. Without a key: 0."""
    if not key:
        return 0
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % partitions


class Producer(base.Producer):
    """Records go to the log's writer thread; whatever gathers there while it waits for the disk is one transaction."""

    allow_headers = True
    _log: LogStore | None = None

    @property
    def log_store(self) -> LogStore:
        if self._log is None:
            self._log = LogStore.acquire(cast(Any, self.transport).directory)
        return self._log

    async def on_stop(self) -> None:
        if self._log is not None:
            store, self._log = self._log, None
            await store.flush()
            await store.release()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        store = self.log_store
        try:
            known = store.topic(topic)
        except UnknownTopicError:
            await store.make_topic(topic, self.app.conf.topic_partitions)
            known = store.topic(topic)
        number = partition_of_key(key, known.partitions) if partition is None else partition
        timestamp_us = None if timestamp is None else int(timestamp * 1_000_000)
        await store.room()
        consumer = self.app._consumer  # type: ignore[attr-defined]  # the property would make one
        member = getattr(consumer, "member_id", None)
        appended = store.append(topic, number, key, value, timestamp_us, pack_headers(cast(Any, headers)), member)
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()

        def settle(done: asyncio.Future[int]) -> None:
            if sent.done():
                return
            if done.cancelled():
                sent.cancel()
            elif error := done.exception():
                sent.set_exception(error)
                if isinstance(error, FencedError):
                    self.add_future(self.app.crash(error))
            else:
                sent.set_result(RecordMetadata(topic, number, TP(topic, number), done.result(), timestamp, 0))

        appended.add_done_callback(settle)
        return sent

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    async def flush(self) -> None:
        await self.buffer.flush()
        if self._log is not None:
            await self._log.flush()

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication: int,
        *,
        config: Mapping[str, Any] | None = None,
        timeout: Seconds = 30.0,  # noqa: ASYNC109  # Faust's signature
        retention: Seconds | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        ensure_created: bool = False,
    ) -> None:
        retention_us = None if not retention else int(want_seconds(retention) * 1_000_000)
        await self.log_store.make_topic(topic, partitions, retention_us, bool(compacting))

    def key_partition(self, topic: str, key: bytes) -> TP:
        return TP(topic, partition_of_key(key, self.log_store.topic(topic).partitions))

    def supports_headers(self) -> bool:
        return True

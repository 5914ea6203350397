"""Faust's Kafka consumer and producer, with what they lack: an outage that is waited out, no record twice, and partitions
shared out as the embedded log does."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping
from time import monotonic
from typing import Any, cast

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor  # type: ignore[import-untyped]  # no types
from aiokafka.coordinator.protocol import (  # type: ignore[import-untyped]
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError, KafkaTimeoutError  # type: ignore[import-untyped]
from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import RecordMetadata

from agents.transport.groups import share_out

log = logging.getLogger("rahdar.kafka")

VERSION = 1
FETCH_WAIT_MS = 30
"""A partition whose records are on hand is not in the fetch that is under way, and there is one at a time for each broker: the next record
of a busy partition waits until the broker has answered for the idle ones. Faust has that take 1.5 s."""


class Had(msgspec.Struct, frozen=True, array_like=True):
    """What a member tells its leader: the partitions that it had, and since when."""

    generation: int
    tps: list[tuple[str, int]]


_decoder = msgspec.msgpack.Decoder(Had)


class CellAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # no types
    """Equal numbers of different topics to the same member; who had a number keeps it if it can. One for each consumer."""

    name = "rahdar-cells"

    def __init__(self) -> None:
        self.had = Had(-1, [])

    def metadata(self, topics: Iterable[str]) -> Any:
        return ConsumerProtocolMemberMetadata(VERSION, sorted(topics), msgspec.msgpack.encode(self.had))

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Called on one member, for all."""
        topics_of = {member: frozenset(told.subscription) for member, told in members.items()}
        partitions = {
            topic: len(cluster.partitions_for_topic(topic) or ())
            for topic in sorted(frozenset().union(*topics_of.values()))
        }
        before: dict[tuple[str, int], tuple[int, str]] = {}
        for member, told in members.items():
            had = _had(told.user_data)
            for topic, number in had.tps:
                # two may claim the same: one of them slept while the other was given it
                before[topic, number] = max((had.generation, member), before.get((topic, number), (-2, "")))
        shares = share_out(topics_of, partitions, {tp: member for tp, (_, member) in before.items()})
        given: dict[str, dict[str, list[int]]] = {member: defaultdict(list) for member in members}
        for (topic, number), member in shares.items():
            given[member][topic].append(number)
        return {
            member: ConsumerProtocolMemberAssignment(VERSION, sorted(share.items()), b"")
            for member, share in given.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        """`remember` keeps it: the generation is not known here."""

    def remember(self, generation: int, tps: Iterable[tuple[str, int]]) -> None:
        self.had = Had(generation, sorted(tps))


def _had(user_data: bytes | None) -> Had:
    try:
        return _decoder.decode(user_data or b"")
    except msgspec.MsgspecError:
        return Had(-1, [])


class ConsumerThread(driver.AIOKafkaConsumerThread):
    _looking: asyncio.Event | None = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        made: Any = super()._create_worker_consumer(transport)
        made._fetch_max_wait_ms = FETCH_WAIT_MS
        if self._assignor is not self.app.assignor:  # tables need Faust's own
            self._assignor = CellAssignor()
            made._partition_assignment_strategy = [self._assignor]
        return made

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's signature
        """Called in the app's thread; the rest is done in the consumer's."""
        interruptions = cast(Any, self.consumer).interruptions
        return await self.call_thread(self._read_unless_interrupted, active_partitions, timeout, interruptions)

    def look_again(self) -> None:
        """Called in the app's thread: a partition has room again, or the flow was interrupted."""
        if self._looking is not None and not self.thread_loop.is_closed():
            self.thread_loop.call_soon_threadsafe(self._looking.set)

    async def _read_unless_interrupted(
        self,
        active: set[TP] | None,
        timeout: float,  # noqa: ASYNC109
        interruptions: int,
    ) -> dict[TP, list[Any]]:
        """Take what has been fetched. Nobody waits for this any more once the flow was interrupted, and it may be long: what it
        took then, of the next assignment, would be missing for ever. Between looking and taking there is no `await`; a seek
        comes through this thread's loop, so it is before or behind."""
        consumer = self._ensure_consumer()
        looking = self._looking = self._looking or asyncio.Event()
        deadline = monotonic() + timeout
        while True:
            looking.clear()
            fetcher = consumer._fetcher
            if consumer._closed or fetcher._closed:
                raise ConsumerStoppedError
            if cast(Any, self.consumer).interruptions != interruptions or not self.consumer.flow_active:
                return {}
            # as it is now: a partition that had no room may have some; and aiokafka takes an empty set for all
            wanted = None if active is None else set(active)
            if wanted != set() and not fetcher._subscriptions.reassignment_in_progress:
                with fetcher._subscriptions.fetch_context():
                    found = await fetcher.fetched_records(wanted, timeout=0, max_records=consumer._max_poll_records)
                if found:
                    return cast("dict[TP, list[Any]]", found)
            left_s = deadline - monotonic()
            if left_s <= 0:
                return {}
            fetched = fetcher._create_fetch_waiter()
            again = asyncio.ensure_future(looking.wait())
            await asyncio.wait({fetched, again}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if fetched.done():
                fetched.result()  # an error of the broker's
            else:
                fetched.cancel()

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        if isinstance(self._assignor, CellAssignor):
            self._assignor.remember(generation_id, [(tp.topic, tp.partition) for tp in assigned])
        await super().on_partitions_assigned(assigned, generation_id)


class Consumer(driver.Consumer):
    def look_again(self) -> None:
        cast(ConsumerThread, self._thread).look_again()

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class Producer(driver.Producer):
    """Idempotent: the broker knows a batch that is sent again, and a batch is sent again until it is durable. (This is no
    transaction, and needs none.)"""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send(self, *args: Any, **kwargs: Any) -> Awaitable[RecordMetadata]:
        """Wait until there is room: while Kafka is away, what was handed over before waits in memory."""
        while True:
            try:
                return await super().send(*args, **kwargs)
            except ProducerSendError as error:
                if not isinstance(error.__cause__, KafkaTimeoutError | KafkaConnectionError):
                    raise
                log.warning("cannot write to Kafka: %r; trying on", error.__cause__)

"""Faust's consumer on the embedded log: a member of its group, reading what was committed to disk."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

from faust.assignor.client_assignment import ClientAssignment
from faust.transport.consumer import Consumer as BaseConsumer
from faust.types import TP, ConsumerMessage
from mode import Service
from mode.utils.times import Seconds

from agents.transport import groups
from agents.transport.headers import unpack_headers
from agents.transport.producer import partition_of_key
from agents.transport.schema import MOST_PARTITIONS, FencedError
from agents.transport.store import LogStore, Record
from agents.transport.writer import Transaction

log = logging.getLogger("rahdar.log")

MOST_RECORDS = 500
MOST_BYTES = 1 << 20
UNHURRIED_S = 0.25
"""So often topics are read that the app is in no hurry to read."""

_numbers = itertools.count()


class Consumer(BaseConsumer):
    """Reads the partitions that its group gives it."""

    _log: LogStore | None = None
    _membership: asyncio.Future[None] | None = None

    def on_init(self) -> None:
        self._positions: dict[TP, int] = {}
        self._assigned: set[TP] = set()
        self._ids: dict[TP, int] = {}
        self._tps: dict[int, TP] = {}
        self._topics: frozenset[str] = frozenset()
        self._unhurried: frozenset[str] = frozenset(getattr(self.app, "unhurried", ()))
        self._prompt: set[int] = set()
        self._waiting = False
        self._beat_s = 0.0
        """When a commit last said that we live."""
        self._member: groups.Member | None = None
        self._joined = False
        self._generation = -1
        self._arrived = asyncio.Event()
        self._group_changed = asyncio.Event()

    @property
    def log_store(self) -> LogStore:
        if self._log is None:
            self._log = LogStore.acquire(cast(Any, self.transport).directory)
            self._log.listen(self._on_records, self._group_changed.set)
        return self._log

    @property
    def member_id(self) -> str | None:
        """Who we are in our group, once we are in it: what we send is refused when we are put out."""
        return self._member.id if self._member and self._joined else None

    # ---- membership ------------------------------------------------------------------------------------------------

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Faust waits for this to return before it can be told of an assignment: that comes from a task of its own."""
        wanted = frozenset(topics)
        if wanted == self._topics and self._membership is not None:
            return
        for topic in wanted:
            await self.log_store.make_topic(topic, self.app.conf.topic_partitions)
        self._topics = wanted
        self.log_store.want(self._on_records, wanted - self._unhurried)
        if self._member is None:
            self._member = groups.this_member(
                self.app.conf.id, next(_numbers), float(self.app.conf.broker_session_timeout)
            )
            self._membership = self.add_future(self._take_part(self._member))
        else:
            member = self._member
            await self.log_store.call(lambda tx: groups.ask_for(tx, member, wanted, groups.now_s()))

    async def _take_part(self, member: groups.Member) -> None:
        try:
            await self._share(member)
        except FencedError as error:
            log.error("%s", error)
            await self.app.crash(error)

    async def _share(self, member: groups.Member) -> None:
        store = self.log_store
        seat = await store.call(lambda tx: groups.join(tx, member, self._topics, groups.now_s()))
        self._joined = True
        while not self.should_stop:
            while seat.shares is None:
                await self._next_change()
                if self._newest_generation() != seat.generation:
                    seat = await store.call(lambda tx: groups.rejoin(tx, member, groups.now_s()))
                else:
                    seat = await store.call(lambda tx: groups.seat(tx, member))
            await self._announce(seat.generation, {TP(topic, partition) for topic, partition in seat.shares})
            while self._newest_generation() == seat.generation:
                await self._next_change()
            self.app.on_rebalance_start()
            await self.on_partitions_revoked(set(self._assigned))
            self._assigned = set()
            seat = await store.call(lambda tx: groups.rejoin(tx, member, groups.now_s()))

    async def _next_change(self) -> None:
        await self._group_changed.wait()
        self._group_changed.clear()

    def _newest_generation(self) -> int:
        rows = self.log_store.query("select generation from groups where name=?", (self.app.conf.id,))
        return int(rows[0][0]) if rows else -1

    async def _announce(self, generation: int, tps: set[TP]) -> None:
        store = self.log_store
        if self._generation < 0:
            self.app.on_rebalance_start()
        self._generation = generation
        self.app.consumer_generation_id = generation
        self._ids = {tp: store.topic(tp.topic).tp(tp.partition) for tp in tps}
        self._tps = {number: tp for tp, number in self._ids.items()}
        self._prompt = {number for tp, number in self._ids.items() if tp.topic not in self._unhurried}
        self._positions = {}
        self._assigned = tps
        actives: dict[str, list[int]] = defaultdict(list)
        for tp in sorted(tps):
            actives[tp.topic].append(tp.partition)
        assignor = cast(Any, self.app.assignor)
        assignor._assignment = ClientAssignment(actives=dict(actives), standbys={})
        assignor._active_tps = set(tps)
        await self.on_partitions_assigned(set(tps), generation)

    @Service.task
    async def _heart(self) -> None:
        every = float(self.app.conf.broker_session_timeout) / 3
        while not self.should_stop:
            await self.sleep(every)
            member = self._member
            if member is None or not self._joined or self.should_stop or groups.now_s() - self._beat_s < every * 0.7:
                continue
            try:
                await self.log_store.call(lambda tx: groups.beat(tx, member, groups.now_s()))  # noqa: B023  # awaited here
            except FencedError as error:
                log.error("%s", error)
                await self.app.crash(error)
                return

    async def on_stop(self) -> None:
        try:
            await super().on_stop()
        except FencedError as error:
            log.warning("%s", error)
        if self._membership is not None:
            self._membership.cancel()
        if self._log is None:
            return
        store, self._log = self._log, None
        store.unlisten(self._on_records, self._group_changed.set)
        try:
            if (member := self._member) is not None:
                await store.call(lambda tx: groups.leave(tx, member, groups.now_s()))
        finally:
            await store.release()

    def close(self) -> None:
        """Nothing is open that `on_stop` does not close."""

    # ---- reading ---------------------------------------------------------------------------------------------------

    def _on_records(self, heads: dict[int, int]) -> None:
        if not self._prompt.isdisjoint(heads):
            self._arrived.set()
        elif not self._tps.keys().isdisjoint(heads):
            self._waiting = True

    @Service.task
    async def _look_unhurriedly(self) -> None:
        """Nobody wakes this process for what it is in no hurry to read: it looks by itself, and reads what has gathered."""
        if not self._unhurried:
            return
        while not self.should_stop:
            await asyncio.sleep(UNHURRIED_S)
            if self._joined and self._log is not None:
                self._log.look_for_records()
            if self._waiting:
                self._waiting = False
                self._arrived.set()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Record]]:  # noqa: ASYNC109
        """Read synchronously, so that no seek or stop can fall between asking, reading and moving on; wait only when there
        is nothing, and let Faust ask again."""
        found = self._read(active_partitions)
        if not found:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
        return found

    def _read(self, active: set[TP] | None) -> dict[TP, list[Record]]:
        store, heads, positions = self.log_store, self.log_store.heads, self._positions
        ready = [
            tp
            for tp in (self._assigned if active is None else active)
            if (position := positions.get(tp)) is not None and position < heads.get(self._ids.get(tp, -1), 0)
        ]
        found: dict[TP, list[Record]] = {}
        for tp in ready:
            records = store.read(self._ids[tp], positions[tp], MOST_RECORDS, MOST_BYTES // len(ready))
            # What is at the end may have been swept away: go on behind it, or we would look for it for ever.
            positions[tp] = records[-1].offset + 1 if records else heads[self._ids[tp]]
            if records:
                found[tp] = records
        return found

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        offset, timestamp_us, key, headers, value = record
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            offset,
            timestamp_us / 1_000_000,
            0,
            unpack_headers(headers),
            key,
            value,
            None,
            len(key) if key else 0,
            len(value) if value else 0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    # ---- positions -------------------------------------------------------------------------------------------------

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """To what the group has committed; else to where `consumer_auto_offset_reset` says."""
        store = self.log_store
        group = self.app.conf.id
        committed = dict(store.query("select tp, offset from committed where grp=?", (group,)))
        found: dict[TP, int] = {}
        for tp in self._assigned:
            number = self._ids[tp]
            offset = committed.get(number)
            if offset is None:
                found[tp] = (
                    store.head(number) if self.app.conf.consumer_auto_offset_reset == "latest" else store.first(number)
                )
            else:
                found[tp] = offset
        self._positions.update(found)
        return found

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        member, generation = self._member, self._generation
        if member is None:
            return False
        rows = [(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]

        def work(tx: Transaction) -> None:
            groups.commit(tx, member, generation, rows)
            groups.beat(tx, member, groups.now_s())  # or that would be a transaction of its own

        try:
            await self.log_store.call(work)
        except FencedError as error:
            await self.app.crash(error)
            raise
        self._beat_s = groups.now_s()
        return True

    async def position(self, tp: TP) -> int | None:
        return self._positions.get(tp)

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset
        self._arrived.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            await self._seek(tp, offset)
            self._read_offset[tp] = offset or None

    def assignment(self) -> set[TP]:
        return self._assigned

    def highwater(self, tp: TP) -> int:
        return self.log_store.heads.get(self._number(tp), 0)

    def topic_partitions(self, topic: str) -> int | None:
        store = self.log_store
        return store.topic(topic).partitions if store.has_topic(topic) else None

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self.log_store.first(self._number(tp)) for tp in partitions}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self.log_store.head(self._number(tp)) for tp in partitions}

    def _number(self, tp: TP) -> int:
        number = self._ids.get(tp)
        return self.log_store.topic(tp.topic).id * MOST_PARTITIONS + tp.partition if number is None else number

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        if partition is not None:
            return partition
        return partition_of_key(key, self.log_store.topic(topic).partitions)

    async def verify_all_partitions_active(self) -> None:
        """Nothing to verify: there is no broker that could have stopped to send."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Neither for one partition."""

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
        await self.app.producer.create_topic(
            topic, partitions, replication, config=config, retention=retention, compacting=compacting, deleting=deleting
        )

"""The durable log of one machine: append, read, commit; shared by all apps of a process and by all processes of the
machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from agents.transport.schema import MOST_PARTITIONS, StoreClosedError, UnknownTopicError, connect, prepare
from agents.transport.sweep import sweep
from agents.transport.wake import ALL, Wake, mask_of
from agents.transport.writer import Append, Call, Committed, Topic, Transaction, Writer
from pipeline.clock import WallClock
from pipeline.model.topics import TopicSpec

log = logging.getLogger("rahdar.log")

T = TypeVar("T")

LOOK_S = 1.0
SWEEP_S = 60.0
MOST_WAITING_BYTES = 64 << 20

NEWS = "select tp, max(offset) + 1, max(id) from records not indexed where id > ? group by tp"

_stores: dict[tuple[Path, asyncio.AbstractEventLoop], LogStore] = {}


class Record(NamedTuple):
    offset: int
    timestamp_us: int
    key: bytes | None
    headers: bytes | None
    value: bytes | None


class LogStore:
    """The log in a directory, as one event loop sees it. Get it by `acquire`, give it back by `release`."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.directory = directory
        self.path = directory / "log.sqlite"
        self._loop = loop
        self._users = 0
        prepare(self.path)
        self._reader = connect(self.path)
        self._reader.execute("pragma query_only=1")
        self._clock = WallClock()
        self._wake = Wake(directory)
        self._writer = Writer(self.path, self._on_committed)
        self._topics: dict[str, Topic] = {}
        self.heads: dict[int, int] = {}
        self._last_id = 0
        self._data_version = -1
        self._records_arrived: dict[Callable[[dict[int, int]], None], int] = {}  # each with the mask of its topics
        self._look_for: list[Callable[[], None]] = []
        self._looking: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._sweep_at = loop.time() + SWEEP_S
        self._under_way = 0
        """Appends and calls that are not settled."""
        self._room = asyncio.Event()
        self._room.set()
        self._start()

    # ---- one per process, loop and directory -----------------------------------------------------------------------

    @classmethod
    def acquire(cls, directory: Path) -> LogStore:
        """The store of this directory in the running loop. Every `acquire` needs its `release`."""
        loop = asyncio.get_running_loop()
        store = _stores.get((directory, loop))
        if store is None:
            store = _stores[directory, loop] = cls(directory, loop)
        store._users += 1
        return store

    async def release(self) -> None:
        """Closed when its last user is gone; what is waiting is written first."""
        self._users -= 1
        if self._users:
            return
        _stores.pop((self.directory, self._loop), None)
        if self._looking is not None:
            self._looking.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        self._writer.close()
        await self._loop.run_in_executor(None, self._writer.join)
        self._wake.close(self._loop)
        self._reader.close()

    def _start(self) -> None:
        with_version = self._reader.execute("pragma data_version").fetchone()[0]
        row = self._reader.execute("select seq from sqlite_sequence where name='records'").fetchone()
        self._last_id = row[0] if row else 0
        self.heads = dict(self._reader.execute("select tp, next from heads"))
        self._data_version = with_version
        self._writer.start()
        self._looking = self._loop.call_later(LOOK_S, self._look)

    # ---- writing ---------------------------------------------------------------------------------------------------

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_us: int | None = None,
        headers: bytes | None = None,
        member: str | None = None,
    ) -> asyncio.Future[int]:
        """Resolves to the record's offset once it is on disk. Raises StoreClosedError, TypeError; its future FencedError,
        UnknownTopicError, StoreError."""
        if not (isinstance(key, bytes | None) and isinstance(value, bytes | None)):
            raise TypeError(f"a record is bytes, not {type(key).__name__} and {type(value).__name__}")
        done: asyncio.Future[int] = self._loop.create_future()
        stamp = self._clock.now_us() if timestamp_us is None else timestamp_us
        self._writer.put(Append(topic, partition, key, value, stamp, headers, member, done))
        self._under_way += 1
        if self._writer.waiting_bytes > MOST_WAITING_BYTES:
            self._room.clear()
        return done

    async def room(self) -> None:
        """Wait while too much is waiting to be written: no space, or a disk that cannot follow."""
        await self._room.wait()

    def call(self, work: Callable[[Transaction], T]) -> asyncio.Future[T]:
        """Run `work` in the next transaction; resolves to what it returned once that is on disk."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(Call(work, done))
        self._under_way += 1
        return done

    async def flush(self) -> None:
        """Returns when everything appended before is on disk."""
        if self._under_way:
            await self.call(lambda _: None)

    def _on_committed(self, done: Committed) -> None:
        """In the writer's thread."""
        if done.groups or done.topics:
            self._wake.poke()
        elif done.heads:
            self._wake.poke(mask_of({tp // MOST_PARTITIONS for tp in done.heads}))
        try:
            self._loop.call_soon_threadsafe(self._settle, done)
        except RuntimeError:
            log.debug("the loop is gone; nobody waits for this commit")

    def _settle(self, done: Committed) -> None:
        self._under_way -= len(done.settled)
        for future, result in done.settled:
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._writer.waiting_bytes <= MOST_WAITING_BYTES // 2:
            self._room.set()
        if done.topics:
            self._topics.clear()
        if done.heads:
            if done.before_id == self._last_id:
                self._last_id = done.last_id
                self._arrived(done.heads)
            elif self._records_arrived:  # else nobody here reads, and once a second is enough
                self._read_news()
        if done.groups:
            self._tell_groups()

    # ---- waking ----------------------------------------------------------------------------------------------------

    def listen(self, records: Callable[[dict[int, int]], None], groups: Callable[[], None]) -> None:
        """Call `records` with the new heads (tp: next offset) of what was written, `groups` when a group may have
        changed."""
        self._records_arrived[records] = ALL
        self._look_for.append(groups)
        self._want()
        self._wake.listen(self._loop, self._woken)

    def want(self, records: Callable[[dict[int, int]], None], topics: Iterable[str]) -> None:
        """This listener reads these topics alone: writes to others need not wake this process. It still hears of them,
        within a second. Raises UnknownTopicError."""
        self._records_arrived[records] = mask_of(self.topic(name).id for name in topics)
        self._want()
        self._read_news()

    def _want(self) -> None:
        mask = 0
        for theirs in self._records_arrived.values():
            mask |= theirs
        self._wake.want(mask)

    def unlisten(self, records: Callable[[dict[int, int]], None], groups: Callable[[], None]) -> None:
        del self._records_arrived[records]
        self._look_for.remove(groups)
        self._want()

    def _woken(self, groups: bool) -> None:
        self._read_news()
        if groups:
            self._tell_groups()

    def _look(self) -> None:
        """Once a second, in case that a byte was lost; and what has to be done from time to time."""
        self._looking = self._loop.call_later(LOOK_S, self._look)
        self.look_for_records()
        self._tell_groups()
        if self._loop.time() >= self._sweep_at and (self._sweeping is None or self._sweeping.done()):
            self._sweep_at = self._loop.time() + SWEEP_S
            self._sweeping = self._loop.create_task(self._sweep_now())

    def look_for_records(self) -> None:
        """Have listeners told of what others have written, which nobody may have woken us for."""
        version = self._reader.execute("pragma data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._read_news()
            self._topics.clear()

    async def _sweep_now(self) -> None:
        try:
            await self.sweep(unless_swept_within_s=SWEEP_S / 2)
        except StoreClosedError:
            return

    async def sweep(self, unless_swept_within_s: float = 0.0) -> int:
        """Apply retention and compaction, some hundred records a transaction. Returns how many records went."""
        now_us = self._clock.now_us()
        gone, more = await self.call(lambda tx: sweep(tx.db, now_us, unless_swept_within_s))
        while more:
            count, more = await self.call(lambda tx: sweep(tx.db, now_us, 0.0))
            gone += count
        return gone

    def _tell_groups(self) -> None:
        for told in self._look_for:
            told()

    def _read_news(self) -> None:
        """Which partitions have got records since: one query, whatever the number of partitions. It goes by the records'
        numbers: for the sake of the grouping SQLite would else walk through the index of the whole log."""
        rows = self._reader.execute(NEWS, (self._last_id,)).fetchall()
        if rows:
            self._last_id = max(row[2] for row in rows)
            self._arrived({tp: head for tp, head, _ in rows})

    def _arrived(self, heads: dict[int, int]) -> None:
        self.heads.update(heads)
        for told in self._records_arrived:
            told(heads)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[Any]:
        return self._reader.execute(sql, tuple(parameters)).fetchall()

    def topic(self, name: str) -> Topic:
        """Raises UnknownTopicError."""
        topic = self._topics.get(name)
        if topic is None:
            rows = self.query("select id, name, partitions, retention_us, compacted from topics where name=?", (name,))
            if not rows:
                raise UnknownTopicError(f"topic {name!r} does not exist in {self.directory}; declare it first")
            topic = self._topics[name] = Topic(rows[0][0], rows[0][1], rows[0][2], rows[0][3], bool(rows[0][4]))
        return topic

    def has_topic(self, name: str) -> bool:
        try:
            self.topic(name)
        except UnknownTopicError:
            return False
        return True

    async def make_topic(
        self, name: str, partitions: int, retention_us: int | None = None, compacted: bool = False
    ) -> None:
        """Make it unless it is there, whatever its partitions and settings then are."""
        if not self.has_topic(name):
            await self.call(lambda tx: tx.make_topic(name, partitions, retention_us, compacted, strict=False))

    async def declare(self, spec: TopicSpec, partitions: int) -> None:
        """Make it as the specification says, or bring its settings there. Raises PartitionMismatchError."""
        n = partitions if spec.by_cell else 1
        retention_us = None if spec.retention_s is None else spec.retention_s * 1_000_000
        await self.call(lambda tx: tx.make_topic(spec.name, n, retention_us, spec.compacted, strict=True))

    def read(self, tp: int, offset: int, most: int, most_bytes: int) -> list[Record]:
        """Records from `offset` on, at least one when there is one."""
        found: list[Record] = []
        size = 0
        cursor = self._reader.execute(
            "select offset, ts, key, headers, value from records where tp=? and offset>=? order by offset limit ?",
            (tp, offset, most),
        )
        for row in cursor:
            record = Record(*row)
            found.append(record)
            size += len(record.value or b"") + len(record.key or b"")
            if size >= most_bytes:
                break
        cursor.close()
        return found

    def first(self, tp: int) -> int:
        """The smallest offset that is still there; the next one when none is."""
        rows = self.query("select min(offset) from records where tp=?", (tp,))
        return int(rows[0][0]) if rows[0][0] is not None else self.head(tp)

    def head(self, tp: int) -> int:
        """The next offset, as it is on disk now."""
        rows = self.query("select next from heads where tp=?", (tp,))
        return int(rows[0][0]) if rows else 0

"""One thread of a process writes to the log: whatever has gathered while the last transaction was being made durable
is the next one.

So a single record leaves at once, and under load a transaction carries many: group commit, without a timer.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.transport.schema import (
    MOST_PARTITIONS,
    FencedError,
    PartitionMismatchError,
    StoreClosedError,
    StoreError,
    UnknownTopicError,
    connect,
)

log = logging.getLogger("rahdar.log")

LARGEST_COMMIT_BYTES = 8 << 20
MOST_IN_COMMIT = 5000
RETRY_S = (0.05, 1.0)


@dataclass(frozen=True, slots=True)
class Topic:
    id: int
    name: str
    partitions: int
    retention_us: int | None
    compacted: bool

    def tp(self, partition: int) -> int:
        return self.id * MOST_PARTITIONS + partition


@dataclass(slots=True)
class Append:
    """A record on its way in. `member`: who writes, when it is a member of a group and must still be one."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp_us: int
    headers: bytes | None
    member: str | None
    done: asyncio.Future[int]

    @property
    def size(self) -> int:
        return len(self.value or b"") + len(self.key or b"") + 64


@dataclass(slots=True)
class Call:
    """Anything else: a function that is run inside the transaction. It may run again when the transaction had to be."""

    work: Callable[[Transaction], Any]
    done: asyncio.Future[Any]
    size: int = 64


@dataclass(slots=True)
class Committed:
    """What one transaction did."""

    settled: list[tuple[asyncio.Future[Any], Any]]
    before_id: int
    last_id: int
    heads: dict[int, int]
    groups: bool
    topics: bool


@dataclass(slots=True)
class Transaction:
    """The state of the log inside a transaction. Its caches hold as long as no other process has written."""

    db: sqlite3.Connection
    _topics: dict[str, Topic] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)
    _members: dict[str, bool] = field(default_factory=dict)
    _version: int = -1
    touched: dict[int, int] = field(default_factory=dict)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    groups_changed: bool = False
    topics_changed: bool = False

    def begin(self) -> None:
        self.db.execute("begin immediate")
        version = self.db.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            self.forget()
            self._version = version
        self._members.clear()
        self.touched = {}
        self.rows = []
        self.groups_changed = self.topics_changed = False

    def forget(self) -> None:
        self._topics.clear()
        self._next.clear()
        self._version = -1

    def topic(self, name: str) -> Topic:
        """Raises UnknownTopicError."""
        topic = self._topics.get(name)
        if topic is None:
            row = self.db.execute(
                "select id, name, partitions, retention_us, compacted from topics where name=?", (name,)
            ).fetchone()
            if row is None:
                raise UnknownTopicError(f"topic {name!r} does not exist; declare it first")
            topic = self._topics[name] = Topic(row[0], row[1], row[2], row[3], bool(row[4]))
        return topic

    def make_topic(
        self, name: str, partitions: int, retention_us: int | None, compacted: bool, *, strict: bool
    ) -> Topic:
        """Make the topic unless it is there. `strict`: it must have that many partitions, and takes these settings."""
        if not 1 <= partitions <= MOST_PARTITIONS:
            raise StoreError(f"topic {name!r}: {partitions} partitions; 1 to {MOST_PARTITIONS} are possible")
        try:
            topic = self.topic(name)
        except UnknownTopicError:
            self.db.execute(
                "insert into topics(name, partitions, retention_us, compacted) values(?,?,?,?)",
                (name, partitions, retention_us, compacted),
            )
        else:
            if not strict or topic == Topic(topic.id, name, partitions, retention_us, compacted):
                return topic
            if topic.partitions != partitions:
                raise PartitionMismatchError(
                    f"topic {name!r} has {topic.partitions} partitions, not {partitions}; their number is fixed when "
                    f"the topic is made. Set RAHDAR_PARTITIONS={topic.partitions}, or use another log."
                )
            self.db.execute(
                "update topics set retention_us=?, compacted=? where id=?", (retention_us, compacted, topic.id)
            )
        self._topics.pop(name, None)
        self.topics_changed = True
        return self.topic(name)

    def is_member(self, member: str) -> bool:
        known = self._members.get(member)
        if known is None:
            known = self._members[member] = (
                self.db.execute("select 1 from members where id=?", (member,)).fetchone() is not None
            )
        return known

    def change_groups(self) -> None:
        """Say that this transaction changes who is a member, or what they share."""
        self._members.clear()
        self.groups_changed = True

    def append(self, item: Append) -> int:
        """The record's offset. Raises FencedError, UnknownTopicError, StoreError."""
        if item.member is not None and not self.is_member(item.member):
            raise FencedError(f"{item.member} is no member of its group any more; its records are refused")
        topic = self.topic(item.topic)
        if not 0 <= item.partition < topic.partitions:
            raise StoreError(f"topic {item.topic!r} has {topic.partitions} partitions; there is no {item.partition}")
        tp = topic.tp(item.partition)
        offset = self._next.get(tp)
        if offset is None:
            row = self.db.execute("select next from heads where tp=?", (tp,)).fetchone()
            offset = row[0] if row else 0
        self._next[tp] = self.touched[tp] = offset + 1
        self.rows.append((tp, offset, item.timestamp_us, item.key, item.headers, item.value))
        return offset

    def last_id(self) -> int:
        row = self.db.execute("select seq from sqlite_sequence where name='records'").fetchone()
        return row[0] if row else 0

    def commit(self) -> tuple[int, int]:
        """The ids before and after."""
        before = last = self.last_id()
        if self.rows:
            self.db.executemany(
                "insert into records(tp, offset, ts, key, headers, value) values(?,?,?,?,?,?)", self.rows
            )
            self.db.executemany(
                "insert into heads values(?,?,0) on conflict(tp) do update set next=excluded.next",
                list(self.touched.items()),
            )
            last += len(self.rows)
        self.db.execute("commit")
        return before, last

    def rollback(self) -> None:
        self.forget()
        if self.db.in_transaction:
            self.db.execute("rollback")


def is_passing(error: sqlite3.Error) -> bool:
    """Whether waiting may cure it: no space, an I/O error, another writer that holds on."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
    )


class Writer(threading.Thread):
    """Takes work from any thread; tells `committed` (in this thread) what was made durable, `failed` what never will
    be."""

    def __init__(self, path: Path, committed: Callable[[Committed], None]) -> None:
        super().__init__(name=f"log-writer {path.parent.name}", daemon=True)
        self._path = path
        self._committed = committed
        self._wanted: collections.deque[Append | Call] = collections.deque()
        self._wake = threading.Condition()
        self._closing = False
        self._turn = -1
        self.waiting_bytes = 0
        self.broken: BaseException | None = None

    def put(self, item: Append | Call) -> None:
        """Raises StoreClosedError."""
        with self._wake:
            if self._closing or self.broken is not None:
                raise StoreClosedError("the log is closed") from self.broken
            self._wanted.append(item)
            self.waiting_bytes += item.size
            self._wake.notify()

    def close(self) -> None:
        """Write what is waiting, then end; while there is no space, give up."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    def run(self) -> None:
        transaction = Transaction(connect(self._path))
        self._turn = os.open(self._path.with_name("turn.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while batch := self._take():
                self._write(transaction, batch)
        except BaseException as error:
            log.critical("the log's writer ended: %r", error)
            self.broken = error
            raise
        finally:
            with self._wake:
                self._closing = True
                left = list(self._wanted)
                self._wanted.clear()
            self._give_up(left)
            transaction.db.close()
            os.close(self._turn)

    def _take(self) -> list[Append | Call]:
        with self._wake:
            while not self._wanted and not self._closing:
                self._wake.wait()
            batch: list[Append | Call] = []
            size = 0
            while self._wanted and len(batch) < MOST_IN_COMMIT and size < LARGEST_COMMIT_BYTES:
                item = self._wanted.popleft()
                size += item.size
                batch.append(item)
            self.waiting_bytes -= size
        return batch

    def _give_up(self, batch: list[Append | Call]) -> None:
        error = StoreClosedError("the log was closed before this was durable")
        self._committed(Committed([(item.done, error) for item in batch], -1, -1, {}, False, False))

    def _write(self, transaction: Transaction, batch: list[Append | Call]) -> None:
        """Until it is durable: nothing is told before, and nothing is lost while there is no space."""
        pause, said = RETRY_S[0], False
        while True:
            try:
                done = self._attempt(transaction, batch)
            except sqlite3.Error as error:
                transaction.rollback()
                if not is_passing(error):
                    self._give_up(batch)
                    raise
                if not said:
                    log.error("cannot write to %s (%s); %d records wait", self._path, error, len(batch))
                    said = True
                with self._wake:
                    if self._closing or self._wake.wait_for(lambda: self._closing, pause):
                        self._give_up(batch)
                        return
                pause = min(pause * 2, RETRY_S[1])
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                    transaction.db.close()
                    transaction.db = self._reopen(transaction.db)
            else:
                if said:
                    log.warning("writing to %s goes on", self._path)
                self._committed(done)
                return

    def _reopen(self, closed: sqlite3.Connection) -> sqlite3.Connection:
        try:
            return connect(self._path)
        except sqlite3.Error as error:
            if not is_passing(error):
                raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO):
                raise
        return closed

    def _attempt(self, transaction: Transaction, batch: list[Append | Call]) -> Committed:
        """One transaction. Processes take turns by a lock of the kernel's, which wakes the next one at once: SQLite's own
        waiters sleep for up to 100 ms, also when the lock has long been free."""
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            return self._commit(transaction, batch)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _commit(self, transaction: Transaction, batch: list[Append | Call]) -> Committed:
        transaction.begin()
        settled: list[tuple[asyncio.Future[Any], Any]] = []
        for item in batch:
            try:
                result = transaction.append(item) if isinstance(item, Append) else item.work(transaction)
            except StoreError as error:
                result = error
            settled.append((item.done, result))
        before, last = transaction.commit()
        return Committed(
            settled, before, last, transaction.touched, transaction.groups_changed, transaction.topics_changed
        )

"""The log's file: one SQLite database, written by one thread of every process, read by all."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path

VERSION = 1
MOST_PARTITIONS = 4096

# A partition of a topic has one integer, `tp`: topic id x 4096 + partition.
# `records.id` grows with every commit and is never used twice: what is new for a reader is what has a larger id.
# `heads` keeps the next offset, also when all records are gone: an offset is never used twice either.
SCHEMA = """
create table if not exists topics(
  id integer primary key, name text not null unique,
  partitions integer not null, retention_us integer, compacted integer not null
);
create table if not exists heads(tp integer primary key, next integer not null, compacted integer not null);
create table if not exists records(
  id integer primary key autoincrement, tp integer not null, offset integer not null, ts integer not null,
  key blob, headers blob, value blob
);
create unique index if not exists records_at on records(tp, offset);
create table if not exists committed(
  grp text not null, tp integer not null, offset integer not null, primary key(grp, tp)
) without rowid;
create table if not exists groups(
  name text primary key, generation integer not null, assigned integer not null, since real not null
);
create table if not exists members(
  id text primary key, grp text not null, pid integer not null, started real not null, boot text not null,
  heartbeat real not null, timeout real not null, joined integer not null, topics text not null
);
create table if not exists shares(
  grp text not null, topic text not null, partition integer not null, member text not null,
  primary key(grp, topic, partition)
) without rowid;
create table if not exists sweeps(name text primary key, at real not null);
"""


class StoreError(Exception):
    """The log cannot do what was asked."""


class StoreClosedError(StoreError):
    """The log was closed before this was durable."""


class FencedError(StoreError):
    """This member was put out of its group: what it writes or commits does not count any more."""


class UnknownTopicError(StoreError):
    """No such topic in this log."""


class PartitionMismatchError(StoreError):
    """A topic exists with another number of partitions; it is fixed when the topic is made."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun and ended by hand."""
    db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False, cached_statements=256)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("pragma wal_autocheckpoint=2000")
    db.execute("pragma journal_size_limit=67108864")
    db.execute("pragma cache_size=-4096")  # what is read is the end of the log
    return db


def prepare(path: Path) -> None:
    """Make the file and its tables, once. Raises StoreError when a newer version of this program made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "making.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # SQLite does not wait for another process that is turning WAL on
        _make(path)


def _make(path: Path) -> None:
    db = connect(path)
    try:
        version = db.execute("pragma user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"{path} has version {version}; this program knows {VERSION}. Use a newer one, or another directory."
            )
        if version < VERSION:
            db.execute("begin immediate")
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"pragma user_version={VERSION}")
            db.execute("commit")
    finally:
        db.close()

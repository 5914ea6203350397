"""What the log may forget: records older than their topic's retention, and in compacted topics all but the newest of
a key.

Offsets go on: the last record of a compacted partition stays, whatever it is, since readers recover up to it.
"""

from __future__ import annotations

import sqlite3
import time

from agents.transport.schema import MOST_PARTITIONS

MOST = 500
TOMBSTONE_US = 300 * 1_000_000
"""How long a deletion stays visible in a compacted topic, for whoever is reading it meanwhile."""


def sweep(db: sqlite3.Connection, now_us: int, unless_swept_within_s: float) -> tuple[int, bool]:
    """Delete up to some hundred records. Returns how many, and whether there may be more."""
    now = time.monotonic()
    last = db.execute("select at from sweeps where name='all'").fetchone()
    if unless_swept_within_s and last is not None and now - unless_swept_within_s < last[0] <= now:
        return 0, False
    db.execute("insert or replace into sweeps values('all', ?)", (now,))
    gone = 0
    for topic, partitions, retention_us, compacted in db.execute(
        "select id, partitions, retention_us, compacted from topics"
    ).fetchall():
        for partition in range(partitions):
            tp = topic * MOST_PARTITIONS + partition
            if retention_us is not None:
                gone += _expire(db, tp, now_us - retention_us, MOST - gone)
            if compacted and gone < MOST:
                gone += _compact(db, tp, now_us, MOST - gone)
            if gone >= MOST:
                return gone, True
    return gone, False


def _expire(db: sqlite3.Connection, tp: int, before_us: int, most: int) -> int:
    """From the oldest on, as long as they are too old: what remains has no holes."""
    old: list[tuple[int]] = []
    for row_id, ts in db.execute("select id, ts from records where tp=? order by offset limit ?", (tp, most)):
        if ts >= before_us:
            break
        old.append((row_id,))
    db.executemany("delete from records where id=?", old)
    return len(old)


def _compact(db: sqlite3.Connection, tp: int, now_us: int, most: int) -> int:
    head = db.execute("select next, compacted from heads where tp=?", (tp,)).fetchone()
    if head is None or head[0] == head[1]:
        return 0
    newest: dict[bytes | None, tuple[int, bool]] = {}
    obsolete: list[tuple[int]] = []
    waits = False
    rows = db.execute("select id, offset, key, value is null, ts from records where tp=? order by offset", (tp,))
    for row_id, offset, key, is_tombstone, ts in rows:
        if key is None:
            continue
        if key in newest:
            obsolete.append((newest.pop(key)[0],))
        expired = bool(is_tombstone) and offset < head[0] - 1
        waits = waits or (expired and ts > now_us - TOMBSTONE_US)
        newest[key] = (row_id, expired and ts <= now_us - TOMBSTONE_US)
    obsolete += [(row_id,) for row_id, expired in newest.values() if expired]
    db.executemany("delete from records where id=?", obsolete[:most])
    if len(obsolete) <= most and not waits:
        db.execute("update heads set compacted=next where tp=?", (tp,))
    return min(len(obsolete), most)

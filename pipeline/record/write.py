"""The writer: records of the topics in, rows out; everything twice is the same as once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson

from pipeline.model.alert import AlertEvent, encode_event
from pipeline.model.episode import ChangeBatch
from pipeline.model.observation import Link, Order, Other, Tick
from pipeline.model.wire import ObservationBatch
from pipeline.record.tables import open_for_writing

_encode = msgspec.msgpack.Encoder().encode
KEEP_POSITIONS_US = 90 * 86_400_000_000
PRUNE_ROWS = 2000
_SIGN = 1 << 63


@dataclass(slots=True)
class Taken:
    """Records of one transaction, and where their partitions then stand."""

    observations: list[ObservationBatch] = field(default_factory=list)
    changes: list[tuple[tuple[str, int], ChangeBatch]] = field(default_factory=list)
    events: list[AlertEvent] = field(default_factory=list)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    rows: int = 0


def signed(body: int) -> int:
    """SQLite's integers are signed."""
    return body - 2 * _SIGN if body >= _SIGN else body


class Writer:
    """Not thread-safe. Raises sqlite3.Error when the database fails; then nothing of it was written."""

    def __init__(self, path: Path) -> None:
        self._db = open_for_writing(path)

    def close(self) -> None:
        self._db.close()

    def begin_anew(self, topic: str, partition: int) -> None:
        """Forget where it was read up to, and by whose epoch: the log is another one."""
        self._db.execute("delete from offsets where topic=? and partition=?", (topic, partition))

    def offsets(self) -> dict[tuple[str, int], int]:
        return {(t, p): n for t, p, n in self._db.execute("select topic, partition, next from offsets")}

    def write(self, taken: Taken) -> None:
        db = self._db
        db.execute("begin immediate")
        try:
            epochs = {(t, p): e for t, p, e in db.execute("select topic, partition, epoch from offsets")}
            for batch in taken.observations:
                if batch.copy:
                    continue  # written with its home cell's record
                db.executemany("insert or ignore into positions values (?,?,?,?,?,?,?,?,?,?,?,?,?)", _positions(batch))
                db.executemany("insert or ignore into others values (?,?,?,?,?,?)", _others(batch))
            for place, changes in taken.changes:
                if changes.epoch >= epochs.get(place, 0):
                    epochs[place] = changes.epoch
                    self._changes(changes)
            for event in taken.events:
                self._event(event)
            db.executemany(
                "insert or replace into offsets values (?,?,?,?)",
                [(t, p, n, epochs.get((t, p), 0)) for (t, p), n in taken.offsets.items()],
            )
            db.execute("commit")
        except BaseException:
            db.execute("rollback")
            raise

    def _changes(self, batch: ChangeBatch) -> None:
        db = self._db
        for change in batch.changes:
            e = change.episode
            db.executemany("delete from episodes where id = ?", [(gone,) for gone in change.was_ids])
            if change.kind == "retract":
                db.execute("delete from episodes where id = ?", (e.id,))
                continue
            row = (
                e.id, e.rule, e.subject, e.object, e.began_at_us, e.ended_at_us, e.severity, e.peak, change.mode,
                orjson.dumps(e.evidence).decode(),
            )  # fmt: skip
            db.execute("insert or replace into episodes values (?,?,?,?,?,?,?,?,?,?)", row)

    def _event(self, event: AlertEvent) -> None:
        db, data, a = self._db, encode_event(event), event.alert
        known = db.execute("select 1 from alert_events where seq = ?", (event.seq,)).fetchone()
        if known:
            return
        db.execute(
            "insert into alert_events values (?,?,?,?,?)", (event.seq, a.id, event.at_us, event.transition, data)
        )
        db.execute(
            "insert into alerts values (?,?,?,?,?) on conflict (id) do update set seq = excluded.seq,"
            " closed_at_us = excluded.closed_at_us, event = excluded.event where excluded.seq > alerts.seq",
            (a.id, event.seq, a.opened_at_us, a.closed_at_us, data),
        )

    def prune(self, now_us: int) -> int:
        """Take away some of the positions that are too old; returns how many."""
        cursor = self._db.execute(
            "delete from positions where (vehicle, seen_at_us, device, seq, body) in"
            " (select vehicle, seen_at_us, device, seq, body from positions where seen_at_us < ? limit ?)",
            (now_us - KEEP_POSITIONS_US, PRUNE_ROWS),
        )
        return cursor.rowcount


def _said(column: Any) -> list[float | None]:
    """NaN means: not said."""
    return [None if value != value else round(value, 3) for value in column.tolist()]


def _positions(batch: ObservationBatch) -> Iterable[tuple[Any, ...]]:
    f = batch.fixes
    names = f.names
    return zip(
        [names[i] for i in f.vehicle.tolist()], f.seen_at_us.tolist(), [names[i] for i in f.device.tolist()],
        f.seq.tolist(), f.body.view(np.int64).tolist(), f.received_at_us.tolist(), f.lat.tolist(), f.lon.tolist(),
        _said(f.speed_mps), _said(f.course_deg), _said(f.accuracy_m), _said(f.altitude_m), f.flags.tolist(), strict=True,
    )  # fmt: skip


def _subject(what: Other) -> str:
    for name in ("sensor", "subject", "device"):
        found = getattr(what, name, None)
        if isinstance(found, str):
            return found
    return ""


def _others(batch: ObservationBatch) -> Iterable[tuple[Any, ...]]:
    for placed in batch.others:
        what = placed.what
        if isinstance(what, Tick):
            continue
        kind = type(what).__name__.lower()
        subject = what.what if isinstance(what, Order) else _subject(what)
        body = what.body if isinstance(what, Link) else getattr(what, "body", 0)
        yield kind, subject, what.seen_at_us, signed(body), what.received_at_us, _encode(what)

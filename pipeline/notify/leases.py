"""The sender's half of the outbox: take what is due under a lease, say how it went.

A lease is committed before anything is sent, and the outcome after it. Whoever dies in between leaves a row whose lease runs out (or which
it takes back at once when it starts again under the same name): that row is sent again, and says "repeat".
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline.notify.message import Message, decode_message
from pipeline.notify.outcome import Accepted, Outcome, Passing, Permanent, Sent, Unknown
from pipeline.notify.tables import notifiers, open_engine, outbox

LEASE_US = 10_000_000
TRIES = 4
"""On one channel, when what stops it may pass."""
BACKOFF_US = (2_000_000, 60_000_000)

_taking = outbox.c.state == "pending"
_now: sa.BindParameter[int] = sa.bindparam("now_us", type_=sa.BigInteger)
_DUE = (
    sa.select(outbox.c.id)
    .where(
        (_taking & (outbox.c.due_us <= _now))
        | ((outbox.c.state == "sending") & (outbox.c.lease_until_us < _now))
        | ((outbox.c.state == "accepted") & (outbox.c.report_by_us <= _now))
    )
    .limit(1)
)
"""Anything that anybody has to do something about."""
_ONE_AT_A_TIME = sa.text("select pg_advisory_xact_lock(7206936)")
"""Two that take two tellings to one person in the same moment would not see each other's, and neither would say "repeat"."""


@dataclass(frozen=True, slots=True)
class Task:
    """One row that is ours until the lease ends."""

    id: str
    person: str
    region: str
    channel: str
    attempt: int  # from 1, on this channel
    repeat: bool  # something may have reached this person already
    message: Message


class Leases:
    """Not thread-safe: one thread has it. Raises sqlalchemy's errors when the database fails."""

    def __init__(self, url: str, name: str, speed: float = 1.0) -> None:
        self._engine, self._looking = open_engine(url)
        self._name = name
        self._lease_us = round(LEASE_US * speed)  # of the clock that the rows are written by
        self._speed = speed
        self._dice = random.Random()  # noqa: S311  # jitter, not a secret

    def close(self) -> None:
        self._engine.dispose()

    def take_back(self) -> int:
        """What the one before us of the same name had under lease. Returns how many."""
        return self._expire(outbox.c.lease_by == self._name)

    def _expire(self, which: sa.ColumnElement[bool]) -> int:
        with self._engine.begin() as tx:
            lost = sa.update(outbox).where(outbox.c.state == "sending", which)
            tx.execute(lost.where(outbox.c.stopped).values(state="cancelled", touched=True, lease_by=""))
            return int(tx.execute(lost.values(state="pending", touched=True, lease_by="")).rowcount)

    def due(self, now_us: int) -> bool:
        """Whether there is anything to take, a lease to end or a report that did not come. Almost always there is nothing: asked for often, it
        must cost little."""
        with self._looking.connect() as look:
            return look.execute(_DUE, {"now_us": now_us}).first() is not None

    def take(self, now_us: int, most: int, *, critical: bool) -> list[Task]:
        """What is due, gravest first. `critical`: only what is."""
        due = sa.select(outbox).where(_taking, outbox.c.due_us <= now_us)
        if critical:
            due = due.where(outbox.c.rank == 0)
        due = due.order_by(outbox.c.rank, outbox.c.due_us, outbox.c.created_us, outbox.c.id).limit(most)
        with self._looking.connect() as look:  # almost always there is nothing: that must not cost the writer's lock
            over = look.execute(
                sa.select(outbox.c.id).where(outbox.c.state == "sending", outbox.c.lease_until_us < now_us).limit(1)
            ).first()
            if over is None and look.execute(due.limit(1).with_only_columns(outbox.c.id)).first() is None:
                return []
        if over is not None:
            self._expire(outbox.c.lease_until_us < now_us)
        with self._engine.begin() as tx:
            if self._engine.dialect.name == "postgresql":
                tx.execute(_ONE_AT_A_TIME)
            rows = tx.execute(due.with_for_update(skip_locked=True)).all()
            told = self._told(tx, rows)
            if rows:
                tx.execute(
                    sa.update(outbox)
                    .where(outbox.c.id.in_([row.id for row in rows]))
                    .values(
                        state="sending", lease_by=self._name, lease_until_us=now_us + self._lease_us,
                        attempt=outbox.c.attempt + 1,
                    )
                )  # fmt: skip
        tasks, here = [], set()
        for row in rows:
            about = (row.alert, row.revision, row.person, row.kind)
            repeat = row.touched or row.id in told or about in here
            here.add(about)
            channel = row.channels.split()[row.channel]
            body = decode_message(row.body)
            tasks.append(Task(row.id, row.person, row.region, channel, row.attempt + 1, repeat, body))
        return tasks

    def _told(self, tx: sa.Connection, rows: Sequence[Any]) -> set[str]:
        """Rows whose person may already have been told of the same revision by another row."""
        if not rows:
            return set()
        other = outbox.alias()
        same = (
            (other.c.alert == outbox.c.alert) & (other.c.revision == outbox.c.revision) & (other.c.person == outbox.c.person)
            & (other.c.kind == outbox.c.kind) & (other.c.id != outbox.c.id)
        )  # fmt: skip
        reached = sa.or_(other.c.touched, other.c.state.in_(("sending", "accepted", "sent")))
        found = tx.execute(
            sa.select(outbox.c.id).distinct().select_from(outbox.join(other, same)).where(
                outbox.c.id.in_([row.id for row in rows]), reached
            )
        )  # fmt: skip
        return set(found.scalars())

    def renew(self, ids: Iterable[str], now_us: int) -> None:
        """Sending takes longer than a lease."""
        with self._engine.begin() as tx:
            ours = sa.update(outbox).where(outbox.c.id.in_(list(ids)), outbox.c.state == "sending")
            tx.execute(ours.where(outbox.c.lease_by == self._name).values(lease_until_us=now_us + self._lease_us))

    def done(self, task: Task, outcome: Outcome, now_us: int) -> None:
        """How it went. A lease that was lost meanwhile is not ours to write about: whoever has it says so."""
        with self._engine.begin() as tx:
            row = tx.execute(sa.select(outbox).where(outbox.c.id == task.id)).first()
            if row is None or row.state != "sending" or row.lease_by != self._name:
                return
            tx.execute(sa.update(outbox).where(outbox.c.id == task.id).values(self._after(row, outcome, now_us)))

    def report(self, receipt: str, delivered: bool, why: str, now_us: int) -> bool:
        """A report of delivery, or that there will be none. False: of nothing that is awaited."""
        with self._engine.begin() as tx:
            awaited = sa.select(outbox).where(outbox.c.state == "accepted", outbox.c.receipt == receipt)
            row = tx.execute(awaited.limit(1)).first()
            if row is None:
                return False
            values = self._ended("sent", now_us, receipt=why) if delivered else self._other_channel(row, why, now_us)
            tx.execute(sa.update(outbox).where(outbox.c.id == row.id).values(**values))
            return True

    def alive(self, now_us: int, sent: int, failed: int, faults: int) -> None:
        """Say that we live, and what became of our tries since we began. One row a name, however often we start."""
        row = {"name": self._name, "at_us": now_us, "sent": sent, "failed": failed, "faults": faults}
        with self._engine.begin() as tx:
            if tx.execute(sa.update(notifiers).where(notifiers.c.name == self._name).values(**row)).rowcount == 0:
                tx.execute(sa.insert(notifiers).values(**row))

    def overdue(self, now_us: int) -> int:
        """No report came in time: the next channel, and "repeat". Returns how many."""
        late = sa.select(outbox).where(outbox.c.state == "accepted", outbox.c.report_by_us <= now_us).limit(100)
        with self._looking.connect() as look:
            if look.execute(late.limit(1)).first() is None:
                return 0
        with self._engine.begin() as tx:
            rows = tx.execute(late).all()
            for row in rows:
                values = self._other_channel(row, "no report of its delivery", now_us)
                tx.execute(sa.update(outbox).where(outbox.c.id == row.id).values(**values))
            return len(rows)

    def awaited(self, prefix: str) -> list[str]:
        """Receipts of this kind whose report has not come: a channel that starts again asks for them."""
        with self._looking.connect() as look:
            found = sa.select(outbox.c.receipt).where(outbox.c.state == "accepted", outbox.c.receipt.startswith(prefix))
            return list(look.execute(found).scalars())

    def sent_to(self, person: str, since_us: int) -> list[tuple[str, int]]:
        """(alert, revision) of what may have reached this person, newest first: what an answer may be about."""
        reached = sa.or_(outbox.c.touched, outbox.c.state.in_(("sending", "accepted", "sent")))
        with self._looking.connect() as look:
            rows = look.execute(
                sa.select(outbox.c.alert, outbox.c.revision)
                .where(outbox.c.person == person, outbox.c.created_us > since_us, outbox.c.kind == "alert", reached)
                .order_by(outbox.c.created_us.desc())
            )
            return [(row.alert, row.revision) for row in rows]

    # ---- what an outcome does to a row ------------------------------------------------------------------------------------

    def _after(self, row: Any, outcome: Outcome, now_us: int) -> dict[str, Any]:
        match outcome:
            case Sent(receipt):
                return self._ended("sent", now_us, receipt=receipt)
            case Accepted(receipt, within_s):
                report_by_us = now_us + round(within_s * 1e6 * self._speed)
                return {
                    "state": "accepted",
                    "receipt": receipt,
                    "touched": True,
                    "lease_by": "",
                    "report_by_us": report_by_us,
                }
            case Permanent(reason):
                return self._other_channel(row, reason, now_us, touched=row.touched)
            case Passing(reason) | Unknown(reason):
                touched = row.touched or isinstance(outcome, Unknown)
                if row.stopped or row.attempt >= TRIES:
                    return self._other_channel(row, reason, now_us, touched=touched)
                pause = min(BACKOFF_US[0] * 2 ** (row.attempt - 1), BACKOFF_US[1]) * self._dice.uniform(0.5, 1.5)
                due_us = now_us + round(pause * self._speed)
                return {"state": "pending", "reason": reason, "touched": touched, "due_us": due_us, "lease_by": ""}

    def _other_channel(self, row: Any, reason: str, now_us: int, touched: bool = True) -> dict[str, Any]:
        following = row.channel + 1
        why = f"{row.channels.split()[row.channel]}: {reason}"
        if row.stopped:
            return {"state": "cancelled", "reason": why, "touched": touched, "lease_by": ""}
        if following >= len(row.channels.split()):
            return {**self._ended("failed", now_us), "reason": why, "touched": touched}
        return {
            "state": "pending", "channel": following, "attempt": 0, "reason": why, "touched": touched, "due_us": now_us,
            "lease_by": "", "receipt": "",
        }  # fmt: skip

    def _ended(self, state: str, now_us: int, receipt: str = "") -> dict[str, Any]:
        touched = {"touched": True} if state == "sent" else {}
        return {"state": state, "sent_us": now_us, "receipt": receipt, "to_note": True, "lease_by": "", **touched}

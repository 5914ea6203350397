"""Many small things in one message: what began and ended while nobody could be told, and what a person's limit held back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from pipeline.model.alert import Alert
from pipeline.model.episode import SEVERITIES
from pipeline.notify.message import Message, decode_message
from pipeline.notify.tables import outbox

AFTER_US = 60_000_000
"""So long what belongs together is collected."""
EVERY_US = 600_000_000
"""At most one digest a person in this time."""
NAMED = 3


def due(tx: sa.Connection, person: str, now_us: int) -> int:
    """When what is held for this person is told."""
    last = tx.execute(
        sa.select(sa.func.max(outbox.c.created_us)).where(outbox.c.person == person, outbox.c.kind == "digest")
    ).scalar()
    return max(now_us + AFTER_US, (last or 0) + EVERY_US if last else 0)


def due_now(tx: sa.Connection, now_us: int) -> Iterator[tuple[Message, str, str, list[str]]]:
    """Digest, person, post and channels of each whose time has come. Their held rows are settled."""
    held = outbox.c.state == "held"
    people = tx.execute(
        sa.select(outbox.c.person).where(held, outbox.c.due_us <= now_us).distinct().order_by(outbox.c.person)
    )
    for person in people.scalars().all():
        rows = tx.execute(
            sa.select(outbox).where(held, outbox.c.person == person).order_by(outbox.c.rank, outbox.c.created_us)
        ).all()
        tx.execute(sa.update(outbox).where(held, outbox.c.person == person).values(state="digested"))
        yield _summed(rows, now_us), person, rows[0].post, rows[0].channels.split()


def _summed(rows: Sequence[Any], now_us: int) -> Message:
    messages = {row.alert: decode_message(row.body) for row in rows}
    first = next(iter(messages.values()))
    counted = Counter(m.severity for m in messages.values())
    counts = ", ".join(f"{counted[s]} {s}" for s in SEVERITIES if counted[s])
    over = all(row.reason == "BEGAN_AND_ENDED" for row in rows)
    head = f"{len(messages)} alerts {'began and ended meanwhile' if over else 'were held back'} ({counts})."
    named = " ".join(m.text for m in list(messages.values())[:NAMED])
    more = f" And {len(messages) - NAMED} more: look at the desk." if len(messages) > NAMED else ""
    return Message(
        alert=f"digest-{first.alert}-{now_us}", revision=0, kind="digest", severity=first.severity, rule="", subject="",
        region=first.region, text=f"{head} {named}{more}", at_us=now_us, alerts=tuple(messages),
    )  # fmt: skip


def alerts_of(row: Any, get: Callable[[str], Alert | None]) -> list[Alert]:
    """The alerts in whose logs it belongs that this row was told, or was not."""
    names = decode_message(row.body).alerts if row.kind == "digest" else (row.alert,)
    return [alert for alert in map(get, names) if alert is not None]

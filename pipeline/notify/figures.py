"""How telling goes, read from the outbox by whoever watches the notifier: a dead one cannot say that it is dead."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from pipeline.alert.tables import with_driver
from pipeline.notify.tables import notifiers, outbox

LIVES_US = 60_000_000
NEVER_S = 3600.0
"""What is said of a notifier that was never heard: silence is a number, and red."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`due`: tellings that somebody should have taken up; `oldest_due_s`: for how long the oldest of them. `sending` and `awaited`: under
    a lease; taken by a relay that will report. `heard_s`: since a notifier last said that it lives, an hour at most. `sent`, `failed`,
    `faults`: tries that a channel took, tries that it did not, and times the database was away, since the living notifiers began."""

    due: int
    oldest_due_s: float
    sending: int
    awaited: int
    heard_s: float
    sent: int
    failed: int
    faults: int


_SINCE = sa.case(
    (outbox.c.state == "sending", outbox.c.lease_until_us),
    (outbox.c.state == "accepted", outbox.c.report_by_us),
    else_=outbox.c.due_us,
)
"""From when on a row waits for a notifier: one whose lease or report has run out waits as one that was never taken."""
_WAITING = sa.select(
    outbox.c.state, sa.func.count(), sa.func.sum(sa.case((sa.bindparam("now") >= _SINCE, 1), else_=0)), sa.func.min(_SINCE)
).where(outbox.c.state.in_(("pending", "sending", "accepted"))).group_by(outbox.c.state)  # fmt: skip
_NEWEST = sa.select(sa.func.max(notifiers.c.at_us))
_LIVING = sa.select(
    sa.func.sum(notifiers.c.sent), sa.func.sum(notifiers.c.failed), sa.func.sum(notifiers.c.faults)
).where(notifiers.c.at_us > sa.bindparam("since"))


class Watch:
    """Only looks. Not thread-safe. Raises sqlalchemy's DBAPIError while the database, or the outbox in it, is not there."""

    def __init__(self, url: str) -> None:
        at = sa.make_url(with_driver(url))
        if at.get_backend_name() == "sqlite":  # read-only: whoever only watches makes no file
            at = at.set(database=f"file:{at.database}", query={**at.query, "mode": "ro", "uri": "true"})
        self._engine = sa.create_engine(at)

    def close(self) -> None:
        self._engine.dispose()

    def figures(self, now_us: int) -> Figures:
        with self._engine.connect() as look:
            waiting = {state: (n, due, since) for state, n, due, since in look.execute(_WAITING, {"now": now_us})}
            newest = look.execute(_NEWEST).scalar()
            living = look.execute(_LIVING, {"since": now_us - LIVES_US}).one()
        sent, failed, faults = (int(n or 0) for n in living)
        oldest_us = min((since for _, due, since in waiting.values() if due), default=now_us)
        return Figures(
            due=sum(due for _, due, _ in waiting.values()), oldest_due_s=(now_us - oldest_us) / 1e6,
            sending=waiting.get("sending", (0,))[0], awaited=waiting.get("accepted", (0,))[0],
            heard_s=NEVER_S if newest is None else min(NEVER_S, max(0.0, (now_us - newest) / 1e6)),
            sent=sent, failed=failed, faults=faults,
        )  # fmt: skip

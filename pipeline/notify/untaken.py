"""Tellings that nobody takes out of the outbox: no notifier lives, and none can tell of it. So the desk has to."""

from __future__ import annotations

import sqlalchemy as sa

from pipeline.notify.tables import outbox

_HELD = (
    sa.select(outbox.c.id).where(outbox.c.state == "sending", outbox.c.lease_until_us >= sa.bindparam("now")).limit(1)
)
_DUE = sa.select(sa.func.min(outbox.c.due_us)).where(
    outbox.c.state == "pending", outbox.c.due_us <= sa.bindparam("before")
)
_LOST = sa.select(sa.func.min(outbox.c.lease_until_us)).where(
    outbox.c.state == "sending", outbox.c.lease_until_us <= sa.bindparam("before")
)


def since(tx: sa.Connection, now_us: int, patience_us: int) -> int:
    """Since when the longest has waited that is due for more than `patience_us`, while nothing is being sent; 0: none.

    A notifier that lives takes what is due within half a second. One that has no hand free has leases, and renews them."""
    before = {"before": now_us - patience_us}
    found = [at for at in (tx.execute(_DUE, before).scalar(), tx.execute(_LOST, before).scalar()) if at is not None]
    if not found or tx.execute(_HELD, {"now": now_us}).first() is not None:
        return 0
    return int(min(found))

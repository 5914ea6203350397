"""Who is the one active alert stage: a lease in the alert database, and the fencing token that goes with it.

A stage that holds it works, another waits as a hot standby. It is renewed well before it runs out; when it has run out, or the process that
held it is gone from this machine, the next one takes it with a higher token, and whatever the one before still writes is refused (`store`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import psutil
import sqlalchemy as sa

from pipeline.alert import tables as t
from pipeline.alert.tables import numbers

LEASE_US = 5_000_000
RENEW_S = 1.0
LOOK_S = 0.5
"""A standby looks so often."""

lease = sa.Table(
    "lease", t.metadata,
    sa.Column("name", sa.Text, primary_key=True), sa.Column("holder", sa.Text, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False), sa.Column("until_us", sa.BigInteger, nullable=False),
)  # fmt: skip
ALERT = "alert"
_MINE = (lease.c.name == ALERT, lease.c.holder == sa.bindparam("me"), lease.c.token == sa.bindparam("mine"))
_POSTGRES_NOW = sa.text("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")


def this_process() -> str:
    """Host, process and when that began: no later process has the same name."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def is_gone(holder: str) -> bool:
    """Surely: it was on this machine, and is not any more. Of another machine nobody can say."""
    host, _, rest = holder.partition("/")
    pid, _, began = rest.partition("/")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != began
    except psutil.NoSuchProcess:
        return True


class Lease:
    """`now_us`: this machine's clock, for a database in a file; a server's own clock counts for all its clients. Raises sqlalchemy's errors."""

    def __init__(self, url: str, now_us: Callable[[], int], holder: str = "") -> None:
        self.holder = holder or this_process()
        self.token = 0
        self._now_us = now_us
        self._engine = t.make_engine(url)
        self._server = self._engine.dialect.name == "postgresql"
        t.make_tables(self._engine)
        self._put = t.upsert(lease, self._engine.dialect.name)
        self._put_number = t.upsert(numbers, self._engine.dialect.name)

    def _now(self, tx: sa.Connection) -> int:
        return int(tx.execute(_POSTGRES_NOW).scalar_one()) if self._server else self._now_us()

    def take(self) -> int | None:
        """The fencing token, or None: somebody else has the lease."""
        with self._engine.begin() as tx:
            if self._server:
                tx.execute(sa.text("lock table lease in exclusive mode"))
            now_us = self._now(tx)
            row = tx.execute(sa.select(lease).where(lease.c.name == ALERT)).first()
            if row is not None and row.until_us > now_us and row.holder != self.holder and not is_gone(row.holder):
                return None
            known = tx.execute(sa.select(numbers.c.value).where(numbers.c.name == "token").with_for_update()).scalar()
            self.token = max(known or 0, row.token if row is not None else 0) + 1
            values = {"name": ALERT, "holder": self.holder, "token": self.token, "until_us": now_us + LEASE_US}
            tx.execute(self._put, values)
            tx.execute(self._put_number, {"name": "token", "value": self.token})
            return self.token

    def renew(self) -> bool:
        """False: somebody else has taken it, and this process has to stop."""
        with self._engine.begin() as tx:
            until_us = self._now(tx) + LEASE_US
            changed = tx.execute(
                sa.update(lease).where(*_MINE).values(until_us=until_us), {"me": self.holder, "mine": self.token}
            )
            return changed.rowcount == 1

    def release(self) -> None:
        """The standby need not wait."""
        with self._engine.begin() as tx:
            tx.execute(sa.update(lease).where(*_MINE).values(until_us=0), {"me": self.holder, "mine": self.token})

    def close(self) -> None:
        self._engine.dispose()

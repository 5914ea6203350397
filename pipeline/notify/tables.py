"""The outbox's tables. They stand in the alert database, so that one transaction has both; `alert.store` makes them with its own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event as sa_event

from pipeline.alert.tables import with_driver

metadata = sa.MetaData()
outbox = sa.Table(
    "outbox", metadata,
    sa.Column("id", sa.Text, primary_key=True),  # of (alert, revision, step, person, kind)
    sa.Column("alert", sa.Text, nullable=False, index=True), sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("step", sa.Integer, nullable=False), sa.Column("person", sa.Text, nullable=False),
    sa.Column("post", sa.Text, nullable=False), sa.Column("region", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False), sa.Column("rank", sa.Integer, nullable=False),  # 0: critical
    sa.Column("channels", sa.Text, nullable=False),  # ids with blanks between, first choice first
    sa.Column("channel", sa.Integer, nullable=False),  # which of them is tried now
    sa.Column("state", sa.Text, nullable=False), sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),  # on this channel
    sa.Column("touched", sa.Boolean, nullable=False), sa.Column("stopped", sa.Boolean, nullable=False),
    sa.Column("to_note", sa.Boolean, nullable=False),  # its end is not yet in the alert's log
    sa.Column("due_us", sa.BigInteger, nullable=False), sa.Column("lease_until_us", sa.BigInteger, nullable=False),
    sa.Column("lease_by", sa.Text, nullable=False), sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("sent_us", sa.BigInteger, nullable=False), sa.Column("report_by_us", sa.BigInteger, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False), sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("outbox_work", "state", "rank", "due_us"),
    sa.Index("outbox_person", "person", "created_us"),
    sa.Index("outbox_to_note", "to_note", sqlite_where=sa.text("to_note"), postgresql_where=sa.text("to_note")),
)  # fmt: skip
climbs = sa.Table(
    "climbs", metadata,
    sa.Column("alert", sa.Text, primary_key=True), sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("step", sa.Integer, nullable=False), sa.Column("due_us", sa.BigInteger, nullable=False, index=True),
    sa.Column("began_us", sa.BigInteger, nullable=False),
)  # fmt: skip
notifiers = sa.Table(  # each says every few seconds that it lives: a dead one says nothing, and nothing else would tell
    "notifiers", metadata,
    sa.Column("name", sa.Text, primary_key=True), sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False), sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("faults", sa.BigInteger, nullable=False),
)  # fmt: skip


def open_engine(url: str) -> tuple[sa.Engine, sa.Engine]:
    """For writing and for looking. On SQLite whoever only looks does not take the writer's lock: the alert stage needs it."""
    engine = sa.create_engine(with_driver(url), pool_pre_ping=url.startswith("postgresql"))
    if engine.dialect.name == "sqlite":

        @sa_event.listens_for(engine, "connect")
        def connected(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
                connection.execute(f"PRAGMA {pragma}")

        @sa_event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            looks = connection.get_execution_options().get("looks", False)
            connection.exec_driver_sql("BEGIN" if looks else "BEGIN IMMEDIATE")

    try:
        metadata.create_all(engine)
    except (sa.exc.ProgrammingError, sa.exc.IntegrityError):  # PostgreSQL: the alert stage made them in the same moment
        metadata.create_all(engine)
    return engine, engine.execution_options(looks=True)

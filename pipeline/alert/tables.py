"""The alert database's tables, and its statements: made once, since building one costs more than running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.dialects import postgresql, sqlite

metadata = sa.MetaData()
inbox = sa.Table(
    "inbox", metadata,
    sa.Column("topic", sa.Text, primary_key=True), sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False), sa.Column("epoch", sa.BigInteger, nullable=False),
)  # fmt: skip
_FALSE, _ZERO, _EMPTY = sa.text("false"), sa.text("0"), sa.text("''")
alerts = sa.Table(
    "alerts", metadata,
    sa.Column("id", sa.Text, primary_key=True), sa.Column("open", sa.Boolean, nullable=False, index=True),
    sa.Column("shelved", sa.Boolean, nullable=False), sa.Column("data", sa.LargeBinary, nullable=False),
    # what is asked for beside the alert itself, copied out of it
    sa.Column("rule", sa.Text, nullable=False, server_default=_EMPTY), sa.Column("subject", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("object", sa.Text, nullable=False, server_default=_EMPTY), sa.Column("region", sa.Text, nullable=False, server_default=_EMPTY),
    sa.Column("told", sa.Boolean, nullable=False, server_default=_FALSE),  # not held
    sa.Column("opened_us", sa.BigInteger, nullable=False, server_default=_ZERO),
    sa.Column("over_us", sa.BigInteger),  # cleared or closed
    sa.Column("shelved_us", sa.BigInteger), sa.Column("due_us", sa.BigInteger, index=True),
    sa.Column("under", sa.Text, nullable=False, server_default=_EMPTY, index=True),
    sa.Index("alerts_rule", "rule", "subject", "open"),
)  # fmt: skip
lines = sa.Table(  # what a flood is made of: each telling of what was not grave then, whatever became of its alert
    "lines", metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False), sa.Column("region", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False), sa.Index("lines_at", "region", "at_us"),
)  # fmt: skip
episodes = sa.Table(
    "episodes", metadata,
    sa.Column("episode", sa.Text, primary_key=True), sa.Column("alert", sa.Text, nullable=False),
)  # fmt: skip
held = sa.Table(
    "held", metadata,
    sa.Column("episode", sa.Text, primary_key=True), sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False), sa.Column("at_us", sa.BigInteger, nullable=False),
)  # fmt: skip
events = sa.Table(
    "events", metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False), sa.Column("alert", sa.Text, nullable=False, index=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)  # fmt: skip
commands = sa.Table(
    "commands", metadata,
    sa.Column("id", sa.Text, primary_key=True), sa.Column("alert", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)  # fmt: skip
audit = sa.Table(
    "audit", metadata,
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False), sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)  # fmt: skip
numbers = sa.Table(
    "numbers", metadata,
    sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.BigInteger, nullable=False),
)  # fmt: skip

NUMBERS = sa.select(numbers.c.name, numbers.c.value)
NUMBERS_LOCKED = (
    NUMBERS.with_for_update()
)  # the token cannot change before the transaction ends; SQLite has one writer anyway
POSITIONS = sa.select(inbox.c.topic, inbox.c.partition, inbox.c.next, inbox.c.epoch)
ALERTS_OF = sa.select(episodes.c.alert).where(episodes.c.episode.in_(sa.bindparam("ids", expanding=True))).distinct()
ALERT = sa.select(alerts.c.data).where(alerts.c.id == sa.bindparam("wanted"))
COMMAND = sa.select(commands.c.id).where(commands.c.id == sa.bindparam("wanted"))
INSERT_COMMAND = sa.insert(commands)
INSERT_EVENT = sa.insert(events)
INSERT_AUDIT = sa.insert(audit)
LAST_AUDIT = sa.select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)
OPEN = sa.select(alerts.c.data).where(alerts.c.open).order_by(alerts.c.id)

_on = sa.bindparam
_SAME = (alerts.c.rule == _on("rule"), alerts.c.subject == _on("subject"), alerts.c.object == _on("object"))
ACTIVE = (
    sa.select(alerts.c.data)
    .where(alerts.c.rule == _on("rule"), alerts.c.open, alerts.c.told, alerts.c.over_us.is_(None))
    .order_by(alerts.c.opened_us, alerts.c.id)
)
SHELVED = sa.select(alerts.c.data).where(*_SAME, alerts.c.shelved_us > _on("now")).order_by(alerts.c.id).limit(1)
TOLD_SINCE = sa.select(sa.func.count()).where(lines.c.at_us > _on("since"), lines.c.region == _on("region"))
INSERT_LINE = sa.insert(lines)
FORGET_LINES = sa.delete(lines).where(lines.c.at_us <= _on("since"))
WARM = (
    sa.select(alerts.c.data)
    .where(*_SAME, alerts.c.told, sa.or_(alerts.c.open, alerts.c.opened_us > _on("since")))
    .order_by(alerts.c.opened_us.desc(), alerts.c.id)
    .limit(20)
)
BEHIND = sa.select(alerts.c.data).where(alerts.c.under == _on("lead"), alerts.c.open, alerts.c.over_us.is_(None)).order_by(alerts.c.opened_us, alerts.c.id)  # fmt: skip
BEHIND_COUNT = sa.select(sa.func.count()).where(alerts.c.under == _on("lead"))
BEHIND_RULES = (
    sa.select(alerts.c.rule, sa.func.count())
    .where(alerts.c.under == _on("lead"))
    .group_by(alerts.c.rule)
    .order_by(sa.func.count().desc(), alerts.c.rule)
)
DUE = sa.select(alerts.c.id).where(alerts.c.due_us <= _on("now")).order_by(alerts.c.due_us, alerts.c.id).limit(500)
_lead = alerts.alias("lead")
LEADERLESS = (
    sa.select(alerts.c.id, sa.func.coalesce(_lead.c.over_us, 0))
    .join(_lead, _lead.c.id == alerts.c.under)
    .where(alerts.c.open, alerts.c.told.is_(False), alerts.c.over_us.is_(None))
    .where(sa.or_(_lead.c.over_us.is_not(None), sa.and_(_lead.c.shelved, alerts.c.due_us.is_(None))))
    .order_by(alerts.c.opened_us, alerts.c.id)
    .limit(500)
)
"""Held ones, and since when the alert that speaks for them is over; 0: it lies on the shelf."""


def upsert(table: sa.Table, dialect: str) -> Any:
    """Insert, or update what is there."""
    insert: Any = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    key = [column.name for column in table.primary_key]
    rest = {column.name: insert.excluded[column.name] for column in table.c if column.name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=rest)


def sqlite_folder(url: str) -> None:
    """A database in a file needs its folder."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def with_driver(url: str) -> str:
    """`postgresql://...` as SQLAlchemy wants it: it would look for another driver than ours."""
    if url.startswith("postgresql://"):
        return "postgresql+psycopg://" + url.removeprefix("postgresql://")
    return url


def make_engine(url: str) -> sa.Engine:
    """`sqlite:///FILE` or `postgresql://...`. Nothing is connected to yet."""
    url = with_driver(url)
    engine = sa.create_engine(url, pool_pre_ping=url.startswith("postgresql"))
    if engine.dialect.name == "sqlite":
        _settle_sqlite(engine)
    return engine


def make_tables(engine: sa.Engine) -> bool:
    """Whether the alerts' table is of an older version: columns were added, and each alert has to be written again."""
    metadata.create_all(engine)
    there = {column["name"] for column in sa.inspect(engine).get_columns("alerts")}
    missing = [column for column in alerts.c if column.name not in there]
    with engine.begin() as tx:
        for column in missing:
            tx.execute(sa.text(f"ALTER TABLE alerts ADD COLUMN {sa.schema.CreateColumn(column).compile(engine)}"))
        for index in alerts.indexes if missing else ():
            index.create(tx, checkfirst=True)
    return bool(missing)


def _settle_sqlite(engine: sa.Engine) -> None:
    """WAL, synced at every commit, and transactions that take the writer's lock at their begin."""

    @sa_event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa_event.listens_for(engine, "begin")
    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

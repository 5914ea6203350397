"""The alert stage's state, in one database: where it stands in its inputs, the alerts, what happened to them, what was held and why.

One transaction takes an input whole: inbox position, transitions, what is to be published, audit. So a crash at any instant leaves either
all of it or nothing, and reading again from the position in the database repeats nothing. Every transaction checks the fencing token:
whoever opens the store after us makes us stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import orjson
import sqlalchemy as sa
from sqlalchemy import event as sa_event

from pipeline.alert.book import Decision, Step, Words, cleared, on_change, on_command, on_time
from pipeline.model.alert import Alert, AlertEvent, Command
from pipeline.model.episode import ChangeBatch, Episode, episode_id
from pipeline.plan.model import CompiledPlan, RuleSetting

EVENT_VERSION = 1
PUBLISHED_KEPT_US = 7 * 86_400_000_000
STALLED = "pipeline.stalled"

metadata = sa.MetaData()
inbox = sa.Table(
    "inbox", metadata,
    sa.Column("topic", sa.Text, primary_key=True), sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False), sa.Column("epoch", sa.BigInteger, nullable=False),
)  # fmt: skip
alerts = sa.Table(
    "alerts", metadata,
    sa.Column("id", sa.Text, primary_key=True), sa.Column("open", sa.Boolean, nullable=False, index=True),
    sa.Column("shelved", sa.Boolean, nullable=False), sa.Column("data", sa.LargeBinary, nullable=False),
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

_encode = msgspec.msgpack.Encoder().encode
_alert = msgspec.msgpack.Decoder(Alert).decode
_event = msgspec.msgpack.Decoder(AlertEvent).decode


class FencedError(Exception):
    """Somebody else has taken the store over. What was to be written was not."""


class AlertStore:
    """One writer, not thread-safe. `words`: the sentence for an episode. Raises sqlalchemy's errors when the database fails."""

    def __init__(self, url: str, plan: CompiledPlan, words: Callable[[Episode], Words]) -> None:
        self.plan = plan
        self._words = words
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            _settle_sqlite(self._engine)
        metadata.create_all(self._engine)
        with self._engine.begin() as tx:
            self._token = self._number(tx, "token") + 1
            self._put_number(tx, "token", self._token)

    def close(self) -> None:
        self._engine.dispose()

    # ---- reading ------------------------------------------------------------------------------------------------------

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the offset to read from."""
        with self._engine.connect() as tx:
            return {(t, p): n for t, p, n in tx.execute(sa.select(inbox.c.topic, inbox.c.partition, inbox.c.next))}

    def unpublished(self, most: int = 1000) -> list[AlertEvent]:
        """What has not been marked as published, in order."""
        with self._engine.connect() as tx:
            done = self._number(tx, "published")
            rows = tx.execute(sa.select(events.c.data).where(events.c.seq > done).order_by(events.c.seq).limit(most))
            return [_event(data) for (data,) in rows]

    def open_alerts(self) -> list[Alert]:
        with self._engine.connect() as tx:
            return [_alert(data) for (data,) in tx.execute(sa.select(alerts.c.data).where(alerts.c.open))]

    def alert(self, alert_id: str) -> Alert | None:
        with self._engine.connect() as tx:
            return self._get(tx, alert_id)

    def held_reasons(self) -> dict[str, str]:
        """episode -> why nobody was told, the newest reason. What has an alert is not among them."""
        untold = held.c.episode.not_in(sa.select(episodes.c.episode))
        with self._engine.connect() as tx:
            rows = tx.execute(
                sa.select(held.c.episode, held.c.reason).where(untold).order_by(held.c.episode, held.c.revision)
            )
            return {row.episode: row.reason for row in rows}

    def audit_fault(self) -> int | None:
        """The number of the first entry whose hash does not follow from those before it; None: the chain is whole."""
        before = b""
        with self._engine.connect() as tx:
            for n, entry, hashed in tx.execute(sa.select(audit.c.n, audit.c.entry, audit.c.hash).order_by(audit.c.n)):
                if not isinstance(entry, bytes):  # put there by other hands: SQLite's columns take any type
                    return int(n)
                before = hashlib.sha256(before + entry).digest()
                if before != hashed:
                    return int(n)
        return None

    # ---- writing ------------------------------------------------------------------------------------------------------

    def take_changes(self, inputs: Iterable[tuple[str, int, int, ChangeBatch | None]], now_us: int) -> list[AlertEvent]:
        """Records of episodes: (topic, partition, offset, changes; None: unreadable). Returns what is now to be published."""
        out: list[AlertEvent] = []
        with self._engine.begin() as tx:
            self._check(tx)
            for topic, partition, offset, batch in inputs:
                following, epoch = self._position(tx, topic, partition)
                if offset < following:
                    continue
                if batch is not None and batch.epoch >= epoch:
                    epoch = batch.epoch
                    for change in batch.changes:
                        out += self._change(tx, change, now_us)
                self._advance(tx, topic, partition, offset + 1, epoch)
        return out

    def take_commands(self, inputs: Iterable[tuple[str, int, int, Command | None]], now_us: int) -> list[AlertEvent]:
        """Records of commands; each id counts once."""
        out: list[AlertEvent] = []
        with self._engine.begin() as tx:
            self._check(tx)
            for topic, partition, offset, command in inputs:
                following, epoch = self._position(tx, topic, partition)
                if offset < following:
                    continue
                if command is not None:
                    out += self._command(tx, command, now_us)
                self._advance(tx, topic, partition, offset + 1, epoch)
        return out

    def take_time(self, now_us: int, silent_since_us: int | None) -> list[AlertEvent]:
        """What time alone does: shelves that are over, and `pipeline.stalled` while no Tick comes (`silent_since_us`)."""
        with self._engine.connect() as look:
            waiting = look.execute(sa.select(alerts.c.id).where(alerts.c.shelved)).scalars().all()
            stalled = self._number(look, "stalled")
        if not waiting and (silent_since_us is None) == (stalled == 0):
            return []
        out: list[AlertEvent] = []
        with self._engine.begin() as tx:
            self._check(tx)
            for alert_id in waiting:
                alert = self._get(tx, alert_id)
                if alert is not None:
                    out += self._decided(tx, on_time(alert, now_us), "policy", now_us)
            if silent_since_us is not None and not stalled:
                out += self._stalled(tx, silent_since_us, now_us)
            elif silent_since_us is None and stalled:
                alert = self._get(tx, episode_id(STALLED, "pipeline", "", stalled))
                if alert is not None and alert.cleared_at_us is None:
                    steps = cleared(alert, "TICKS_AGAIN", now_us)
                    out += self._decided(tx, Decision(tuple(steps)), "policy", now_us)
                self._put_number(tx, "stalled", 0)
        return out

    def published(self, seq: int) -> None:
        """Everything up to this event is in the log."""
        with self._engine.begin() as tx:
            self._check(tx)
            self._put_number(tx, "published", max(seq, self._number(tx, "published")))

    # ---- the inside of a transaction --------------------------------------------------------------------------------------

    def _check(self, tx: sa.Connection) -> None:
        if self._number(tx, "token") != self._token:
            raise FencedError("another alert stage has opened this store")

    def _change(self, tx: sa.Connection, change: Any, now_us: int) -> list[AlertEvent]:
        e: Episode = change.episode
        ids = [e.id, *change.was_ids]
        names = tx.execute(sa.select(episodes.c.alert).where(episodes.c.episode.in_(ids)).distinct()).scalars()
        known = [a for a in (self._get(tx, name) for name in names) if a is not None]
        vehicle = self.plan.vehicles.get(e.subject)
        region = vehicle.region if vehicle else next(iter(self.plan.regions), "")
        setting = self._setting(region, e.rule)
        decision = on_change(known, change, setting, region, self._words(e), now_us)
        if decision.held:
            self._hold(tx, e.id, change.revision, decision.held, now_us)
        if decision.steps and change.kind != "retract":
            keeper = decision.steps[-1].alert.id
            self._put(tx, episodes, {"episode": e.id}, {"alert": keeper})
        return self._decided(tx, decision, "policy", now_us, received_at_us=change.received_at_us)

    def _command(self, tx: sa.Connection, command: Command, now_us: int) -> list[AlertEvent]:
        if tx.execute(sa.select(commands.c.id).where(commands.c.id == command.id)).first() is not None:
            return []
        decision = on_command(self._get(tx, command.alert_id), command, now_us)
        reason = decision.held or "DONE"
        tx.execute(sa.insert(commands).values(id=command.id, alert=command.alert_id, reason=reason))
        if decision.held:
            self._audit(
                tx,
                {
                    "at_us": now_us,
                    "by": command.by,
                    "command": command.what,
                    "alert": command.alert_id,
                    "reason": reason,
                },
            )
        return self._decided(tx, decision, command.by, now_us, command_id=command.id)

    def _stalled(self, tx: sa.Connection, since_us: int, now_us: int) -> list[AlertEvent]:
        region = next(iter(self.plan.regions), "")
        setting = self._setting(region, STALLED)
        if setting is not None and setting.mode != "live":
            return []
        began = Episode(
            id=episode_id(STALLED, "pipeline", "", since_us), rule=STALLED, subject="pipeline", object="",
            began_at_us=since_us, ended_at_us=None, severity=setting.severity if setting else "critical", peak=None, evidence={},
        )  # fmt: skip
        words = self._words(began)
        alert = Alert(
            id=began.id, rule=STALLED, subject="pipeline", object="", region=region, cell="", severity=began.severity,
            text=words.text, lead=words.lead, place=words.place, response=setting.response if setting else "",
            owner_post=setting.owner if setting else "", respond_within_us=setting.respond_within_us if setting else 0,
            began_at_us=since_us, opened_at_us=now_us, episode_ids=(began.id,),
        )  # fmt: skip
        self._put_number(tx, "stalled", since_us)
        return self._decided(tx, Decision((Step("opened", "NO_TICKS", alert),)), "policy", now_us)

    def _setting(self, region: str, rule: str) -> RuleSetting | None:
        found = self.plan.regions.get(region)
        return found.rules.get(rule) if found else None

    def _decided(
        self,
        tx: sa.Connection,
        decision: Decision,
        actor: str,
        now_us: int,
        command_id: str = "",
        received_at_us: int = 0,
    ) -> list[AlertEvent]:
        out = []
        for step in decision.steps:
            seq = self._number(tx, "seq") + 1
            self._put_number(tx, "seq", seq)
            told = AlertEvent(
                version=EVENT_VERSION, seq=seq, at_us=now_us, transition=step.transition, reason=step.reason, actor=actor,
                alert=step.alert, detail=step.detail, command_id=command_id, received_at_us=received_at_us,
            )  # fmt: skip
            a = step.alert
            shelved = a.shelved_until_us is not None and a.closed_at_us is None
            self._put(
                tx, alerts, {"id": a.id}, {"open": a.closed_at_us is None, "shelved": shelved, "data": _encode(a)}
            )
            tx.execute(sa.insert(events).values(seq=seq, alert=a.id, data=_encode(told)))
            self._audit(
                tx,
                {
                    "seq": seq,
                    "at_us": now_us,
                    "by": actor,
                    "transition": step.transition,
                    "reason": step.reason,
                    "alert": a.id,
                },
            )
            out.append(told)
        return out

    def _hold(self, tx: sa.Connection, episode: str, revision: int, reason: str, now_us: int) -> None:
        self._put(tx, held, {"episode": episode, "revision": revision}, {"reason": reason, "at_us": now_us})

    def _audit(self, tx: sa.Connection, entry: dict[str, Any]) -> None:
        last = tx.execute(sa.select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)).first()
        n, before = (last[0], last[1]) if last else (0, b"")
        data = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
        tx.execute(sa.insert(audit).values(n=n + 1, entry=data, hash=hashlib.sha256(before + data).digest()))

    @staticmethod
    def _get(tx: sa.Connection, alert_id: str) -> Alert | None:
        data = tx.execute(sa.select(alerts.c.data).where(alerts.c.id == alert_id)).scalar()
        return None if data is None else _alert(data)

    @staticmethod
    def _put(tx: sa.Connection, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> None:
        """Insert, or update what is there; in one writer's transaction, so there is no race."""
        where = sa.and_(*(table.c[name] == value for name, value in key.items()))
        if tx.execute(sa.update(table).where(where).values(**values)).rowcount == 0:
            tx.execute(sa.insert(table).values(**key, **values))

    @staticmethod
    def _number(tx: sa.Connection, name: str) -> int:
        return int(tx.execute(sa.select(numbers.c.value).where(numbers.c.name == name)).scalar() or 0)

    def _put_number(self, tx: sa.Connection, name: str, value: int) -> None:
        self._put(tx, numbers, {"name": name}, {"value": value})

    @staticmethod
    def _position(tx: sa.Connection, topic: str, partition: int) -> tuple[int, int]:
        where = (inbox.c.topic == topic) & (inbox.c.partition == partition)
        found = tx.execute(sa.select(inbox.c.next, inbox.c.epoch).where(where)).first()
        return (int(found[0]), int(found[1])) if found else (0, 0)

    def _advance(self, tx: sa.Connection, topic: str, partition: int, following: int, epoch: int) -> None:
        self._put(tx, inbox, {"topic": topic, "partition": partition}, {"next": following, "epoch": epoch})


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

"""The alert stage's state, in one database: where it stands in its inputs, the alerts, what happened to them, what was held and why.

One transaction takes an input whole: inbox position, transitions, what is to be published, audit. So a crash at any instant leaves either
all of it or nothing, and reading again from the position in the database repeats nothing. Every transaction checks the fencing token:
whoever opens the store after us makes us stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson
import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.alert.book import Decision, Step, Words, cleared, on_change, on_command, on_time
from pipeline.model.alert import Alert, AlertEvent, Command
from pipeline.model.episode import Change, ChangeBatch, Episode, episode_id
from pipeline.notify import tables as notify_tables
from pipeline.notify.outbox import Outbox
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

# made once: building a statement costs more than running it
_NUMBERS = sa.select(numbers.c.name, numbers.c.value)
_POSITIONS = sa.select(inbox.c.topic, inbox.c.partition, inbox.c.next, inbox.c.epoch)
_ALERTS_OF = (
    sa.select(episodes.c.alert).where(episodes.c.episode.in_(sa.bindparam("ids", expanding=True))).distinct()
)  # fmt: skip
_ALERT = sa.select(alerts.c.data).where(alerts.c.id == sa.bindparam("wanted"))
_COMMAND = sa.select(commands.c.id).where(commands.c.id == sa.bindparam("wanted"))
_INSERT_COMMAND = sa.insert(commands)
_INSERT_EVENT = sa.insert(events)
_INSERT_AUDIT = sa.insert(audit)
_LAST_AUDIT = sa.select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)


def _upsert(table: sa.Table, dialect: str) -> Any:
    """Insert, or update what is there."""
    insert: Any = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    key = [column.name for column in table.primary_key]
    rest = {column.name: insert.excluded[column.name] for column in table.c if column.name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=rest)


class FencedError(Exception):
    """Somebody else has taken the store over. What was to be written was not."""


@dataclass(slots=True)
class Turn:
    """One transaction: what is read once and written once in it, however many inputs it takes."""

    tx: sa.Connection
    numbers: dict[str, int]
    positions: dict[tuple[str, int], tuple[int, int]]  # (topic, partition) -> next offset, epoch
    changed: set[str] = field(default_factory=set)
    moved: set[tuple[str, int]] = field(default_factory=set)
    alerts: dict[str, Alert] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    last_audit: tuple[int, bytes] | None = None
    told: list[AlertEvent] = field(default_factory=list)  # in order: what is to be published
    quiet: dict[str, str] = field(default_factory=dict)  # alert -> why it pages nobody now (HELD_FLOOD, ...)

    def number(self, name: str) -> int:
        return self.numbers.get(name, 0)

    def put_number(self, name: str, value: int) -> None:
        self.numbers[name] = value
        self.changed.add(name)

    def position(self, topic: str, partition: int) -> tuple[int, int]:
        return self.positions.get((topic, partition), (0, 0))

    def advance(self, topic: str, partition: int, following: int, epoch: int) -> None:
        self.positions[topic, partition] = following, epoch
        self.moved.add((topic, partition))

    def get(self, alert_id: str) -> Alert | None:
        """As this transaction has it."""
        if alert_id not in self.alerts:
            data = self.tx.execute(_ALERT, {"wanted": alert_id}).scalar()
            return None if data is None else _alert(data)
        return self.alerts[alert_id]

    def audit(self, entry: dict[str, Any]) -> None:
        if self.last_audit is None:
            last = self.tx.execute(_LAST_AUDIT).first()
            self.last_audit = (last[0], last[1]) if last else (0, b"")
        n, before = self.last_audit
        data = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
        self.last_audit = n + 1, hashlib.sha256(before + data).digest()
        self.entries.append({"n": n + 1, "entry": data, "hash": self.last_audit[1]})


class AlertStore:
    """One writer, not thread-safe. `words`: the sentence for an episode. Raises sqlalchemy's errors when the database fails."""

    def __init__(self, url: str, plan: CompiledPlan, words: Callable[[Episode], Words]) -> None:
        self.plan = plan
        self._words = words
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            _settle_sqlite(self._engine)
        metadata.create_all(self._engine)
        notify_tables.metadata.create_all(self._engine)
        self._outbox = Outbox(plan, self._engine.dialect.name, self._without_episode)
        self._upserts = {
            table.name: _upsert(table, self._engine.dialect.name) for table in (inbox, alerts, episodes, held, numbers)
        }
        with self._engine.begin() as tx:
            self._token = _numbers(tx).get("token", 0) + 1
            tx.execute(self._upserts["numbers"], {"name": "token", "value": self._token})

    def close(self) -> None:
        self._engine.dispose()

    # ---- reading ------------------------------------------------------------------------------------------------------

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the offset to read from."""
        with self._engine.connect() as tx:
            return {(t, p): n for t, p, n, _ in tx.execute(_POSITIONS)}

    def unpublished(self, most: int = 1000) -> list[AlertEvent]:
        """What has not been marked as published, in order."""
        with self._engine.connect() as tx:
            done = _numbers(tx).get("published", 0)
            rows = tx.execute(sa.select(events.c.data).where(events.c.seq > done).order_by(events.c.seq).limit(most))
            return [_event(data) for (data,) in rows]

    def open_alerts(self) -> list[Alert]:
        with self._engine.connect() as tx:
            return [_alert(data) for (data,) in tx.execute(sa.select(alerts.c.data).where(alerts.c.open))]

    def alert(self, alert_id: str) -> Alert | None:
        with self._engine.connect() as tx:
            return Turn(tx, {}, {}).get(alert_id)

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
        with self._turn(now_us) as turn:
            for topic, partition, offset, batch in inputs:
                following, epoch = turn.position(topic, partition)
                if offset < following:
                    continue
                if batch is not None and batch.epoch >= epoch:
                    epoch = batch.epoch
                    for change in batch.changes:
                        self._change(turn, change, now_us)
                turn.advance(topic, partition, offset + 1, epoch)
        return turn.told

    def take_commands(self, inputs: Iterable[tuple[str, int, int, Command | None]], now_us: int) -> list[AlertEvent]:
        """Records of commands; each id counts once."""
        with self._turn(now_us) as turn:
            for topic, partition, offset, command in inputs:
                following, epoch = turn.position(topic, partition)
                if offset < following:
                    continue
                if command is not None:
                    self._command(turn, command, now_us)
                turn.advance(topic, partition, offset + 1, epoch)
        return turn.told

    def take_time(self, now_us: int, silent_since_us: int | None, heard: bool = True) -> list[AlertEvent]:
        """What time alone does: shelves that are over, and `pipeline.stalled` while no Tick comes (`silent_since_us`). `heard` False:
        no Tick came since we began, and it is too early to say: a stall that was told goes on."""
        with self._engine.connect() as look:
            waiting = look.execute(sa.select(alerts.c.id).where(alerts.c.shelved)).scalars().all()
            stalled = _numbers(look).get("stalled", 0)
            tellings = self._outbox.waiting(look, now_us)
        if silent_since_us is None and not heard:
            silent_since_us = stalled or None
        if not waiting and not tellings and (silent_since_us is None) == (stalled == 0):
            return []
        with self._turn(now_us) as turn:
            for alert_id in waiting:
                alert = turn.get(alert_id)
                if alert is not None:
                    self._decided(turn, on_time(alert, now_us), "policy", now_us)
            if silent_since_us is not None and not stalled:
                self._stalled(turn, silent_since_us, now_us)
            elif silent_since_us is None and stalled:
                alert = turn.get(episode_id(STALLED, "pipeline", "", stalled))
                if alert is not None and alert.cleared_at_us is None:
                    steps = cleared(alert, "TICKS_AGAIN", now_us)
                    self._decided(turn, Decision(tuple(steps)), "policy", now_us)
                turn.put_number("stalled", 0)
            if tellings:
                self._decided(turn, Decision(tuple(self._outbox.due(turn, now_us))), "policy", now_us)
        return turn.told

    def published(self, seq: int) -> None:
        """Everything up to this event is in the log."""
        with self._turn() as turn:
            turn.put_number("published", max(seq, turn.number("published")))

    # ---- the inside of a transaction --------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self, now_us: int | None = None) -> Iterator[Turn]:
        """`now_us`: the instant of its decisions; None: it makes none."""
        with self._engine.begin() as tx:
            turn = Turn(
                tx,
                _numbers(tx),
                {
                    (topic, partition): (following, epoch)
                    for topic, partition, following, epoch in tx.execute(_POSITIONS)
                },
            )
            if turn.number("token") != self._token:
                raise FencedError("another alert stage has opened this store")
            yield turn
            if now_us is not None:
                self._tell(turn, now_us)
            self._write(turn)

    def _tell(self, turn: Turn, now_us: int) -> None:
        """Who is to be told of what this transaction did; that nobody can be is an event too, and may be an alert."""
        seen = 0
        while seen < len(turn.told):
            fresh, seen = turn.told[seen:], len(turn.told)
            self._decided(turn, Decision(tuple(self._outbox.follow(turn, fresh, turn.quiet, now_us))), "policy", now_us)

    def _write(self, turn: Turn) -> None:
        rows: list[tuple[Any, list[dict[str, Any]]]] = [
            (self._upserts["alerts"], [_row(alert) for alert in turn.alerts.values()]),
            (_INSERT_EVENT, turn.events),
            (_INSERT_AUDIT, turn.entries),
            (self._upserts["numbers"], [{"name": name, "value": turn.numbers[name]} for name in sorted(turn.changed)]),
            (
                self._upserts["inbox"],
                [
                    {"topic": tp[0], "partition": tp[1], "next": turn.positions[tp][0], "epoch": turn.positions[tp][1]}
                    for tp in sorted(turn.moved)
                ],
            ),
        ]
        for statement, parameters in rows:
            if parameters:
                turn.tx.execute(statement, parameters)

    def _change(self, turn: Turn, change: Change, now_us: int) -> list[AlertEvent]:
        change = about(change)
        e: Episode = change.episode
        ids = [e.id, *change.was_ids]
        names = turn.tx.execute(_ALERTS_OF, {"ids": ids}).scalars().all()
        known = [a for a in (turn.get(name) for name in names) if a is not None]
        region = region_of(self.plan, e.subject)
        setting = self._setting(region, e.rule)
        decision = on_change(known, change, setting, region, self._words(e), now_us)
        if decision.held:
            self._hold(turn, e.id, change.revision, decision.held, now_us)
        if decision.steps and change.kind != "retract":
            keeper = decision.steps[-1].alert.id
            turn.tx.execute(self._upserts["episodes"], {"episode": e.id, "alert": keeper})
        return self._decided(turn, decision, "policy", now_us, received_at_us=change.received_at_us)

    def _command(self, turn: Turn, command: Command, now_us: int) -> list[AlertEvent]:
        if turn.tx.execute(_COMMAND, {"wanted": command.id}).first() is not None:
            return []
        decision = on_command(turn.get(command.alert_id), command, now_us)
        reason = decision.held or "DONE"
        turn.tx.execute(_INSERT_COMMAND, {"id": command.id, "alert": command.alert_id, "reason": reason})
        if decision.held:
            turn.audit(
                {
                    "at_us": now_us,
                    "by": command.by,
                    "command": command.what,
                    "alert": command.alert_id,
                    "reason": reason,
                },
            )
        return self._decided(turn, decision, command.by, now_us, command_id=command.id)

    def _stalled(self, turn: Turn, since_us: int, now_us: int) -> list[AlertEvent]:
        region = next(iter(self.plan.regions), "")
        setting = self._setting(region, STALLED)
        if setting is not None and setting.mode != "live":
            return []
        alert = msgspec.structs.replace(
            self._without_episode(STALLED, region, "pipeline", since_us), opened_at_us=now_us
        )
        turn.put_number("stalled", since_us)
        return self._decided(turn, Decision((Step("opened", "NO_TICKS", alert),)), "policy", now_us)

    def _without_episode(self, rule: str, region: str, subject: str, since_us: int) -> Alert:
        """What the alert stage raises by itself, as it stands when it opens."""
        setting = self._setting(region, rule)
        began = Episode(
            id=episode_id(rule, subject, "", since_us), rule=rule, subject=subject, object="", began_at_us=since_us,
            ended_at_us=None, severity=setting.severity if setting else "critical", peak=None, evidence={},
        )  # fmt: skip
        words = self._words(began)
        return Alert(
            id=began.id, rule=rule, subject=subject, object="", region=region, cell="", severity=began.severity,
            text=words.text, lead=words.lead, place=words.place, response=setting.response if setting else "",
            owner_post=setting.owner if setting else "", respond_within_us=setting.respond_within_us if setting else 0,
            began_at_us=since_us, opened_at_us=since_us, episode_ids=(began.id,),
        )  # fmt: skip

    def _setting(self, region: str, rule: str) -> RuleSetting | None:
        found = self.plan.regions.get(region)
        return found.rules.get(rule) if found else None

    def _decided(
        self,
        turn: Turn,
        decision: Decision,
        actor: str,
        now_us: int,
        command_id: str = "",
        received_at_us: int = 0,
    ) -> list[AlertEvent]:
        out = []
        for step in decision.steps:
            seq = turn.number("seq") + 1
            turn.put_number("seq", seq)
            told = AlertEvent(
                version=EVENT_VERSION, seq=seq, at_us=now_us, transition=step.transition, reason=step.reason, actor=actor,
                alert=step.alert, detail=step.detail, command_id=command_id, received_at_us=received_at_us,
            )  # fmt: skip
            turn.alerts[step.alert.id] = step.alert
            turn.events.append({"seq": seq, "alert": step.alert.id, "data": _encode(told)})
            turn.audit(
                {
                    "seq": seq,
                    "at_us": now_us,
                    "by": actor,
                    "transition": step.transition,
                    "reason": step.reason,
                    "alert": step.alert.id,
                },
            )
            out.append(told)
        turn.told += out
        return out

    def _hold(self, turn: Turn, episode: str, revision: int, reason: str, now_us: int) -> None:
        row = {"episode": episode, "revision": revision, "reason": reason, "at_us": now_us}
        turn.tx.execute(self._upserts["held"], row)


def _numbers(tx: sa.Connection) -> dict[str, int]:
    return {name: value for name, value in tx.execute(_NUMBERS)}  # noqa: C416  # rows are no pairs for dict()


def about(change: Change) -> Change:
    """An alert is about whom people look after: of a silent tracker its vehicle."""
    e = change.episode
    if e.rule != "device.silent":
        return change
    return msgspec.structs.replace(change, episode=msgspec.structs.replace(e, subject=e.object, object=e.subject))


def region_of(plan: CompiledPlan, subject: str) -> str:
    """Of a vehicle, sensor, convoy or site; of whoever is none of these the first."""
    for known in (plan.vehicles, plan.sensors, plan.convoys):
        if subject in known:
            return known[subject].region
    return next((area.region for area in plan.areas if area.id == subject), next(iter(plan.regions), ""))


def _row(alert: Alert) -> dict[str, Any]:
    closed = alert.closed_at_us is not None
    shelved = alert.shelved_until_us is not None and not closed
    return {"id": alert.id, "open": not closed, "shelved": shelved, "data": _encode(alert)}


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

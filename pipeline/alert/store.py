"""The alert stage's state, in one database: where it stands in its inputs, the alerts, what happened to them, what was held and why.

One transaction takes an input whole: inbox position, transitions, what is to be published, whom to tell, audit. So a crash at any instant
leaves either all of it or nothing, and reading again from the position in the database repeats nothing. Every transaction checks the fencing
token: whoever opens the store after us makes us stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from pipeline.alert import policy
from pipeline.alert import tables as t
from pipeline.alert.book import Words
from pipeline.alert.deciding import STALLED, UNTAKEN, Decider, about, region_of
from pipeline.alert.tables import alerts, audit, episodes, events, held, inbox, numbers
from pipeline.alert.turn import Turn, decode_alert, row_of
from pipeline.model.alert import Alert, AlertEvent, Command
from pipeline.model.episode import ChangeBatch, Episode
from pipeline.notify import tables as notify_tables
from pipeline.notify import untaken
from pipeline.notify.outbox import Outbox
from pipeline.people.chain import FIRST_BEFORE, link
from pipeline.plan.model import CompiledPlan

__all__ = ["AlertStore", "FencedError", "Turn", "about", "region_of"]

PUBLISHED_KEPT_US = 7 * 86_400_000_000

_event = msgspec.msgpack.Decoder(AlertEvent).decode


class FencedError(Exception):
    """Somebody else has taken the store over. What was to be written was not."""


class AlertStore:
    """One writer, not thread-safe. `words`: the sentence for an episode. Raises sqlalchemy's errors when the database fails.

    `token`: what the lease gave (`lease.Lease.take`). None: opening it takes it over from whoever had it. `patience_us`: a telling that
    is due for so long, and that no notifier takes, is an alert (`pipeline.notifier`); None: nobody has to take them."""

    def __init__(
        self, url: str, plan: CompiledPlan, words: Callable[[Episode], Words], token: int | None = None,
        patience_us: int | None = None,
    ) -> None:  # fmt: skip
        self._patience_us = patience_us
        self._watched_from_us: int | None = None
        self.plan = plan
        self._engine = t.make_engine(url)
        older = t.make_tables(self._engine)
        notify_tables.metadata.create_all(self._engine)
        dialect = self._engine.dialect.name
        self._upserts = {table.name: t.upsert(table, dialect) for table in (inbox, alerts, episodes, held, numbers)}
        self._decider = Decider(plan, words, self._upserts["episodes"], self._upserts["held"])
        self._outbox = Outbox(plan, dialect, self._decider.without_episode)
        with self._engine.begin() as tx:
            self._token = token if token is not None else _numbers(tx).get("token", 0) + 1
            if token is None:
                tx.execute(self._upserts["numbers"], {"name": "token", "value": self._token})
            if older:
                rows = [row_of(decode_alert(data)) for (data,) in tx.execute(sa.select(alerts.c.data))]
                for row in rows:
                    tx.execute(self._upserts["alerts"], row)

    def close(self) -> None:
        self._engine.dispose()

    # ---- reading ------------------------------------------------------------------------------------------------------

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the offset to read from."""
        with self._engine.connect() as tx:
            return {(topic, p): n for topic, p, n, _ in tx.execute(t.POSITIONS)}

    @property
    def published_up_to(self) -> int:
        with self._engine.connect() as tx:
            return _numbers(tx).get("published", 0)

    def publish_again(self) -> None:
        """The log has none of what was published: all of it is unpublished."""
        with self._turn() as turn:
            turn.put_number("published", 0)

    def unpublished(self, most: int = 1000) -> list[AlertEvent]:
        """What has not been marked as published, in order."""
        with self._engine.connect() as tx:
            done = _numbers(tx).get("published", 0)
            rows = tx.execute(sa.select(events.c.data).where(events.c.seq > done).order_by(events.c.seq).limit(most))
            return [_event(data) for (data,) in rows]

    def open_alerts(self) -> list[Alert]:
        """Held ones too."""
        with self._engine.connect() as tx:
            return [decode_alert(data) for (data,) in tx.execute(t.OPEN)]

    def alert(self, alert_id: str) -> Alert | None:
        with self._engine.connect() as tx:
            return Turn(tx, {}, {}).get(alert_id)

    def alerts_of(self) -> dict[str, str]:
        """episode -> its alert, told or held; of what is not here see `held_reasons`."""
        with self._engine.connect() as tx:
            return {episode: alert for episode, alert in tx.execute(sa.select(episodes.c.episode, episodes.c.alert))}  # noqa: C416  # rows

    def held_reasons(self) -> dict[str, str]:
        """episode -> why nobody was told, the newest reason. What has an alert that was told is not among them."""
        untold = held.c.episode.not_in(sa.select(episodes.c.episode))
        with self._engine.connect() as tx:
            rows = tx.execute(
                sa.select(held.c.episode, held.c.reason).where(untold).order_by(held.c.episode, held.c.revision)
            )
            found = {row.episode: row.reason for row in rows}
            kept = tx.execute(
                sa.select(episodes.c.episode, alerts.c.data)
                .join(alerts, alerts.c.id == episodes.c.alert)
                .where(alerts.c.told.is_(False))
            )
            return found | {episode: decode_alert(data).held for episode, data in kept}

    def audit_fault(self) -> int | None:
        """The number of the first entry whose hash does not follow from those before it; None: the chain is whole."""
        before = FIRST_BEFORE
        with self._engine.connect() as tx:
            for n, entry, hashed in tx.execute(sa.select(audit.c.n, audit.c.entry, audit.c.hash).order_by(audit.c.n)):
                if not isinstance(entry, bytes):  # put there by other hands: SQLite's columns take any type
                    return int(n)
                before = link(before, entry)
                if before != hashed:
                    return int(n)
        return None

    # ---- writing ------------------------------------------------------------------------------------------------------

    def begin_anew(self, topic: str, partition: int) -> None:
        """Forget where it was read up to, and by whose epoch: the log is another one."""
        with self._turn() as turn:
            turn.advance(topic, partition, 0, 0)

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
                        self._decider.change(turn, change, now_us)
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
                    self._decider.command(turn, command, now_us)
                turn.advance(topic, partition, offset + 1, epoch)
        return turn.told

    def take_time(self, now_us: int, silent_since_us: int | None, heard: bool = True) -> list[AlertEvent]:
        """What time alone does: shelves that are over, held ones that are looked at again, a flood that abates, whom to tell next; and
        `pipeline.stalled` while no Tick comes (`silent_since_us`). `heard` False: no Tick came since we began, and it is too early to
        say: a stall that was told goes on."""
        with self._engine.connect() as look:
            due = list(look.execute(t.DUE, {"now": now_us}).scalars())
            leaderless = [(name, at) for name, at in look.execute(t.LEADERLESS)]
            flood = look.execute(t.ACTIVE, {"rule": policy.FLOOD}).first() is not None
            known = _numbers(look)
            stalled, known_untaken = known.get(STALLED.number, 0), known.get(UNTAKEN.number, 0)
            untaken_us = self._untaken_since(look, now_us)
            tellings = self._outbox.waiting(look, now_us)
        if silent_since_us is None and not heard:
            silent_since_us = stalled or None
        same = (silent_since_us is None) == (stalled == 0) and (untaken_us == 0) == (known_untaken == 0)
        if not (due or leaderless or flood or tellings) and same:
            return []
        with self._turn(now_us) as turn:
            self._decider.time(turn, due, leaderless, now_us)
            self._decider.ours(turn, STALLED, silent_since_us or 0, now_us)
            self._decider.ours(turn, UNTAKEN, untaken_us, now_us)
            if tellings:
                self._decider.take(turn, self._outbox.due(turn, now_us), "policy", now_us)
        return turn.told

    def _untaken_since(self, tx: sa.Connection, now_us: int) -> int:
        """0: a notifier lives, or has nothing to do. We may have begun before it: it has as long from then."""
        if self._patience_us is None:
            return 0
        if self._watched_from_us is None:
            self._watched_from_us = now_us
        if now_us - self._watched_from_us < self._patience_us:
            return _numbers(tx).get(UNTAKEN.number, 0)
        return untaken.since(tx, now_us, self._patience_us)

    def published(self, seq: int) -> None:
        """Everything up to this event is in the log."""
        with self._turn() as turn:
            turn.put_number("published", max(seq, turn.number("published")))

    # ---- the inside of a transaction --------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self, now_us: int | None = None) -> Iterator[Turn]:
        """`now_us`: the instant of its decisions; None: it makes none."""
        with self._engine.begin() as tx:
            positions = {(topic, p): (following, epoch) for topic, p, following, epoch in tx.execute(t.POSITIONS)}
            turn = Turn(tx, _numbers(tx, t.NUMBERS_LOCKED), positions, self._upserts["alerts"])
            if turn.number("token") != self._token:
                raise FencedError("another alert stage has opened this store")
            yield turn
            if now_us is not None:
                self._decider.settle(turn, now_us)
                self._tell(turn, now_us)
            self._write(turn)

    def _tell(self, turn: Turn, now_us: int) -> None:
        """Who is to be told of what this transaction did; that nobody can be is an event too, and may be an alert."""
        seen = 0
        while seen < len(turn.told):
            fresh, seen = turn.told[seen:], len(turn.told)
            self._decider.take(turn, self._outbox.follow(turn, fresh, turn.quiet, now_us), "policy", now_us)

    def _write(self, turn: Turn) -> None:
        turn.save()
        if turn.lines:
            oldest_us = max(line["at_us"] for line in turn.lines.values()) - policy.WINDOW_US
            turn.tx.execute(t.FORGET_LINES, {"since": oldest_us})
        rows: list[tuple[Any, list[dict[str, Any]]]] = [
            (t.INSERT_EVENT, turn.events),
            (t.INSERT_LINE, list(turn.lines.values())),
            (t.INSERT_AUDIT, turn.entries),
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


def _numbers(tx: sa.Connection, statement: Any = t.NUMBERS) -> dict[str, int]:
    return {name: value for name, value in tx.execute(statement)}  # noqa: C416  # rows are no pairs for dict()

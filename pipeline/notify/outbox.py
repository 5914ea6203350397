"""Who is to be told, as rows beside the alerts: written in the transaction that decided it, so that no crash comes between the two.

A row is one telling: (alert, revision, step, person). Its life: `pending`, then `sending` under a lease, then `accepted` (a report of its
delivery is awaited) or `sent`; else `failed` when every channel of that person failed, `cancelled` when nobody has to be told any more.
`held` rows wait to be summed up in one digest. `touched` says that something may have reached the person: whatever is sent to them
after that says "repeat".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.alert.book import Step
from pipeline.alert.policy import NOTIFIER
from pipeline.model.alert import Alert, AlertEvent
from pipeline.model.episode import SEVERITIES
from pipeline.notify import digest, unreachable
from pipeline.notify.escalate import (
    FAILED_AGAIN_US,
    Climb,
    Climbed,
    Telling,
    asks_for_people,
    begins_afresh,
    begun,
    climbed,
    hurried,
    only_over,
)
from pipeline.notify.message import Message, concerned, decode_message, encode_message, message_of, row_id
from pipeline.notify.tables import climbs, outbox
from pipeline.plan.model import CompiledPlan
from pipeline.plan.roster import Roster

LIMIT_WINDOW_US = 600_000_000
STOPPED = {"acknowledged": "ACKNOWLEDGED", "closed": "CLOSED", "shelved": "SHELVED", "retracted": "RETRACTED",
           "merged": "MERGED", "cleared": "CLEARED"}  # fmt: skip
BEGAN_AND_ENDED = "BEGAN_AND_ENDED"
_TOLD = ("sending", "accepted", "sent")
_CLIMB = sa.select(climbs).where(climbs.c.alert == sa.bindparam("wanted"))
_DUE = sa.select(climbs).where(climbs.c.due_us <= sa.bindparam("now")).order_by(climbs.c.due_us).limit(500)
_WAITING = sa.select(
    sa.exists(sa.select(climbs.c.alert).where(climbs.c.due_us <= sa.bindparam("now")))
    | sa.exists(sa.select(outbox.c.id).where(outbox.c.to_note))
    | sa.exists(sa.select(outbox.c.id).where(outbox.c.state == "held", outbox.c.due_us <= sa.bindparam("now")))
)


class Turn(Protocol):
    """What of the alert stage's transaction is needed here (`alert.store.Turn`)."""

    tx: sa.Connection
    numbers: dict[str, int]

    def put_number(self, name: str, value: int) -> None: ...

    def get(self, alert_id: str) -> Alert | None: ...


class Outbox:
    """The alert stage's half. Nothing here reads a clock: `now_us` is the stage's own, recorded in its events."""

    def __init__(self, plan: CompiledPlan, dialect: str, opens: unreachable.Opens) -> None:
        self._plan = plan
        self._opens = opens
        insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
        self._insert = insert(outbox).on_conflict_do_nothing()
        put = insert(climbs)
        rest = {c.name: put.excluded[c.name] for c in climbs.c if c.name != "alert"}
        self._put_climb = put.on_conflict_do_update(index_elements=["alert"], set_=rest)

    def waiting(self, tx: sa.Connection, now_us: int) -> bool:
        """Is there anything that `due` would do?"""
        return bool(tx.execute(_WAITING, {"now": now_us}).scalar()) or unreachable.any_open(tx)

    # ---- what happens to alerts -----------------------------------------------------------------------------------------

    def follow(self, turn: Turn, told: Iterable[AlertEvent], quiet: Mapping[str, str], now_us: int) -> list[Step]:
        """What this transaction did to alerts: begin, go on, stop. `quiet`: alerts that page nobody now, with the reason."""
        by_alert: dict[str, list[AlertEvent]] = {}
        for event in told:
            if event.transition not in ("told", "escalated"):
                by_alert.setdefault(event.alert.id, []).append(event)
        steps: list[Step] = []
        for events in by_alert.values():
            steps += self._followed(turn, events, quiet.get(events[0].alert.id, ""), now_us)
        return steps

    def _followed(self, turn: Turn, events: Sequence[AlertEvent], quiet: str, now_us: int) -> list[Step]:
        alert = events[-1].alert
        roster = self._plan.rosters.get(alert.region)
        if roster is None or alert.rule == NOTIFIER:
            return []
        kinds = {event.transition for event in events}
        again = any(event.reason == "BEGAN_AGAIN" for event in events)
        if alert.retracted:
            if "retracted" in kinds:
                self._correct(turn, alert, now_us)
        elif again:
            self._spare(turn.tx, alert.id)
        if not asks_for_people(alert):
            self._stop(turn.tx, alert, next((STOPPED[k] for k in STOPPED if k in kinds), "OVER"), now_us)
            if ("opened" in kinds or again) and not alert.retracted and alert.acknowledged_at_us is None and not quiet:
                self._hold_for_digest(turn.tx, roster, alert, now_us)
            return []
        if quiet:
            return []
        afresh = any(begins_afresh(event.transition, event.reason) for event in events)
        if "opened" not in kinds and not afresh:
            return []
        self._cancel(turn.tx, alert.id, "TOLD_AFRESH")
        self._tell_vehicles(turn.tx, alert, now_us)
        return self._climb(turn, roster, alert, begun(alert, now_us), now_us)

    def _climb(self, turn: Turn, roster: Roster, alert: Alert, climb: Climb, now_us: int) -> list[Step]:
        done: Climbed = climbed(roster, alert, climb, now_us)
        for telling in done.tellings:
            self._put(turn.tx, alert, climb.revision, telling, now_us)
        if done.climb is None:
            turn.tx.execute(sa.delete(climbs).where(climbs.c.alert == alert.id))
        else:
            self._keep(turn.tx, done.climb)
        steps = [Step("escalated", event.reason, alert, event.detail) for event in done.events]
        for post in done.empty:
            steps += unreachable.raised(turn, self._opens, alert, post, "NOBODY_ON_CALL", now_us)
        return steps

    def _keep(self, tx: sa.Connection, at: Climb) -> None:
        tx.execute(self._put_climb, asdict(at))

    def _put(self, tx: sa.Connection, alert: Alert, revision: int, telling: Telling, now_us: int) -> None:
        full = alert.severity != "critical" and self._recent(tx, telling.officer.id, now_us) >= telling.officer.most
        self._row(
            tx, message_of(alert, "alert", now_us), revision, telling.step, telling.officer.id, telling.post, telling.channels,
            now_us, held="HELD_LIMIT" if full else "",
        )  # fmt: skip

    def _row(
        self, tx: sa.Connection, message: Message, revision: int, step: int, person: str, post: str, channels: Iterable[str],
        now_us: int, held: str = "",
    ) -> None:  # fmt: skip
        due_us = digest.due(tx, person, now_us) if held else now_us
        tx.execute(
            self._insert,
            {
                "id": row_id(message.alert, revision, step, person, message.kind), "alert": message.alert, "revision": revision,
                "step": step, "person": person, "post": post, "region": message.region, "kind": message.kind,
                "rank": SEVERITIES.index(message.severity), "channels": " ".join(channels), "channel": 0,
                "state": "held" if held else "pending", "reason": held, "attempt": 0, "touched": False, "stopped": False,
                "to_note": False, "due_us": due_us, "lease_until_us": 0, "lease_by": "", "created_us": now_us, "sent_us": 0,
                "report_by_us": 0, "receipt": "", "body": encode_message(message),
            },
        )  # fmt: skip

    def _recent(self, tx: sa.Connection, person: str, now_us: int) -> int:
        found = tx.execute(
            sa.select(sa.func.count()).where(
                outbox.c.person == person, outbox.c.rank > 0, outbox.c.created_us > now_us - LIMIT_WINDOW_US,
                outbox.c.state.not_in(("held", "digested", "cancelled")), outbox.c.kind != "correction",
            )
        ).scalar()  # fmt: skip
        return int(found or 0)

    def _tell_vehicles(self, tx: sa.Connection, alert: Alert, now_us: int) -> None:
        message = message_of(alert, "downlink", now_us)
        for login in concerned(self._plan, alert):
            self._row(tx, message, alert.revision, 0, login, "", ("downlink",), now_us)

    def _hold_for_digest(self, tx: sa.Connection, roster: Roster, alert: Alert, now_us: int) -> None:
        """It began and ended before anybody could be told: one line among others."""
        first = climbed(roster, alert, begun(alert, now_us), now_us)
        for t in first.tellings:
            message = message_of(alert, "alert", now_us)
            self._row(tx, message, alert.revision, t.step, t.officer.id, t.post, t.channels, now_us, BEGAN_AND_ENDED)

    def _stop(self, tx: sa.Connection, alert: Alert, reason: str, now_us: int) -> None:
        tx.execute(sa.delete(climbs).where(climbs.c.alert == alert.id))
        if by_itself := only_over(alert):
            self._missed(tx, alert.id, now_us)
        digests = alert.acknowledged_at_us is not None or alert.retracted
        self._cancel(tx, alert.id, reason, digests, finish=by_itself)

    def _missed(self, tx: sa.Connection, alert: str, now_us: int) -> None:
        """It was over before they could be told, by however little: one line among others for those who have heard nothing."""
        ours = (outbox.c.alert == alert) & (outbox.c.kind == "alert")
        told = sa.select(outbox.c.person).where(ours, sa.or_(outbox.c.touched, outbox.c.state.in_(_TOLD)))
        waiting = sa.select(outbox.c.id, outbox.c.person, outbox.c.state, outbox.c.due_us).where(
            ours, outbox.c.state.in_(("pending", "held")), outbox.c.person.not_in(told)
        )  # fmt: skip
        for row in tx.execute(waiting).all():
            due_us = row.due_us if row.state == "held" else digest.due(tx, row.person, now_us)
            held = {"state": "held", "reason": BEGAN_AND_ENDED, "due_us": due_us}
            tx.execute(sa.update(outbox).where(outbox.c.id == row.id).values(**held))

    def _cancel(self, tx: sa.Connection, alert: str, reason: str, digests: bool = True, finish: bool = False) -> None:
        """What has not been sent is not sent; what is being sent is not tried again, unless it is to `finish`: somebody has to hear of it."""
        ours = (outbox.c.alert == alert) & outbox.c.kind.in_(("alert", "downlink"))
        waiting: sa.ColumnElement[bool] = outbox.c.state.in_(("pending", "held"))
        if not digests:
            waiting = waiting & (outbox.c.reason != BEGAN_AND_ENDED)
        tx.execute(sa.update(outbox).where(ours, waiting).values(state="cancelled", reason=reason, stopped=True))
        under_way: sa.ColumnElement[bool] = outbox.c.state.in_(("sending", "accepted"))
        if finish:
            under_way = under_way & (outbox.c.kind == "downlink")
        tx.execute(sa.update(outbox).where(ours, under_way).values(stopped=True))

    def _correct(self, turn: Turn, alert: Alert, now_us: int) -> None:
        """Whoever may have been told, by a digest too, learns once that it was not so."""
        reached = sa.or_(outbox.c.touched, outbox.c.state.in_((*_TOLD, "digested")))
        rows = turn.tx.execute(
            sa.select(outbox.c.person, outbox.c.post, outbox.c.channels, outbox.c.state)
            .where(outbox.c.alert == alert.id, reached)
            .order_by(outbox.c.created_us)
        )
        message = message_of(alert, "correction", now_us)
        for row in {
            r.person: r for r in rows if r.state != "digested" or self._summed(turn.tx, alert, r.person)
        }.values():
            self._row(turn.tx, message, alert.revision, 0, row.person, row.post, row.channels.split(), now_us)

    def _spare(self, tx: sa.Connection, alert: str) -> None:
        """It is so after all: a correction that has not been sent would arrive beside the alert, or after it."""
        mine = (outbox.c.alert == alert) & (outbox.c.kind == "correction") & (outbox.c.state == "pending")
        tx.execute(sa.update(outbox).where(mine).values(state="cancelled", reason="TOLD_AFRESH", stopped=True))

    def _summed(self, tx: sa.Connection, alert: Alert, person: str) -> bool:
        """May a digest have told this person of it, or will it?"""
        digests = sa.select(outbox.c.body).where(
            outbox.c.kind == "digest", outbox.c.person == person, outbox.c.created_us >= alert.began_at_us,
            sa.or_(outbox.c.touched, outbox.c.state.in_(("pending", *_TOLD))),
        )  # fmt: skip
        return any(alert.id in decode_message(body).alerts for body in tx.execute(digests).scalars())

    # ---- what time and receipts do ----------------------------------------------------------------------------------------

    def due(self, turn: Turn, now_us: int) -> list[Step]:
        """Receipts into the alerts' logs, failures to the next step, steps whose time has come, digests, posts that are manned again."""
        steps = self._noted(turn, now_us)
        for row in turn.tx.execute(_DUE, {"now": now_us}).all():
            alert = turn.get(row.alert)
            roster = self._plan.rosters.get(alert.region) if alert else None
            if alert is None or roster is None or not asks_for_people(alert):
                turn.tx.execute(sa.delete(climbs).where(climbs.c.alert == row.alert))
                continue
            steps += self._climb(turn, roster, alert, Climb(**row._mapping), now_us)
        for message, person, post, channels in digest.due_now(turn.tx, now_us):
            self._row(turn.tx, message, 0, 0, person, post, channels, now_us)
        return steps + unreachable.cleared_again(turn, self._plan, now_us)

    def _noted(self, turn: Turn, now_us: int) -> list[Step]:
        """Each row's end is an event of its alert: who was told, by what, or that they could not be."""
        steps: list[Step] = []
        for row in turn.tx.execute(
            sa.select(outbox).where(outbox.c.to_note).order_by(outbox.c.sent_us, outbox.c.id)
        ).all():
            turn.tx.execute(sa.update(outbox).where(outbox.c.id == row.id).values(to_note=False))
            for alert in digest.alerts_of(row, turn.get):
                said = f"{row.person} {row.receipt or row.reason}".strip()
                if row.state == "sent":
                    steps.append(Step("told", row.kind.upper() if row.kind != "alert" else "RECEIPT", alert, said))
                elif row.kind == "downlink":
                    steps.append(Step("noted", "VEHICLE_NOT_REACHED", alert, said))
                else:
                    steps.append(Step("escalated", "SEND_FAILED", alert, said))
            if row.state == "failed" and row.kind != "downlink":
                steps += self._failed(turn, row, now_us)
        return steps

    def _failed(self, turn: Turn, row: Any, now_us: int) -> list[Step]:
        """Nobody of its step was reached: the next step is due. Nobody on its post was: that is an alert too."""
        about = next(iter(digest.alerts_of(row, turn.get)), None)
        same = (outbox.c.alert == row.alert) & (outbox.c.revision == row.revision) & (outbox.c.step == row.step)
        others = sa.select(outbox.c.id).where(
            same, outbox.c.kind == row.kind, outbox.c.state.in_(("pending", *_TOLD))
        ).limit(1)  # fmt: skip
        steps: list[Step] = []
        if about is not None and turn.tx.execute(others.where(outbox.c.post == row.post)).first() is None:
            steps += unreachable.raised(turn, self._opens, about, row.post, "SEND_FAILED", row.sent_us)
        found = turn.tx.execute(_CLIMB, {"wanted": row.alert}).first()
        if found is not None and row.kind == "alert" and turn.tx.execute(others).first() is None:
            climb = hurried(Climb(**found._mapping), now_us)
            turn.tx.execute(sa.update(climbs).where(climbs.c.alert == row.alert).values(due_us=climb.due_us))
        if found is None and row.kind == "alert" and about is not None and asks_for_people(about):
            self._once_more(turn.tx, row, now_us)
        return steps

    def _once_more(self, tx: sa.Connection, row: Any, now_us: int) -> None:
        """Its ladder is at an end, and nobody can have heard of it: a network that comes back in an hour must not find it forgotten."""
        mine = (outbox.c.alert == row.alert) & (outbox.c.kind == "alert")
        somebody = outbox.c.touched | outbox.c.state.in_(("pending", "held", *_TOLD))
        heard = sa.select(outbox.c.id).where(mine, (outbox.c.revision > row.revision) | somebody)
        if tx.execute(heard.limit(1)).first() is None:
            last = int(tx.execute(sa.select(sa.func.max(outbox.c.step)).where(mine)).scalar() or 0)
            self._keep(tx, Climb(row.alert, row.revision, last + 1, now_us + FAILED_AGAIN_US, now_us))

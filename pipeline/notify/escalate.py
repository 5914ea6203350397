"""Who is told next, and when: one alert's climb up its ladder. Pure: it is told the time, and what is done about it is the outbox's.

The climb begins when an alert asks for people and ends when it does not any more: acknowledged, shelved, closed, retracted; cleared, if
it is not critical. It begins again, at the alert's new revision, when the alert has become graver or has come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.model.alert import Alert
from pipeline.plan.roster import OWNER, Ladder, Officer, Roster, on_post

UNREACHABLE = "roster.unreachable"
RETRY_US = 60_000_000
"""Nobody at all could be told: so soon it is tried again."""
FAILED_AGAIN_US = 300_000_000
"""Everybody on the ladder was tried, by every channel, and nobody was reached: so soon the last step is tried again."""
AFRESH = ("grew", "unshelved", "BEGAN_AGAIN", "ACKNOWLEDGEMENT_TAKEN_BACK", "REALARM")
"""Transitions and reasons after which people are told anew. What only corrects a detail pages nobody."""


@dataclass(frozen=True, slots=True)
class Climb:
    """Where an alert stands on its ladder. `step` counts on when the last rung is repeated: with the person it is a telling's key."""

    alert: str
    revision: int
    step: int
    due_us: int
    began_us: int


@dataclass(frozen=True, slots=True)
class Telling:
    """One person is to be told. `channels`: what to try, in this order."""

    step: int
    post: str
    officer: Officer
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something for the alert's log: the transition `escalated` with its reason."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Climbed:
    """What follows at this instant. `climb` None: it is over. `empty`: posts on which nobody could be told."""

    climb: Climb | None
    tellings: tuple[Telling, ...] = ()
    events: tuple[Event, ...] = ()
    empty: tuple[str, ...] = ()


def asks_for_people(alert: Alert) -> bool:
    """Is it still to be told to somebody who has not been?"""
    answered = alert.acknowledged_at_us is not None or alert.closed_at_us is not None
    over = alert.cleared_at_us is not None and alert.severity != "critical"
    quiet = alert.shelved_until_us is not None or alert.held != ""
    return not (answered or over or alert.retracted or quiet)


def only_over(alert: Alert) -> bool:
    """It asks for nobody, and nobody has answered, put it away or taken it back: its cause has gone away by itself."""
    put_away = alert.shelved_until_us is not None or alert.held != "" or alert.retracted
    return not (put_away or alert.acknowledged_at_us is not None or alert.closed_at_us is not None)


def begins_afresh(transition: str, reason: str) -> bool:
    return transition in AFRESH or reason in AFRESH


def begun(alert: Alert, now_us: int) -> Climb:
    return Climb(alert.id, alert.revision, 0, now_us, now_us)


def climbed(roster: Roster, alert: Alert, climb: Climb, now_us: int) -> Climbed:
    """Every step that is due by now. A step at which nobody can be told does not wait: the next one is due at once."""
    ladder = roster.ladder(alert.severity, alert.rule)
    if ladder is None:
        return Climbed(None, events=(Event("NO_LADDER", alert.severity),))
    tellings: list[Telling] = []
    events: list[Event] = []
    empty: list[str] = []
    at: Climb | None = climb
    for _ in range(len(ladder.rungs) + 1):
        if at is None or at.due_us > now_us:
            break
        told, without = _told(roster, ladder, alert, at.step, now_us)
        empty += without
        tellings += told
        if at.step > 0 and told:
            names = ", ".join(dict.fromkeys(t.officer.id for t in told))
            events.append(Event("AGAIN" if at.step >= len(ladder.rungs) else "NOT_ACKNOWLEDGED", names))
        if without and at.step < len(ladder.rungs):  # said once a rung, not at every try
            events.append(Event("NOBODY_ON_CALL", ", ".join(without)))
        at = _next(ladder, at, now_us, bool(told))
    return Climbed(at, tuple(tellings), tuple(events), tuple(dict.fromkeys(empty)))


def hurried(climb: Climb, now_us: int) -> Climb:
    """Whoever was told last could not be reached: the next step is due now."""
    return replace(climb, due_us=min(climb.due_us, now_us))


def _told(roster: Roster, ladder: Ladder, alert: Alert, step: int, now_us: int) -> tuple[list[Telling], list[str]]:
    rung = ladder.rungs[min(step, len(ladder.rungs) - 1)]
    told: dict[str, Telling] = {}
    empty: list[str] = []
    for name in rung.tell:
        post = alert.owner_post if name == OWNER else name
        people = [t for o in on_post(roster, post, now_us) if (t := _telling(step, post, o.officer, rung.by))]
        if not people:
            empty.append(post or OWNER)
        for telling in people:
            told.setdefault(telling.officer.id, telling)
    return list(told.values()), empty


def _telling(step: int, post: str, officer: Officer, by: Iterable[str]) -> Telling | None:
    own = [channel.id for channel in officer.channels]
    first = [name for name in by if name in own]
    channels = tuple(dict.fromkeys([*first, *own]))  # what the step prefers; the others when that fails
    return Telling(step, post, officer, channels) if channels else None


def _next(ladder: Ladder, climb: Climb, now_us: int, told: bool) -> Climb | None:
    step = climb.step + 1
    if step < len(ladder.rungs):
        due_us = climb.began_us + ladder.rungs[step].after_us if told else now_us
        return replace(climb, step=step, due_us=due_us)
    if not told:
        return replace(climb, step=step, due_us=now_us + RETRY_US)
    if ladder.again_after_us is None:
        return None
    return replace(climb, step=step, due_us=now_us + ladder.again_after_us)

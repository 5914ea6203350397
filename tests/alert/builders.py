"""Changes, alerts and commands in minutes after T0, for the tests of the alert stage."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.alert.book import Words, opened
from pipeline.model.alert import Alert, Command
from pipeline.model.episode import Change, ChangeBatch, Episode, episode_id
from tests.detect.plans import T0

MINUTE = 60_000_000
HOUR = 60 * MINUTE
WORDS = Words("E-1 has stopped", "N-35 km 211", "E-1 has stopped. N-35 km 211.", 35.1, 73.0)


def at(minute: float) -> int:
    return T0 + round(minute * MINUTE)


def episode(
    began: float = 0, ended: float | None = None, severity: Any = "medium", subject: str = "v1", **more: Any
) -> Episode:
    """`began` and `ended` in minutes."""
    rule, obj = more.pop("rule", "stop.unscheduled"), more.pop("obj", "")
    return Episode(
        id=episode_id(rule, subject, obj, at(began)), rule=rule, subject=subject, object=obj, began_at_us=at(began),
        ended_at_us=None if ended is None else at(ended), severity=severity, peak=more.pop("peak", None), evidence=more,
    )  # fmt: skip


def sos(minute: float = 0, severity: Any = "critical", subject: str = "v1") -> Episode:
    return episode(minute, minute, severity, subject, rule="sos.pressed")


def change(kind: Any, of: Episode, *was: Episode, revision: int = 1, **more: Any) -> Change:
    return Change(kind=kind, episode=of, revision=revision, was_ids=tuple(e.id for e in was), cell="c", **more)


def batch(*changes: Change, epoch: int = 1, offset: int = 0) -> ChangeBatch:
    return ChangeBatch(version=1, partition=0, epoch=epoch, input_offset=offset, changes=list(changes))


def alert(of: Episode | None = None, now: float = 1, **state: Any) -> Alert:
    """The alert of an episode, opened at this minute, with `state` put upon it."""
    first = opened(change("begin", of or episode()), None, "r", WORDS, at(now))
    return msgspec.structs.replace(first, **state)


def command(what: Any, alert_id: str = "", id: str = "c1", by: str = "amina", **more: Any) -> Command:
    return Command(version=1, id=id, what=what, alert_id=alert_id, by=by, at_us=at(2), **more)

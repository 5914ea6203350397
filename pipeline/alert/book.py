"""The life of an alert: which edges there are, and for which named reason each is taken or not. Pure: time comes in as a number.

Two axes, active or cleared and unacknowledged or acknowledged; shelved beside them. An alert whose episode is instantaneous (SOS) is
latched: only a person ends it. What is critical is closed by a person, with an outcome; anything else is also closed when it is
cleared and acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pipeline.model.alert import Alert, Command, Transition
from pipeline.model.episode import SEVERITIES, Change, Episode
from pipeline.plan.model import RuleSetting

OUTCOMES = ("real", "false", "expected", "test")
LONGEST_SHELF_US = 8 * 3_600_000_000


@dataclass(frozen=True, slots=True)
class Words:
    """The sentence for people, and where it points."""

    lead: str
    place: str
    text: str
    lat: float | None = None
    lon: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One transition: the alert as it stands after it."""

    transition: Transition
    reason: str
    alert: Alert
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows. No steps: nothing is told, and `held` says why; every ledger row has an alert or such a reason."""

    steps: tuple[Step, ...] = ()
    held: str = ""


def latched(episode: Episode) -> bool:
    """Instantaneous: there is no end to wait for."""
    return episode.ended_at_us == episode.began_at_us


def grave(a: str, b: str) -> bool:
    """Is a graver than b?"""
    return SEVERITIES.index(a) < SEVERITIES.index(b)


def opened(change: Change, setting: RuleSetting | None, region: str, words: Words, now_us: int) -> Alert:
    e = change.episode
    return Alert(
        id=e.id,
        rule=e.rule,
        subject=e.subject,
        object=e.object,
        region=region,
        cell=change.cell,
        severity=e.severity,
        text=words.text,
        lead=words.lead,
        place=words.place,
        response=setting.response if setting else "",
        owner_post=setting.owner if setting else "",
        respond_within_us=setting.respond_within_us if setting else 0,
        began_at_us=e.began_at_us,
        opened_at_us=now_us,
        peak=e.peak,
        lat=words.lat,
        lon=words.lon,
        late=change.late,
        episode_ids=(e.id,),
        evidence=e.evidence,
    )


def on_change(
    known: Sequence[Alert], change: Change, setting: RuleSetting | None, region: str, words: Words, now_us: int
) -> Decision:
    """`known`: the alerts of this episode and of those that it replaces, closed ones too."""
    e = change.episode
    if not known:
        if change.kind == "retract":
            return Decision(held="NOTHING_TOLD")
        if change.mode != "live":
            return Decision(held=f"HELD_{change.mode.upper()}")
        first = Step("opened", "LATE" if change.late else "BEGAN", opened(change, setting, region, words, now_us))
        if e.ended_at_us is None or latched(e):
            return Decision((first,))
        return Decision((first, *cleared(first.alert, "ENDED", now_us)))
    # the earliest told survives, but never a closed one while another is open: what goes on would leave the desk
    survivor, *others = sorted(known, key=lambda a: (a.closed_at_us is not None, a.opened_at_us, a.id))
    steps: list[Step] = []
    for other in others:
        if other.closed_at_us is None:
            gone = msgspec.structs.replace(other, closed_at_us=now_us, revision=other.revision + 1)
            steps.append(Step("merged", "MERGED", gone, survivor.id))
    if change.kind == "retract":
        steps += _retracted(survivor, now_us)
    elif change.kind == "begin" and e.id in survivor.episode_ids and not survivor.retracted:
        return Decision(tuple(steps), "REPEATED")
    else:
        steps += _follow(survivor, change, words, now_us)
    return Decision(tuple(steps), "" if steps else "NOTHING_NEW")


def _follow(alert: Alert, change: Change, words: Words, now_us: int) -> list[Step]:
    e = change.episode
    ids = alert.episode_ids if e.id in alert.episode_ids else (*alert.episode_ids, e.id)
    new = msgspec.structs.replace(
        alert, severity=e.severity, peak=e.peak, began_at_us=e.began_at_us, evidence=e.evidence, episode_ids=ids,
        text=words.text, lead=words.lead, place=words.place, lat=words.lat, lon=words.lon, retracted=False,
    )  # fmt: skip
    steps: list[Step] = []
    ended = e.ended_at_us is not None and not latched(e)
    back = alert.retracted or not latched(e)  # a latched one is cleared by a retraction alone
    over = alert.cleared_at_us is not None
    # a person's closing stands until it gets graver; the policy's own stands only as long as the danger is over
    returns = alert.closed_at_us is not None and (grave(e.severity, alert.severity) or (over and alert.outcome is None))
    reopened = not ended and back and (returns if alert.closed_at_us is not None else over)
    if reopened:
        new = msgspec.structs.replace(new, cleared_at_us=None)
        if returns:
            new = msgspec.structs.replace(
                new, closed_at_us=None, outcome=None, acknowledged_at_us=None, acknowledged_by=None
            )
    if e.severity == "critical":
        new = msgspec.structs.replace(new, shelved_until_us=None)
    if new != alert or change.kind == "amend":
        if grave(e.severity, alert.severity):
            steps.append(Step("grew", "GRAVER", _next(new)))
        elif change.kind == "amend" or reopened:
            steps.append(Step("amended", "BEGAN_AGAIN" if reopened else "AMENDED", _next(new)))
        if steps:
            new = steps[-1].alert
    if ended and new.cleared_at_us is None:
        steps += cleared(new, "ENDED", now_us)
    return steps


def _next(alert: Alert) -> Alert:
    return msgspec.structs.replace(alert, revision=alert.revision + 1)


def cleared(alert: Alert, reason: str, now_us: int) -> list[Step]:
    """Its cause is over; what was acknowledged and is not critical is then closed too."""
    new = msgspec.structs.replace(alert, cleared_at_us=now_us, revision=alert.revision + 1)
    steps = [Step("cleared", reason, new)]
    if alert.closed_at_us is None:
        steps += _closed_by_itself(new, now_us)
    return steps


def _closed_by_itself(alert: Alert, now_us: int) -> list[Step]:
    if alert.cleared_at_us is None or alert.acknowledged_at_us is None or alert.severity == "critical":
        return []
    new = msgspec.structs.replace(alert, closed_at_us=now_us, revision=alert.revision + 1)
    return [Step("closed", "CLEARED_AND_ACKNOWLEDGED", new)]


def _retracted(alert: Alert, now_us: int) -> list[Step]:
    """It stays in view: whoever was told has to learn that it was not so."""
    if alert.retracted:
        return []
    new = msgspec.structs.replace(
        alert, retracted=True, cleared_at_us=alert.cleared_at_us or now_us, revision=alert.revision + 1
    )
    return [Step("retracted", "EPISODE_GONE", new)]


# ---- what people do -----------------------------------------------------------------------------------------------------


def on_command(alert: Alert | None, command: Command, now_us: int) -> Decision:
    """What a person's command does; a refused one has no step and a reason."""
    if alert is None:
        return Decision(held="REFUSED_UNKNOWN_ALERT")
    if alert.closed_at_us is not None and command.what != "note":
        return Decision(held="ALREADY_CLOSED")
    handler = {
        "acknowledge": _acknowledge,
        "unacknowledge": _unacknowledge,
        "note": _note,
        "shelve": _shelve,
        "unshelve": _unshelve,
        "hand_over": _hand_over,
        "close": _close,
    }[command.what]
    return handler(alert, command, now_us)


def _acknowledge(alert: Alert, command: Command, now_us: int) -> Decision:
    if alert.acknowledged_at_us is not None:
        return Decision(held="ALREADY_ACKNOWLEDGED")
    new = msgspec.structs.replace(
        alert, acknowledged_at_us=now_us, acknowledged_by=command.by, revision=alert.revision + 1
    )
    return Decision((Step("acknowledged", "BY_OPERATOR", new, command.text), *_closed_by_itself(new, now_us)))


def _unacknowledge(alert: Alert, command: Command, now_us: int) -> Decision:
    if alert.acknowledged_at_us is None:
        return Decision(held="NOT_ACKNOWLEDGED")
    new = msgspec.structs.replace(alert, acknowledged_at_us=None, acknowledged_by=None, revision=alert.revision + 1)
    return Decision((Step("amended", "ACKNOWLEDGEMENT_TAKEN_BACK", new, command.text),))


def _note(alert: Alert, command: Command, now_us: int) -> Decision:
    if not command.text.strip():
        return Decision(held="REFUSED_EMPTY_NOTE")
    new = msgspec.structs.replace(alert, notes=(*alert.notes, command.text), revision=alert.revision + 1)
    return Decision((Step("noted", "BY_OPERATOR", new, command.text),))


def _shelve(alert: Alert, command: Command, now_us: int) -> Decision:
    if command.until_us is None or not now_us < command.until_us <= now_us + LONGEST_SHELF_US:
        return Decision(held="REFUSED_SHELF_TIME")
    if alert.severity == "critical":
        return Decision(held="REFUSED_CRITICAL")
    new = msgspec.structs.replace(alert, shelved_until_us=command.until_us, revision=alert.revision + 1)
    return Decision((Step("shelved", "BY_OPERATOR", new, command.text),))


def _unshelve(alert: Alert, command: Command, now_us: int) -> Decision:
    if alert.shelved_until_us is None:
        return Decision(held="NOT_SHELVED")
    new = msgspec.structs.replace(alert, shelved_until_us=None, revision=alert.revision + 1)
    return Decision((Step("unshelved", "BY_OPERATOR", new, command.text),))


def _hand_over(alert: Alert, command: Command, now_us: int) -> Decision:
    return Decision((Step("handed_over", "BY_OPERATOR", _next(alert), command.text),))


def _close(alert: Alert, command: Command, now_us: int) -> Decision:
    if command.outcome not in OUTCOMES:
        return Decision(held="REFUSED_NO_OUTCOME")
    new = msgspec.structs.replace(
        alert,
        closed_at_us=now_us,
        outcome=command.outcome,
        acknowledged_at_us=alert.acknowledged_at_us or now_us,
        acknowledged_by=alert.acknowledged_by or command.by,
        revision=alert.revision + 1,
    )
    return Decision((Step("closed", "BY_OPERATOR", new, command.text),))


# ---- what time does -----------------------------------------------------------------------------------------------------


def on_time(alert: Alert, now_us: int) -> Decision:
    """A shelf's time is over."""
    if alert.shelved_until_us is None or alert.shelved_until_us > now_us or alert.closed_at_us is not None:
        return Decision(held="NOTHING_NEW")
    new = msgspec.structs.replace(alert, shelved_until_us=None, revision=alert.revision + 1)
    return Decision((Step("unshelved", "TIME_OVER", new),))

"""The life of an alert: which edges an episode takes it along, and for which named reason, or not. Pure: time comes in as a number.
What people and time do is `acts`'.

Two axes, active or cleared and unacknowledged or acknowledged; shelved and held beside them. An alert whose episode is instantaneous
(SOS) is latched: only a person ends it. What is critical is closed by a person, with an outcome; anything else is also closed when it is
cleared and acknowledged, and a held one, of which nobody was told, when it is cleared. Whether one is told or held is `policy`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pipeline.model.alert import Alert, Transition
from pipeline.model.episode import SEVERITIES, Change, Episode, Severity
from pipeline.plan.model import RuleSetting

CHATTER_QUIET_US = 600_000_000
"""What comes and goes is over when it has stayed away for so long."""
CATCHING_UP = "HELD_CATCHING_UP"


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


def held_as(alert: Alert, reason: str, under: str, look_us: int | None, revision: int | None = None) -> Alert:
    return msgspec.structs.replace(
        alert, held=reason, under=under, look_us=look_us, revision=alert.revision if revision is None else revision
    )


def surfaced(alert: Alert, reason: str, now_us: int) -> Step:
    """One that was held is told: from now on people have it."""
    told = msgspec.structs.replace(
        alert, held="", under="", look_us=None, opened_at_us=now_us, revision=alert.revision + 1
    )
    return Step("opened", reason, told)


def on_change(
    known: Sequence[Alert],
    change: Change,
    setting: RuleSetting | None,
    region: str,
    words: Words,
    now_us: int,
    joins: str = "",
) -> Decision:
    """`known`: the alerts of this episode and of those that it replaces, closed ones too. `joins`: why an episode of its own is told by
    the one that is known: FLAPPING, WITHIN_OFF_DELAY."""
    e = change.episode
    known = [a for a in known if joins or is_of(a, change)]
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
    survivor, *others = sorted(known, key=lambda a: (a.closed_at_us is not None, a.held != "", a.opened_at_us, a.id))
    steps: list[Step] = []
    for other in others:
        if other.closed_at_us is None:
            gone = msgspec.structs.replace(other, closed_at_us=now_us, revision=other.revision + 1)
            steps.append(Step("merged", "MERGED", gone, survivor.id))
    if e.id in survivor.parts[:-1] and survivor.parts[-1] not in change.was_ids:
        return Decision(tuple(steps), "EARLIER_PART")  # it comes and goes: the newest time says how it stands
    if change.kind == "retract":
        steps += _retracted(survivor, e.id, now_us)
    elif change.kind == "begin" and e.id in survivor.episode_ids and not survivor.retracted:
        return Decision(tuple(steps), "REPEATED")
    else:
        off_us = setting.off_delay_us or 0 if setting is not None else 0
        steps += _follow(survivor, change, words, now_us, joins, off_us)
    return Decision(tuple(steps), "" if steps else "NOTHING_NEW")


def is_of(alert: Alert, change: Change) -> bool:
    """Is it this episode's, or that of one which the episode replaces? Of a split the earliest part has taken it already."""
    ids = alert.episode_ids
    return change.episode.id in ids or ids[-1] in change.was_ids or not set(alert.parts).isdisjoint(change.was_ids)


def _with(alert: Alert, change: Change, joins: str) -> dict[str, tuple[str, ...]]:
    """The episodes that it is of, the newest last; `parts`: those that stand side by side in one that comes and goes."""
    e = change.episode
    ids = (*(i for i in alert.episode_ids if i != e.id), e.id)
    parts = alert.parts
    if joins:
        parts = (*(parts or alert.episode_ids[-1:]), e.id)
    elif parts:
        parts = (*(i for i in parts if i != e.id and i not in change.was_ids), e.id)
    return {"episode_ids": ids, "parts": parts}


def graver_of(a: str, b: str) -> Severity:
    """The graver of two; "" is none."""
    return min((s for s in SEVERITIES if s in (a, b)), key=SEVERITIES.index)


def _follow(alert: Alert, change: Change, words: Words, now_us: int, joins: str, off_us: int) -> list[Step]:
    e = change.episode
    new = msgspec.structs.replace(
        alert, severity=graver_of(e.severity, alert.of_others), peak=e.peak, began_at_us=e.began_at_us, evidence=e.evidence,
        text=words.text, lead=words.lead, place=words.place, lat=words.lat, lon=words.lon, retracted=False,
        **_with(alert, change, joins),
    )  # fmt: skip
    if joins:
        return _joined(alert, new, e, joins, now_us, off_us)
    steps: list[Step] = []
    ended = e.ended_at_us is not None and not latched(e)
    # a latched one is cleared by a retraction alone; and that it was so after all is news even when it is over
    back = alert.retracted or not (ended or latched(e))
    over = alert.cleared_at_us is not None
    # a person's closing stands until it gets graver; the policy's own stands only as long as the danger is over
    returns = alert.closed_at_us is not None and (grave(e.severity, alert.severity) or (over and alert.outcome is None))
    reopened = back and (returns if alert.closed_at_us is not None else over)
    if not ended and new.clears_us is not None:
        reopened, new = True, msgspec.structs.replace(new, clears_us=None)
    if reopened:
        new = msgspec.structs.replace(new, cleared_at_us=None)
        if returns or alert.retracted:  # whoever had taken it heard that it was not so, and has let go of it
            new = msgspec.structs.replace(
                new, closed_at_us=None, outcome=None, acknowledged_at_us=None, acknowledged_by=None, realarm_us=None
            )
    if e.severity == "critical":
        new = msgspec.structs.replace(new, shelved_until_us=None)
    if new != alert or change.kind == "amend":
        if grave(new.severity, alert.severity):
            steps.append(_graver(new, "GRAVER"))
        elif change.kind == "amend" or reopened:
            steps.append(Step("amended", "BEGAN_AGAIN" if reopened else "AMENDED", next_revision(new)))
        if steps:
            new = steps[-1].alert
    if ended and new.cleared_at_us is None:
        steps += _ending(new, now_us, off_us)
    return steps


def _joined(alert: Alert, new: Alert, e: Episode, joins: str, now_us: int, off_us: int) -> list[Step]:
    """It has begun again while its alert was still warm: who has taken that keeps it, unless it is graver now."""
    new = msgspec.structs.replace(
        new, chattering=alert.chattering or joins == "FLAPPING", cleared_at_us=None, closed_at_us=None, clears_us=None
    )
    # it was over and nobody had taken it: whoever was to be told was left alone then, and has to be told now
    untaken = alert.cleared_at_us is not None and alert.acknowledged_at_us is None
    if grave(new.severity, alert.severity):
        step = _graver(new, "GRAVER")
    else:
        step = Step("amended", "BEGAN_AGAIN" if untaken else joins, next_revision(new))
    return [step, *(_ending(step.alert, now_us, off_us) if e.ended_at_us is not None else [])]


def _ending(alert: Alert, now_us: int, off_us: int) -> list[Step]:
    """Its cause is over: it clears at once, or when that has stayed away for long enough."""
    wait_us = max(off_us, CHATTER_QUIET_US if alert.chattering else 0)
    if not wait_us or alert.held or alert.closed_at_us is not None:
        return cleared(alert, "ENDED", now_us)
    if alert.clears_us is not None:
        return []
    waits = msgspec.structs.replace(alert, clears_us=now_us + wait_us, revision=alert.revision + 1)
    return [Step("amended", "OFF_DELAY", waits)]


def _graver(alert: Alert, reason: str) -> Step:
    """Whoever took it took a lesser one: it needs somebody again, and its step says who had it."""
    if alert.closed_at_us is not None or alert.acknowledged_at_us is None:
        return Step("grew", reason, next_revision(alert))
    new = msgspec.structs.replace(alert, acknowledged_at_us=None, acknowledged_by=None, realarm_us=None)
    return Step("grew", reason, next_revision(new), alert.acknowledged_by or "")


def next_revision(alert: Alert) -> Alert:
    return msgspec.structs.replace(alert, revision=alert.revision + 1)


def cleared(alert: Alert, reason: str, now_us: int) -> list[Step]:
    """Its cause is over; what was acknowledged and is not critical is then closed too."""
    new = msgspec.structs.replace(
        alert, cleared_at_us=now_us, clears_us=None, realarm_us=None, chattering=False, revision=alert.revision + 1
    )
    steps = [Step("cleared", reason, new)]
    if alert.closed_at_us is None:
        steps += closed_by_itself(new, now_us)
    return steps


def closed_by_itself(alert: Alert, now_us: int) -> list[Step]:
    if alert.cleared_at_us is None:
        return []
    if alert.held:
        return [] if alert.held == CATCHING_UP else [never_told(alert, now_us)]
    if alert.acknowledged_at_us is None or alert.severity == "critical":
        return []
    new = msgspec.structs.replace(alert, closed_at_us=now_us, revision=alert.revision + 1)
    return [Step("closed", "CLEARED_AND_ACKNOWLEDGED", new)]


def never_told(alert: Alert, now_us: int, under: str | None = None) -> Step:
    """It is over, and nobody had been told: there is nothing to answer."""
    gone = msgspec.structs.replace(
        alert, closed_at_us=now_us, look_us=None, under=alert.under if under is None else under,
        held=alert.held if under is None else "HELD_DIGEST", revision=alert.revision + 1,
    )  # fmt: skip
    return Step("closed", "NEVER_TOLD", gone)


def _retracted(alert: Alert, episode: str, now_us: int) -> list[Step]:
    """It stays in view: whoever was told has to learn that it was not so."""
    if alert.retracted:
        return []
    left = tuple(i for i in alert.parts if i != episode)
    if left:  # of one that comes and goes only this time was none
        ids = tuple(i for i in alert.episode_ids if i != episode)
        less = msgspec.structs.replace(alert, parts=left, episode_ids=ids, revision=alert.revision + 1)
        steps = [Step("amended", "PART_RETRACTED", less)]
        return steps + (cleared(less, "ENDED", now_us) if alert.cleared_at_us is None else [])
    new = msgspec.structs.replace(
        alert, retracted=True, cleared_at_us=alert.cleared_at_us or now_us, clears_us=None, realarm_us=None,
        revision=alert.revision + 1,
    )  # fmt: skip
    steps = [Step("retracted", "EPISODE_GONE", new)]
    if alert.held and alert.closed_at_us is None:
        steps.append(never_told(new, now_us))
    return steps


def speaking_for(lead: Alert, count: int, others: str, gravest: str) -> list[Step]:
    """It is told for `count` held ones, the gravest of them so grave ("": that is no matter of its own)."""
    new = msgspec.structs.replace(
        lead, count=count, others=others, of_others=gravest, severity=graver_of(lead.severity, gravest)
    )
    if new.severity == "critical":
        new = msgspec.structs.replace(new, shelved_until_us=None)
    if grave(new.severity, lead.severity):
        return [_graver(new, "GRAVER_IN_GROUP")]
    same = (count, others, gravest) == (lead.count, lead.others, lead.of_others)
    return [] if same else [Step("amended", "SPEAKS_FOR_OTHERS", next_revision(new))]

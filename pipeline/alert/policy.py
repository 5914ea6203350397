"""Which alerts are told now, which are held, and for which named reason. Pure: what else is going on is asked of a `Scene`.

The gates stand in one list and are asked in this order; the first that holds an alert says why. What is grave (critical, or pressed) passes
all of them at once, but for one that joins an alert as grave which somebody still has to take: that one is told in its place; and for what
the settling of a past day has found, which is for the record (a press excepted). A held alert
stands in the log and behind the alert that speaks for it; it is looked at again when its time comes or when that alert is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.alert.book import CATCHING_UP, Step, cleared, grave, held_as, surfaced
from pipeline.alert.kin import group_of, inhibits, sources_of
from pipeline.model.alert import Alert
from pipeline.model.episode import Episode, Severity
from pipeline.plan.model import CompiledPlan, RuleSetting
from pipeline.plan.rules import RULES

SECOND = 1_000_000
MINUTE = 60 * SECOND
PRESSED = frozenset({"sos.pressed"})
FLOOD = "alerts.flood"
DIGEST = "alerts.digest"
NOTIFIER = "pipeline.notifier"
"""Told at the desk alone: of what is not sent no message can tell."""
OWN_RULES: dict[str, Severity] = {FLOOD: "high", DIGEST: "low", NOTIFIER: "critical"}
"""What the policy tells by itself, and how grave it is."""
OWN_RESPONSES = {
    FLOOD: "Work from the gravest down. What is held is on record and comes by itself when there is room. Ask for a second pair of hands.",
    NOTIFIER: "Nobody outside this room hears of any alert. Call by telephone and radio whom the alerts concern; start notify again.",
    DIGEST: "Read what was missed. Ask whoever was on duty whether any of it needs somebody after all.",
}

OUTAGE_US = 2 * MINUTE
"""What was received so long ago is news of an outage of ours."""
CATCH_UP_US = 20 * SECOND
"""So long after it was read, what else the backlog has to say of it has been read too."""
WINDOW_US = 10 * MINUTE
ROOM = {"high": 8, "medium": 6, "low": 4}
"""Alerts that may be told in one region within the window before one of this severity is held: with the flood's own line and one that is
grave that makes ten, what a person can take in ten minutes (EEMUA 191). The lesser ones leave room for the graver. What was read stays read: a line counts as what
it was when it was told, whatever became of its alert."""
FLAPS = 3
"""The so-manieth beginning of the same thing within the window is the same alert, which comes and goes."""
GROUP_US = 10 * MINUTE
"""An alert that somebody has taken speaks for others of its group for so long after it was told."""
GRACE_US = 60 * SECOND
"""When an alert is over, those that it spoke for have so long to be over too."""
ON_DELAY_US = {"device.silent": 30 * SECOND}
"""The network's failure is known a little after the first tracker's silence."""
REALARM_US = {"critical": 15 * MINUTE, "high": 30 * MINUTE, "medium": 120 * MINUTE, "low": 0}


class Scene(Protocol):
    """What else is going on: open alerts that are told, and what was told lately."""

    def active(self, rule: str) -> Sequence[Alert]:
        """Told, open, and not over."""
        ...

    def shelved(self, alert: Alert, now_us: int) -> Alert | None:
        """The one of the same rule, subject and object that lies on the shelf."""
        ...

    def told_since(self, region: str, since_us: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why it is held; "": it is told."""

    reason: str = ""
    under: str = ""
    look_us: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An alert that is about to be told."""

    alert: Alert
    setting: RuleSetting | None
    received_at_us: int  # of the observation that decided it; 0: not known, or looked at again
    now_us: int
    settled: bool = False  # of a day that is over


TELL = Verdict()
type_gate = Callable[[Candidate, Scene, CompiledPlan], Verdict | None]


def is_grave(of: Alert | Episode) -> bool:
    return of.severity == "critical" or of.rule in PRESSED


def speaks_for(lead: Alert, alert: Alert, now_us: int) -> bool:
    """May this alert be told by that one? Not when somebody has taken that one and would not hear that it is graver now."""
    if alert.rule in PRESSED or lead.id == alert.id or lead.shelved_until_us is not None:
        return False  # a shelf is for what lies on it alone
    taken = lead.acknowledged_at_us is not None
    if is_grave(alert):
        return is_grave(lead) and not taken
    return not taken or (not grave(alert.severity, lead.severity) and now_us - lead.opened_at_us <= GROUP_US)


# ---- the gates, in the order in which they are asked -----------------------------------------------------------------------


def _settled(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    return Verdict("HELD_SETTLED") if c.settled and c.alert.rule not in PRESSED else None


def _grouped(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    group = group_of(plan, c.alert)
    if group is None:
        return None
    for lead in scene.active(c.alert.rule):
        if group_of(plan, lead) == group and speaks_for(lead, c.alert, c.now_us):
            return Verdict("HELD_GROUPED", lead.id)
    return None


def _grave(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    return TELL if is_grave(c.alert) else None


def _catching_up(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    if c.received_at_us and c.now_us - c.received_at_us > OUTAGE_US:
        return Verdict(CATCHING_UP, look_us=c.now_us + CATCH_UP_US)
    return None


def _delayed(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    delay_us = on_delay_us(c.setting, c.alert.rule)
    due_us = c.alert.opened_at_us + delay_us
    return Verdict("HELD_ON_DELAY", look_us=due_us) if delay_us and c.now_us < due_us else None


def _inhibited(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    for rule in sources_of(c.alert.rule):
        for source in scene.active(rule):
            if inhibits(plan, source, c.alert):
                return Verdict("HELD_INHIBITED", source.id)
    return None


def _shelved(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    found = scene.shelved(c.alert, c.now_us)
    return Verdict("HELD_SHELVED", found.id, found.shelved_until_us) if found is not None else None


def _flooded(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict | None:
    told = scene.told_since(c.alert.region, c.now_us - WINDOW_US)
    return Verdict("HELD_FLOOD") if told >= ROOM.get(c.alert.severity, 0) else None


GATES: tuple[type_gate, ...] = (_settled, _grouped, _grave, _catching_up, _delayed, _inhibited, _shelved, _flooded)


def verdict(c: Candidate, scene: Scene, plan: CompiledPlan) -> Verdict:
    return next((v for gate in GATES if (v := gate(c, scene, plan)) is not None), TELL)


def patience_us(plan: CompiledPlan) -> int:
    """So long a telling may be due with nobody taking it, before that is an alert."""
    setting = next((region.rules.get(NOTIFIER) for region in plan.regions.values()), None)
    default_us = round(RULES[NOTIFIER].params["patience"].default * SECOND)
    return int(setting.params.get("patience_us", default_us)) if setting is not None else default_us


def on_delay_us(setting: RuleSetting | None, rule: str) -> int:
    if setting is not None and setting.on_delay_us is not None:
        return setting.on_delay_us
    return ON_DELAY_US.get(rule, 0)


def realarm_after_us(setting: RuleSetting | None, severity: str) -> int:
    """0: never."""
    if setting is not None and setting.realarm_after_us is not None:
        return setting.realarm_after_us
    return REALARM_US[severity]


# ---- what a verdict makes of steps -------------------------------------------------------------------------------------------


def gated(steps: Sequence[Step], v: Verdict, now_us: int) -> list[Step]:
    """A new alert's steps when it is held: it is on record, and its end is known too."""
    if not v.reason:
        return list(steps)
    first, *rest = steps
    kept = Step("held", v.reason, held_as(first.alert, v.reason, v.under, v.look_us), first.reason)
    return [
        kept,
        *(closing for step in rest if step.transition == "cleared" for closing in cleared(kept.alert, "ENDED", now_us)),
    ]


def looked_at_again(alert: Alert, v: Verdict, now_us: int, reason: str) -> list[Step]:
    """What follows for one that is held and still active. No step: it stays as it is."""
    if not v.reason:
        return [surfaced(alert, reason, now_us)]
    if (v.reason, v.under, v.look_us) == (alert.held, alert.under, alert.look_us):
        return []
    changed = held_as(alert, v.reason, v.under, v.look_us, alert.revision + 1)
    return [Step("held", v.reason, changed)]

"""What one transaction decides: each input becomes steps of alerts, by the rules of `book`, `acts` and `policy`.

It knows the plan and is told the time; what else is going on it asks of the `Turn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from pipeline.alert import policy
from pipeline.alert import tables as t
from pipeline.alert.acts import on_command, on_time
from pipeline.alert.book import (
    CATCHING_UP,
    Step,
    Words,
    cleared,
    held_as,
    is_of,
    never_told,
    on_change,
    speaking_for,
)
from pipeline.alert.kin import inhibits, targets_of
from pipeline.alert.sentence import others
from pipeline.alert.turn import Turn, encode
from pipeline.model.alert import Alert, AlertEvent, Command
from pipeline.model.episode import SEVERITIES, Change, Episode, Severity, episode_id
from pipeline.plan.model import CompiledPlan, RuleSetting

EVENT_VERSION = 1
SELF = "pipeline"
WITH_ITS_LEAD = ("HELD_GROUPED",)
"""Held behind an alert of their own kind: as grave as the gravest of them it is, and with it they are closed."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Of Rahdar itself: its rule, the number in the database that says since when, and the reasons of its two edges."""

    rule: str
    number: str
    begins: str
    ends: str


STALLED = Trouble("pipeline.stalled", "stalled", "NO_TICKS", "TICKS_AGAIN")
UNTAKEN = Trouble(policy.NOTIFIER, "untaken", "TELLINGS_NOT_TAKEN", "TELLINGS_TAKEN_AGAIN")


class Decider:
    def __init__(self, plan: CompiledPlan, words: Callable[[Episode], Words], put_episode: Any, put_held: Any) -> None:
        self.plan = plan
        self._words = words
        self._put_episode, self._put_held = put_episode, put_held

    # ---- what detect says -------------------------------------------------------------------------------------------------

    def change(self, turn: Turn, change: Change, now_us: int) -> None:
        change = about(change)
        e = change.episode
        names = turn.tx.execute(t.ALERTS_OF, {"ids": [e.id, *change.was_ids]}).scalars().all()
        known = [a for a in (turn.get(name) for name in names) if a is not None and is_of(a, change)]
        region = responsible(self.plan, e)
        setting = self.setting(region, e.rule)
        joins = ""
        if not known and change.mode == "live" and change.kind != "retract":
            joins, known = self._warm(turn, e, now_us)
        decision = on_change(known, change, setting, region, self._words(e), now_us, joins)
        if decision.held:
            row = {"episode": e.id, "revision": change.revision, "reason": decision.held, "at_us": now_us}
            turn.tx.execute(self._put_held, row)
        steps = self._placed(turn, decision.steps, setting, change, now_us)
        if steps and change.kind != "retract":
            keeper = steps[-1].detail if steps[-1].transition == "merged" else steps[-1].alert.id
            turn.tx.execute(self._put_episode, {"episode": e.id, "alert": keeper})
        self.take(turn, steps, "policy", now_us, received_at_us=change.received_at_us)
        if change.settled and e.rule not in policy.PRESSED:
            turn.quiet.update((step.alert.id, "HELD_SETTLED") for step in steps)

    def _warm(self, turn: Turn, e: Episode, now_us: int) -> tuple[str, list[Alert]]:
        """The alert of the same thing that this is told by: it comes and goes, or is not away for long enough to be over."""
        if policy.is_grave(e):
            return "", []
        found = [
            a
            for a in turn.warm(e.rule, e.subject, e.object, now_us - policy.WINDOW_US)
            if a.outcome is None and not a.retracted and not (a.closed_at_us is not None and a.cleared_at_us is None)
        ]
        for alert in found:
            if alert.closed_at_us is None and alert.clears_us is not None:
                return "FLAPPING" if alert.chattering else "WITHIN_OFF_DELAY", [alert]
        over = [a for a in found if a.cleared_at_us is not None and a.opened_at_us > now_us - policy.WINDOW_US]
        return ("FLAPPING", over[:1]) if len(over) >= policy.FLAPS - 1 else ("", [])

    def _placed(
        self, turn: Turn, steps: Sequence[Step], setting: RuleSetting | None, change: Change, now_us: int
    ) -> list[Step]:
        """Told, or held, and why."""
        if not steps:
            return []
        last = steps[-1].alert
        if steps[0].transition == "opened":
            v = self._verdict(turn, steps[0].alert, setting, now_us, change.received_at_us, change.settled)
            return policy.gated(steps, v, now_us)
        if last.held and last.closed_at_us is None and last.cleared_at_us is None and not change.settled:
            graver = any(step.transition == "grew" for step in steps)
            return [*steps, *self._again(turn, last, setting, now_us, "GRAVER" if graver else "BEGAN_AGAIN")]
        return list(steps)

    def _again(self, turn: Turn, alert: Alert, setting: RuleSetting | None, now_us: int, reason: str) -> list[Step]:
        v = self._verdict(turn, alert, setting, now_us)
        return policy.looked_at_again(alert, v, now_us, reason)

    def _verdict(
        self, turn: Turn, alert: Alert, setting: RuleSetting | None, now_us: int, received_at_us: int = 0, settled: bool = False
    ) -> policy.Verdict:  # fmt: skip
        v = policy.verdict(policy.Candidate(alert, setting, received_at_us, now_us, settled), turn, self.plan)
        return replace(v, under=self._flood(turn, alert.region, now_us).id) if v.reason == "HELD_FLOOD" else v

    def _flood(self, turn: Turn, region: str, now_us: int) -> Alert:
        """The one line that speaks for all that there is no room for."""
        for alert in turn.active(policy.FLOOD):
            if alert.region == region:
                return alert
        alert = self.without_episode(policy.FLOOD, region, region, now_us)
        self.take(turn, [Step("opened", "MORE_THAN_CAN_BE_READ", alert)], "policy", now_us)
        return alert

    # ---- what people do -----------------------------------------------------------------------------------------------------

    def command(self, turn: Turn, command: Command, now_us: int) -> None:
        if turn.tx.execute(t.COMMAND, {"wanted": command.id}).first() is not None:
            return
        alert = turn.get(command.alert_id)
        again_us = 0
        if alert is not None:
            again_us = policy.realarm_after_us(self.setting(alert.region, alert.rule), alert.severity)
        decision = on_command(alert, command, now_us, again_us)
        reason = decision.held or "DONE"
        turn.tx.execute(t.INSERT_COMMAND, {"id": command.id, "alert": command.alert_id, "reason": reason})
        if decision.held:
            turn.audit(
                {
                    "at_us": now_us,
                    "by": command.by,
                    "command": command.what,
                    "alert": command.alert_id,
                    "reason": reason,
                }
            )
        steps = list(decision.steps)
        if steps and steps[-1].transition == "closed" and steps[-1].alert.count:
            steps += self._with_their_lead(turn, steps[-1].alert, now_us)
        self.take(turn, steps, command.by, now_us, command_id=command.id)

    def _with_their_lead(self, turn: Turn, lead: Alert, now_us: int) -> list[Step]:
        """Whoever closes an alert closes it for all that it spoke for by name."""
        return [
            Step(
                "closed",
                "WITH_ITS_GROUP",
                msgspec.structs.replace(
                    a, closed_at_us=now_us, outcome=lead.outcome, acknowledged_at_us=now_us, look_us=None,
                    acknowledged_by=lead.acknowledged_by, revision=a.revision + 1,
                ),
            )
            for a in turn.behind(lead.id)
            if a.held in WITH_ITS_LEAD and lead.outcome is not None
        ]  # fmt: skip

    # ---- what time does -------------------------------------------------------------------------------------------------------

    def time(self, turn: Turn, due: Iterable[str], leaderless: Iterable[tuple[str, int]], now_us: int) -> None:
        """`due`: alerts whose instant has come; `leaderless`: held ones, and since when the one that spoke for them is over."""
        missed: dict[str, list[Alert]] = {}
        for name in due:
            alert = turn.get(name)
            if alert is None:
                continue
            if alert.held == CATCHING_UP and alert.cleared_at_us is not None:
                missed.setdefault(alert.region, []).append(alert)
            elif alert.held and alert.cleared_at_us is None:
                self._look(turn, alert, "LATE" if alert.held == CATCHING_UP else "TIME_OVER", now_us)
            self.take(turn, on_time(turn.get(name) or alert, now_us).steps, "policy", now_us)
        for name, over_us in leaderless:
            alert = turn.get(name)
            if alert is None or not alert.held or alert.closed_at_us is not None or alert.cleared_at_us is not None:
                continue  # the first half of this has seen to it
            if policy.is_grave(alert) or now_us - over_us >= policy.GRACE_US:
                self._look(turn, alert, "LEAD_OVER", now_us)
        for region in sorted(missed):
            self._digest(turn, region, missed[region], now_us)
        for flood in turn.active(policy.FLOOD):
            self._abating(turn, flood, now_us)

    def _look(self, turn: Turn, alert: Alert, reason: str, now_us: int) -> None:
        setting = self.setting(alert.region, alert.rule)
        self.take(turn, self._again(turn, alert, setting, now_us, reason), "policy", now_us)

    def _abating(self, turn: Turn, flood: Alert, now_us: int) -> None:
        """As there is room, what is still there is told, the gravest first."""
        turn.leads.add(flood.id)
        room = min(policy.ROOM.values())
        told = turn.told_since(flood.region, now_us - policy.WINDOW_US)
        if told >= max(policy.ROOM.values()):
            return
        waiting = sorted(turn.behind(flood.id), key=lambda a: SEVERITIES.index(a.severity))
        for alert in waiting:
            if turn.told_since(flood.region, now_us - policy.WINDOW_US) >= policy.ROOM.get(alert.severity, 0):
                break
            self._look(turn, alert, "AFTER_FLOOD", now_us)
        if told < room and not turn.behind(flood.id):
            self.take(turn, cleared(flood, "FLOOD_OVER", now_us), "policy", now_us)

    def _digest(self, turn: Turn, region: str, missed: Sequence[Alert], now_us: int) -> None:
        """What began and ended while we were away is one line."""
        since_us = min(a.began_at_us for a in missed)
        digest = self.without_episode(policy.DIGEST, region, region, since_us)
        if (known := turn.get(digest.id)) is None:
            digest = msgspec.structs.replace(digest, opened_at_us=now_us)
            self.take(turn, [Step("opened", "AFTER_OUTAGE", digest)], "policy", now_us)
            self.take(turn, cleared(digest, "OVER_ALREADY", now_us), "policy", now_us)
        else:
            digest = known
        for alert in missed:
            self.take(turn, [never_told(alert, now_us, digest.id)], "policy", now_us)

    # ---- our own ---------------------------------------------------------------------------------------------------------------

    def ours(self, turn: Turn, trouble: Trouble, since_us: int, now_us: int) -> None:
        """Rahdar itself is in trouble since then, or (0) is not any more."""
        before = turn.number(trouble.number)
        if bool(before) == bool(since_us):
            return
        turn.put_number(trouble.number, since_us)
        region = next(iter(self.plan.regions), "")
        setting = self.setting(region, trouble.rule)
        if since_us and (setting is None or setting.mode == "live"):
            alert = self.without_episode(trouble.rule, region, SELF, since_us)
            first = Step("opened", trouble.begins, msgspec.structs.replace(alert, opened_at_us=now_us))
            self.take(turn, [first], "policy", now_us)
        elif before:
            told = turn.get(episode_id(trouble.rule, SELF, "", before))
            if told is not None and told.cleared_at_us is None:
                self.take(turn, cleared(told, trouble.ends, now_us), "policy", now_us)

    def without_episode(self, rule: str, region: str, subject: str, since_us: int) -> Alert:
        """What the alert stage raises by itself, as it stands when it opens."""
        setting = self.setting(region, rule)
        severity: Severity = setting.severity if setting else policy.OWN_RULES.get(rule, "critical")
        began = Episode(
            id=episode_id(rule, subject, "", since_us), rule=rule, subject=subject, object="", began_at_us=since_us,
            ended_at_us=None, severity=severity, peak=None, evidence={},
        )  # fmt: skip
        words = self._words(began)
        like = setting or (
            self.setting(region, "sos.pressed") if rule in policy.OWN_RULES else None
        )  # whose desk it is
        return Alert(
            id=began.id, rule=rule, subject=subject, object="", region=region, cell="", severity=severity,
            text=words.text, lead=words.lead, place=words.place,
            response=setting.response if setting else policy.OWN_RESPONSES.get(rule, ""),
            owner_post=like.owner if like else "", respond_within_us=setting.respond_within_us if setting else 0,
            began_at_us=since_us, opened_at_us=since_us, episode_ids=(began.id,),
        )  # fmt: skip

    def setting(self, region: str, rule: str) -> RuleSetting | None:
        found = self.plan.regions.get(region)
        return found.rules.get(rule) if found else None

    # ---- steps become events ----------------------------------------------------------------------------------------------------

    def take(
        self, turn: Turn, steps: Iterable[Step], actor: str, now_us: int, command_id: str = "", received_at_us: int = 0
    ) -> None:
        for step in steps:
            seq = turn.number("seq") + 1
            turn.put_number("seq", seq)
            told = AlertEvent(
                version=EVENT_VERSION, seq=seq, at_us=now_us, transition=step.transition, reason=step.reason, actor=actor,
                alert=step.alert, detail=step.detail, command_id=command_id, received_at_us=received_at_us,
            )  # fmt: skip
            turn.put(step.alert)
            turn.events.append({"seq": seq, "alert": step.alert.id, "data": encode(told)})
            turn.audit(
                {
                    "seq": seq, "at_us": now_us, "by": actor, "transition": step.transition, "reason": step.reason,
                    "alert": step.alert.id,
                }
            )  # fmt: skip
            turn.told.append(told)
            if step.transition == "opened":
                turn.line(step.alert, seq, now_us)
                self._inhibit(turn, step.alert, now_us)

    def _inhibit(self, turn: Turn, source: Alert, now_us: int) -> None:
        """What nobody has taken yet, and this one explains, goes behind it."""
        for rule in targets_of(source.rule):
            for alert in turn.active(rule):
                if (
                    alert.acknowledged_at_us is None
                    and not policy.is_grave(alert)
                    and inhibits(self.plan, source, alert)
                ):
                    behind = held_as(alert, "HELD_INHIBITED", source.id, None, alert.revision + 1)
                    self.take(turn, [Step("held", "HELD_INHIBITED", behind)], "policy", now_us)

    def settle(self, turn: Turn, now_us: int) -> None:
        """Each alert that speaks for others says for how many, once a transaction; for very many, as the number grows."""
        leads, turn.leads = sorted(turn.leads), set()
        for name in leads:
            lead = turn.get(name)
            if lead is None or lead.closed_at_us is not None:
                continue
            count = turn.behind_count(name)
            if not count and not lead.count:
                continue
            if count > lead.count > 10 and count < lead.count * 1.5 and now_us - lead.opened_at_us < policy.WINDOW_US:
                continue
            group = (
                [a for a in turn.behind(name) if a.held in WITH_ITS_LEAD] if lead.rule not in policy.OWN_RULES else []
            )
            gravest = min((a.severity for a in group), key=SEVERITIES.index, default="")
            said = others(self.plan, lead, group, count, turn.behind_rules(name))
            self.take(turn, speaking_for(lead, count, said, gravest), "policy", now_us)
        turn.leads.clear()


def about(change: Change) -> Change:
    """An alert is about whom people look after: of a silent tracker its vehicle."""
    e = change.episode
    if e.rule != "device.silent":
        return change
    return msgspec.structs.replace(change, episode=msgspec.structs.replace(e, subject=e.object, object=e.subject))


def responsible(plan: CompiledPlan, episode: Episode) -> str:
    """The region whose people answer: that leads a movement where it began, that has the area, else the subject's own."""
    led = episode.evidence.get("region")
    if led in plan.regions:
        return str(led)
    if episode.rule.startswith("area."):
        for area in plan.areas:
            if area.id == episode.object:
                return area.region
    return region_of(plan, episode.subject)


def region_of(plan: CompiledPlan, subject: str) -> str:
    """Of a vehicle, sensor, convoy or site; of whoever is none of these the first."""
    for known in (plan.vehicles, plan.sensors, plan.convoys):
        if subject in known:
            return known[subject].region
    return next((area.region for area in plan.areas if area.id == subject), next(iter(plan.regions), ""))

"""What one entry of a roster alone cannot know: who is named and not there, hours without anybody, alerts without a ladder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.model.episode import SEVERITIES
from pipeline.plan.faults import Fault, nearest
from pipeline.plan.read import ANYTHING, Placed, RegionSource, unknown
from pipeline.plan.roster import OWNER, LeaveIn, OverrideIn, PostIn, empty_hours
from pipeline.plan.rules import RULES
from pipeline.plan.times import DAYS, ZONES, instant_us


def check_roster(source: RegionSource) -> list[Fault]:
    """All faults of this region's roster; none when it has no roster.yaml: then nobody is told outside the desk."""
    if "roster.yaml" not in source.content:
        return []
    posts, officers = source.declared.get("posts", set()), source.declared.get("officers", set())
    zone = ZONES[source.region.item.timezone] if source.region else 0
    faults: list[Fault] = []
    for kind in ("posts", "officers", "overrides", "leave", "escalation"):
        faults += _twice(getattr(source, kind))
    for post in source.posts:
        for n, shift in enumerate(post.item.shifts):
            faults += unknown(post, ("shifts", n, "officers"), shift.officers, officers, "officer")
    for override in source.overrides:
        faults += unknown(override, ("post",), [override.item.post], posts, "post", single=True)
        faults += unknown(override, ("officers",), override.item.officers, officers, "officer")
        faults += _window(override, zone)
    for leave in source.leave:
        faults += unknown(leave, ("officer",), [leave.item.officer], officers, "officer", single=True)
        faults += _window(leave, zone)
    for officer in source.officers:
        faults += _channels(officer)
    faults += _ladders(source, posts)
    faults += _owners(source, posts)
    return faults


def _twice(entries: Iterable[Placed[Any]]) -> Iterator[Fault]:
    seen: set[str] = set()
    for entry in entries:
        if entry.item.id in seen:
            yield entry.fault(("id",), entry.item.id, "the id stands twice", "Give each an id of its own")
        seen.add(entry.item.id)


def _window(entry: Placed[OverrideIn] | Placed[LeaveIn], zone: int) -> Iterator[Fault]:
    read: list[int] = []
    for key in ("starts", "ends"):
        text = getattr(entry.item, key)
        try:
            read.append(instant_us(text, zone))
        except (ValueError, OverflowError):
            cure = 'Write it in the region\'s time, "2026-11-23 21:30", or with a zone, "2026-11-23T16:30:00Z"'
            yield entry.fault((key,), text, "this is no instant", cure)
    if len(read) == 2 and read[1] <= read[0]:
        cure = "Look at the dates: after midnight it is the next day"
        yield entry.fault(("ends",), entry.item.ends, "it ends before it starts", cure)


def _channels(officer: Placed[Any]) -> Iterator[Fault]:
    names = [channel.id for channel in officer.item.channels]
    for n, name in enumerate(names):
        if name in names[:n]:
            yield officer.fault(("channels", n, "id"), name, "the channel stands twice", "Give each an id of its own")
    if not names:
        yield officer.fault(("channels",), "", "the officer cannot be reached", "Give at least one channel")


def _ladders(source: RegionSource, posts: set[str]) -> Iterator[Fault]:
    channels = {c.id for o in source.officers for c in o.item.channels}
    if len(source.officers) < len(source.declared.get("officers", ())) or ANYTHING in source.declared.get(
        "officers", ()
    ):
        channels.add(ANYTHING)  # the officer that has it may be the broken one
    for ladder in source.escalation:
        before = -1
        for n, step in enumerate(ladder.item.steps):
            yield from unknown(ladder, ("steps", n, "tell"), step.tell, posts | {OWNER}, "post")
            yield from unknown(ladder, ("steps", n, "by"), step.by, channels, "channel of an officer")
            if n == 0 and step.after != 0:
                yield ladder.fault(("steps", 0, "after"), "", "nobody is told at once", 'Begin with after: "0 s"')
            if n and step.after <= before:
                cure = "Put the steps in the order of their times"
                yield ladder.fault(("steps", n, "after"), "", "it is not later than the step before it", cure)
            before = step.after
        for n, rule in enumerate(ladder.item.rules):
            if rule not in RULES:
                yield ladder.fault(("rules", n), rule, "there is no such rule", nearest(rule, RULES))


def _owners(source: RegionSource, posts: set[str]) -> Iterator[Fault]:
    """A rule that is live has an owner with a post, and a ladder; a post that answers is never empty."""
    answering: dict[str, None] = {}
    for name, (entry, _) in source.rules.items():
        rule = entry.item
        if rule.mode != "live" or rule.owner is None:
            continue
        yield from unknown(entry, ("owner",), [rule.owner], posts, "post in roster.yaml", single=True)
        answering[rule.owner] = None
        graver = SEVERITIES[: SEVERITIES.index(rule.severity) + 1]
        whole = len(source.escalation) == len(source.declared.get("escalation", ()))
        for severity in graver if whole and ANYTHING not in source.declared.get("escalation", ()) else ():
            if not any(
                severity in x.item.severities and (not x.item.rules or name in x.item.rules) for x in source.escalation
            ):
                cure = f"Add {severity} to the severities of one of roster.yaml's escalation"
                yield entry.fault((), severity, f"an alert of it may be {severity}, and nobody would be told", cure)
    for ladder in source.escalation:
        if "critical" in ladder.item.severities:
            answering.update({post: None for step in ladder.item.steps for post in step.tell})
    for post in source.posts:
        if post.item.id in answering and not post.item.may_be_empty:
            yield from _always_staffed(post)


def _always_staffed(post: Placed[PostIn]) -> Iterator[Fault]:
    gap = empty_hours(post.item.shifts)
    if gap is not None:
        told = f"{_week_time(gap[0])} to {_week_time(gap[1])}"
        cure = "Give these hours to somebody, or say may_be_empty: true"
        yield post.fault(("shifts",), told, "nobody is on this post then, and it answers for alerts", cure)


def _week_time(second: int) -> str:
    day, rest = divmod(second, 86_400)
    return f"{DAYS[day % 7]} {rest // 3600:02d}:{rest % 3600 // 60:02d}"

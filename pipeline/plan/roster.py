"""Who answers for what, when, and by which channel; and after how long without an answer somebody else is told.

A region's `roster.yaml`. Addresses are not in it: it names them, and whoever sends looks them up (docs/alerts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.model.episode import Severity
from pipeline.plan.faults import bad
from pipeline.plan.model import Schedule
from pipeline.plan.schema import Duration, Entry, Id, Names, WindowIn
from pipeline.plan.times import DAY_S, WEEK_S, ZONES, instant_us, merged, week_windows

if TYPE_CHECKING:
    from pipeline.plan.model import CompiledPlan

ChannelKind = Literal["apprise", "webhook", "gsm", "spool"]
OWNER = "owner"
"""In a step: the post that the alert's rule names as its owner."""
HOUR_US = 3_600_000_000

# ---- what the file says -------------------------------------------------------------------------------------------------


class ChannelIn(Entry):
    id: Id
    kind: ChannelKind
    address: Annotated[str, Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _a_name(self) -> Self:
        if not all(c.isascii() and (c.isalnum() or c in "_-") for c in self.address) or self.address.isdigit():
            cure = "Give a name, as in amina-sms, and write the address itself into the file of RAHDAR_ADDRESSES_FILE"
            raise bad("an address must not stand in the plan", cure, "***")
        return self


class OfficerIn(Entry):
    id: Id
    name: Names
    language: Literal["en", "ur"] = "en"
    channels: Annotated[list[ChannelIn], Field(max_length=8)] = Field(default_factory=list)
    most: Annotated[int, Field(ge=1, le=100)] = 6  # messages in ten minutes; a critical one is never held back


class ShiftIn(WindowIn):
    officers: Annotated[list[Id], Field(min_length=1, max_length=16)]


class PostIn(Entry):
    id: Id
    name: Names
    shifts: list[ShiftIn] = Field(default_factory=list)
    may_be_empty: bool = False  # a post of office hours


class OverrideIn(Entry):
    id: Id
    post: Id
    officers: Annotated[list[Id], Field(min_length=1, max_length=16)]
    starts: str
    ends: str


class LeaveIn(Entry):
    id: Id
    officer: Id
    starts: str
    ends: str


class StepIn(Entry):
    after: Annotated[Duration, Field(ge=0, le=24 * HOUR_US)]
    tell: Annotated[list[Id], Field(min_length=1, max_length=8)]
    by: list[Id] = Field(default_factory=list)  # channels, first choice first; without: the officer's own order


class LadderIn(Entry):
    id: Id
    severities: Annotated[list[Severity], Field(min_length=1)]
    rules: list[str] = Field(default_factory=list)  # without: every rule
    steps: Annotated[list[StepIn], Field(min_length=1, max_length=16)]
    again_after: Annotated[Duration, Field(ge=60_000_000, le=24 * HOUR_US)] | None = None


ROSTER_LISTS: tuple[tuple[str, type[Entry]], ...] = (
    ("posts", PostIn),
    ("officers", OfficerIn),
    ("overrides", OverrideIn),
    ("leave", LeaveIn),
    ("escalation", LadderIn),
)

# ---- compiled -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    id: str
    kind: ChannelKind
    address: str  # its name: the address itself is looked up by whoever sends


@dataclass(frozen=True, slots=True)
class Officer:
    id: str
    region: str
    name: Mapping[str, str]
    language: str
    channels: tuple[Channel, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Shift:
    officers: tuple[str, ...]
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Post:
    id: str
    region: str
    name: Mapping[str, str]
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Half open: [starts_us, ends_us). An override puts `officers` on `post`; a leave takes them off every post ("")."""

    post: str
    officers: tuple[str, ...]
    starts_us: int
    ends_us: int

    def holds(self, at_us: int) -> bool:
        return self.starts_us <= at_us < self.ends_us


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of an escalation: `after_us` from its beginning, without an acknowledgement, these posts are told."""

    after_us: int
    tell: tuple[str, ...]
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ladder:
    id: str
    severities: frozenset[str]
    rules: frozenset[str]  # empty: every rule
    rungs: tuple[Rung, ...]
    again_after_us: int | None  # then the last step again, and again

    def fits(self, severity: str, rule: str) -> bool:
        return severity in self.severities and (not self.rules or rule in self.rules)


@dataclass(frozen=True, slots=True)
class Roster:
    region: str
    posts: Mapping[str, Post] = field(default_factory=dict)
    officers: Mapping[str, Officer] = field(default_factory=dict)
    overrides: tuple[Span, ...] = ()
    leave: tuple[Span, ...] = ()
    ladders: tuple[Ladder, ...] = ()

    def ladder(self, severity: str, rule: str) -> Ladder | None:
        """The first in the file that fits."""
        return next((ladder for ladder in self.ladders if ladder.fits(severity, rule)), None)


@dataclass(frozen=True, slots=True)
class OnCall:
    """One officer on one post. `until_us`: when an arrangement of the roster changes next for this post, at most a week ahead."""

    post: str
    officer: Officer
    why: Literal["shift", "override"]
    until_us: int


def on_post(roster: Roster, post: str, at_us: int) -> tuple[OnCall, ...]:
    """Who is on this post at this instant; nobody: (). An override replaces the shift; whoever is on leave is on no post."""
    known = roster.posts.get(post)
    if known is None:
        return ()
    away = {officer for leave in roster.leave if leave.holds(at_us) for officer in leave.officers}
    put = [o for span in roster.overrides if span.post == post and span.holds(at_us) for o in span.officers]
    regular = [o for shift in known.shifts if shift.schedule.applies(at_us) for o in shift.officers]
    until = _changes_at(roster, known, at_us)
    why: Literal["shift", "override"] = "override" if put else "shift"
    names = [name for name in dict.fromkeys(put or regular) if name not in away]
    return tuple(OnCall(post, roster.officers[name], why, until) for name in names)


def on_call(plan: CompiledPlan, region: str, at_us: int) -> tuple[OnCall, ...]:
    """Who is on call in this region at this instant, in the order of the roster's posts."""
    roster = plan.rosters.get(region)
    if roster is None:
        return ()
    return tuple(one for post in roster.posts for one in on_post(roster, post, at_us))


def on_call_rows(plan: CompiledPlan, region: str, at_us: int) -> list[dict[str, Any]]:
    """For the desk and the command line: a row for each officer on call, and one with `officer` None for each empty post.

    `{"region","post","officer","name","why","until_us","channels":[{"id","kind","address"}]}`; `address` is a name, never the address.
    """
    roster = plan.rosters.get(region)
    rows: list[dict[str, Any]] = []
    for post in roster.posts if roster else ():
        assert roster is not None
        found = on_post(roster, post, at_us)
        if not found:
            until = _changes_at(roster, roster.posts[post], at_us)
            rows.append(
                {
                    "region": region, "post": post, "officer": None, "name": "", "why": "nobody", "until_us": until,
                    "channels": [],
                }
            )  # fmt: skip
        for one in found:
            channels = [{"id": c.id, "kind": c.kind, "address": c.address} for c in one.officer.channels]
            rows.append(
                {
                    "region": region, "post": post, "officer": one.officer.id, "name": one.officer.name.get("en", ""),
                    "why": one.why, "until_us": one.until_us, "channels": channels,
                }
            )  # fmt: skip
    return rows


def _changes_at(roster: Roster, post: Post, at_us: int) -> int:
    ends = [at_us + WEEK_S * 1_000_000]
    for shift in post.shifts:
        zone = shift.schedule.utc_offset_s
        second = (at_us // 1_000_000 + zone + 3 * DAY_S) % WEEK_S
        whole = at_us // 1_000_000 * 1_000_000
        ends += [whole + ((edge - second) % WEEK_S) * 1_000_000 for window in shift.schedule.windows for edge in window]
    for span in (*(s for s in roster.overrides if s.post == post.id), *roster.leave):
        ends += [span.starts_us, span.ends_us]
    return min(end for end in ends if end > at_us)


# ---- from one to the other ----------------------------------------------------------------------------------------------


def compile_roster(
    region: str,
    timezone: str,
    posts: Sequence[PostIn],
    officers: Sequence[OfficerIn],
    overrides: Sequence[OverrideIn],
    leave: Sequence[LeaveIn],
    ladders: Sequence[LadderIn],
) -> Roster:
    """Takes entries that `roster_checks.check_roster` found without fault."""
    zone = ZONES[timezone]
    return Roster(
        region=region,
        posts={p.id: Post(p.id, region, p.name.mapping(), tuple(_shift(s, zone) for s in p.shifts)) for p in posts},
        officers={
            o.id: Officer(
                o.id,
                region,
                o.name.mapping(),
                o.language,
                tuple(Channel(c.id, c.kind, c.address) for c in o.channels),
                o.most,
            )
            for o in officers
        },
        overrides=tuple(
            Span(s.post, tuple(s.officers), instant_us(s.starts, zone), instant_us(s.ends, zone)) for s in overrides
        ),
        leave=tuple(Span("", (s.officer,), instant_us(s.starts, zone), instant_us(s.ends, zone)) for s in leave),
        ladders=tuple(
            Ladder(
                ladder.id,
                frozenset(ladder.severities),
                frozenset(ladder.rules),
                tuple(Rung(s.after, tuple(s.tell), tuple(s.by)) for s in ladder.steps),
                ladder.again_after,
            )
            for ladder in ladders
        ),
    )


def _shift(shift: ShiftIn, zone: int) -> Shift:
    return Shift(tuple(shift.officers), Schedule(merged(week_windows(shift.days, shift.start, shift.end)), zone))


def empty_hours(shifts: Iterable[ShiftIn]) -> tuple[int, int] | None:
    """The first stretch of the local week, in seconds from Monday 00:00, in which nobody is on shift."""
    windows = [w for s in shifts for w in week_windows(s.days, s.start, s.end)]
    if not windows:
        return 0, WEEK_S
    covered = merged(windows)
    if not covered:
        return None  # `merged` writes "always" as no window
    flat = sorted(
        piece for a, b in covered for piece in ([(a, b or WEEK_S)] if a < (b or WEEK_S) else [(a, WEEK_S), (0, b)])
    )
    at = 0
    for start, end in flat:
        if start > at:
            return at, start
        at = max(at, end)
    return (at, WEEK_S) if at < WEEK_S else None

"""`convoy.separated` and `escort.missing`: how far apart the members of a convoy are along their road, at the same instant.

A convoy on a movement is a march. Each member's fixes are kept, the first of every device in every five seconds, for as long as one
may still come in late; positions between two of them are theirs, so a member that reports a minute later than the others changes
nothing when it does. Where a position is not known (too long between two fixes, off the road, a leap) the gap is not known either,
and that changes nothing: an episode that is open ends when the two are seen together, or with the movement.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.detect import grid
from pipeline.detect.arrive import KEPT_OUT, STRANGER, frame
from pipeline.detect.form import FIX
from pipeline.detect.grid import (
    DONE,
    ESCORT,
    EVER,
    FRAME_US,
    FULL_WITHIN,
    GAP,
    GRID_US,
    LIMIT,
    NOWHERE,
    POINT,
    RAW,
    RELATION,
    SAID,
    STATE,
    TAKEN_BACK,
)
from pipeline.detect.judge import Held, differences
from pipeline.detect.tables import Tables
from pipeline.detect.tell import Account
from pipeline.model.episode import Change, Episode, Mode, episode_id
from pipeline.model.observation import Flag, Tick
from pipeline.model.times import format_us
from pipeline.model.wire import ObservationBatch
from pipeline.plan.legs import Stretch, spans, stretch_at, stretches
from pipeline.plan.model import CompiledPlan, Convoy, Movement, RuleSetting

Array = npt.NDArray[Any]
SEPARATED, MISSING = "convoy.separated", "escort.missing"
SLACK_US = 1_800_000_000  # so much behind the newest fix another source's may lie, beside the horizon
TIDY_US = 600_000_000
AHEAD_OF_US = (
    600_000_000  # fixes of so long before a march may be needed for where it begins: no longer may one be `stale_after`
)
_RAW = np.dtype([(name, POINT[name]) for name in RAW])


class Road(NamedTuple):
    """What the compiled code needs of the plan's tables."""

    vertices: Array
    boxes: Array
    big: Array
    ranges: Array
    edges: Array
    outlines: Array
    exempt: Array
    legs: Array
    parts: Array


class KeptMarch(msgspec.Struct, array_like=True):
    """What a checkpoint holds of one march. `points`: of each member what came since the last time, packed. `anchors`: the oldest one
    with what follows from it, once older ones have been given up. `bases`: of each rule and object the state to go on from."""

    plan_hash: str
    from_us: int
    points: dict[str, bytes] = {}
    anchors: dict[str, bytes] = {}
    bases: dict[str, bytes] = {}
    revision: int = 0
    told: list[Episode] = []
    since: dict[str, int] = {}  # members of whom nothing earlier counts


class Kept(msgspec.Struct, array_like=True):
    marches: dict[str, KeptMarch]
    devices: list[str]  # what the devices in the points mean
    now_us: int
    received_us: int = 0
    seen_us: int = 0
    trusted_us: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


@dataclass(frozen=True, slots=True)
class Relation:
    """A follower and the one ahead of it, or a principal and its escorts. `settings`: of each stretch of the way the rule there; None
    where nobody judges it. `limits_m`: likewise."""

    rule: str
    object: str
    ahead: str
    escorts: tuple[str, ...]
    settings: tuple[RuleSetting | None, ...]
    limits_m: tuple[float, ...]
    handed_over: bool = False

    @property
    def name(self) -> str:
        """In checkpoints. Only where escorts take over from one another have several relations one object."""
        beside = f" {self.ahead or ','.join(self.escorts)}" if self.handed_over else ""
        return f"{self.rule} {self.object}{beside}"

    def setting(self, part: int) -> RuleSetting:
        """What an episode is told by that began on this stretch."""
        return self.settings[part] or next(s for s in self.settings if s)

    def told(self, episode: Episode) -> bool:
        """Is it one of this relation's?"""
        if (episode.rule, episode.object) != (self.rule, self.object):
            return False
        e = episode.evidence
        return e.get("ahead", "") == self.ahead and (
            not self.handed_over or e.get("escorts", "") == ",".join(self.escorts)
        )


class Span(NamedTuple):
    """A stretch that was told. `ended_us` 0: it is not over."""

    began_us: int
    decided_us: int
    ended_us: int
    peak: float
    along: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class March:
    """A convoy on a movement, and what is watched of it."""

    convoy: Convoy
    movement: Movement
    starts_us: int
    ends_us: int
    members: tuple[str, ...]
    relations: tuple[Relation, ...]
    rows: Array  # RELATION
    limits: Array  # LIMIT, (relations, stretches)
    others: Array
    longest_us: int
    cell: str  # where it is judged, and whose records say where its members are
    way: tuple[Stretch, ...]
    spans: bool  # its region hands over, or is a guest


def marches(plan: CompiledPlan) -> list[March]:
    """All that the plan asks for."""
    found = []
    for convoy, movement, ends_us in _turns(plan):
        march = _march(plan, convoy, movement, ends_us)
        if march.relations and movement.starts_us < ends_us:
            found.append(march)
    return found


def _turns(plan: CompiledPlan) -> Iterator[tuple[Convoy, Movement, int]]:
    """Which convoy is on which movement, and until when: on one at a time, the earlier one ends where the next begins."""
    of: dict[str, list[Movement]] = {}
    for movement in sorted(plan.movements, key=lambda m: (m.starts_us, m.id)):
        of.setdefault(movement.convoy or "", []).append(movement)
    for convoy in plan.convoys.values():
        mine = of.get(convoy.id, [])
        for movement, following in itertools.zip_longest(mine, mine[1:]):
            ends_us = movement.ends_us
            yield convoy, movement, ends_us if following is None else min(ends_us, following.starts_us)


def _members(convoy: Convoy, movement: Movement) -> tuple[str, ...]:
    return tuple(v for v in convoy.members if v in movement.vehicles)


def _home(plan: CompiledPlan, convoy: Convoy, members: tuple[str, ...]) -> str:
    """The cell in which a march is judged."""
    return convoy.cell or (plan.vehicles[members[0]].cell if members else "")


def guests(plan: CompiledPlan, cells: Container[str] | None, before_us: int) -> dict[tuple[str, str], tuple[int, int]]:
    """(movement, vehicle) of whoever marches in one of these cells and lives in another, on what has begun by then; from when and until when."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for convoy, movement, ends_us in _turns(plan):
        if movement.starts_us - AHEAD_OF_US > before_us:
            continue
        members = _members(convoy, movement)
        cell = _home(plan, convoy, members)
        if cells is None or cell in cells:
            span = movement.starts_us, ends_us
            found.update(((movement.id, v), span) for v in members if plan.vehicles[v].cell != cell)
    return found


def more_guests(before: CompiledPlan, after: CompiledPlan, cells: Container[str] | None, reached_us: int) -> bool:
    """Is anybody a guest that was none before, or earlier or longer? Of times that have not come yet everything will be heard."""
    known = guests(before, cells, reached_us)
    for who, (starts_us, ends_us) in guests(after, cells, reached_us).items():
        first_us, last_us = known.get(who, (reached_us, 0))
        if starts_us < first_us or min(ends_us, reached_us) > last_us:
            return True
    return False


def _on(plan: CompiledPlan, stretch: Stretch, rule: str, vehicle: str) -> RuleSetting | None:
    """The rule as the region that is responsible there has it; None when it does not judge this vehicle."""
    setting = plan.regions[stretch.region].rules.get(rule)
    if setting is None or setting.mode == "off":
        return None
    return setting if not setting.roles or plan.vehicles[vehicle].role in setting.roles else None


def _march(plan: CompiledPlan, convoy: Convoy, movement: Movement, ends_us: int) -> March:
    way = stretches(plan, movement)
    members = _members(convoy, movement)
    place = {vehicle: i for i, vehicle in enumerate(members)}
    relations: dict[tuple[str, str, str, tuple[str, ...]], list[RuleSetting | None]] = {}

    def note(stretch: int, rule: str, vehicle: str, ahead: str, escorts: tuple[str, ...]) -> None:
        if setting := _on(plan, way[stretch], rule, vehicle):
            relations.setdefault((rule, vehicle, ahead, escorts), [None] * len(way))[stretch] = setting

    for k, stretch in enumerate(way):
        on_duty = stretch.leg.escorts or convoy.escorts
        marching = [v for v in members if v in on_duty or v not in convoy.escorts]
        for ahead, follower in itertools.pairwise(marching):
            note(k, SEPARATED, follower, ahead, ())
    for k, stretch in enumerate(way):
        on_duty = stretch.leg.escorts or convoy.escorts
        for principal in members:
            escorts = tuple(v for v in on_duty if v in place and v != principal)
            if principal in convoy.principals and escorts:
                note(k, MISSING, principal, "", escorts)
    escorted = any(s.leg.escorts for s in way)
    rows, limits, told = [], [], []
    others: list[int] = []
    for (rule, vehicle, ahead, escorts), settings in relations.items():
        metres = tuple(
            0.0 if s is None else convoy.max_gap_m if rule == SEPARATED else float(s.params["max_distance_m"])
            for s in settings
        )
        told.append(Relation(rule, vehicle, ahead, escorts, tuple(settings), metres, escorted))
        first = len(others)
        others += [place[v] for v in escorts]
        stale_us = max(int(s.params["stale_after_us"]) for s in settings if s)
        kind = GAP if rule == SEPARATED else ESCORT
        rows.append((kind, place[vehicle], place.get(ahead, -1), (first, len(others)), stale_us))
        limits.append(
            [
                (stretch.starts_m, 0, 0.0, 0.0, 0)
                if s is None
                else (stretch.starts_m, 1, m, s.params["rejoin_factor"] * m, int(s.params["min_duration_us"]))
                for stretch, s, m in zip(way, settings, metres, strict=True)
            ]
        )
    table = np.array(rows, RELATION) if rows else np.zeros(0, RELATION)
    return March(
        convoy=convoy,
        movement=movement,
        starts_us=movement.starts_us,
        ends_us=ends_us,
        members=members,
        relations=tuple(told),
        rows=table,
        limits=np.array(limits, LIMIT) if limits else np.zeros((0, len(way)), LIMIT),
        others=np.array(others or [0], np.int64),
        longest_us=int(max(table["stale"], default=0)),
        cell=_home(plan, convoy, members),
        way=way,
        spans=spans(way, convoy.region),
    )


class Marching:
    """A march under way: what is kept of its members' fixes, and what was told."""

    def __init__(self, march: March, tables: Tables, road: Road, series: Array) -> None:
        self.march, self.tables = march, tables
        self._road, self._series = road, series
        n = len(march.members)
        self.points: Array = np.zeros((n, 16), POINT)
        self.counts = np.zeros(n, np.int64)
        self.states: Array = np.zeros(len(march.relations), STATE)
        self.frames: Array = np.zeros((len(march.relations), 4), STATE)
        self.framed = np.ones(len(march.relations), np.int64)
        self.spans: list[dict[int, Span]] = [{} for _ in march.relations]
        self.told: list[dict[str, Episode]] = [{} for _ in march.relations]
        self.revision = 0
        self.dirty = False
        self.touched: set[int] = set()
        self._changed = np.full(n, EVER, np.int64)
        self._from_us = np.full(n, march.starts_us - march.longest_us, np.int64)
        self._since: dict[str, int] = {}
        self._to_us = march.ends_us + march.longest_us
        self._legs = np.array([_leg(tables, v, march.movement) for v in march.members], np.int64)
        self._members = np.full(len(tables.device_place), -1, np.int32)
        for i, vehicle in enumerate(march.members):
            for device in tables.plan.vehicles[vehicle].devices:
                self._members[tables.device_place[device][0]] = i
        self._out: Array = np.zeros(64, SAID)
        self._late = np.zeros(16, np.int64)

    def warm_up(self) -> None:
        """Have it compiled before the first fix."""
        self.take(np.zeros(0, FIX))
        self.judge()
        none = self.points[0, :0]
        grid.as_points(np.zeros(0, FIX), self._series, none)
        grid.place_points(none, self._series)
        grid.derive(self._road, int(self._legs[0]), self.points[0], 0, 0, 0)

    # ---- taking in --------------------------------------------------------------------------------------------------

    def begin(self, since_us: int, known: Container[str]) -> None:
        """Of members that nobody has known yet nothing earlier counts."""
        for m, vehicle in enumerate(self.march.members):
            if vehicle not in known and since_us > self._from_us[m]:
                self._since[vehicle] = since_us
                self._from_us[m] = since_us

    def goes_on_from(self, other: March, at_us: int) -> bool:
        """Whether it judges as that one did, which has kept all that counts for it by then."""
        mine = self.march
        return (
            other.starts_us <= mine.starts_us
            and other.ends_us >= min(mine.ends_us, at_us)
            and mine.members == other.members
            and [r.name for r in mine.relations] == [r.name for r in other.relations]
            and mine.rows.tobytes() == other.rows.tobytes()
            and mine.limits.tobytes() == other.limits.tobytes()
        )

    def anew(self, since_us: int) -> None:
        """By other limits: what the former ones made of the time before is given up at another instant, early or late."""
        self.begin(since_us, ())
        for m in range(len(self.counts)):
            mine = self.points[m, : self.counts[m]]
            mine = mine[mine["seen"] >= since_us].copy()
            self.points[m, : len(mine)] = mine
            self.counts[m] = len(mine)
            grid.derive(self._road, int(self._legs[m]), self.points[m], 0, len(mine), len(mine))
        self.states[:], self.frames[:], self.framed[:] = np.zeros((), STATE), np.zeros((), STATE), 1
        self.spans = [{} for _ in self.spans]
        self.judge()
        self.touched.update(range(len(self.spans)))

    def take(self, fixes: Array) -> None:
        """Fixes of members of convoys, in any order."""
        if len(self._late) < len(fixes):
            self._late = np.zeros(len(fixes), np.int64)
        at = waiting = 0
        why = 1
        while why != DONE:
            at, waiting, why = grid.admit(
                self._road, self._series, self._legs, self._members, self.points, self.counts, self._changed, self._from_us,
                self._to_us, self.march.longest_us, fixes, at, self._late, waiting,
            )  # fmt: skip
            if why != DONE:
                self._room(2 * self.points.shape[1])
        if waiting:
            late = fixes[self._late[:waiting]]
            new = np.zeros(len(late), POINT)
            grid.as_points(late, self._series, new)
            members = self._members[late["device"]]
            for m in np.unique(members).tolist():
                self._merge(m, new[members == m])
        self.dirty = self.dirty or len(fixes) > 0

    def _room(self, points: int) -> None:
        more = points - self.points.shape[1]
        if more > 0:
            self.points = np.concatenate([self.points, np.zeros((len(self.points), more), POINT)], axis=1)

    def _merge(self, m: int, new: Array) -> None:
        """Late fixes of one member; positions are new behind the last one that stands before all of them."""
        n = int(self.counts[m])
        before = self.points[m, :n].copy()
        together = _first_of_each(np.concatenate([before, new], dtype=POINT))
        self._room(len(together))
        k = min(n, len(together))
        differs = np.zeros(k, bool)
        for name in RAW:
            differs |= _differs(together[name][:k], before[name][:k])
        first = int(np.argmax(differs)) if differs.any() else k
        if first == len(together):
            return
        self.points[m, : len(together)] = together
        self.counts[m] = len(together)
        fresh = np.flatnonzero(together["kept"] == 0)
        until = int(fresh[-1]) + 1 if len(fresh) else first + 1
        grid.derive(self._road, int(self._legs[m]), self.points[m], first, max(until, first + 1), len(together))
        used = np.flatnonzero(self.points[m, :first]["status"] != NOWHERE)
        oldest = int(together["seen"][first]) - 1
        if len(used):
            oldest = min(oldest, int(together["seen"][used[-1]]))
        self._changed[m] = min(int(self._changed[m]), oldest)

    # ---- judging ----------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Bring everything up to what has come in."""
        k, within, why = 0, False, 1
        while why != DONE:
            n, k, why = grid.judge(
                self.march.rows, self.march.limits, self.march.others, self.points, self.counts, self._changed, self.states, self.frames,
                self.framed, self.march.starts_us, self.march.ends_us, k, within, self._out,
            )  # fmt: skip
            for said in self._out[:n]:
                self._hear(said)
            within = why == FULL_WITHIN
            if why != DONE and int(self.framed.max()) == self.frames.shape[1]:
                self.frames = np.concatenate([self.frames, np.zeros_like(self.frames)], axis=1)
        self._changed[:] = EVER

    def _hear(self, said: Any) -> None:
        k, what, at = int(said["relation"]), int(said["what"]), int(said["at"])
        spans = self.spans[k]
        self.touched.add(k)
        if what == TAKEN_BACK:
            for began in [b for b, s in spans.items() if not s.ended_us or s.ended_us > at]:
                del spans[began]
            if not said["on"]:
                return
        began, decided = int(said["began"]), int(said["decided"])
        ended, peak = (at, said["peak"]) if what == grid.ENDED else (0, said["told"])
        spans[began] = Span(began, decided, ended, float(peak), *(float(said[name]) for name in ("along", "x", "y")))

    def differences(self, now_us: int, received_us: int, seen_us: int, plan: CompiledPlan) -> Iterator[Change]:
        """What is told otherwise than before."""
        march = self.march
        if now_us >= march.ends_us:
            # how far they came apart until then is known of late fixes too, which say nothing by themselves
            self.touched.update(k for k, told in enumerate(self.told) if self.states[k]["on"] or _open(told.values()))
        for k in sorted(self.touched):
            relation = march.relations[k]
            before = self.told[k]
            after = {e.id: e for e in self._episodes(k, now_us)}
            for kind, episode, was in differences(before, after):
                self.revision += 1
                account = Account(episode, self._mode(relation, episode), received_us, seen_us)
                yield account.change(kind, self.revision, march.cell, plan.hash, was)
                self.dirty = True
            self.told[k] = after
        self.touched.clear()

    def _mode(self, relation: Relation, episode: Episode) -> Mode:
        """Of the region that is responsible where it began."""
        regions = [s.region if setting else "" for s, setting in zip(self.march.way, relation.settings, strict=True)]
        region = episode.evidence.get("region", "")
        return relation.setting(regions.index(region) if region in regions else 0).mode

    def _episodes(self, k: int, now_us: int) -> Iterator[Episode]:
        for _, span in sorted(self.spans[k].items()):
            ended_us, peak = span.ended_us, span.peak
            if not ended_us and now_us >= self.march.ends_us:
                ended_us, peak = self.march.ends_us, float(self.states[k]["peak"])
            yield self._episode(self.march.relations[k], span, ended_us, peak)

    def _episode(self, relation: Relation, span: Span, ended_us: int, peak: float) -> Episode:
        plan, march, rule = self.tables.plan, self.march, relation.rule
        part = stretch_at(march.way, span.along)
        lon, lat = plan.projection.to_lonlat([span.x], [span.y])
        evidence: dict[str, Any] = {
            "decided_at": format_us(span.decided_us),
            "lat": round(float(lat[0]), 6),
            "lon": round(float(lon[0]), 6),
            "movement": march.movement.id,
            "road_km": round(march.way[part].road_km(span.along), 1),
            "limit_m": round(relation.limits_m[part]),
        }
        if relation.ahead:
            evidence["ahead"] = relation.ahead
        if march.spans:
            evidence |= {"region": march.way[part].region, "route": march.way[part].route.id}
        if relation.handed_over and relation.escorts:
            evidence["escorts"] = ",".join(relation.escorts)
        return Episode(
            id=episode_id(rule, march.convoy.id, relation.object, span.began_us),
            rule=rule,
            subject=march.convoy.id,
            object=relation.object,
            began_at_us=span.began_us,
            ended_at_us=ended_us or None,
            severity=relation.setting(part).severity,
            peak=round(peak, 1),
            evidence=evidence,
        )

    def held(self) -> Iterator[Held]:
        for relation, told in zip(self.march.relations, self.told, strict=True):
            yield from (Held(e, self._mode(relation, e), self.march.cell) for e in told.values())

    @property
    def open(self) -> bool:
        return any(_open(told.values()) for told in self.told)

    @property
    def known(self) -> bool:
        """Is there anything of it to keep?"""
        return bool(self._since) or bool(self.counts.any())

    # ---- keeping ----------------------------------------------------------------------------------------------------

    def tidy(self, oldest_us: int) -> None:
        """No fix that was seen before this instant will come any more: give up what only such a one would need."""
        needed = np.full(len(self.counts), oldest_us - FRAME_US, np.int64)
        for k, row in enumerate(self.march.rows):
            frames = self.frames[k, : self.framed[k]]
            gone = int(np.count_nonzero(frames["upto"] <= oldest_us)) - 1
            if gone > 0:
                self.frames[k, : len(frames) - gone] = frames[gone:].copy()
                self.framed[k] -= gone
            settled_us = oldest_us - FRAME_US - int(row["stale"])
            settled = 0 < self.states[k]["upto"] <= settled_us
            if settled:  # somebody has been silent since: nothing of that is told again
                self.frames[k, 0], self.framed[k] = self.states[k], 1
            upto = int(self.frames[k, 0]["upto"])
            for began in [b for b, s in self.spans[k].items() if s.ended_us and s.ended_us <= upto]:
                span = self.spans[k].pop(began)
                self.told[k].pop(self._episode(self.march.relations[k], span, 0, 0.0).id, None)
            if upto:
                members = [row["of"], row["ahead"], *self.march.others[row["others"][0] : row["others"][1]]]
                for m in {int(m) for m in members if m >= 0}:
                    # what follows from the base has to be told again from it, also over a stretch of which nothing was known
                    needed[m] = min(needed[m], max(upto, settled_us) if settled else upto)
        for m, from_us in enumerate(needed.tolist()):
            n = int(self.counts[m])
            older = np.flatnonzero((self.points[m, :n]["seen"] <= from_us) & (self.points[m, :n]["status"] != NOWHERE))
            if len(older) and older[-1]:
                cut = int(older[-1])
                self.points[m, : n - cut] = self.points[m, cut:n].copy()
                self.counts[m] = n - cut
                self._from_us[m] = self.points[m, 0]["seen"] + 1
        self.dirty = True

    def dump(self, whole: bool, plan_hash: str) -> KeptMarch:
        march = self.march
        points = {}
        for m, vehicle in enumerate(march.members):
            mine = self.points[m, : self.counts[m]]
            chosen = mine if whole else mine[mine["kept"] == 0]
            if len(chosen):
                points[vehicle] = _pack(chosen)
                mine["kept"] = 1
        self.dirty = False
        kept = KeptMarch(plan_hash, 0, points, revision=self.revision)
        kept.told = [e for told in self.told for e in told.values()]
        # what is older than an anchor is given up for good, so anchors and bases only ever go together
        kept.anchors = {
            v: self.points[m, 0].tobytes()
            for m, v in enumerate(march.members)
            if self.counts[m] and self._from_us[m] > self.points[m, 0]["seen"]
        }
        kept.bases = {r.name: self.frames[k, 0].tobytes() for k, r in enumerate(march.relations)}
        kept.since = self._since
        return kept

    def restore(self, kept: Iterable[KeptMarch], devices: Iterable[Array], plan_hash: str) -> None:
        """Begin with what these checkpoints say, the oldest first. `devices`: of each, what its devices are now: place and rank,
        shape (devices, 2); place -1: there is no such device any more."""
        parts: dict[str, list[Array]] = {}
        last = KeptMarch(plan_hash, 0)
        for one, named in zip(kept, devices, strict=True):
            last = one
            for vehicle, packed in one.points.items():
                parts.setdefault(vehicle, []).append(_unpack(packed, named))
        for m, vehicle in enumerate(self.march.members):
            mine = np.concatenate(parts.get(vehicle) or [np.zeros(0, POINT)], dtype=POINT)
            mine = _first_of_each(mine[self._members[mine["device"]] == m])  # another plan may have given it to another
            start = 0
            if vehicle in last.anchors:
                anchor = np.frombuffer(last.anchors[vehicle], POINT)[0]
                mine = mine[mine["seen"] >= anchor["seen"]]
                self._from_us[m] = int(anchor["seen"]) + 1
                if last.plan_hash == plan_hash:
                    mine = mine[int(np.argmax((mine["device"] == anchor["device"]) & (mine["seq"] == anchor["seq"]))) :]
                    mine[0] = anchor
                    start = 1
            self._room(len(mine))
            self.points[m, : len(mine)] = mine
            self.counts[m] = len(mine)
            grid.place_points(self.points[m, start : len(mine)], self._series)
            grid.derive(self._road, int(self._legs[m]), self.points[m], start, len(mine), len(mine))
        self._since = {v: at for v, at in last.since.items() if v in self.march.members}
        for m, vehicle in enumerate(self.march.members):
            self._from_us[m] = max(int(self._from_us[m]), self._since.get(vehicle, 0))
        told = {e.id: e for e in last.told}
        for k, relation in enumerate(self.march.relations):
            base = last.bases.get(relation.name)
            if base is not None:
                self.states[k] = self.frames[k, 0] = np.frombuffer(base, STATE)[0]
                state = self.states[k]
                if state["on"]:
                    began = int(state["began"])
                    self.spans[k][began] = Span(
                        began, int(state["decided"]), 0, *(float(state[name]) for name in ("told", "along", "x", "y"))
                    )
            self.told[k] = {i: e for i, e in told.items() if relation.told(e)}
        self.revision = last.revision
        self.judge()
        self.touched.update(range(len(self.march.relations)))


class Convoys:
    """The rules over one partition: a `Judge`. `cells`: those of the partition; None: all."""

    name = "convoys"

    def __init__(
        self, plan: CompiledPlan, tables: Tables, horizon_us: int | None, cells: Container[str] | None = None
    ) -> None:
        self.plan = plan
        self.horizon_us = horizon_us
        st = tables.static
        road = Road(st.vertices, st.boxes, st.big, st.ranges, st.edges, st.outlines, st.exempt, st.legs, st.parts)
        series = frame(plan.projection)
        self.marches = {
            m.movement.id: Marching(m, tables, road, series) for m in marches(plan) if cells is None or m.cell in cells
        }
        self._first_end_us = min((m.march.ends_us for m in self.marches.values()), default=EVER)
        self.on = bool(self.marches)
        self.dirty = False
        self._devices = sorted(tables.device_place, key=lambda d: tables.device_place[d][0]) if self.on else []
        self._ranked = tables.device_place
        self._watched = np.zeros(len(self._devices) + 1, bool)  # the last one: devices that the plan does not know
        self._of_device: dict[int, list[Marching]] = {}
        for marching in self.marches.values():
            for vehicle in marching.march.members:
                for device in plan.vehicles[vehicle].devices:
                    place = tables.device_place[device][0]
                    self._watched[place] = True
                    self._of_device.setdefault(place, []).append(marching)
        self._now_us = self._received_us = self._tidied_us = 0
        self._seen_us = 0  # of the newest record with fixes
        self._trusted_us = 0  # when the newest came in by a clock that was trusted: no other one gives anything up
        self._fed: dict[str, Marching] = {}
        self._ticked = False
        self._kept: dict[str, list[tuple[KeptMarch, list[str]]]] = {}
        for marching in self.marches.values():
            marching.warm_up()
            break

    # ---- taking in --------------------------------------------------------------------------------------------------

    def begin(self, since_us: int, before: Convoys, from_us: int) -> None:
        """A version of the plan in which members march that did not in the one before: of these nothing earlier counts."""
        self._restored()
        for name, marching in self.marches.items():
            former = before.marches.get(name)
            marching.begin(since_us, () if former is None else former.march.members)
            if former is not None and not marching.goes_on_from(former.march, from_us):
                marching.anew(since_us)
                self._fed[name] = marching

    def take(self, batch: ObservationBatch, fixes: Array | None, use: Array | None) -> None:
        self._restored()
        for placed in batch.others:
            if isinstance(placed.what, Tick):
                self._now_us = max(self._now_us, placed.what.at_us)
                self._received_us = max(self._received_us, placed.what.at_us)
                if placed.what.clock_trusted:
                    self._trusted_us = max(self._trusted_us, placed.what.at_us)
                self._ticked = True
        if fixes is None or use is None:
            return
        chosen = self._watched[np.minimum(fixes["device"], len(self._devices))] & (use != STRANGER) & (use != KEPT_OUT)
        mine = fixes[chosen]
        if not len(mine):
            return
        self.dirty = True
        self._seen_us = int(mine["seen"].max())
        self._now_us = max(self._now_us, self._seen_us)
        self._received_us = max(self._received_us, int(mine["received"].max()))
        trusted = mine["received"][mine["flags"] & int(Flag.CLOCK_UNTRUSTED) == 0]
        self._trusted_us = max(self._trusted_us, int(trusted.max(initial=0)))
        fed: dict[str, Marching] = {}
        for device in set(mine["device"].tolist()):
            for marching in self._of_device[device]:
                # a record without a cell is a file's: all of them are in it
                if batch.cell in ("", marching.march.cell):
                    fed[marching.march.movement.id] = marching
        for marching in fed.values():
            marching.take(mine)
        self._fed |= fed

    # ---- judging ----------------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        out: list[Change] = []
        for name in sorted(self._fed):
            self._fed[name].judge()
            if self._fed[name].touched or self._now_us >= self._fed[name].march.ends_us:
                out += self._fed[name].differences(self._now_us, self._received_us, self._seen_us, self.plan)
        if (self._ticked or self._fed) and self._now_us >= self._first_end_us:
            for _, marching in sorted(self.marches.items()):
                if marching.march.ends_us <= self._now_us and marching.open:
                    out += marching.differences(self._now_us, self._now_us, self._now_us, self.plan)
        self._fed.clear()
        self._ticked = False
        self.dirty = self.dirty or bool(out)
        self._tidy()
        return out

    def _tidy(self) -> None:
        if self.horizon_us is None or self._trusted_us < self._tidied_us + TIDY_US:
            return
        self._tidied_us = self._trusted_us
        oldest_us = self._trusted_us - self.horizon_us - SLACK_US
        for marching in self.marches.values():
            if marching.counts.any():
                marching.tidy(oldest_us)
                self.dirty = True

    # ---- keeping ----------------------------------------------------------------------------------------------------

    def held(self) -> Iterator[Held]:
        self._restored()
        for marching in self.marches.values():
            yield from marching.held()

    def dump(self, whole: bool) -> bytes:
        self._restored()
        self.dirty = False
        kept = {
            name: marching.dump(whole, self.plan.hash)
            for name, marching in self.marches.items()
            if marching.dirty or (whole and marching.known)
        }
        devices = self._devices if kept else []
        return _encode(Kept(kept, devices, self._now_us, self._received_us, self._seen_us, self._trusted_us))

    def restore(self, kept: bytes) -> None:
        """Read now, judged at the next record: the checkpoints that follow have to be read as well."""
        found = _decode(kept)
        self._now_us = max(self._now_us, found.now_us)
        self._received_us = max(self._received_us, found.received_us)
        self._seen_us = found.seen_us
        self._trusted_us = max(self._trusted_us, found.trusted_us)
        for name, march in found.marches.items():
            if name in self.marches:
                self._kept.setdefault(name, []).append((march, found.devices))

    def _restored(self) -> None:
        for name, parts in self._kept.items():
            devices = [
                np.array([self._ranked.get(d, (-1, 0)) for d in names], np.int64).reshape(-1, 2) for _, names in parts
            ]
            self.marches[name].restore([march for march, _ in parts], devices, self.plan.hash)
            self._fed[name] = self.marches[name]
        self._kept.clear()


def _leg(tables: Tables, vehicle: str, movement: Movement) -> int:
    first, last = tables.static.vehicles["legs"][tables.vehicle_place[vehicle]]
    return next(k for k in range(int(first), int(last)) if tables.leg_movements[k].id == movement.id)


def _open(told: Iterable[Episode]) -> bool:
    return any(e.ended_at_us is None for e in told)


def _differs(a: Array, b: Array) -> Array:
    found: Array = a != b
    return found & ~((a != a) & (b != b)) if a.dtype.kind == "f" else found  # NaN is NaN


def _first_of_each(points: Array) -> Array:
    """In the total order, and of each device the first of every cell of the grid; what a checkpoint has before what it has not."""
    order = np.lexsort((-points["kept"], points["body"], points["seq"], points["device"], points["seen"]))
    points = points[order]
    device, cell = points["device"], points["seen"] // GRID_US
    order = np.lexsort((cell, device))  # stable: of a cell the first comes first
    device, cell = device[order], cell[order]
    first = np.ones(len(order), bool)
    first[1:] = (device[1:] != device[:-1]) | (cell[1:] != cell[:-1])
    return points[np.sort(order[first])]


def _pack(points: Array) -> bytes:
    """Columns, each as its first value and the steps to the next: small after compression."""
    parts = [len(points).to_bytes(4, "little")]
    for name in RAW:
        column = np.ascontiguousarray(points[name])
        whole = column.view(f"u{column.itemsize}")
        if name != "body":
            steps = whole.copy()
            steps[1:] -= whole[:-1]
            whole = steps
        parts.append(whole.tobytes())
    return zlib.compress(b"".join(parts), 1)


def _unpack(packed: bytes, devices: Array) -> Array:
    """Points of the devices that there still are, by what `devices` says of each: place and rank."""
    data = zlib.decompress(packed)
    n, at = int.from_bytes(data[:4], "little"), 4
    out = np.zeros(n, POINT)
    for name in RAW:
        kind = POINT[name]
        whole = np.frombuffer(data, f"u{kind.itemsize}", n, at)
        at += n * kind.itemsize
        out[name] = (whole if name == "body" else np.cumsum(whole, dtype=whole.dtype)).view(kind)
    now = devices[out["device"]]
    out["device"], out["rank"] = now[:, 0], now[:, 1]
    out["kept"] = 1
    return out if now[:, 0].min(initial=0) >= 0 else out[now[:, 0] >= 0]

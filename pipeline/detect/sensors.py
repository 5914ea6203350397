"""`sensor.alarm`, `sensor.tamper`, `sensor.disagrees`: what the sensors of a site say, judged together.

Smoke, gas and water are told at once, of the sensor. What sees people (doors, movement, fences) has to be confirmed by others of its
group within a time; the episode is the site's then, and lasts until all that took part have been quiet. A door that is open while it
must be closed needs nobody. Two sensors that must agree and do not for long are told as well.

A value that rattles is one alarm: it is over when the reset value has stood for `reset_for`, or, of a sensor that has never said one,
when nothing was said for `reset_after`. These deadlines run on the Ticks of the source that took the reading, as `device.silent`'s.
What is told is a function of the set of readings: those of the horizon are kept in order, and a late one has its site's account told
again from the keyframe before it.
"""

from __future__ import annotations

import bisect
import copy
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.detect.judge import Held, Told, differences, overlap
from pipeline.detect.listening import NEVER_US, Clock
from pipeline.detect.listening import Kept as Ticked
from pipeline.detect.tell import Account
from pipeline.model.episode import Change, Episode, episode_id
from pipeline.model.observation import Flag, Reading, Tick
from pipeline.model.times import format_us
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan, RuleSetting, Schedule, Sensor

Array = npt.NDArray[Any]
ALARM, TAMPERED, DISAGREES = "sensor.alarm", "sensor.tamper", "sensor.disagrees"
AT_ONCE = frozenset(("smoke", "gas", "water", "interconnect"))
INTRUSION = frozenset(("door", "motion", "occupancy", "vibration", "tilt", "sound", "fence"))
TAMPER = "tamper"
MEANS = {"open": True, "detected": True, "closed": False, "clear": False}
SAYS = {"pir": ("motion", "occupancy"), "motion": ("motion", "occupancy"), "occupancy": ("motion", "occupancy")}
"""Of a sensor that says several things, what is compared with its neighbour's, by its kind; of other kinds whatever alarms."""

WEEK_US = 604_800_000_000
MONDAY_US = 3 * 86_400_000_000  # 1970-01-01 was a Thursday
SLACK_US = 3_600_000_000  # a source may be heard so much later than another
TRIM_US = 900_000_000
EVERY = 256  # readings between two keyframes
VERSION = 1
DEADLINE, EDGE, DIFFERED = 0, 1, 2


class Heard(NamedTuple):
    """A reading as it is kept. Its order is the law's; of two that differ only behind `what`, the smaller counts."""

    seen_us: int
    device: str
    seq: int
    what: str
    body: int
    source: str
    sensor: str
    on: bool


class Signal(msgspec.Struct, array_like=True):
    """What one sensor says of one thing, without its rattling."""

    rule: str
    sensor: str
    what: str
    active: bool = False
    on: bool = False  # its last word; `active` goes on for a while behind it
    resets: bool = False  # it has said that it is quiet, so it will again
    at_us: int = 0  # from when its deadline runs
    source: str = ""
    held_us: int | None = None  # since when it counts as an intrusion
    looked_us: int = 0  # up to when its schedule has been looked at


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """An episode in the making."""

    rule: str
    subject: str
    object: str
    began_us: int
    sensors: tuple[str, ...]
    whats: tuple[str, ...]
    ended_us: int | None = None

    @property
    def name(self) -> tuple[str, str, str, int]:
        """Of which the episode's id is made."""
        return self.rule, self.subject, self.object, self.began_us


class Group(msgspec.Struct, array_like=True):
    """`recent`: signal -> when it last saw somebody. `holding`: those for which the episode goes on."""

    recent: dict[str, int] = {}
    holding: list[str] = []
    open: Stretch | None = None


class Pair(msgspec.Struct, array_like=True):
    since_us: int | None = None
    source: str = ""
    open: Stretch | None = None


class State(msgspec.Struct, array_like=True):
    """Of a site, after some reading. `due`: nothing is to be done before; 0: not reckoned."""

    signals: dict[str, Signal] = {}
    groups: dict[str, Group] = {}
    pairs: dict[str, Pair] = {}
    open: dict[str, Stretch] = {}
    closed: list[Stretch] = []
    due: int = 0

    def copied(self) -> State:
        return State(
            {key: copy.copy(signal) for key, signal in self.signals.items()},
            {name: Group(dict(g.recent), list(g.holding), g.open) for name, g in self.groups.items()},
            {name: copy.copy(pair) for name, pair in self.pairs.items()},
            dict(self.open),
            list(self.closed),
        )

    def stretches(self) -> Iterator[Stretch]:
        yield from self.closed
        yield from self.open.values()
        yield from (group.open for group in self.groups.values() if group.open is not None)
        yield from (pair.open for pair in self.pairs.values() if pair.open is not None)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Of one site, in a checkpoint: the readings that are new, and the state before the oldest when that has moved."""

    site: str
    cell: str
    floor_us: int
    base: State | None
    rows: bytes
    told: Told


class Kept(msgspec.Struct, array_like=True):
    version: int
    names: list[str]  # what the rows index
    parts: list[Part]
    listening: Ticked
    trusted_us: int = 0


ROW = np.dtype(
    [("seen", "<i8"), ("seq", "<i8"), ("body", "<u8"), ("device", "<u4"), ("what", "<u4"), ("source", "<u4"),
     ("sensor", "<u4"), ("on", "?")]
)  # fmt: skip
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def edge_after(schedule: Schedule, at_us: int) -> int:
    """When the schedule next begins or ends; never, when it always applies."""
    if not schedule.windows:
        return NEVER_US
    place = (at_us + schedule.utc_offset_s * 1_000_000 + MONDAY_US) % WEEK_US
    return at_us + min((edge * 1_000_000 - place) % WEEK_US or WEEK_US for w in schedule.windows for edge in w)


@dataclass(slots=True)
class Frame:
    """The state behind a reading, from which later ones are told again."""

    last: Heard | None
    count: int
    state: State


@dataclass(slots=True)
class Site:
    """The sensors of one site and cell, what their region asks of them, and what they said."""

    id: str
    cell: str
    sensors: dict[str, Sensor]
    settings: dict[str, RuleSetting]
    clock: Clock
    pairs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=lambda: [Frame(None, 0, State())])
    floor_us: int = 0
    moved: bool = False  # the base is not in a checkpoint yet
    fresh: list[Heard] = field(default_factory=list)  # nor are these
    told: Told = field(default_factory=lambda: Told(0, []))
    received_us: int = 0  # of what is new
    due_us: int = NEVER_US
    dirty: bool = False

    # ---- what was said --------------------------------------------------------------------------------------------------

    def concerns(self, sensor: str, what: str) -> bool:
        return bool(list(self.rules(sensor, what)))

    def rules(self, sensor: str, what: str) -> Iterator[str]:
        if what == TAMPER:
            if TAMPERED in self.settings:
                yield TAMPERED
        elif what in AT_ONCE or what in INTRUSION:
            if ALARM in self.settings:
                yield ALARM
            if sensor in self.pairs and what in SAYS.get(self.sensors[sensor].kind, (what,)):
                yield DISAGREES

    def insert(self, heard: Heard) -> bool:
        """False when it says nothing new."""
        if heard.seen_us < self.floor_us:
            return False
        key = heard[:4]
        place = bisect.bisect_left(self.heard, key)
        if place < len(self.heard) and self.heard[place][:4] == key:
            if heard >= self.heard[place]:
                return False
            self.heard[place] = heard
        else:
            self.heard.insert(place, heard)
        while self.frames[-1].last is not None and len(self.frames) > 1 and self.frames[-1].last[:4] >= key:
            self.frames.pop()
        return True

    def again(self) -> None:
        """Deadlines have moved: everything is to be told again."""
        del self.frames[1:]
        self.frames[0].state.due = 0

    def account(self) -> list[Stretch]:
        """Everything from the floor on, as it stands now."""
        if len(self.frames) == 1:
            self.frames.append(Frame(self.frames[0].last, 0, self.frames[0].state.copied()))
        frame = self.frames[-1]
        start = 0 if frame.last is None else bisect.bisect_right(self.heard, frame.last)
        for heard in self.heard[start:]:
            if frame.count == EVERY:
                frame = Frame(frame.last, 0, frame.state.copied())
                self.frames.append(frame)
            self.step(frame.state, heard)
            frame.last, frame.count = heard, frame.count + 1
        now = frame.state.copied()
        self.advance(now, self.clock.time)
        self.due_us = now.due
        told = {_name(e) for e in self.told.episodes}
        found = [s for s in now.stretches() if s.ended_us is None or s.ended_us >= self.floor_us or s.name in told]
        return sorted(found, key=lambda s: (s.began_us, s.rule, s.subject, s.object))

    def trim(self, floor_us: int) -> None:
        """What nothing can be late for any more becomes one state."""
        if not self.heard or self.heard[0].seen_us >= floor_us - TRIM_US:
            return
        n = bisect.bisect_left(self.heard, (floor_us,))
        base = self.frames[0]
        self._play(base.state, n)
        base.last = self.heard[n - 1]
        del self.heard[:n]
        self.frames[1:] = [f for f in self.frames[1:] if f.last is not None and f.last > base.last]
        self.floor_us = floor_us
        for frame in self.frames:
            self._forget(frame.state, floor_us)
        self.told = self._told_since(floor_us)
        self.moved = self.dirty = True

    def _play(self, state: State, n: int) -> None:
        """Bring a base behind the first n readings."""
        for heard in self.heard[:n]:
            self.step(state, heard)
        state.due = 0  # deadlines may move until it is gone on from

    def _forget(self, state: State, floor_us: int) -> None:
        """What was over by then; whoever was told that it goes on hears first that it is over."""
        going_on = {_name(e) for e in self.told.episodes if e.ended_at_us is None}
        state.closed = [s for s in state.closed if (s.ended_us or 0) >= floor_us or s.name in going_on]

    def _told_since(self, floor_us: int) -> Told:
        episodes = [e for e in self.told.episodes if e.ended_at_us is None or e.ended_at_us >= floor_us]
        return Told(self.told.revision, episodes)

    @property
    def known(self) -> bool:
        return bool(self.heard or self.told.episodes or self.floor_us)

    def as_of(self, floor_us: int, names: dict[str, int]) -> Part:
        """As it would be with this floor, which is at or behind its own."""
        floor_us = max(floor_us, self.floor_us)
        n = bisect.bisect_left(self.heard, (floor_us,))
        base = self.frames[0].state.copied()
        self._play(base, n)
        self._forget(base, floor_us)
        return Part(self.id, self.cell, floor_us, base, _packed(self.heard[n:], names), self._told_since(floor_us))

    # ---- the rules ------------------------------------------------------------------------------------------------------

    def step(self, s: State, heard: Heard) -> None:
        """One reading, in order. It moves no deadlines but those of what it speaks of."""
        at_us = heard.seen_us
        if at_us >= s.due:
            self.advance(s, lambda _: at_us)
        next_us = s.due
        for rule in self.rules(heard.sensor, heard.what):
            key = f"{rule}|{heard.sensor}|{heard.what}"
            signal = s.signals.get(key)
            if signal is None:
                signal = s.signals[key] = Signal(rule, heard.sensor, heard.what)
            was_active, was_on = signal.active, signal.on
            if heard.on:
                signal.active = signal.on = True
                signal.at_us = signal.looked_us = at_us
                signal.source = heard.source
            else:
                signal.resets = True
                if was_on:
                    signal.on, signal.at_us, signal.source = False, at_us, heard.source
            if rule == DISAGREES:
                self._compare(s, heard.sensor, at_us, heard.source)
            elif rule == TAMPERED or heard.what in AT_ONCE:
                if signal.active and not was_active:
                    s.open[key] = Stretch(rule, heard.sensor, heard.what, at_us, (heard.sensor,), (heard.what,))
            elif heard.on and not (was_on and heard.what == "door"):  # a door that says again that it is open
                self._saw(s, key, signal, at_us)
            for due, *_ in self._dues_of(key, signal):
                next_us = min(next_us, due)
            for a, b in self.pairs[heard.sensor] if rule == DISAGREES else ():
                if (differed := self._differed(s.pairs[f"{a}|{b}"])) is not None:
                    next_us = min(next_us, differed)
        s.due = next_us

    def advance(self, s: State, limit: Callable[[str], int]) -> None:
        """Whatever time alone does, in order, as far as each source is known."""
        while True:
            first: tuple[int, int, str] | None = None
            next_us = NEVER_US
            for due, what, key, source in self._dues(s):
                next_us = min(next_us, due)
                if (first is None or (due, what, key) < first) and due <= limit(source):
                    first = due, what, key
            if first is None:
                s.due = next_us
                return
            due, what, key = first
            if what == DIFFERED:
                a, b = key.split("|")
                s.pairs[key].open = Stretch(DISAGREES, a, b, due, (a, b), ())
                continue
            signal = s.signals[key]
            if what == EDGE:
                signal.looked_us = due
                if signal.held_us is not None:
                    self._release(s, key, signal, due)
                else:
                    self._saw(s, key, signal, due)
                continue
            signal.active = signal.on = False
            if signal.held_us is not None:
                self._release(s, key, signal, due)
            if (opened := s.open.pop(key, None)) is not None:
                s.closed.append(msgspec.structs.replace(opened, ended_us=due))
            if signal.rule == DISAGREES:
                self._compare(s, signal.sensor, due, signal.source)

    def _dues(self, s: State) -> Iterator[tuple[int, int, str, str]]:
        for key, signal in s.signals.items():
            if signal.active:
                yield from self._dues_of(key, signal)
        for name, pair in s.pairs.items():
            if (due := self._differed(pair)) is not None:
                yield due, DIFFERED, name, pair.source

    def _dues_of(self, key: str, signal: Signal) -> Iterator[tuple[int, int, str, str]]:
        if not signal.active:
            return
        params = self.settings[signal.rule].params
        if not signal.on:
            due = self.clock.awake(signal.source, signal.at_us, int(params["reset_for_us"]))
            yield due, DEADLINE, key, signal.source
        elif not signal.resets:
            due = self.clock.awake(signal.source, signal.at_us, int(params["reset_after_us"]))
            yield due, DEADLINE, key, signal.source
        if signal.rule != ALARM or signal.what not in INTRUSION:
            return
        schedule = self.sensors[signal.sensor].schedule
        # it ends what is held; a door that stands open when it has to be closed begins
        waits = signal.held_us is not None or (signal.on and signal.what == "door")
        if schedule is not None and waits:
            yield edge_after(schedule, signal.looked_us), EDGE, key, signal.source

    def _differed(self, pair: Pair) -> int | None:
        """When two will have disagreed for so long that it is told; None: they agree, or it is."""
        if pair.since_us is None or pair.open is not None:
            return None
        return self.clock.awake(pair.source, pair.since_us, int(self.settings[DISAGREES].params["for_us"]))

    def _saw(self, s: State, key: str, signal: Signal, at_us: int) -> None:
        """Somebody was seen: alone a reason to look, with others, or where one is enough, an intrusion."""
        sensor = self.sensors[signal.sensor]
        if sensor.schedule is not None and not sensor.schedule.applies(at_us):
            return
        within_us = int(self.settings[ALARM].params["confirm_within_us"])
        group = s.groups.setdefault(sensor.group, Group())
        group.recent = {k: at for k, at in group.recent.items() if at >= at_us - within_us and k != key} | {key: at_us}
        if signal.held_us is None:
            signal.held_us = signal.looked_us = at_us
        if group.open is not None:
            sensors = tuple(dict.fromkeys((*group.open.sensors, signal.sensor)))
            whats = tuple(dict.fromkeys((*group.open.whats, signal.what)))
            group.open = msgspec.structs.replace(group.open, sensors=sensors, whats=whats)
            if key not in group.holding:
                group.holding.append(key)
            return
        seen = [s.signals[k] for k in group.recent]
        sensors = tuple(dict.fromkeys(x.sensor for x in seen))
        if not any(len(sensors) >= self.needed(x.sensor, x.what) for x in seen):
            return
        whats = tuple(dict.fromkeys(x.what for x in seen))
        alone = len(self._members(sensor.group)) == 1
        subject, obj = (sensor.id, "") if alone else (self.id, sensor.group)
        group.open = Stretch(ALARM, subject, obj, at_us, sensors, whats)
        group.holding = [k for k in group.recent if s.signals[k].held_us is not None]

    def _members(self, group: str) -> list[str]:
        return [x.id for x in self.sensors.values() if x.group == group and x.confirms]

    def needed(self, name: str, what: str) -> int:
        """How many sensors of its group have to see somebody, itself counted."""
        sensor = self.sensors[name]
        if sensor.confirm_n is not None:
            return sensor.confirm_n
        at_most = max(len(self._members(sensor.group)), 1)
        n = int(-(-self.settings[ALARM].params["confirm_n"] // 1))
        if what == "door":
            return 1 if sensor.schedule is not None else max(2, min(n, at_most))
        return min(n, at_most)

    def _release(self, s: State, key: str, signal: Signal, at_us: int) -> None:
        signal.held_us = None
        group = s.groups.get(self.sensors[signal.sensor].group)
        if group is None or key not in group.holding:
            return
        group.holding.remove(key)
        if group.open is not None and not group.holding:
            s.closed.append(msgspec.structs.replace(group.open, ended_us=at_us))
            group.open = None

    def _compare(self, s: State, sensor: str, at_us: int, source: str) -> None:
        for a, b in self.pairs[sensor]:
            says = self._says(s, a), self._says(s, b)
            pair = s.pairs.setdefault(f"{a}|{b}", Pair())
            if None in says or says[0] == says[1]:
                if pair.open is not None and at_us > pair.open.began_us:
                    s.closed.append(msgspec.structs.replace(pair.open, ended_us=at_us))
                pair.since_us = pair.open = None
            elif pair.since_us is None:
                pair.since_us, pair.source = at_us, source

    def _says(self, s: State, sensor: str) -> bool | None:
        """None: it has said nothing yet."""
        mine = [x for x in s.signals.values() if x.rule == DISAGREES and x.sensor == sensor]
        return any(x.active for x in mine) if mine else None


def _sites(plan: CompiledPlan, clock: Clock) -> dict[tuple[str, str], Site]:
    found: dict[tuple[str, str], Site] = {}
    for sensor in sorted(plan.sensors.values(), key=lambda x: x.id):
        rules = plan.regions[sensor.region].rules
        settings = {name: rules[name] for name in (ALARM, TAMPERED, DISAGREES) if name in rules}
        settings = {name: setting for name, setting in settings.items() if setting.mode != "off"}
        if not settings:
            continue
        site = found.setdefault((sensor.site, sensor.cell), Site(sensor.site, sensor.cell, {}, settings, clock))
        site.sensors[sensor.id] = sensor
    for site in found.values():
        for sensor in site.sensors.values():
            other = sensor.agrees_with
            if DISAGREES in site.settings and other is not None and other in site.sensors:
                for name in (sensor.id, other):
                    site.pairs.setdefault(name, []).append((sensor.id, other))
    return found


def asks_more(before: CompiledPlan, after: CompiledPlan, cells: Container[str] | None) -> bool:
    """Does it hear sensors, or of them things, that nobody has kept before? `cells`: those of the partition; None: all."""
    if before.sensors is after.sensors and before.regions is after.regions:
        return False
    return bool(set(_asked(after, cells)) - set(_asked(before, cells)))


def _asked(plan: CompiledPlan, cells: Container[str] | None) -> Iterator[tuple[str, ...]]:
    for site in _sites(plan, Clock()).values():
        if cells is None or site.cell in cells:
            for name, sensor in site.sensors.items():
                yield from ((site.id, site.cell, name, rule) for rule in site.settings if rule != DISAGREES)
                yield from ((site.id, site.cell, name, sensor.kind, *pair) for pair in site.pairs.get(name, ()))


class Sensors:
    """The rules over one partition: a `Judge`."""

    name = "sensors"

    def __init__(self, plan: CompiledPlan, horizon_us: int | None) -> None:
        self.plan = plan
        self.horizon_us = horizon_us
        self.clock = Clock()
        self.sites = _sites(plan, self.clock)
        self._site_of = {name: site for site in self.sites.values() for name in site.sensors}
        self.on = bool(self.sites)
        self.dirty = False
        self._ticked = False
        self._touched: dict[tuple[str, str], Site] = {}
        self._removed: dict[tuple[str, str], Told] = {}  # what was told under a plan that had its rule

    # ---- taking in ------------------------------------------------------------------------------------------------------

    def take(self, batch: ObservationBatch, fixes: Array | None, use: Array | None) -> None:
        for placed in batch.others:
            if isinstance(placed.what, Reading):
                self._hear(placed.what, batch.source)
            elif isinstance(placed.what, Tick):
                self._ticked = True
                if self.clock.tick(placed.what):
                    for site in self.sites.values():
                        site.again()
                        self._touch(site)

    def _touch(self, site: Site) -> None:
        self._touched[site.id, site.cell] = site

    def _hear(self, reading: Reading, source: str) -> None:
        site = self._site_of.get(reading.sensor)
        on = MEANS.get(reading.value) if isinstance(reading.value, str) else None
        if site is None or on is None or reading.flags & Flag.BEYOND_HORIZON:
            return
        if not site.concerns(reading.sensor, reading.what):
            return
        heard = Heard(
            reading.seen_at_us, reading.device, reading.seq, reading.what, reading.body, source, reading.sensor, on
        )
        if site.insert(heard):
            site.fresh.append(heard)
            site.received_us = max(site.received_us, reading.received_at_us)
            site.dirty = self.dirty = True
            self._touch(site)

    # ---- judging --------------------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        if self._ticked:
            self._ticked = False
            for site in self.sites.values():
                if site.due_us <= self.clock.now_us:
                    self._touch(site)
        out = list(self._endings())
        for _, site in sorted(self._touched.items()):
            if self.horizon_us is not None:
                site.trim(self.clock.trusted_us - 2 * self.horizon_us - SLACK_US)
            out += self._differences(site)
        self._touched.clear()
        return out

    def _endings(self) -> Iterator[Change]:
        """Nobody judges any more what these rules or sensors would say."""
        for (_, cell), told in sorted(self._removed.items()):
            for n, episode in enumerate(told.episodes, 1):
                evidence = {**episode.evidence, "ended_by": "PLAN_REMOVED"}
                at_us = max(self.clock.now_us, episode.began_at_us)
                ended = msgspec.structs.replace(episode, ended_at_us=at_us, evidence=evidence)
                # shadow: who was not told that it began is not told that it ended
                yield Account(ended, "shadow", at_us, at_us).change("end", told.revision + n, cell, self.plan.hash)
        self._removed.clear()

    def _differences(self, site: Site) -> Iterator[Change]:
        before = {e.id: e for e in site.told.episodes}
        after = {e.id: e for e in map(_episode, site.account(), _forever(site))}
        revision = site.told.revision
        received_us, site.received_us = site.received_us, 0
        for kind, episode, was in differences(before, after, _same_and_overlapping):
            revision += 1
            seen_us = episode.began_at_us if episode.ended_at_us is None else episode.ended_at_us
            account = Account(
                episode,
                site.settings[episode.rule].mode,
                received_us or max(self.clock.now_us, seen_us),
                seen_us if received_us else max(self.clock.now_us, seen_us),
            )
            yield account.change(kind, revision, site.cell, self.plan.hash, was)
        if revision != site.told.revision:
            site.told = Told(revision, list(after.values()))
            site.dirty = self.dirty = True

    def held(self) -> Iterator[Held]:
        for site in self.sites.values():
            yield from (
                Held(e, site.settings[e.rule].mode, site.cell) for e in site.told.episodes if e.rule in site.settings
            )

    def disown(self) -> None:
        """What was taken over and has no rule here any more is ended by somebody else."""
        self._removed.clear()

    # ---- keeping --------------------------------------------------------------------------------------------------------

    def dump(self, whole: bool) -> bytes:
        names: dict[str, int] = {}
        parts = []
        for site in self.sites.values():
            if not (site.dirty or (whole and site.known)):
                continue
            rows = _packed(site.heard if whole else site.fresh, names)
            base = site.frames[0].state if whole or site.moved else None
            parts.append(Part(site.id, site.cell, site.floor_us, base, rows, site.told))
            site.fresh = []
            site.moved = site.dirty = False
        self.dirty = False
        return _encode(Kept(VERSION, list(names), parts, self.clock.dump(), self.clock.trusted_us))

    def restore(self, kept: bytes) -> None:
        self._restore(_decode(kept))

    def take_over(self, before: Sensors, from_us: int) -> None:
        """All that another plan's rules know, when this one is in force from then on. What these made of older readings counts as far as they are
        older than the horizon then, and no farther, however late the order came: that is why readings are kept for two horizons."""
        floor_us = 0 if self.horizon_us is None else from_us - self.horizon_us - SLACK_US
        names: dict[str, int] = {}
        parts = [site.as_of(floor_us, names) for site in before.sites.values() if site.known]
        self._restore(Kept(VERSION, list(names), parts, before.clock.dump(), before.clock.trusted_us))

    def _restore(self, kept: Kept) -> None:
        self.clock.restore(kept.listening, kept.trusted_us)
        for part in kept.parts:
            key = part.site, part.cell
            site = self.sites.get(key)
            unknown = [e for e in part.told.episodes if site is None or e.rule not in site.settings]
            self._removed[key] = Told(part.told.revision, [e for e in unknown if e.ended_at_us is None])
            if site is None:
                continue
            revision = part.told.revision + len(unknown)
            site.told = Told(revision, [e for e in part.told.episodes if e not in unknown])
            if part.base is not None:
                site.floor_us = part.floor_us
                site.heard = site.heard[bisect.bisect_left(site.heard, (part.floor_us,)) :]
                site.frames = [Frame(None, 0, _known(site, part.base))]
            for heard in _unpacked(part.rows, kept.names):
                if heard.sensor in site.sensors:
                    site.insert(heard)
            site.again()
            self._touch(site)


def _forever(site: Site) -> Iterable[Site]:
    while True:
        yield site


def _known(site: Site, base: State) -> State:
    """A state of another plan: without what this one does not know."""
    base.signals = {
        k: x for k, x in base.signals.items() if x.sensor in site.sensors and x.rule in site.rules(x.sensor, x.what)
    }
    base.open = {k: x for k, x in base.open.items() if k in base.signals}
    base.closed = [x for x in base.closed if x.rule in site.settings]
    pairs = {f"{a}|{b}" for mine in site.pairs.values() for a, b in mine}
    base.pairs = {k: x for k, x in base.pairs.items() if k in pairs}
    for name, group in base.groups.items():
        mine = {k for k, x in base.signals.items() if site.sensors[x.sensor].group == name}
        group.recent = {k: at for k, at in group.recent.items() if k in mine}
        group.holding = [k for k in group.holding if k in mine]
        if not group.holding:
            group.open = None
    return base


def _packed(heard: list[Heard], names: dict[str, int]) -> bytes:
    def place(name: str) -> int:
        return names.setdefault(name, len(names))

    rows = [
        (h.seen_us, h.seq, h.body, place(h.device), place(h.what), place(h.source), place(h.sensor), h.on)
        for h in heard
    ]
    return np.array(rows, ROW).tobytes()


def _unpacked(rows: bytes, names: list[str]) -> Iterator[Heard]:
    for seen, seq, body, device, what, source, sensor, on in np.frombuffer(rows, ROW).tolist():
        yield Heard(seen, names[device], seq, names[what], body, names[source], names[sensor], on)


def _episode(s: Stretch, site: Site) -> Episode:
    evidence: dict[str, Any] = {"decided_at": format_us(s.began_us), "site": site.id, "sensors": list(s.sensors)}
    if s.whats:
        evidence["what"] = list(s.whats)
    return Episode(
        id=episode_id(s.rule, s.subject, s.object, s.began_us),
        rule=s.rule,
        subject=s.subject,
        object=s.object,
        began_at_us=s.began_us,
        ended_at_us=s.ended_us,
        severity=site.settings[s.rule].severity,
        peak=float(len(s.sensors)) if s.rule == ALARM and not AT_ONCE.intersection(s.whats) else None,
        evidence=evidence,
    )


def _name(e: Episode) -> tuple[str, str, str, int]:
    return e.rule, e.subject, e.object, e.began_at_us


def _same_and_overlapping(a: Episode, b: Episode) -> bool:
    """A site's account holds several rules and subjects."""
    return (a.rule, a.subject, a.object) == (b.rule, b.subject, b.object) and overlap(a, b)

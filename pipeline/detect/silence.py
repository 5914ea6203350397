"""`device.silent`: a tracker that should be heard and is not.

Silence is judged over live fixes in the order of their receipt, against the Ticks of the source that took them: no clock is read, a
backlog ends no silence, and while nobody listened (a gap between Ticks) no deadline runs. What is kept is a function of the set
of stamps, whatever their order of arrival: of a device its first and last live fix and the pauses between that are longer than
the shortest that any rule allows; of a source the same of its Ticks. A stamp that falls into a pause parts it in two.
"""

from __future__ import annotations

import bisect
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import shapely

from pipeline.detect.arrive import STRANGER
from pipeline.detect.blackout import Absence, Blackout
from pipeline.detect.compiled import bare
from pipeline.detect.judge import Held, Told, retold
from pipeline.detect.listening import GONE_US, Clock
from pipeline.detect.listening import Kept as Ticked
from pipeline.detect.tables import Tables
from pipeline.model.episode import Change, Episode, episode_id
from pipeline.model.observation import Tick
from pipeline.model.times import format_us
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan, Movement, RuleSetting, Vehicle, movements_of_vehicles

Array = npt.NDArray[Any]
RULE = "device.silent"
LIVE_US = 60_000_000
PARKED_WITHIN_M = 50.0
COVERAGE_MARGIN_M = 600.0  # where `device.silent` does not say
MOST_PLACES = 50_000
PARKING = ("depot", "home", "site", "residence")
COVERLESS = ("coverage_gap", "tunnel")

HEARD = np.dtype(
    [
        ("first", "i8"),
        ("last", "i8"),  # received, of the newest live fix
        ("seen", "i8"),
        ("due", "i8"),  # no deadline of this pause is earlier; 0: not reckoned yet
        ("lat", "f8"),
        ("lon", "f8"),
        ("source", "i4"),
        ("pauses", "i4"),
        ("silent", "i4"),  # of the pause under way something has been told, or counts as an absence
        ("dirty", "i4"),
    ],
    align=True,
)
LATE, PAUSED, RETURNED = 1, 2, 3
_NOTE = np.dtype([("device", "i4"), ("what", "i4"), ("fix", "i4"), ("before", HEARD)], align=True)


class Pause(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Between two live fixes of a device, by their receipt; where the first was, and who took it."""

    from_us: int
    to_us: int
    seen_us: int
    lat: float
    lon: float
    source: str


class Kept(msgspec.Struct, array_like=True):
    """What a checkpoint holds of it. Rows are of `HEARD`; their sources index `sources`."""

    devices: list[str] = []
    rows: bytes = b""
    sources: list[str] = []
    pauses: dict[str, list[Pause]] = {}
    told: dict[str, Told] = {}
    listening: Ticked = {}
    dark: dict[str, Told] = {}
    trusted_us: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


@bare
def _newer(f: Any, row: Any, rank: int, its_rank: int) -> bool:
    if f.seen != row.seen:
        return bool(f.seen > row.seen)
    if f.lon != row.lon or f.lat != row.lat:
        return bool(f.lon > row.lon or (f.lon == row.lon and f.lat > row.lat))
    return rank > its_rank


@bare
def _note(heard: Any, fixes: Any, use: Any, source: int, ranks: Any, floor: int, now: int, notes: Any) -> int:
    """Move on what is heard of each device; say of whom more has to be done. `ranks`: of the sources, by name. Returns how many notes were
    made."""
    n = 0
    for i in range(len(fixes)):
        f = fixes[i]
        if use[i] == STRANGER or f.device >= len(heard) or f.received - f.seen > LIVE_US:
            continue
        row = heard[f.device]
        what = 0
        if row.first == 0:
            row.first = f.received
        elif f.received > row.last:
            if f.received - row.last > floor:
                what = PAUSED
                row.pauses += 1  # a fix further on in this record may fall into it
            elif row.silent != 0:
                what = RETURNED
        elif f.received == row.last:
            # several fixes came in one message: the pause behind it begins where the newest of them was
            if not _newer(f, row, ranks[source], ranks[row.source]):
                continue
            if row.silent != 0:
                what = RETURNED
        elif f.received < row.first or row.pauses != 0:
            what = LATE
        if what == 0 and f.received >= row.last and f.received + floor <= now:
            what = RETURNED  # the Ticks that know of its deadline came before it
        if what != 0:
            note = notes[n]
            note.device = f.device
            note.what = what
            note.fix = i
            note.before.last = row.last
            note.before.seen = row.seen
            note.before.lat = row.lat
            note.before.lon = row.lon
            note.before.source = row.source
            n += 1
        if f.received >= row.last:
            row.last = f.received
            row.seen = f.seen
            row.lat = f.lat
            row.lon = f.lon
            row.source = source
            row.due = 0
            row.dirty = 1
    return n


class _Watched(NamedTuple):
    """A device, and what is expected of it. `setting` None: only that it is not one of many. `absent_us`: silent for so long it may be
    one of those; None: nobody asks."""

    device: str
    vehicle: Vehicle
    setting: RuleSetting | None
    movements: tuple[Movement, ...]
    absent_us: int | None


class _At(NamedTuple):
    """Metres, and whether it is in or near a gap in coverage, or at home."""

    x: float
    y: float
    coverless: bool
    parked: bool


def _lengths(watched: _Watched) -> Iterator[int]:
    """How long a pause has to be for any rule."""
    if watched.setting is not None:
        yield int(watched.setting.params["expected_within_us"])
    if watched.absent_us is not None:
        yield watched.absent_us


def _watched(plan: CompiledPlan, absent_us: Mapping[str, int], cells: Container[str] | None) -> dict[str, _Watched]:
    found = {}
    movements = movements_of_vehicles(plan)
    for vehicle in plan.vehicles.values():
        setting = plan.regions[vehicle.region].rules.get(RULE)
        if setting is not None and (setting.mode == "off" or (setting.roles and vehicle.role not in setting.roles)):
            setting = None
        absent = absent_us.get(vehicle.cell)
        if (setting is None and absent is None) or (cells is not None and vehicle.cell not in cells):
            continue
        mine = tuple(sorted(movements.get(vehicle.id, ()), key=lambda m: (m.starts_us, m.id)))
        for device in vehicle.devices:
            found[device] = _Watched(device, vehicle, setting, mine, absent)
    return found


def _floor(watched: Mapping[str, _Watched]) -> int:
    """No rule asks for shorter pauses."""
    return min((length for w in watched.values() for length in _lengths(w)), default=0)


def asks_more(before: CompiledPlan, after: CompiledPlan, cells: Container[str] | None) -> bool:
    """Does it watch devices, or pauses, that nobody has kept an eye on before? `cells`: those of the partition; None: all."""
    if before.vehicles is after.vehicles and before.regions is after.regions:
        return False
    old, new = (_watched(plan, Blackout(plan).silent_for_us, cells) for plan in (before, after))
    known = {device for vehicle in before.vehicles.values() for device in vehicle.devices} if old else set()
    return bool(new.keys() - known) or (bool(new) and _floor(new) < _floor(old))


class Silence:
    """The rule over one partition: a `Judge`. `cells`: those of the partition; None: all. Who lives in another one is heard there."""

    name = "silence"

    def __init__(
        self, plan: CompiledPlan, tables: Tables, horizon_us: int | None, cells: Container[str] | None = None
    ) -> None:
        self.plan = plan
        self.horizon_us = horizon_us
        self.blackout = Blackout(plan)
        self.watched = _watched(plan, self.blackout.silent_for_us, cells)
        self.on = bool(self.watched)
        self.dirty = False
        self._ids = sorted(tables.device_place, key=lambda d: tables.device_place[d][0]) if self.on else []
        self._place = {device: i for i, device in enumerate(self._ids)}
        self._heard: Array = np.zeros(len(self._ids), HEARD)
        self._expected = np.array([d in self.watched for d in self._ids], bool)
        self.floor_us = _floor(self.watched)
        self._pauses: dict[int, list[Pause]] = {}
        self._told: dict[int, Told] = {}
        self._sources: list[str] = []
        self._ranks: Array = np.zeros(0, np.int64)
        self._clock = Clock()
        self._ticked = False
        self._touched: set[int] = set()
        self._pending: set[int] = set()
        self._coverless = [a.polygon for a in plan.areas if a.kind in COVERLESS]
        self._parking = [a for a in plan.areas if a.kind in PARKING]
        self._places: dict[tuple[str, float, float], _At] = tables.heard_at
        self._notes: Array = np.zeros(0, _NOTE)

    # ---- taking in ------------------------------------------------------------------------------------------------------

    def take(self, batch: ObservationBatch, fixes: Array | None, use: Array | None) -> None:
        if fixes is not None and use is not None:
            self.hear(fixes, use, batch.source)
        for placed in batch.others:
            if isinstance(placed.what, Tick):
                self.tick(placed.what)

    def hear(self, fixes: Array, use: Array, source: str) -> None:
        """Fixes of one source, as rows; those of strangers are passed over."""
        place = self._source(source)
        if len(self._notes) < len(fixes):
            self._notes = np.zeros(2 * len(fixes), _NOTE)
        n = _note(self._heard, fixes, use, place, self._ranks, self.floor_us, self._clock.now_us, self._notes)
        self.dirty = True
        if not n:
            return
        received, pauses = fixes["received"], self._heard["pauses"]
        for device, what, fix, (_, last, seen, _, lat, lon, by, *_) in self._notes[:n].tolist():
            self._touched.add(device)
            if what == PAUSED:
                pause = Pause(last, received.item(fix), seen, lat, lon, self._sources[by])
                bisect.insort(self._pauses.setdefault(device, []), pause)
            elif what == LATE:
                seen, lat, lon = (fixes[name].item(fix) for name in ("seen", "lat", "lon"))
                self._part(device, Pause(received.item(fix), 0, seen, lat, lon, source))
            pauses[device] = len(self._pauses.get(device, ()))

    def _source(self, name: str) -> int:
        """Its place among the sources."""
        if name not in self._sources:
            self._sources.append(name)
            self._ranks = np.argsort(np.argsort(np.array(self._sources)))
        return self._sources.index(name)

    def _part(self, device: int, at: Pause) -> None:
        """A live fix that arrives after younger ones; `at` is the pause that would begin with it."""
        row = self._heard[device]
        pauses = self._pauses.setdefault(device, [])
        row["dirty"] = 1
        if at.from_us < row["first"]:
            if row["first"] - at.from_us > self.floor_us:
                pauses.insert(0, msgspec.structs.replace(at, to_us=int(row["first"])))
            row["first"] = at.from_us
            return
        for i, whole in enumerate(pauses):
            if whole.from_us == at.from_us and _where(at) > _where(whole):
                pauses[i] = msgspec.structs.replace(at, to_us=whole.to_us)
            elif whole.from_us < at.from_us < whole.to_us:
                parts = (
                    msgspec.structs.replace(whole, to_us=at.from_us),
                    msgspec.structs.replace(at, to_us=whole.to_us),
                )
                pauses[i : i + 1] = [p for p in parts if p.to_us - p.from_us > self.floor_us]
                return

    def tick(self, tick: Tick) -> None:
        if self._clock.tick(tick):
            self._touched.update(self._pauses, np.flatnonzero(self._heard["silent"]).tolist())
            self._heard["due"] = 0
        self._ticked = True

    # ---- judging --------------------------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """What is now to be told that was not, and what was told and no longer holds."""
        if self._ticked:
            self._ticked = False
            self._touched.update(self._due(), self._pending)
        elif not self._touched and not self.blackout.settings:
            return []
        out: list[Change] = []
        for device in sorted(self._touched):
            out += self._differences(device)
        self._touched.clear()
        if self.blackout.settings:
            out += self.blackout.changes(self._clock.now_us, self._oldest_us)
        return out

    def _due(self) -> list[int]:
        """Whose pause may now be too long."""
        rows = self._heard
        due = (rows["last"] != 0) & self._expected
        due &= np.maximum(rows["last"] + self.floor_us, rows["due"]) <= self._clock.now_us
        found: list[int] = np.flatnonzero(due).tolist()
        return found

    def _differences(self, device: int) -> Iterator[Change]:
        self._forget(device)
        watched = self.watched.get(self._ids[device])
        if watched is None:
            return
        self._pending.discard(device)
        row = self._heard[device]
        row["due"], row["silent"] = 1 << 62, 0
        if watched.absent_us is not None:
            absences = list(self._absences(device, watched, watched.absent_us))
            self.blackout.see(watched.vehicle.cell, watched.device, absences, self._oldest_us)
            row["silent"] = any(a.to_us is None for a in absences)
        if watched.setting is not None:
            yield from self._silences(device, watched, watched.setting)
        row["dirty"] = 1
        self.dirty = True

    def _silences(self, device: int, watched: _Watched, setting: RuleSetting) -> Iterator[Change]:
        within_us = int(setting.params["expected_within_us"])
        after = [_episode(watched, setting, *too_long) for too_long in self._too_long(device, watched, within_us)]
        cell, now_us = watched.vehicle.cell, self._clock.now_us
        told, news = retold(self._told.get(device), after, setting.mode, now_us, cell, self.plan.hash)
        for change in news:
            if change.kind == "begin":  # how long it lasted is known at its end
                change = msgspec.structs.replace(change, episode=msgspec.structs.replace(change.episode, peak=None))
            yield change
        if any(e.ended_at_us is None for e in after):
            self._heard[device]["silent"] = 1
        if told.revision:
            self._told[device] = told

    def _absences(self, device: int, watched: _Watched, absent_us: int) -> Iterator[Absence]:
        for began_us, pause, ended_us in self._too_long(device, watched, absent_us):
            at = self._at(watched, pause.lat, pause.lon)
            if not (at.parked or at.coverless):
                vehicle, xy = watched.vehicle.id, (at.x, at.y)
                yield Absence(began_us, ended_us, pause.from_us, vehicle, watched.device, xy, pause.lat, pause.lon)

    def _too_long(self, device: int, watched: _Watched, within_us: int) -> Iterator[tuple[int, Pause, int | None]]:
        """Pauses that are longer than that, with the instant at which they became so, and their end."""
        row = self._heard[device]
        for pause in self._pauses.get(device, ()):
            deadline = self._deadline(watched, pause, within_us)
            if deadline is None or deadline >= pause.to_us:
                continue
            if deadline <= self._clock.time(pause.source):
                yield deadline, pause, pause.to_us
            else:
                self._pending.add(device)  # its fix came before the Tick that knows
        _, last, seen, _, lat, lon, by, *_ = row.item()
        if last:
            source = self._sources[by]
            now_us = self._clock.time(source)
            pause = Pause(last, now_us, seen, lat, lon, source)
            deadline = self._deadline(watched, pause, within_us)
            if deadline is not None and deadline <= now_us:
                yield deadline, pause, None
            elif deadline is not None:
                row["due"] = min(int(row["due"]), deadline)

    def _deadline(self, watched: _Watched, pause: Pause, within_us: int) -> int | None:
        """When this pause is longer than what may be expected there; None: never."""
        at = self._at(watched, pause.lat, pause.lon)
        if at.coverless and watched.setting is not None:
            within_us = max(within_us, int(watched.setting.params["reemerge_within_us"]))
        if not at.parked:
            return self._clock.awake(pause.source, pause.from_us, within_us)
        # at home a tracker may be off: until a movement needs it
        for movement in watched.movements:
            deadline = self._clock.awake(pause.source, max(pause.from_us, movement.starts_us), within_us)
            if pause.from_us < movement.ends_us and deadline < movement.ends_us:
                return deadline
        return None

    def _at(self, watched: _Watched, lat: float, lon: float) -> _At:
        """Where a tracker was last heard, as far as that says how long it may be silent. Kept: a pause is judged often."""
        key = watched.device, lat, lon
        known = self._places.get(key)
        if known is not None:
            return known
        margin_m = COVERAGE_MARGIN_M if watched.setting is None else watched.setting.params["coverage_margin_m"]
        x, y = self.plan.projection.to_xy([lat], [lon])
        here = shapely.Point(float(x[0]), float(y[0]))
        coverless = any(polygon.distance(here) <= margin_m for polygon in self._coverless)
        parked = any(
            (area.id in watched.vehicle.home_areas or area.kind == "depot")
            and area.polygon.distance(here) <= PARKED_WITHIN_M
            for area in self._parking
        )
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        at = self._places[key] = _At(here.x, here.y, coverless, parked)
        return at

    @property
    def _oldest_us(self) -> int:
        """What was over by then is forgotten."""
        return 0 if self.horizon_us is None else self._clock.trusted_us - 2 * max(self.horizon_us, GONE_US)

    def _forget(self, device: int) -> None:
        oldest = self._oldest_us
        pauses = self._pauses.get(device)
        if not pauses or pauses[0].to_us >= oldest:
            return
        self._pauses[device] = [p for p in pauses if p.to_us >= oldest]
        told = self._told.get(device)
        if told:
            kept = [e for e in told.episodes if e.ended_at_us is None or e.ended_at_us >= oldest]
            self._told[device] = Told(told.revision, kept)

    def held(self) -> Iterator[Held]:
        for place, told in self._told.items():
            watched = self.watched.get(self._ids[place])
            if watched is not None and watched.setting is not None:
                yield from (Held(e, watched.setting.mode, watched.vehicle.cell) for e in told.episodes)
        yield from self.blackout.held()

    # ---- keeping --------------------------------------------------------------------------------------------------------

    def dump(self, whole: bool) -> bytes:
        rows = self._heard
        which = np.flatnonzero(rows["last"] if whole else rows["dirty"])
        rows["dirty"] = 0
        self.dirty = False
        ids = {int(i): self._ids[i] for i in which}
        kept = Kept(
            devices=list(ids.values()),
            rows=rows[which].tobytes(),
            sources=list(self._sources),
            pauses={name: self._pauses[i] for i, name in ids.items() if self._pauses.get(i)},
            told={name: self._told[i] for i, name in ids.items() if i in self._told},
            listening=self._clock.dump(),
            dark=dict(self.blackout.told),
            trusted_us=self._clock.trusted_us,
        )
        return _encode(kept)

    def restore(self, kept: bytes) -> None:
        self._restore(_decode(kept))

    def disown(self) -> None:
        """What was told of a device when it was another vehicle's ends with the stretch of the version before."""
        for place, told in self._told.items():
            watched = self.watched.get(self._ids[place])
            own = [e for e in told.episodes if watched is not None and e.object == watched.vehicle.id]
            self._told[place] = Told(told.revision, own)

    def doubt(self, since_us: int) -> None:
        """Taken over from a plan that allowed longer pauses: between two that it kept there may be shorter ones. All of that, since then, is one
        pause until each stamp has been heard once more and has parted it."""
        for device in np.flatnonzero(self._heard["first"]).tolist():
            row, known = self._heard[device], self._pauses.get(device, [])
            starts = [int(row["first"]), *(p.to_us for p in known)]
            ends = [*(p.from_us for p in known), int(row["last"])]
            spans = [(max(a, since_us), b) for a, b in zip(starts, ends, strict=True)]
            unknown = [Pause(a, b, 0, np.nan, np.nan, "") for a, b in spans if b - a > self.floor_us]
            self._pauses[device] = sorted([*known, *unknown])
            row["pauses"] = len(self._pauses[device])

    def _restore(self, kept: Kept) -> None:
        self._clock.restore(kept.listening, kept.trusted_us)
        self.blackout.told.update(kept.dark)
        for name in kept.sources:
            self._source(name)
        for name, row in zip(kept.devices, np.frombuffer(kept.rows, HEARD), strict=True):
            place = self._place.get(name)
            if place is None:
                continue
            self._heard[place] = row
            self._heard[place]["source"] = self._sources.index(kept.sources[row["source"]])
            self._heard[place]["due"] = 0  # under another plan it may be earlier
            for mine, theirs in ((self._pauses, kept.pauses), (self._told, kept.told)):
                _take(mine, place, theirs, name)
            self._heard[place]["pauses"] = len(self._pauses.get(place, ()))
            self._touched.add(place)


def _where(p: Pause) -> tuple[int, float, float, str]:
    """Of several that begin in one instant, the greatest counts."""
    return p.seen_us, p.lon, p.lat, p.source


def _take(mine: dict[int, Any], place: int, theirs: Mapping[str, Any], name: str) -> None:
    if name in theirs:
        mine[place] = theirs[name]
    else:
        mine.pop(place, None)


def _episode(watched: _Watched, setting: RuleSetting, began_us: int, pause: Pause, ended_us: int | None) -> Episode:
    return Episode(
        id=episode_id(RULE, watched.device, watched.vehicle.id, began_us),
        rule=RULE,
        subject=watched.device,
        object=watched.vehicle.id,
        began_at_us=began_us,
        ended_at_us=ended_us,
        severity=setting.severity,
        peak=None if ended_us is None else round((ended_us - pause.from_us) / 1e6, 1),
        evidence={
            "last_heard_at": format_us(pause.from_us),
            "lat": round(pause.lat, 6),
            "lon": round(pause.lon, 6),
        },
    )

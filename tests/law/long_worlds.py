"""Worlds of hours, and plans that know hours: devices report seldom or are silent for long, what they kept comes just before the horizon
or beyond it, Ticks stop, convoys set out and arrive. The worlds of `worlds` and `switches` are too short for anything to be given up."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from pipeline.model.observation import Fix, Flag, Press, Reading, Tick
from pipeline.plan.model import CompiledPlan, Schedule, Sensor
from tests.law.ground import CAMP, LAKE, ROAD, place, the_plan
from tests.law.worlds import SECOND, SOURCES, START_US

HOUR_S = 3600.0
WEEK_S = 7 * 86_400
TICK_S = 10  # as ingest has them; by rarer ones nobody would be listening
GAP_S, LONG_GAP_S = 1500.0, 9000.0
LATE_S = 60
CONVOY = ("e1-0", "p1-0", "e2-0")
PATROL = "w1-0"
SENSORS = (
    ("gate-0", "gate-d-0", "door", ("closed", "open")),
    ("pir-0", "pir-d-0", "motion", ("clear", "detected")),
    ("smoke-0", "smoke-d-0", "smoke", ("clear", "detected")),
)
_EAST = np.array([point[0] for point in ROAD])
_NORTH = np.array([point[1] for point in ROAD])
_ALONG = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(_EAST), np.diff(_NORTH)))])

What = Fix | Reading | Press | Tick
Stretch = tuple[float, float]


def _us(at_s: float) -> int:
    return START_US + round(at_s * SECOND)


# ---- the plans -----------------------------------------------------------------------------------------------------------


def _with(plan: CompiledPlan, rules: str | tuple[str, ...], **seconds: float) -> CompiledPlan:
    """Durations of these rules, in seconds."""
    region = plan.regions["trial"]
    params = {f"{name}_us": value * SECOND for name, value in seconds.items()}
    changed = {
        name: replace(rule, params={**rule.params, **params}) if name.startswith(rules) else rule
        for name, rule in region.rules.items()
    }
    return replace(plan, regions={"trial": replace(region, rules=changed)})


def _hours_of_week(from_h: float, until_h: float) -> tuple[int, int]:
    monday_s = START_US // SECOND + 3 * 86_400
    return int(monday_s + from_h * HOUR_S) % WEEK_S, int(monday_s + until_h * HOUR_S) % WEEK_S


@functools.cache
def plans() -> tuple[CompiledPlan, ...]:
    """One as the ground has it; one whose movements and schedules begin and end; one that waits longer than a short horizon."""
    base = the_plan((0,))
    smoke = Sensor("smoke-0", "trial", "c-0", {"en": "Smoke"}, "smoke", "camp-0", "smoke-d-0")
    base = replace(base, sensors={**base.sensors, "smoke-0": smoke})
    groups = ("convoy.separated", "escort.missing")

    timed = _with(base, "device.silent", expected_within=300)
    timed = _with(timed, "area.blackout", silent_for=200, within=600)
    timed = _with(timed, "sensor.alarm", confirm_within=300, reset_for=60, reset_after=900)
    timed = _with(timed, "sensor.disagrees", **{"for": 200, "reset_for": 60, "reset_after": 900})
    timed = _with(timed, groups, stale_after=300, min_duration=120)
    windows = ((0.3, 0.9), (1.0, 1.8), (1.9, 60.0))
    nights = Schedule((_hours_of_week(0.4, 1.2), _hours_of_week(1.6, 2.2)), 0)
    timed = replace(
        timed,
        movements=tuple(
            replace(base.movements[0], id=f"m-{n}", starts_us=_us(from_h * HOUR_S), ends_us=_us(until_h * HOUR_S))
            for n, (from_h, until_h) in enumerate(windows)
        ),
        sensors={k: replace(s, schedule=s.schedule and nights) for k, s in timed.sensors.items()},
        areas=tuple(
            replace(a, rules=tuple(replace(r, schedule=nights, crossing_us=900 * SECOND) for r in a.rules))
            for a in timed.areas
        ),
    )

    patient = _with(base, "device.silent", expected_within=1800)
    patient = _with(patient, "area.blackout", silent_for=900, within=1800)
    patient = _with(patient, "sensor.alarm", confirm_within=600, reset_for=300, reset_after=3600)
    patient = _with(patient, "sensor.tamper", reset_for=300, reset_after=7200)
    patient = _with(patient, "sensor.disagrees", **{"for": 900, "reset_for": 300, "reset_after": 3600})
    patient = _with(patient, groups, stale_after=600, min_duration=300)
    patient = replace(
        patient,
        areas=tuple(replace(a, kind="home" if a.id.startswith("camp") else "coverage_gap") for a in patient.areas),
        vehicles={k: replace(v, home_areas=("camp-0",)) for k, v in patient.vehicles.items()},
    )
    return replace(base, hash="long base"), replace(timed, hash="long timed"), replace(patient, hash="long patient")


# ---- the worlds ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    source: str
    what: What

    @property
    def at_us(self) -> int:
        return self.what.at_us if isinstance(self.what, Tick) else self.what.received_at_us


@dataclass
class World:
    """What is drawn for one, and what is said in it."""

    dice: random.Random
    seconds: float
    horizon_s: int
    whole: bool  # the devices know no parts of a second
    dark: list[Stretch] = field(default_factory=list)  # nobody is heard
    said: list[Said] = field(default_factory=list)

    def phases(self) -> Iterator[tuple[float, float, float]]:
        """From, until, and how often a device reports then. One in three is never heard again at some time."""
        dice, at_s = self.dice, 0.0
        until_s = min(1.0, dice.uniform(0.3, 1.5) if dice.random() < 0.3 else 1.0) * self.seconds
        while at_s < until_s:
            every_s = dice.choice((20, 30, 60, 150, 400, 900, 1800, 0, 0))
            lasts_s = dice.choice((200, 600, 1800, 3600)) if every_s else dice.choice((90, 300, 1000, 4000))
            if every_s:
                yield at_s, min(at_s + lasts_s, until_s), every_s
            at_s += lasts_s

    def downs(self) -> list[Stretch]:
        """When a device keeps what it sees: some of it comes just before the horizon."""
        dice = self.dice
        found, at_s = [], dice.uniform(0, self.seconds / 3)
        while at_s < self.seconds:
            lasts_s = dice.choice((20, 60, 200, 0.5 * self.horizon_s, 0.97 * self.horizon_s))
            found.append((at_s, at_s + lasts_s))
            at_s += lasts_s + dice.uniform(60, self.seconds / 3)
        return found

    def arrives_s(self, seen_s: float, downs: Sequence[Stretch]) -> float:
        dice = self.dice
        up_s = next((until for start, until in downs if start <= seen_s < until), None)
        if up_s is not None:
            return min(up_s + dice.uniform(0, 2), seen_s + self.horizon_s - 0.001)
        chance = dice.random()
        if chance < 0.02:
            return seen_s + dice.uniform(1, self.horizon_s * 0.999)
        if chance < 0.024:
            return seen_s + self.horizon_s * dice.uniform(1.01, 4)
        return seen_s + dice.choice((-1.0, 0.0, 0.3, 1.0, 2.5, 8.0))

    def flags(self, seen_s: float, received_s: float) -> int:
        """As normalise has them."""
        found = Flag.LATE if received_s - seen_s > LATE_S else Flag(0)
        return int(found | Flag.BEYOND_HORIZON if received_s - seen_s > self.horizon_s else found)

    def instants(self, uneven: float) -> Iterator[tuple[str, float]]:
        """Source and instant of what one device says, which now and then speaks through another source."""
        dice = self.dice
        source = dice.choice(SOURCES)
        for from_s, until_s, every_s in self.phases():
            source = dice.choice(SOURCES) if dice.random() < 0.3 else source
            at_s = from_s + dice.uniform(0, min(every_s, 20))
            while at_s < until_s:
                yield source, float(int(at_s)) if self.whole else round(at_s, 2)
                at_s += every_s * dice.uniform(1 - uneven, 1 + uneven)


def _positions_of_convoy(world: World) -> Iterator[Callable[[float], tuple[float, float]]]:
    """One after another along the road. It stands, turns round; each falls back for a while, and leaves the road."""
    dice = world.dice
    every_s = 30
    along_m, speed_mps = dice.uniform(300, 3000), dice.choice((0.0, 4.0, 8.0, 8.0, -8.0))
    steps = np.arange(0, world.seconds + every_s, every_s)
    lead = []
    for _ in steps:
        if dice.random() < 0.05:
            speed_mps = dice.choice((0.0, 0.0, 4.0, 8.0, 8.0, -8.0, -4.0))
        along_m = min(9000.0, max(100.0, along_m + speed_mps * every_s))
        if along_m in (9000.0, 100.0):
            speed_mps = -speed_mps
        lead.append(along_m)
    for number in range(len(CONVOY)):
        behind, behind_m = [], 0.0
        for _ in steps:
            behind_m = dice.choice((0.0, 0.0, 0.0, 200.0, 400.0, 900.0)) if dice.random() < 0.015 else behind_m
            behind.append(behind_m)
        row = np.array(lead) - np.array(behind) - 120.0 * number

        def where(at_s: float, row: np.ndarray[tuple[int], np.dtype[np.float64]] = row) -> tuple[float, float]:
            along_m = float(np.interp(at_s, steps, row)) + dice.gauss(0, 3)
            off_m = dice.uniform(150, 800) if dice.random() < 0.01 else 0.0
            return float(np.interp(along_m, _ALONG, _EAST)), float(np.interp(along_m, _ALONG, _NORTH)) - off_m

        yield where


def _positions_of_patrol(world: World) -> Callable[[float], tuple[float, float]]:
    """Half of the way at a time, to the lake, the camp, the road, or off it."""
    dice = world.dice
    aims = (LAKE[:2], CAMP[:2], (400.0, -300.0), (1400.0, -600.0), (900.0, -335.0))
    at = [400.0, -400.0]
    aim = aims[2]

    def where(at_s: float) -> tuple[float, float]:
        nonlocal aim
        aim = dice.choice(aims) if dice.random() < 0.15 else aim
        at[:] = [at[0] + 0.5 * (aim[0] - at[0]), at[1] + 0.5 * (aim[1] - at[1])]
        return at[0], at[1]

    return where


def _drive(world: World, vehicle: str, device: str, where: Callable[[float], tuple[float, float]]) -> Iterator[Said]:
    """What a device sees of its vehicle; some of it comes twice, and some instants have two fixes."""
    dice, downs = world.dice, world.downs()
    for seq, (source, seen_s) in enumerate(world.instants(0.2)):
        if any(start <= seen_s < until for start, until in world.dark) and dice.random() < 0.98:
            continue
        east_m, north_m = where(seen_s)
        lat, lon = place(0, east_m + dice.gauss(0, 3), north_m + dice.gauss(0, 3))
        received_s = world.arrives_s(seen_s, downs)
        fix = Fix(
            vehicle=vehicle, device=device, seen_at_us=_us(seen_s), received_at_us=_us(received_s), lat=round(lat, 7), lon=round(lon, 7),
            speed_mps=dice.choice((0.0, 3.0, 8.0)), accuracy_m=dice.choice((5.0, 5.0, 5.0, 30.0)), seq=seq, body=dice.getrandbits(60),
            flags=world.flags(seen_s, received_s),
        )  # fmt: skip
        yield Said(source, fix)
        again_s = received_s + dice.uniform(0.5, world.horizon_s * 0.3)
        if dice.random() < 0.02 and again_s - seen_s <= world.horizon_s:
            flags = world.flags(seen_s, again_s)
            yield Said(source, msgspec.structs.replace(fix, received_at_us=_us(again_s), flags=flags))
        if dice.random() < 0.01:
            other = {"seq": seq + 100_000, "body": dice.getrandbits(60), "lat": fix.lat + 0.0003}
            yield Said(source, msgspec.structs.replace(fix, **other))


def _site(world: World) -> Iterator[Said]:
    """Sensors, some of which never change, and lids that somebody opens."""
    dice = world.dice
    for sensor, device, kind, words in SENSORS:
        downs, on, never = world.downs(), False, dice.random() < 0.2
        for seq, (source, seen_s) in enumerate(world.instants(0.9)):
            on = not on if dice.random() < 0.6 else on
            what, value = kind, words[on or never]
            if dice.random() < 0.1:
                what, value = "tamper", dice.choice(("clear", "detected"))
            received_s = world.arrives_s(seen_s, downs)
            reading = Reading(
                sensor=sensor, what=what, value=value, seen_at_us=_us(seen_s), received_at_us=_us(received_s), device=device,
                seq=seq, body=dice.getrandbits(60), flags=world.flags(seen_s, received_s),
            )  # fmt: skip
            yield from [Said(source, reading)] * (2 if dice.random() < 0.02 else 1)


def _presses(world: World) -> Iterator[Said]:
    for seq in range(4):
        seen_s = world.dice.uniform(0, world.seconds)
        received_us = _us(world.arrives_s(seen_s, ()))
        press = Press(
            subject=PATROL, what="sos", seen_at_us=_us(seen_s), received_at_us=received_us, device=PATROL, seq=seq, body=1
        )  # fmt: skip
        yield from [Said(SOURCES[0], press)] * world.dice.choice((1, 2))


def _ticks(world: World, longest_gap_s: float) -> Iterator[Said]:
    """Of each source, which is gone for a while, and whose clock is in doubt for another."""
    dice = world.dice
    for number, source in enumerate(SOURCES):
        gaps, at_s = [], dice.uniform(0, world.seconds)
        while at_s < world.seconds:
            lasts_s = dice.choice((20, 60, 300, longest_gap_s)) * dice.uniform(0.5, 1)
            gaps.append((at_s, at_s + lasts_s))
            at_s += lasts_s + dice.uniform(300, world.seconds)
        begins = [dice.uniform(0, world.seconds) for _ in range(2)]
        doubts = [(begin, begin + dice.choice((5, 90, 600))) for begin in begins]
        for tick_s in range(number, int(world.seconds) + 2 * LATE_S, TICK_S):
            if not any(start <= tick_s < until for start, until in gaps):
                trusted = not any(start <= tick_s < until for start, until in doubts)
                yield Said(source, Tick(source=source, at_us=_us(tick_s), clock_trusted=trusted))


def world(number: int, hours: float = 0.0) -> tuple[CompiledPlan, World]:
    """In the order in which it comes in. `hours`: 0: drawn."""
    dice = random.Random(f"long {number}")
    plan = plans()[dice.choice((0, 1, 1, 2))]
    long_gap = number % 5 == 4
    seconds = (hours or (3.0 if long_gap else dice.choice((1.5, 1.5, 2.0)))) * HOUR_S
    made = World(dice, seconds, dice.choice((300, 300, 600, 1200)), dice.random() < 0.5)
    begins = [dice.uniform(0, seconds) for _ in range(2)]
    made.dark = [(begin, begin + dice.choice((100, 400, 1500, 4000))) for begin in begins]
    ways = dict(zip(CONVOY, _positions_of_convoy(made), strict=True)) | {PATROL: _positions_of_patrol(made)}
    for vehicle, where in ways.items():
        for device in plan.vehicles[vehicle].devices:
            made.said += _drive(made, vehicle, device, where)
    made.said += [*_site(made), *_presses(made), *_ticks(made, LONG_GAP_S if long_gap else GAP_S)]
    made.said.sort(key=lambda one: one.at_us)
    return plan, made

"""The whole fleet of the demonstration plan on an ordinary day: the ground against which every story is told.

Convoy Alpha climbs to Dasu, Bravo goes down to Mansehra, supplies run between the yards, patrols go to and fro, the
rest is parked at home. Nobody does anything that a person would want to be told of; after some hours everybody is
parked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import shapely

from simulators.fleet import Journey, Track, follow
from simulators.gps import GpsQuality
from simulators.sensors import SensorSpec
from simulators.story import Actor, device_of
from simulators.world import Path, World

ROAD = "n-35"
ALPHA = ("e-1", "c-1", "c-2", "c-3", "e-2")
BRAVO = ("e-3", "c-4", "c-5", "e-4")
BUMPER_M = 22.0  # from front to front at a stand
HEADWAY_S = 4.0
UNDER_WAY_S = 120.0  # convoys set out this long before a story begins, so that all members roll when it does
PATROLS: dict[str, tuple[float, float]] = {
    f"p-{n}": (low, low + 18.0) for n, low in zip(range(1, 17), np.linspace(44.0, 350.0, 16), strict=True)
}
PHONES = {"e-3": "e-3-phone"}  # its tracker is in the workshop: the phone speaks OwnTracks

Actors = dict[str, Actor]


def still(x_m: float, y_m: float) -> Track:
    """Parked for good."""
    path = Path(np.array([0.0, 0.01]), np.array([x_m, x_m]), np.array([y_m, y_m + 0.01]), np.zeros(2))
    return Track(path, np.zeros(1), np.zeros(1), np.zeros(1))


def actor(world: World, vehicle: str, track: Track, quality: GpsQuality | None = None, **device: object) -> Actor:
    if vehicle in PHONES:
        device = {"device": PHONES[vehicle], **device}
    return Actor(device_of(world, vehicle, **device), track, quality or GpsQuality())


def parked_in(world: World, vehicle: str, area: str) -> Actor:
    """Somewhere well inside an area; where is the vehicle's own secret."""
    polygon = world.areas[area].polygon
    inner = polygon.buffer(-min(60.0, 0.25 * float(np.sqrt(polygon.area))))
    rng = world.rng("parked", vehicle)
    west, south, east, north = inner.bounds
    for _ in range(1000):
        x, y = rng.uniform(west, east), rng.uniform(south, north)
        if shapely.contains_xy(inner, x, y):
            return actor(world, vehicle, still(x, y))
    return actor(world, vehicle, still(*world.centre(area)))


def patrol(world: World, vehicle: str, from_km: float, to_km: float, hours: float = 8.0) -> Actor:
    """To and fro, at a speed that lets one see, with a rest at either end."""
    rng = world.rng("patrol", vehicle)
    low, high = world.at_km(ROAD, from_km), min(world.at_km(ROAD, to_km), world.roads[ROAD].path.length_m - 100.0)
    begin = rng.uniform(low, high)
    upwards = bool(rng.integers(0, 2))
    journey = Journey(world, ROAD, begin, begins_s=-rng.uniform(0, 600))
    for _ in range(int(hours * 3600 * 9.0 / (high - low)) + 1):
        journey.drive(high if upwards else low, rng.uniform(8.5, 11.0)).dwell(rng.uniform(90, 400))
        upwards = not upwards
    return actor(world, vehicle, journey.track())


def convoy(
    world: World, members: Sequence[str], from_km: float, drive: Callable[[Journey], Journey], *, downhill: bool = False
) -> dict[str, Track]:
    """The leader's drive, and the others behind it in order."""
    start = world.at_km(ROAD, from_km)
    leader = drive(Journey(world, ROAD, start, begins_s=-UNDER_WAY_S)).track()
    tracks = {members[0]: leader}
    for place, member in enumerate(members[1:], start=1):
        tracks[member] = follow(world, ROAD, leader, start, place * BUMPER_M, place * HEADWAY_S, downhill)
    return tracks


def to_dasu(journey: Journey, speed_mps: float = 12.5) -> Journey:
    """Up the road and into the camp."""
    return journey.into("dasu-camp", speed_mps)


def calm_fleet(world: World) -> Actors:
    """All vehicles of the plan, by id; a story replaces those that it is about."""
    out: Actors = {}
    alpha = convoy(world, ALPHA, 216.0, to_dasu)
    bravo = convoy(
        world, BRAVO, 176.0, lambda j: j.drive(world.chainage(ROAD, "mansehra-lines"), 12.5), downhill=True
    )  # fmt: skip
    for vehicle, track in {**alpha, **bravo}.items():
        out[vehicle] = actor(world, vehicle, track)
    for vehicle, area in {
        "e-5": "pattan-depot", "e-6": "dasu-camp", "e-8": "dasu-camp", "e-9": "pattan-depot", "e-10": "dasu-camp",
        "c-6": "pattan-depot", "c-7": "dasu-camp", "c-8": "dasu-camp", "c-9": "dasu-camp", "c-10": "dasu-camp",
        "c-11": "dasu-camp", "s-2": "besham-yard", "s-3": "pattan-depot",
    }.items():  # fmt: skip
        out[vehicle] = parked_in(world, vehicle, area)
    reserve = Journey(world, ROAD, world.at_km(ROAD, 255.0), begins_s=-60.0)
    out["e-7"] = actor(world, "e-7", reserve.drive(world.chainage(ROAD, "chilas-lines"), 13.0).track())
    supplies = Journey(world, ROAD, world.at_km(ROAD, 205.0), begins_s=-60.0)
    out["s-1"] = actor(world, "s-1", supplies.into("besham-yard", 12.0).track())
    for vehicle, (low, high) in PATROLS.items():
        out[vehicle] = patrol(world, vehicle, low, high)
    return out


GATES = ("dasu-gate-door", "pattan-gate-door")
SAYS = {"door": "door", "fence": "vibration", "pir": "motion"}  # what a kind of sensor speaks of; others of their kind
Events = tuple[tuple[float, str], ...]


def site_sensors(
    world: World, opened_s: tuple[float, ...] = (), events: Mapping[str, Events] | None = None
) -> tuple[SensorSpec, ...]:
    """The sensors of the plan, at rest but for `events` and the seconds at which the gates are opened for twenty."""
    by_gate = tuple((at_s + after, value) for at_s in opened_s for after, value in ((0.0, "open"), (20.0, "closed")))
    told = {**dict.fromkeys(GATES, by_gate), **(events or {})}
    out = []
    for sensor in world.plan.sensors.values():
        login = next(
            known.login for known in world.plan.logins.values() if sensor.device in (known.login, *known.devices)
        )
        what = SAYS.get(sensor.kind, sensor.kind)
        rest = "closed" if what == "door" else "clear"
        out.append(SensorSpec(login, sensor.device, sensor.id, what, rest, told.get(sensor.id, ()), heartbeat_s=300))
    return tuple(out)


def first_of(actors: Actors, vehicles: int | None) -> tuple[Actor, ...]:
    """The first so many, in the order of the plan. Raises ValueError when there are not as many."""
    if vehicles is not None and vehicles > len(actors):
        raise ValueError(f"the plan has {len(actors)} vehicles, not {vehicles}")
    return tuple(actors.values())[:vehicles]

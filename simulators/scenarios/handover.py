"""Over the pass and handed over at Besham: it strays on either side, by the corridor of the road that it is on.

Written down by hand: the rules are not asked. Car C-26 goes from Mingora to Pattan; Malakand leads it down N-90, whose km 55 is km 178 of
Hazara's N-35. At 0:44 it stands on N-90 for 18 s, which is nothing. It takes a wrong track, is outside Malakand's corridor (120 m) from
2:32 on and back within its narrower width (90 m) at 4:09. At 5:34 it passes the junction. On N-35 it stands in the open from 6:58 to 7:58.
From 9:07 on it is off the road once more, beyond Hazara's 150 m, and back within 110 m at 10:01. The coaches of convoy Delta come down
before it and go on to Pattan; Hazara's escorts wait at the halt: of them nothing is told.
"""

from __future__ import annotations

from pathlib import Path

from simulators.fleet import Journey, Track
from simulators.gps import GpsQuality
from simulators.scenarios.calm import BUMPER_M, HEADWAY_S, UNDER_WAY_S, actor, parked_in
from simulators.story import Actor, Cast, Expected, Story
from simulators.world import World

FROM, TO = "n-90", "n-35"
REPORTS_S = 5
OPEN = GpsQuality(gorge_m=7.0)
COACHES = ("c-21", "c-22", "c-23")
WAITING = ("e-7", "e-9")


def _car(world: World) -> Track:
    journey = Journey(world, FROM, world.at_km(FROM, 52.1), begins_s=-20.0)
    journey.drive_until(40.0, 11.0).dwell_until(62.0)
    journey.drive_until(135.0, 11.0).detour(left_m=300.0, along_m=200.0, speed_mps=11.0)
    journey.drive(world.roads[FROM].path.length_m, 11.0).onto(TO)
    journey.drive(world.at_km(TO, 178.8), 11.0).dwell(60.0)
    journey.drive(world.at_km(TO, 179.3), 11.0).detour(left_m=-320.0, along_m=250.0, speed_mps=11.0)
    return journey.drive(world.at_km(TO, 184.0), 11.0).track()


def _coaches(world: World) -> dict[str, Track]:
    """They are over the junction before the car is."""
    starts = world.at_km(FROM, 50.6)
    out = {}
    for place, member in enumerate(COACHES):
        journey = Journey(world, FROM, starts - place * BUMPER_M, begins_s=place * HEADWAY_S - UNDER_WAY_S)
        journey.drive(world.roads[FROM].path.length_m, 10.0).onto(TO)
        out[member] = journey.drive(world.at_km(TO, 186.0), 10.0).track()
    return out


def cast(world: World, vehicles: int | None) -> Cast:
    actors: dict[str, Actor] = {}
    for vehicle, track in {"c-26": _car(world), **_coaches(world)}.items():
        actors[vehicle] = actor(world, vehicle, track, OPEN, interval_s=REPORTS_S, phase_s=0)
    for vehicle in WAITING:
        actors[vehicle] = parked_in(world, vehicle, "besham-halt")
    if vehicles is not None and vehicles > len(actors):
        raise ValueError(f"the story has {len(actors)} vehicles, not {vehicles}")
    return Cast(tuple(actors.values())[:vehicles])


STORY = Story(
    name="handed-over",
    sentence="A car stands and strays on both sides of the border: it is told on both, once each.",
    seconds=660,
    cast=cast,
    captions=(
        (0, "Car C-26 comes down from the pass, led by Malakand, behind convoy Delta's coaches."),
        (44, "It stands for a moment, and goes on."),
        (152, "It takes a wrong track, still on Malakand's side."),
        (334, "At Besham it is handed over to Hazara."),
        (418, "It stands on the open road for a minute."),
        (547, "It leaves the road, on Hazara's side."),
    ),
    expected=(
        Expected("route.deviation", "c-26", FROM, began_at_s=152, ended_at_s=249, within_s=20),
        Expected("stop.unscheduled", "c-26", "", began_at_s=418, ended_at_s=478, within_s=25),
        Expected("route.deviation", "c-26", TO, began_at_s=547, ended_at_s=601, within_s=20),
    ),
    plan=Path("plans"),
)

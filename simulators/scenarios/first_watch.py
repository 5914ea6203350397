"""Within two minutes: a coach leaves the road, a pickup stops where nobody should, a car enters the quarry.

Written down by hand: the rules are not asked. Convoy Alpha (E-1, C-1, C-2, C-3, E-2) climbs at 45 km/h above Pattan.
At 0:40 the driver of C-1 takes the wrong track; at 0:55 he is outside the corridor (150 m), runs beside the road at
350 m, and is back within its narrower width (110 m) at 1:57. Pickup S-1 with supplies stands on the open road from
0:52 to 2:30. Car C-6 passes the fence of the quarry at 1:20, turns round inside without stopping, and is out again at
2:30.
"""

from __future__ import annotations

from simulators.fleet import Journey, Track
from simulators.gps import GpsQuality
from simulators.scenarios.calm import (
    ALPHA,
    BUMPER_M,
    ROAD,
    UNDER_WAY_S,
    actor,
    calm_fleet,
    convoy,
    first_of,
    site_sensors,
    to_dasu,
)
from simulators.story import Cast, Expected, Story
from simulators.world import World

REPORTS_S = 5  # whoever has a part in the story reports more often than the plan asks for
LEAVES_S = 40.0
OPEN = GpsQuality(gorge_m=7.0)  # the valley is wide here
STARTS_KM = 216.0


def _leader(journey: Journey) -> Journey:
    """The convoy slows down when its coach is gone, and goes on when it is back."""
    journey.drive_until(LEAVES_S + 10, 12.5).drive_until(150.0, 9.6)
    return to_dasu(journey)


def _coach(world: World) -> Track:
    journey = Journey(world, ROAD, world.at_km(ROAD, STARTS_KM) - 3 * BUMPER_M, begins_s=-UNDER_WAY_S)
    journey.drive_until(LEAVES_S, 12.5).detour(left_m=-350.0, along_m=300.0, speed_mps=13.0)
    return to_dasu(journey).track()


def _pickup(world: World) -> Track:
    journey = Journey(world, ROAD, world.at_km(ROAD, 224.0), begins_s=-62.0)
    journey.drive(world.at_km(ROAD, 222.6), 14.0).dwell_until(150.0)
    return journey.into("besham-yard", 12.0).track()


def _car(world: World) -> Track:
    """Up the quarry track, round inside, and back to Pattan."""
    quarry = world.areas["quarry-track"].polygon
    centre = quarry.centroid
    turn_off = world.chainage(ROAD, "quarry-track")
    x0, y0 = world.roads[ROAD].offset_point(turn_off, 0.0)
    away = ((centre.x - x0) ** 2 + (centre.y - y0) ** 2) ** 0.5
    ux, uy = (centre.x - x0) / away, (centre.y - y0) / away

    def point(along_m: float, left_m: float) -> tuple[float, float]:
        return x0 + ux * along_m - uy * left_m, y0 + uy * along_m + ux * left_m

    loop = [(away - 120, 30), (away - 40, 60), (away + 10, 20), (away - 10, -40), (away - 90, -50), (away - 170, -10)]
    journey = Journey(world, ROAD, turn_off - 60.0, begins_s=-12.0).drive(turn_off, 9.0)
    journey.go([point(*p) for p in loop], 9.5).back_on_road(turn_off - 20.0, 9.5)
    return journey.into("pattan-depot", 12.0).track()


def cast(world: World, vehicles: int | None) -> Cast:
    actors = calm_fleet(world)
    tracks = convoy(world, ALPHA, STARTS_KM, _leader)
    tracks |= {"c-1": _coach(world), "s-1": _pickup(world), "c-6": _car(world)}
    for vehicle, track in tracks.items():
        actors[vehicle] = actor(world, vehicle, track, OPEN, interval_s=REPORTS_S, phase_s=0)
    about = {vehicle: actors.pop(vehicle) for vehicle in (*ALPHA, "s-1", "c-6")}
    return Cast(first_of({**about, **actors}, vehicles), site_sensors(world))


STORY = Story(
    name="first-watch",
    sentence="Within two minutes a coach leaves the road, a pickup stops in the open, and a car enters the quarry.",
    seconds=240,
    cast=cast,
    captions=(
        (0, "Convoy Alpha climbs above Pattan, patrols are out, the rest is parked. All quiet."),
        (40, "Coach C-1 of convoy Alpha takes the wrong track."),
        (50, "Pickup S-1 stops on the open road; after half a minute that is worth telling."),
        (80, "Car C-6 passes the fence of the quarry."),
        (120, "Coach C-1 is back on the road."),
        (150, "Pickup S-1 goes on, and car C-6 is out of the quarry. Nobody has acknowledged anything yet: try it."),
        (240, "The story is told; traffic goes on."),
    ),
    expected=(
        Expected("route.deviation", "c-1", ROAD, began_at_s=55, ended_at_s=117, within_s=20),
        Expected("stop.unscheduled", "s-1", "", began_at_s=50, ended_at_s=150, within_s=40),
        Expected("area.forbidden", "c-6", "quarry-track", began_at_s=80, ended_at_s=150, within_s=15),
    ),
)

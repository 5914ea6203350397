"""What happens where no signal is becomes known later, and is dated when it happened.

Convoy Alpha drives into the gorge above Pattan (km 229.5 to 234.5, no coverage). Inside it coach C-2 leaves the road:
it is outside the corridor from 4:57 on and back at 6:12. Pickup S-1, coming the other way, stands on the open road
from 4:52 to 9:00. Nobody hears of it before they are out of the gorge: the coach at 9:21, the pickup at 13:25.
"""

from __future__ import annotations

from simulators.fleet import Journey, Track
from simulators.scenarios.calm import ALPHA, BUMPER_M, ROAD, UNDER_WAY_S, actor, calm_fleet, convoy, first_of, to_dasu
from simulators.story import Cast, Expected, Story
from simulators.world import World

STARTS_KM = 227.0


def _coach(world: World) -> Track:
    journey = Journey(world, ROAD, world.at_km(ROAD, STARTS_KM) - 4 * BUMPER_M, begins_s=-UNDER_WAY_S)
    journey.drive_until(280.0, 12.0).detour(left_m=350.0, along_m=250.0, speed_mps=12.0)
    return to_dasu(journey, 12.0).track()


def _leader(journey: Journey) -> Journey:
    return to_dasu(journey.drive_until(290.0, 12.0).drive_until(400.0, 8.5), 12.0)


def _pickup(world: World) -> Track:
    journey = Journey(world, ROAD, world.at_km(ROAD, 235.7), begins_s=0.0)
    journey.drive_until(288.0, 11.0, backwards=True).dwell_until(540.0)
    return journey.into("besham-yard", 12.0).track()


def cast(world: World, vehicles: int | None) -> Cast:
    actors = calm_fleet(world)
    tracks = convoy(world, ALPHA, STARTS_KM, _leader)
    tracks |= {"c-2": _coach(world), "s-1": _pickup(world)}
    for vehicle, track in tracks.items():
        actors[vehicle] = actor(world, vehicle, track)
    about = {vehicle: actors.pop(vehicle) for vehicle in (*ALPHA, "s-1")}
    return Cast(first_of({**about, **actors}, vehicles))


STORY = Story(
    name="gorge-backlog",
    sentence="A coach leaves the road and a pickup stops where no signal is: told when they come out, dated right.",
    seconds=1200,
    cast=cast,
    captions=(
        (0, "Convoy Alpha is about to enter the gorge without coverage."),
        (280, "In the gorge, unseen, coach C-2 takes a wrong track and pickup S-1 stops."),
        (561, "The convoy is out of the gorge and its trackers send what they kept."),
    ),
    expected=(
        Expected("route.deviation", "c-2", ROAD, began_at_s=297, ended_at_s=372, within_s=30),
        Expected("stop.unscheduled", "s-1", "", began_at_s=292, ended_at_s=540, within_s=50),
    ),
)

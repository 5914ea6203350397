"""An hour in which nothing happens: forty vehicles, noise, tea, a traffic jam, a gorge. Whatever is told is a false
alarm.

Bravo has tea at Besham halt and Chattar Plain; Alpha waits for a road crew at Pattan and drives through the gorge
without coverage; supplies crawl through a jam; parked vehicles drift between the walls; receivers throw an outlier
now and then.
"""

from __future__ import annotations

from dataclasses import replace

from simulators.fleet import Journey
from simulators.gps import GpsQuality
from simulators.scenarios.calm import ALPHA, BRAVO, ROAD, actor, calm_fleet, convoy, first_of, site_sensors, to_dasu
from simulators.story import Cast, Expected, Story
from simulators.world import World

NOISY = GpsQuality(clear_m=5.0, gorge_m=18.0, outlier_share=0.004)

FAIR = GpsQuality(
    gorge_m=7.0
)  # a good receiver: with half a minute's limit, a jam in a gorge is a stop to anybody else


def _bravo(world: World, journey: Journey) -> Journey:
    """Tea at the halt, then down to Chattar Plain and tea again."""
    journey.drive(world.chainage(ROAD, "besham-halt"), 10.0).dwell(720.0)
    journey.drive(world.chainage(ROAD, "chattar-halt"), 12.5).dwell(900.0)
    return journey.drive(world.chainage(ROAD, "mansehra-lines"), 12.5)


def _supplies(world: World) -> Journey:
    rng = world.rng("jam", "s-1")
    journey = Journey(world, ROAD, world.at_km(ROAD, 205.0), begins_s=-60.0)
    journey.drive(world.at_km(ROAD, 196.0), 12.0).jam(-1500.0, rng)
    return journey.into("besham-yard", 12.0)


def cast(world: World, vehicles: int | None) -> Cast:
    actors = calm_fleet(world)
    tracks = convoy(world, BRAVO, 181.0, lambda journey: _bravo(world, journey), downhill=True)
    tracks |= convoy(world, ALPHA, 216.0, to_dasu)
    tracks["s-1"] = _supplies(world).track()
    for vehicle, track in tracks.items():
        actors[vehicle] = actor(world, vehicle, track)
    return Cast(
        first_of({v: replace(a, quality=NOISY) for v, a in actors.items()}, vehicles),
        site_sensors(world, (700.0, 2400.0)),
    )


NOTHING: tuple[Expected, ...] = ()

STORY = Story(
    name="quiet-hour",
    sentence="Forty vehicles, an hour, noise, tea, a traffic jam: nothing that anybody needs to be told.",
    seconds=3600,
    cast=cast,
    captions=(
        (0, "An ordinary hour. Nothing should be told."),
        (390, "Convoy Bravo has tea at Besham halt."),
        (900, "Pickup S-1 crawls through a jam below Dubair."),
        (1110, "Convoy Alpha is in the gorge without coverage; its fixes will come later."),
    ),
    expected=NOTHING,
)

"""A night at Dasu camp, as its sensors tell it: what one sees alone is nothing, what two see is somebody.

At 1:00 a goat leans on fence F-12. At 3:00 somebody climbs it there, and at 3:35 walks through the gate passage: two
have seen him within a minute. At 5:30 the store, which must be closed at night, is opened for half a minute; at 7:00
there is smoke in it, until 8:20. An alarm is over when it has been quiet for half a minute.
"""

from __future__ import annotations

from simulators.scenarios.calm import parked_in, site_sensors
from simulators.story import Cast, Expected, Story
from simulators.world import World


def cast(world: World, vehicles: int | None) -> Cast:
    actors = (parked_in(world, "e-6", "dasu-camp"), parked_in(world, "c-11", "dasu-camp"))
    return Cast(
        actors[:vehicles],
        site_sensors(
            world,
            events={
                "dasu-fence-12": ((60.0, "detected"), (70.0, "clear"), (180.0, "detected"), (190.0, "clear")),
                "dasu-gate-pir": ((215.0, "detected"), (240.0, "clear")),
                "dasu-store-door": ((330.0, "open"), (360.0, "closed")),
                "dasu-store-bolt": ((329.0, "open"), (361.0, "closed")),
                "dasu-store-smoke": ((420.0, "detected"), (500.0, "clear")),
            },
        ),
    )


STORY = Story(
    name="night-at-the-camp",
    sentence="A goat at the fence is nothing; then somebody climbs it, the store is opened, and there is smoke.",
    seconds=900,
    cast=cast,
    captions=(
        (0, "Half past eleven at night. The camp is quiet."),
        (60, "A goat leans on fence F-12: one sensor alone is nobody."),
        (180, "Somebody climbs the fence, and walks through the gate passage half a minute later."),
        (330, "The store is opened, at an hour at which it must be closed."),
        (420, "Smoke in the store."),
    ),
    expected=(
        Expected("sensor.alarm", "dasu-camp", "", began_at_s=215, ended_at_s=270, within_s=3),
        Expected("sensor.alarm", "dasu-camp", "", began_at_s=329, ended_at_s=391, within_s=3),
        Expected("sensor.alarm", "dasu-store-smoke", "smoke", began_at_s=420, ended_at_s=530, within_s=3),
    ),
    at="2026-11-23T18:30:00+00:00",
)

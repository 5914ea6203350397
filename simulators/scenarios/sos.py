"""A driver presses for help: once where it is heard at once, once in the gorge where it is heard two minutes later.

Patrol P-10 presses at 1:00. Patrol P-9 presses at 2:00 without coverage and comes out of the gorge some minutes
later: that is still an alert, dated when it was pressed.
"""

from __future__ import annotations

from simulators.fleet import Journey
from simulators.scenarios.calm import ROAD, actor, calm_fleet, first_of
from simulators.story import Cast, Expected, Story
from simulators.world import World


def cast(world: World, vehicles: int | None) -> Cast:
    actors = calm_fleet(world)
    heard = Journey(world, ROAD, world.at_km(ROAD, 244.0)).drive(world.at_km(ROAD, 262.0), 10.0).track()
    unheard = Journey(world, ROAD, world.at_km(ROAD, 232.0)).drive(world.at_km(ROAD, 244.0), 10.0).track()
    about = {
        "p-9": actor(world, "p-9", unheard, presses=((120.0, "sos"),)),
        "p-10": actor(world, "p-10", heard, presses=((60.0, "sos"),)),
    }
    return Cast(first_of({**actors, **about}, vehicles) if vehicles else tuple({**actors, **about}.values()))


STORY = Story(
    name="sos",
    sentence="Two patrols press for help, one of them where no signal is: both are told, the late one marked late.",
    seconds=600,
    cast=cast,
    captions=((60, "Patrol P-10 presses for help."), (120, "Patrol P-9 presses in the gorge; nobody hears it yet.")),
    expected=(
        Expected("sos.pressed", "p-10", "", began_at_s=60, ended_at_s=60, within_s=1),
        Expected("sos.pressed", "p-9", "", began_at_s=120, ended_at_s=120, within_s=1),
    ),
)

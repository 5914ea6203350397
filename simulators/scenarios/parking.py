"""Parked vehicles whose receivers drift: in the open road once, in a safe stop never, beside a border never.

Noisy: truck S-3 breaks down between walls of rock from 2:00 to 62:00; that is one stop and not ten. Coach C-8 waits
at Besham halt all the while, car C-9 inside the camp: allowed. Border: patrol P-1 is parked 5 m outside the edge of
the Dubair slide all night, now and then seemingly inside; P-3 drives well into it from 10:00 to 70:00.
"""

from __future__ import annotations

import numpy as np
import shapely

from simulators.fleet import Journey, Track
from simulators.gps import GpsQuality
from simulators.scenarios.calm import ROAD, actor, parked_in, still
from simulators.story import Actor, Cast, Expected, Story
from simulators.world import World

GORGE = GpsQuality(clear_m=12.0, gorge_m=16.0, outlier_share=0.003)
SLIDE = "dubair-slide"


def _truck(world: World) -> Track:
    journey = (
        Journey(world, ROAD, world.at_km(ROAD, 203.0)).drive_until(112.0, 11.0, backwards=True).dwell_until(3720.0)
    )
    return journey.drive(world.chainage(ROAD, "besham-halt"), 11.0).track()


def noisy(world: World, vehicles: int | None) -> Cast:
    x, y = world.roads[ROAD].path.at(np.array([world.chainage(ROAD, "besham-halt")]))
    halt = still(float(x[0]), float(y[0]))
    return Cast(
        (
            actor(world, "s-3", _truck(world), GORGE),
            actor(world, "c-8", halt, GORGE),
            Actor(parked_in(world, "c-9", "dasu-camp").device, parked_in(world, "c-9", "dasu-camp").track, GORGE),
        )
    )


def _by_the_edge(world: World, outside_m: float) -> Track:
    """On the way from the road to the slide, so far from its edge."""
    area = world.areas[SLIDE].polygon
    road = world.roads[ROAD].offset_point(world.chainage(ROAD, SLIDE), 0.0)
    edge = area.exterior.interpolate(area.exterior.project(shapely.Point(road)))
    away = np.hypot(road[0] - edge.x, road[1] - edge.y)
    ux, uy = (road[0] - edge.x) / away, (road[1] - edge.y) / away
    return still(float(edge.x + ux * outside_m), float(edge.y + uy * outside_m))


def _intruder(world: World) -> Track:
    begin = world.chainage(ROAD, SLIDE)
    inside = world.centre(SLIDE)
    journey = Journey(world, ROAD, begin).dwell_until(530.0).go([inside], 9.0).dwell_until(4165.0)
    return journey.back_on_road(begin, 9.0).drive(begin + 3000.0, 10.0).track()


def border(world: World, vehicles: int | None) -> Cast:
    return Cast(
        (
            actor(world, "p-1", _by_the_edge(world, 5.0)),
            actor(world, "p-3", _intruder(world)),
        )
    )


NOISY = Story(
    name="noisy-parking",
    sentence="A truck breaks down between walls of rock and its position drifts for an hour: one stop, not ten.",
    seconds=4000,
    cast=noisy,
    captions=((120, "Truck S-3 breaks down."), (3720, "Truck S-3 goes on.")),
    expected=(Expected("stop.unscheduled", "s-3", "", began_at_s=120, ended_at_s=3720, within_s=60),),
)

BORDER = Story(
    name="border-parking",
    sentence="Parked five metres outside a border all night, and never told; one who drives in is told once.",
    seconds=8 * 3600,
    cast=border,
    captions=((600, "Patrol P-3 drives into the slide."), (4200, "Patrol P-3 is out again.")),
    expected=(Expected("area.forbidden", "p-3", SLIDE, began_at_s=600, ended_at_s=4200, within_s=30),),
    at="2026-11-23T17:00:00+00:00",
)

"""A movement's way: its legs laid end to end, so that who hands over and who takes over are on one line.

Way metres count from the start of a movement that has legs, in the direction in which it is driven. A movement of one route has
that route's own chainage, whichever way it is driven.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import numpy as np
import numpy.typing as npt

from pipeline.geo.routes import section
from pipeline.plan.model import CompiledPlan, Leg, Movement, Route

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A leg on the way: from `starts_m` to `ends_m` of it."""

    leg: Leg
    route: Route
    region: str  # that is responsible here
    starts_m: float
    ends_m: float
    sign: int  # +1 where the route's chainage grows along the way
    from_m: float  # the route's chainage at `starts_m`

    def on_route(self, along_m: float) -> float:
        """The route's chainage at this metre of the way."""
        return self.from_m + self.sign * (min(max(along_m, self.starts_m), self.ends_m) - self.starts_m)

    def on_way(self, chainage_m: float) -> float | None:
        """The metre of the way at this chainage of the route; None where the leg does not come by."""
        along = self.starts_m + self.sign * (chainage_m - self.from_m)
        return along if self.starts_m <= along <= self.ends_m else None

    def road_km(self, along_m: float) -> float:
        return self.route.road_km(self.on_route(along_m))

    @property
    def km_sign(self) -> int:
        """+1 where the road's kilometres grow along the way."""
        return self.route.km_sign * self.sign


def stretches(plan: CompiledPlan, movement: Movement) -> tuple[Stretch, ...]:
    """The legs of a movement on its way. Between two of them lies what their roads' ends leave open, which is the earlier one's."""
    found: list[Stretch] = []
    if not movement.legs:
        (leg,) = movement.way
        route = plan.routes[leg.route]
        low, high = sorted((leg.from_chainage_m, leg.to_chainage_m))
        return (Stretch(leg, route, leg.region or route.region, low, high, 1, low),)
    at, end = 0.0, None
    for leg in movement.legs:
        route = plan.routes[leg.route]
        line = _driven(route, leg)
        if end is not None:
            at += hypot(*(line[0] - end))
        length = abs(leg.to_chainage_m - leg.from_chainage_m)
        sign = 1 if leg.to_chainage_m >= leg.from_chainage_m else -1
        found.append(Stretch(leg, route, leg.region or route.region, at, at + length, sign, leg.from_chainage_m))
        at, end = at + length, line[-1]
    return tuple(found)


def stretch_at(way: tuple[Stretch, ...], along_m: float) -> int:
    """Which stretch a metre of the way belongs to."""
    k = 0
    while k + 1 < len(way) and along_m >= way[k + 1].starts_m:
        k += 1
    return k


def way_line(plan: CompiledPlan, movement: Movement) -> tuple[Floats, Floats]:
    """The way's line, (n, 2) metres of the plan, and its metre at each vertex, (n,)."""
    parts: list[Floats] = []
    along: list[Floats] = []
    for stretch in stretches(plan, movement):
        leg = stretch.leg
        low, high = sorted((leg.from_chainage_m, leg.to_chainage_m))
        xy = (
            _driven(stretch.route, leg)
            if movement.legs
            else section(stretch.route.xy, stretch.route.chainage_m, low, high)
        )
        steps = np.r_[True, np.hypot(*np.diff(xy, axis=0).T) > 1e-6]
        xy = xy[steps]
        metres = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))]) + stretch.starts_m
        if along and metres[0] - along[-1][-1] <= 1e-6:  # the roads' ends meet
            xy, metres = xy[1:], metres[1:]
        parts.append(xy)
        along.append(metres)
    return np.concatenate(parts), np.concatenate(along)


WayKey = tuple[bool, tuple[tuple[str, float, float], ...]]


def way_key(movement: Movement) -> WayKey:
    """Equal for movements that have the same line."""
    if movement.legs:
        return True, tuple((leg.route, leg.from_chainage_m, leg.to_chainage_m) for leg in movement.legs)
    low, high = sorted((movement.from_chainage_m, movement.to_chainage_m))
    return False, ((movement.route, low, high),)


def spans(way: tuple[Stretch, ...], region: str) -> bool:
    """Does a way leave this region's responsibility, or is it handed over?"""
    return len(way) > 1 or way[0].region != region


def _driven(route: Route, leg: Leg) -> Floats:
    return section(route.xy, route.chainage_m, leg.from_chainage_m, leg.to_chainage_m)

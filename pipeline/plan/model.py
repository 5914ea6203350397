"""The plan, compiled: metres instead of degrees, microseconds instead of words. `load` makes it, everybody reads it.

All `xy` are metres in `CompiledPlan.projection`; all shapes are written as (n, 2) etc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.geo.projection import Projection
from pipeline.model.episode import Mode, Severity

if TYPE_CHECKING:
    from pipeline.plan.roster import Roster

AreaKind = Literal[
    "site",
    "residence",
    "home",
    "safe_stop",
    "checkpoint",
    "depot",
    "forbidden",
    "no_stopping",
    "coverage_gap",
    "tunnel",
    "district",
    "zone",
]
DOOR_KINDS = frozenset({"door", "gate", "window", "contact"})
NO_INTRUSION = frozenset(
    {"smoke", "fire", "heat", "gas", "co", "water", "leak", "flood", "power", "mains", "temperature", "humidity",
     "climate", "battery", "button", "sos", "panic"}
)  # fmt: skip
"""Kinds of sensors that see no people; any other kind may be one of those that confirm an intrusion."""
Role = str  # principal, escort, patrol, logistics, ... a closed list in plan.schema


@dataclass(frozen=True, slots=True)
class RuleSetting:
    """One rule in one region: how it runs, how grave it is, what people do about it, and its numbers."""

    rule: str
    mode: Mode
    severity: Severity
    owner: str
    response: str
    respond_within_us: int
    params: Mapping[str, float]  # units in the names: radius_m, min_duration_us, exit_margin_m ...
    roles: frozenset[Role] = frozenset()  # of the vehicles that it judges; empty: every role
    on_delay_us: int | None = None  # how long it lasts before anybody is told; None: the alert stage's default
    off_delay_us: int | None = None  # how long it stays away before its alert clears
    realarm_after_us: int | None = None  # acknowledged and still active for so long: it needs somebody again; 0: never


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something applies: windows in seconds of the local week (Monday 00:00 = 0), half open; end may exceed a
    week's length
    by wrapping (then start > end). No window at all means always."""

    windows: tuple[tuple[int, int], ...] = ()
    utc_offset_s: int = 5 * 3600

    def applies(self, at_us: int) -> bool:
        if not self.windows:
            return True
        # 1970-01-01 was a Thursday: day 3 of a week that starts on Monday
        second = (at_us // 1_000_000 + self.utc_offset_s + 3 * 86_400) % 604_800
        return any(a <= second < b if a <= b else second >= a or second < b for a, b in self.windows)


@dataclass(frozen=True, slots=True)
class AreaRule:
    """What must be told about an area: area.entered, area.left, area.forbidden or area.required."""

    rule: str
    roles: frozenset[Role]  # empty: every role
    vehicles: frozenset[str]  # empty: every vehicle of those roles
    schedule: Schedule
    dwell_us: int
    enter_margin_m: float
    exit_margin_m: float
    severity: Severity
    mode: Mode
    crossing_us: int = 120_000_000  # two fixes farther apart in time say nothing about the way between them


@dataclass(frozen=True, slots=True)
class Area:
    id: str
    region: str
    name: Mapping[str, str]  # language -> words; "en" is always there
    kind: AreaKind
    polygon: shapely.Polygon  # metres
    lonlat: shapely.Polygon
    rules: tuple[AreaRule, ...] = ()
    stop_allowed: bool = False  # stop.unscheduled is silent here


@dataclass(frozen=True, slots=True)
class Checkpoint:
    id: str
    name: Mapping[str, str]
    chainage_m: float
    stop_allowed: bool = True
    radius_m: float = 150.0


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    """Half open: [from, to) in chainage, whichever way it is driven."""

    from_chainage_m: float
    to_chainage_m: float
    limit_mps: float


@dataclass(frozen=True, slots=True)
class Route:
    id: str
    region: str
    name: Mapping[str, str]
    road: str  # "N-35"
    xy: npt.NDArray[np.float64]  # (n, 2) metres
    chainage_m: npt.NDArray[np.float64]  # (n,) metres along the route from its first vertex
    lonlat: npt.NDArray[np.float64]  # (n, 2)
    km_at_start: float  # the road's own kilometre at chainage 0
    km_sign: int  # +1 when road kilometres grow along the route
    half_width_m: float
    exit_width_m: float  # narrower: back inside only within this
    checkpoints: tuple[Checkpoint, ...] = ()
    speed_limits: tuple[SpeedLimit, ...] = ()

    def road_km(self, chainage_m: float) -> float:
        return self.km_at_start + self.km_sign * chainage_m / 1000.0

    def chainage_of_km(self, km: float) -> float:
        return (km - self.km_at_start) * self.km_sign * 1000.0


@dataclass(frozen=True, slots=True)
class Vehicle:
    id: str
    region: str
    cell: str
    call_sign: str
    kind: str  # coach, pickup, car, ...
    role: Role
    devices: tuple[str, ...]  # highest rank first
    home_areas: tuple[str, ...] = ()
    cells_served: tuple[str, ...] = ()
    expected_interval_us: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Sensor:
    id: str
    region: str
    cell: str
    name: Mapping[str, str]
    kind: str
    site: str  # area id
    device: str
    group: str = ""  # of those at the site that confirm one another
    schedule: Schedule | None = None  # when nobody may be there; None: always, but a door alone says nothing then
    confirm_n: int | None = None
    agrees_with: str | None = None  # another sensor of the site

    @property
    def confirms(self) -> bool:
        """May it see people come in?"""
        return self.kind not in NO_INTRUSION


@dataclass(frozen=True, slots=True)
class Convoy:
    id: str
    region: str
    name: Mapping[str, str]
    members: tuple[str, ...]  # vehicle ids in marching order
    principals: tuple[str, ...]
    escorts: tuple[str, ...]
    max_gap_m: float
    cell: str = ""  # where it is judged; "": its first member's


@dataclass(frozen=True, slots=True)
class Leg:
    """A piece of a movement's way: a stretch of one route, for which one region is responsible."""

    route: str
    from_chainage_m: float
    to_chainage_m: float  # smaller than from: driven backwards
    region: str = ""  # "": the route's
    cell: str = ""  # of that region, which learns where the movement's vehicles are; "": none beside their own
    escorts: tuple[str, ...] = ()  # who escorts the convoy here


@dataclass(frozen=True, slots=True)
class Movement:
    """Vehicles on a route within a window of time. One that is handed over has `legs`, and `route` is the first one's."""

    id: str
    region: str
    name: Mapping[str, str]
    vehicles: tuple[str, ...]
    convoy: str | None
    route: str
    starts_us: int
    ends_us: int
    from_chainage_m: float
    to_chainage_m: float  # smaller than from: driven backwards
    stop_areas: frozenset[str]  # origin, destination and allowed stops, area ids
    legs: tuple[Leg, ...] = ()  # in the order in which they are driven; (): the one that the fields above describe

    @property
    def way(self) -> tuple[Leg, ...]:
        """Its legs; one where it is of one route."""
        return self.legs or (Leg(self.route, self.from_chainage_m, self.to_chainage_m),)


@dataclass(frozen=True, slots=True)
class Login:
    """Who the broker may let in, and for whom it speaks."""

    login: str
    kind: Literal["device", "gateway"]
    devices: tuple[str, ...]
    cell: str

    @property
    def own(self) -> str:
        """The device of a device's login."""
        return self.devices[0] if self.devices else self.login


@dataclass(frozen=True, slots=True)
class Place:
    """A named place for the sentences."""

    name: Mapping[str, str]
    lat: float
    lon: float
    xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Region:
    id: str
    name: Mapping[str, str]
    timezone: str
    cells: tuple[str, ...]
    rules: Mapping[str, RuleSetting]
    invented: bool
    bounds_lonlat: tuple[float, float, float, float]  # west, south, east, north; outside: flag outside_plan


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """Every region's plan that was loaded, together. `hash` is of the files' content (hex)."""

    hash: str
    projection: Projection
    regions: Mapping[str, Region]
    areas: tuple[Area, ...]
    routes: Mapping[str, Route]
    vehicles: Mapping[str, Vehicle]
    sensors: Mapping[str, Sensor]
    convoys: Mapping[str, Convoy]
    movements: tuple[Movement, ...]
    logins: Mapping[str, Login]
    places: tuple[Place, ...]
    device_subject: Mapping[str, str]  # device id -> vehicle or sensor id
    cells: tuple[str, ...] = field(default=())
    device_format: Mapping[str, str] = field(default_factory=dict)  # of devices that do not speak "native"
    left_out: tuple[str, ...] = ()  # names of regions that are not loaded, as region:name

    rosters: Mapping[str, Roster] = field(default_factory=dict)  # of the regions that have one

    def cell_of_login(self, login: str) -> str | None:
        found = self.logins.get(login)
        return found.cell if found else None


def names_of(plan: CompiledPlan) -> list[str]:
    """Every vehicle's and every vehicle's device's name, sorted: what a place on the wire means."""
    return sorted({*plan.vehicles, *(device for vehicle in plan.vehicles.values() for device in vehicle.devices)})


def movements_of_vehicles(plan: CompiledPlan) -> dict[str, list[Movement]]:
    """Every vehicle's own, in the plan's order; those that are on none are not in it."""
    found: dict[str, list[Movement]] = {}
    for movement in plan.movements:
        for vehicle in dict.fromkeys(movement.vehicles):
            found.setdefault(vehicle, []).append(movement)
    return found

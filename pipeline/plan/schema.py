"""What the files of a region may say: one model an entry, strict, no unknown keys. References are checked in
`checks`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.model.episode import Mode, Severity
from pipeline.plan.faults import bad
from pipeline.plan.model import AreaKind
from pipeline.plan.times import DAYS, Day, clock_s, duration_us, merged, week_windows

RoleName = Literal["principal", "escort", "patrol", "logistics", "ambulance", "recovery", "command", "other"]
ROLES: tuple[str, ...] = RoleName.__args__  # type: ignore[attr-defined]  # a Literal's words
Format = Literal[
    "native", "owntracks", "nmea", "traccar", "teltonika", "lorawan", "ttn", "chirpstack", "zigbee2mqtt", "homeassistant",
    "tasmota", "shelly", "meshtastic",
]  # fmt: skip
VehicleKind = Literal["coach", "bus", "car", "pickup", "truck", "motorcycle", "ambulance", "armoured", "other"]

_LATLON = "Write [latitude, longitude] in degrees, as in [35.105, 73.003]"


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _lat_lon(value: Any) -> tuple[float, float]:
    if isinstance(value, tuple):
        return value  # already read
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value)
    ):
        raise bad("a point is two numbers", _LATLON)
    lat, lon = float(value[0]), float(value[1])
    if abs(lat) > 90 and abs(lon) <= 90:
        raise bad("latitude and longitude are swapped: no latitude exceeds 90", f"Swap them: [{lon:g}, {lat:g}]")
    if abs(lat) > 90 or abs(lon) > 180:
        raise bad("there is no such point on the earth", _LATLON)
    return lat, lon


def _line(value: Any) -> Any:
    """A list of points, or a text of `latitude,longitude` pairs with blanks between."""
    if not isinstance(value, str):
        return value
    points = []
    for number, pair in enumerate(value.split(), 1):
        try:
            lat, lon = map(float, pair.split(","))
        except ValueError as error:
            cure = "Write latitude,longitude with a comma and no blank, as in 35.105,73.003"
            raise bad("this is no point", cure, f"point {number}: {pair[:40]}") from error
        points.append(_lat_lon([lat, lon]))
    return points


def _names(value: Any) -> Any:
    return {"en": value} if isinstance(value, str) else value


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Ref = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]{1,32}:)?[A-Za-z0-9_-]{1,32}$")]  # region:name of another region
Duration = Annotated[int, BeforeValidator(duration_us)]
Clock = Annotated[int, BeforeValidator(clock_s)]
LatLon = Annotated[tuple[float, float], BeforeValidator(_lat_lon)]
Line = Annotated[list[LatLon], BeforeValidator(_line)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Margin = Annotated[float, Field(ge=0, le=2000, allow_inf_nan=False)]


class NamesIn(Entry):
    """A name in the languages of the desk. A bare text is the English one."""

    en: Annotated[str, Field(min_length=1, max_length=120)]
    ur: Annotated[str, Field(min_length=1, max_length=120)] | None = None

    def mapping(self) -> dict[str, str]:
        return {"en": self.en} | ({"ur": self.ur} if self.ur else {})


Names = Annotated[NamesIn, BeforeValidator(_names)]


class BoundsIn(Entry):
    west: Annotated[float, Field(ge=-180, le=180)]
    south: Annotated[float, Field(ge=-89, le=89)]
    east: Annotated[float, Field(ge=-180, le=180)]
    north: Annotated[float, Field(ge=-89, le=89)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.west >= self.east or self.south >= self.north:
            raise bad("west is not below east, or south not below north", "Swap the two")
        if max(self.east - self.west, self.north - self.south) > 10:
            raise bad("a region spans at most 10 degrees", "Split it into regions of their own")
        return self

    def has(self, lat: float, lon: float) -> bool:
        return self.south <= lat <= self.north and self.west <= lon <= self.east


class PlaceIn(Entry):
    name: Names
    lat: Finite
    lon: Finite


class RegionIn(Entry):
    id: Id
    name: Names
    timezone: Literal["Asia/Karachi", "UTC"] = "Asia/Karachi"
    invented: bool = False
    cells: Annotated[list[Id], Field(min_length=1)] | None = None  # without: one cell, named like the region
    bounds: BoundsIn
    places: list[PlaceIn] = Field(default_factory=list)

    @property
    def all_cells(self) -> list[str]:
        return self.cells or [self.id]


class RuleIn(Entry):
    """What every rule has; its parameters are taken out before (see `rules.RULES`)."""

    mode: Mode = "shadow"
    severity: Severity = "medium"
    owner: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] | None = None
    response: Text | None = None
    respond_within: Annotated[Duration, Field(gt=0)] | None = None
    on_delay: Annotated[Duration, Field(ge=0, le=3_600_000_000)] | None = None
    off_delay: Annotated[Duration, Field(ge=0, le=3_600_000_000)] | None = None
    realarm_after: Annotated[Duration, Field(ge=0, le=43_200_000_000)] | None = None
    roles: list[RoleName] = Field(default_factory=list)


class WindowIn(Entry):
    """One line of a schedule: from and to in local time, on these days (without: every day). To at or before from:
    the next day."""

    days: Annotated[list[Day], Field(min_length=1)] = list(DAYS)
    start: Annotated[Clock, Field(alias="from")]
    end: Annotated[Clock, Field(alias="to")]

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == self.end:
            raise bad("the window is empty", 'Give different times; the whole day is from "00:00" to "24:00"')
        if self.start == 86_400:
            raise bad('a window cannot start at "24:00"', 'Start it at "00:00" of the next day')
        return self


def week_of(schedule: Iterable[WindowIn] | None) -> tuple[tuple[int, int], ...]:
    """The windows of the local week, as `times.merged` has them; (): always."""
    return merged(w for line in schedule or () for w in week_windows(line.days, line.start, line.end))


class CircleIn(Entry):
    lat: Finite
    lon: Finite
    radius_m: Annotated[float, Field(ge=10, le=50_000)]


class StretchIn(Entry):
    """A piece of a road as an area: between two of its kilometres, so wide to either side."""

    route: Id
    from_km: Finite
    to_km: Finite
    half_width_m: Annotated[float, Field(ge=5, le=10_000)]


class AreaRuleIn(Entry):
    rule: str
    roles: list[RoleName] = Field(default_factory=list)
    vehicles: list[Id] = Field(default_factory=list)
    schedule: Annotated[list[WindowIn], Field(min_length=1)] | None = None  # without: always
    dwell: Annotated[Duration, Field(ge=0, le=3_600_000_000)] | None = None
    enter_margin_m: Margin | None = None
    exit_margin_m: Margin | None = None
    severity: Severity | None = None
    mode: Mode | None = None


class AreaIn(Entry):
    id: Id
    name: Names
    kind: AreaKind
    polygon: list[LatLon] | None = None
    circle: CircleIn | None = None
    stretch: StretchIn | None = None
    stop_allowed: bool | None = None
    rules: list[AreaRuleIn] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        given = [n for n in ("polygon", "circle", "stretch") if getattr(self, n) is not None]
        if len(given) != 1:
            told = "has no shape" if not given else f"has {' and '.join(given)}"
            raise bad(f"the area {told}", "Give one of polygon, circle and stretch")
        return self


class CheckpointIn(Entry):
    id: Id
    name: Names
    km: Finite
    radius_m: Annotated[float, Field(ge=20, le=2000)] = 150.0
    stop_allowed: bool = True


class SpeedLimitIn(Entry):
    from_km: Finite
    to_km: Finite
    limit_kmh: Annotated[float, Field(ge=5, le=160)]


class RouteIn(Entry):
    id: Id
    name: Names
    road: Annotated[str, Field(min_length=1, max_length=40)]
    km_at_start: Finite = 0.0
    kilometres: Literal["rising", "falling"] = "rising"
    half_width_m: Annotated[float, Field(ge=10, le=5000)] = 150.0
    exit_width_m: Annotated[float, Field(ge=5, le=5000)] | None = None  # without: three quarters of half_width_m
    line: Line
    checkpoints: list[CheckpointIn] = Field(default_factory=list)
    speed_limits: list[SpeedLimitIn] = Field(default_factory=list)

    @property
    def km_sign(self) -> int:
        return 1 if self.kilometres == "rising" else -1


class DeviceIn(Entry):
    id: Id
    format: Format = "native"


def _device(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


Device = Annotated[DeviceIn, BeforeValidator(_device)]


class VehicleIn(Entry):
    id: Id
    call_sign: Annotated[str, Field(min_length=1, max_length=16)] | None = None  # without: the id in capitals
    kind: VehicleKind
    role: RoleName
    devices: Annotated[list[Device], Field(min_length=1, max_length=4)]
    home: list[Id] = Field(default_factory=list)
    cell: Id | None = None
    cells_served: list[Ref] = Field(default_factory=list)
    interval: Annotated[Duration, Field(ge=500_000, le=86_400_000_000)] = 10_000_000


class LoginIn(Entry):
    login: Id
    kind: Literal["gateway"] = "gateway"
    devices: Annotated[list[Id], Field(min_length=1)]
    cell: Id | None = None


class SensorIn(Entry):
    id: Id
    name: Names
    kind: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
    site: Id
    device: Device
    cell: Id | None = None
    group: Id | None = None  # of those that confirm one another; without: whatever at the site has none
    schedule: Annotated[list[WindowIn], Field(min_length=1)] | None = (
        None  # when nobody may be there; a door: be closed
    )
    confirm_n: Annotated[int, Field(ge=1, le=16)] | None = None  # without: by kind and the region's rule
    agrees_with: Id | None = None


class ConvoyIn(Entry):
    id: Id
    name: Names
    members: Annotated[list[Ref], Field(min_length=2, max_length=64)]
    principals: list[Ref] | None = None  # without: the members with that role
    escorts: list[Ref] | None = None
    max_gap_m: Annotated[float, Field(ge=20, le=50_000)] = 500.0
    cell: Id | None = None  # without: its members', or the region's first when they have several


class LegIn(Entry):
    """A stretch of one road on a movement that is handed over from region to region."""

    route: Ref
    from_km: Finite | None = None  # without: the route's start
    to_km: Finite | None = None  # without: its end
    region: Id | None = None  # that is responsible; without: the route's
    cell: Id | None = None  # of that region; without: its first
    escorts: list[Ref] = Field(default_factory=list)  # without: the convoy's that are of that region, or all of them


class MovementIn(Entry):
    id: Id
    name: Names
    convoy: Id | None = None
    vehicles: list[Ref] = Field(default_factory=list)
    route: Ref | None = None
    legs: Annotated[list[LegIn], Field(min_length=1, max_length=16)] | None = None
    starts: str | None = None
    ends: str | None = None
    always: bool = False
    from_km: Finite | None = None  # without: the route's start
    to_km: Finite | None = None  # without: its end
    origin: Ref | None = None
    destination: Ref | None = None
    stops: list[Ref] = Field(default_factory=list)

    @property
    def all_legs(self) -> list[LegIn]:
        """One leg for a movement of one route."""
        return self.legs or [LegIn(route=self.route or "", from_km=self.from_km, to_km=self.to_km)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.convoy is None) == (not self.vehicles):
            raise bad("a movement is of one convoy or of vehicles", "Give convoy or vehicles, one of the two")
        if (self.route is None) == (self.legs is None):
            raise bad("a movement has a route, or legs in several regions", "Give route or legs, one of the two")
        if self.legs is not None and (self.from_km is not None or self.to_km is not None):
            raise bad("each leg has kilometres of its own", "Move from_km and to_km into the legs")
        if self.always == (self.starts is not None or self.ends is not None) or (self.starts is None) != (
            self.ends is None
        ):
            raise bad(
                "the movement has no clear window", 'Give starts and ends, as "2026-11-23 21:30", or always: true'
            )
        return self

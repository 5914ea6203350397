"""What a story is: a cast that drives about, and what a person who knows the plan would say must be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from simulators.devices import Device, DeviceSpec
from simulators.faults import Fault
from simulators.fleet import Track
from simulators.gps import GpsQuality
from simulators.sensors import SensorSpec, SiteSensor
from simulators.world import World


@dataclass(frozen=True, slots=True)
class Expected:
    """An episode that must be in the ledger. Seconds since the story began.

    `began_at_s` is when it happened on the road. The ledger may say so up to the rule's dwell and two reports later;
    `within_s` is that, either way. `ended_at_s` None: still open when the story ends.
    """

    rule: str
    subject: str
    object: str
    began_at_s: float
    ended_at_s: float | None
    within_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Actor:
    """A vehicle, its device and its drive."""

    device: DeviceSpec
    track: Track
    quality: GpsQuality = field(default_factory=GpsQuality)


@dataclass(frozen=True, slots=True)
class Cast:
    actors: tuple[Actor, ...]
    sensors: tuple[SensorSpec, ...] = ()

    def devices(self, world: World) -> list[Device | SiteSensor]:
        out: list[Device | SiteSensor] = [Device(a.device, a.track, world, a.quality) for a in self.actors]
        return out + [SiteSensor(spec, world) for spec in self.sensors]


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    sentence: str
    seconds: int
    cast: Callable[[World, int | None], Cast]  # the world, and how many vehicles (None: as the story has it)
    captions: tuple[tuple[int, str], ...] = ()
    expected: tuple[Expected, ...] = ()
    faults: tuple[Fault, ...] = ()
    plan: Path = Path("plans/hazara")
    at: str = "2026-11-23T05:00:00+00:00"
    """When it happens, unless somebody says another time: a Monday, 10:00 in Pakistan."""


def device_of(world: World, vehicle: str, **changes: object) -> DeviceSpec:
    """The vehicle's first device (or the one given), its login, format and interval, as the plan has them.

    Raises KeyError when the plan has no such vehicle.
    """
    plan = world.plan
    known = plan.vehicles[vehicle]
    device = str(changes.pop("device", known.devices[0]))
    login = next(login.login for login in plan.logins.values() if device in login.devices or login.login == device)
    interval_s = max(round(known.expected_interval_us / 1e6), 1)
    phase_s = int(world.rng("phase", device).integers(0, interval_s))
    fields: dict[str, object] = {
        "login": login,
        "device": device,
        "vehicle": vehicle,
        "format": plan.device_format.get(device, "native"),
        "interval_s": interval_s,
        "phase_s": phase_s,
    }
    return DeviceSpec(**{**fields, **changes})  # type: ignore[arg-type]  # checked by the dataclass' users, story by story

"""Sensors of a site (door, movement, power): they report when something changes, and now and then that they live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulators.devices import SECOND_US, Parcel, ReadingItem
from simulators.world import World

Value = str | float | bool | int


@dataclass(frozen=True, slots=True)
class SensorSpec:
    """`events` are (second of the story, value), in order; before the first the sensor says `rest`."""

    login: str
    device: str
    sensor: str
    what: str
    rest: Value
    events: tuple[tuple[float, Value], ...] = ()
    heartbeat_s: int = 600


class SiteSensor:
    """Asked for one stretch of the story after another, in order, like a `Device`."""

    def __init__(self, spec: SensorSpec, world: World) -> None:
        self.spec = spec
        self._rng = world.rng("sensor", spec.device)
        self._phase_s = int(self._rng.integers(0, spec.heartbeat_s))
        self._seq = 0
        self._last_us = 0

    def parcels(self, start_us: int, from_s: int, to_s: int) -> Iterator[Parcel]:
        spec = self.spec
        first = from_s + (self._phase_s - from_s) % spec.heartbeat_s
        due = [(float(t), self._value(t)) for t in range(first, to_s, spec.heartbeat_s)]
        due += [event for event in spec.events if from_s <= event[0] < to_s]
        for at_s, value in sorted(due, key=lambda d: d[0]):
            self._seq += 1
            seen_us = start_us + int(at_s * SECOND_US)
            at_us = max(seen_us + int(self._rng.lognormal(-1.5, 0.4) * SECOND_US), self._last_us + 1000)
            self._last_us = at_us
            item = ReadingItem(
                sensor=spec.sensor, what=spec.what, value=value, device=spec.device, seq=self._seq, seen_at_us=seen_us
            )
            yield Parcel(at_us=at_us, login=spec.login, device=spec.device, format="native", items=(item,))

    def _value(self, at_s: float) -> Value:
        value = self.spec.rest
        for event_s, said in self.spec.events:
            if event_s <= at_s:
                value = said
        return value

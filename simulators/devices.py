"""Trackers and phones: what a device reports, when it can send it, and in which of two formats.

A device samples on whole seconds, keeps what it cannot send (coverage gaps, tunnels), and sends that when it is back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import orjson

from pipeline.model.times import format_us
from simulators.fleet import Track
from simulators.gps import GpsQuality, Receiver
from simulators.world import World

Format = Literal["native", "owntracks"]
SECOND_US = 1_000_000
SHARD = "0"
BACKLOG_MESSAGE = 200  # fixes in one message of backlog: well below the broker's limit of size


class Item(Protocol):
    """One observation of a device."""

    seen_at_us: int

    def native(self, received_at_us: int | None) -> dict[str, Any]: ...


class FixItem(msgspec.Struct, frozen=True, kw_only=True):
    vehicle: str
    device: str
    seq: int
    seen_at_us: int
    lat: float
    lon: float
    speed_mps: float
    course_deg: float | None
    accuracy_m: float
    altitude_m: float

    def native(self, received_at_us: int | None) -> dict[str, Any]:
        out: dict[str, Any] = {"kind": "fix", "vehicle": self.vehicle, "seen_at": format_us(self.seen_at_us)}
        if received_at_us is not None:
            out["received_at"] = format_us(received_at_us)
        out |= {"lat": self.lat, "lon": self.lon, "speed_mps": self.speed_mps}
        if self.course_deg is not None:
            out["course_deg"] = self.course_deg
        return out | {
            "accuracy_m": self.accuracy_m,
            "altitude_m": self.altitude_m,
            "device": self.device,
            "seq": self.seq,
        }

    def owntracks(self, sent_at_us: int) -> dict[str, Any]:
        out: dict[str, Any] = {
            "_type": "location", "tid": self.vehicle[-2:], "tst": self.seen_at_us // SECOND_US,
            "lat": self.lat, "lon": self.lon, "acc": round(self.accuracy_m), "alt": round(self.altitude_m),
            "vel": round(self.speed_mps * 3.6), "conn": "m", "t": "t", "batt": 87,
        }  # fmt: skip
        if self.course_deg is not None:
            out["cog"] = round(self.course_deg) % 360
        if sent_at_us // SECOND_US - self.seen_at_us // SECOND_US > 5:
            out["created_at"] = sent_at_us // SECOND_US
        return out


class PressItem(msgspec.Struct, frozen=True, kw_only=True):
    subject: str
    what: str
    device: str
    seq: int
    seen_at_us: int

    def native(self, received_at_us: int | None) -> dict[str, Any]:
        out: dict[str, Any] = {
            "kind": "press",
            "subject": self.subject,
            "what": self.what,
            "seen_at": format_us(self.seen_at_us),
        }
        if received_at_us is not None:
            out["received_at"] = format_us(received_at_us)
        return out | {"device": self.device, "seq": self.seq}


class ReadingItem(msgspec.Struct, frozen=True, kw_only=True):
    sensor: str
    what: str
    value: str | float | bool | int
    device: str
    seq: int
    seen_at_us: int

    def native(self, received_at_us: int | None) -> dict[str, Any]:
        out: dict[str, Any] = {"kind": "reading", "sensor": self.sensor, "what": self.what, "value": self.value}
        out["seen_at"] = format_us(self.seen_at_us)
        if received_at_us is not None:
            out["received_at"] = format_us(received_at_us)
        return out | {"device": self.device, "seq": self.seq}


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What one device sends at one instant: usually one item, after a dead zone its backlog, oldest first."""

    at_us: int  # when it arrives
    login: str
    device: str
    format: Format
    items: tuple[Any, ...]


class Message(msgspec.Struct, frozen=True):
    """One MQTT message, due at an instant."""

    at_us: int
    login: str
    topic: str
    payload: bytes


def messages(parcel: Parcel) -> Iterator[Message]:
    """The parcel in its device's format: native sends a backlog as arrays, OwnTracks message by message."""
    if parcel.format == "owntracks":
        topic = f"owntracks/{parcel.login}/{parcel.device}"
        for item in parcel.items:
            if isinstance(item, FixItem):
                yield Message(parcel.at_us, parcel.login, topic, orjson.dumps(item.owntracks(parcel.at_us)))
        return
    topic = f"v1/{SHARD}/{parcel.login}/native"
    if len(parcel.items) == 1:
        yield Message(parcel.at_us, parcel.login, topic, orjson.dumps(parcel.items[0].native(None)))
        return
    for start in range(0, len(parcel.items), BACKLOG_MESSAGE):
        part = [item.native(None) for item in parcel.items[start : start + BACKLOG_MESSAGE]]
        yield Message(parcel.at_us, parcel.login, topic, orjson.dumps(part))


def lines(parcel: Parcel) -> Iterator[bytes]:
    """The parcel as native lines with the instant of its arrival: what `rahdar detect` reads."""
    for item in parcel.items:
        yield orjson.dumps(item.native(parcel.at_us)) + b"\n"


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    login: str
    device: str
    vehicle: str
    format: Format = "native"
    interval_s: int = 10
    phase_s: int = 0
    latency_s: float = 0.25  # of the network, typically; sometimes ten times as long
    reconnect_s: tuple[float, float] = (3.0, 15.0)
    presses: tuple[tuple[float, str], ...] = ()
    silent: tuple[tuple[float, float], ...] = ()  # besides the plan's gaps: from, to; the device keeps its fixes


class Device:
    """A tracker in a vehicle. Asked for one stretch of the story after another, in order."""

    def __init__(self, spec: DeviceSpec, track: Track, world: World, quality: GpsQuality) -> None:
        self.spec = spec
        self._track = track
        self._world = world
        self._receiver = Receiver(world.rng("gps", spec.device), quality)
        self._network = world.rng("network", spec.device)
        self._seq = 0
        self._backlog: list[FixItem | PressItem] = []
        self._last_sent_us = 0

    def parcels(self, start_us: int, from_s: int, to_s: int) -> Iterator[Parcel]:
        """What it sends of what it sees in [from_s, to_s) of the story that began at `start_us` (a whole second)."""
        spec = self.spec
        first = from_s + (spec.phase_s - from_s) % spec.interval_s
        t = np.arange(first, to_s, spec.interval_s, dtype=float)
        truth = self._track.at(t)
        blind = self._world.no_sky(truth.x_m, truth.y_m)
        muted = self._world.no_signal(truth.x_m, truth.y_m)
        for begin, end in spec.silent:
            muted |= (t >= begin) & (t < end)
        seen = self._receiver.observe(truth, self._world.gorge_at(truth.x_m, truth.y_m))
        lat, lon = self._world.to_latlon(seen.x_m, seen.y_m)
        altitude = self._world.altitude_at(truth.x_m, truth.y_m)
        presses = [press for press in spec.presses if from_s <= press[0] < to_s]
        for i in range(len(t)):
            while presses and presses[0][0] <= t[i]:
                yield from self._press(start_us, *presses.pop(0), muted=bool(muted[i]))
            now_us = start_us + int(t[i]) * SECOND_US
            if not blind[i]:
                self._seq += 1
                course = float(seen.course_deg[i])
                self._backlog.append(
                    FixItem(
                        vehicle=spec.vehicle,
                        device=spec.device,
                        seq=self._seq,
                        seen_at_us=now_us,
                        lat=round(float(lat[i]), 7),
                        lon=round(float(lon[i]), 7),
                        speed_mps=round(float(seen.speed_mps[i]), 2),
                        course_deg=None if np.isnan(course) else round(course, 1) % 360.0,
                        accuracy_m=round(float(seen.accuracy_m[i]), 1),
                        altitude_m=round(float(altitude[i]), 1),
                    )
                )
            if not muted[i] and self._backlog:
                yield self._send(now_us)
        for at_s, what in presses:
            yield from self._press(start_us, at_s, what, muted=bool(len(muted)) and bool(muted[-1]))

    def _press(self, start_us: int, at_s: float, what: str, muted: bool) -> Iterator[Parcel]:
        self._seq += 1
        at_us = start_us + int(at_s * SECOND_US)
        subject = self.spec.vehicle
        self._backlog.append(
            PressItem(subject=subject, what=what, device=self.spec.device, seq=self._seq, seen_at_us=at_us)
        )
        if not muted:
            yield self._send(at_us)

    def _send(self, now_us: int) -> Parcel:
        rng = self._network
        latency_s = self.spec.latency_s * float(rng.lognormal(0.0, 0.5))
        if rng.random() < 0.01:
            latency_s *= 10.0
        if len(self._backlog) > 1:
            latency_s += float(rng.uniform(*self.spec.reconnect_s))
        # one connection keeps its order
        at_us = max(now_us + int(latency_s * SECOND_US), self._last_sent_us + 1000)
        self._last_sent_us = at_us
        items, self._backlog = tuple(self._backlog), []
        return Parcel(at_us=at_us, login=self.spec.login, device=self.spec.device, format=self.spec.format, items=items)

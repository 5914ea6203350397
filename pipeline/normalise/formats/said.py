"""What a device said, in our units and before anybody asked who it is: the one form that every format decodes into."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

import msgspec
import orjson

from pipeline.model.times import from_us, to_us
from pipeline.normalise.reasons import RefusedError

MOST_BYTES = 65_536
MOST_SEQ = 1 << 62
_BODY = struct.Struct("<q6dq")
_NAN = math.nan


class Said(msgspec.Struct, kw_only=True):
    """Instants in microseconds, metres, metres per second, degrees. None: not said.

    `subject` and `device` are ids of ours, and what they claim must hold. `known_as` are the maker's own names of the
    device (an IMEI, an EUI, a friendly name), the best first: a gateway's plan lists one of them.
    `aside`: of the device rather than of the world (battery, temperature); it never saves a message that says nothing else.
    """

    kind: Literal["fix", "reading", "press", "link", "statement", "order", "tick"] = "fix"
    seen_at_us: int | None = None  # None: the format dates nothing, and it was seen when it was received
    received_at_us: int | None = None
    subject: str | None = None
    device: str | None = None
    known_as: tuple[str, ...] = ()
    lat: float | None = None
    lon: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    altitude_m: float | None = None
    seq: int = 0
    what: str = ""
    value: str | float | bool | int = ""
    by: str = ""
    fields: dict[str, Any] = {}
    aside: bool = False

    def body(self) -> int:
        """64 bits of what was said, the same however and how often it was sent."""
        numbers = _BODY.pack(
            self.seen_at_us or 0,
            *(
                _NAN if x is None else x
                for x in (self.lat, self.lon, self.speed_mps, self.course_deg, self.accuracy_m, self.altitude_m)
            ),
            self.seq,
        )
        words = (
            f"{self.kind}\0{self.what}\0{self.value!r}\0{self.by}\0{sorted(self.fields.items())!r}" if self.what else ""
        )
        return int.from_bytes(blake2b(numbers + words.encode(), digest_size=8).digest(), "little")


Told = Said | list[Said] | None  # one thing, several at one instant (the weightiest first), or nothing worth keeping


@dataclass(frozen=True, slots=True)
class Format:
    """A format. `looks(message)` tells a parsed JSON object of its own; `topic` matches the topics that its own programs
    use, and a group `device` in it names the device."""

    decode: Callable[[bytes, str], Told]
    looks: Callable[[dict[str, Any]], bool] = lambda _: False
    topic: str | None = None
    arrays: bool = True  # a JSON array is as many messages


def json_object(payload: bytes) -> dict[str, Any]:
    """The object of a message. Raises RefusedError: malformed."""
    try:
        found = orjson.loads(payload)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise RefusedError("malformed", str(error)) from None
    if not isinstance(found, dict):
        raise RefusedError("malformed", f"a JSON {type(found).__name__}, not an object")
    return found


def inner(m: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under a key; an empty one where there is none."""
    found = m.get(key)
    return found if isinstance(found, dict) else {}


def names(*candidates: Any) -> tuple[str, ...]:
    """What could be a name of a device among these: text, or a number for a text."""
    return tuple(
        dict.fromkeys(
            str(name) for name in candidates if isinstance(name, str | int) and not isinstance(name, bool) and name
        )
    )


def shown(value: Any) -> str:
    """For people: text, or what it is. (A nested value may be nested too deeply to be written.)"""
    return value[:40] if isinstance(value, str) else type(value).__name__


def in_calendar(us: int, shown: str) -> int:
    """The instant as it is. A zone can carry the first and the last day out of the calendar: then it raises RefusedError."""
    try:
        from_us(us)
    except OverflowError:
        raise RefusedError("out_of_range", f"{shown[:40]} is outside the calendar") from None
    return us


def instant(value: Any, name: str) -> int | None:
    """Microseconds of an ISO 8601 instant with a zone. Raises RefusedError."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RefusedError("malformed", f"{name} is a {type(value).__name__}, not an instant")
    try:
        return in_calendar(to_us(datetime.fromisoformat(value)), value)
    except (ValueError, OverflowError) as error:
        raise RefusedError("malformed", f"{name}: {error}") from None


def unix(value: Any, name: str, per_second: int) -> int | None:
    """Microseconds of a count since 1970, in a unit that the format declares. Raises RefusedError."""
    count = number(value, name)
    if count is None:
        return None
    if not 0 <= count / per_second < 253_402_300_800:
        raise RefusedError("out_of_range", f"{name} {count:.0f} is no instant in 1/{per_second} s")
    return round(count * 1_000_000 / per_second)


def number(value: Any, name: str) -> float | None:
    """A number, or a string that is one, as some cousins of OwnTracks send. Raises RefusedError."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise RefusedError("malformed", f"{name} is {value!r}, not a number")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise RefusedError("malformed", f"{name} is {value[:40]!r}, not a number") from None
    if not isinstance(value, int | float):
        raise RefusedError("malformed", f"{name} is a {type(value).__name__}, not a number")
    try:
        found = float(value)
    except OverflowError:
        raise RefusedError("out_of_range", f"{name} is too large") from None
    if not math.isfinite(found):
        raise RefusedError("malformed", f"{name} is not finite")
    return found


def maybe(value: Any) -> float | None:
    """A number where it is one; what stands beside the position costs nobody the position."""
    try:
        return number(value, "")
    except RefusedError:
        return None


def sequence(value: Any) -> int:
    """A counter of the device; 0 where there is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 40 else 0

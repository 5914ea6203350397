"""What a device said, in our units and before anybody asked who it is: the one form that every format decodes into."""

from __future__ import annotations

import math
import struct
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from pipeline.model.times import from_us
from pipeline.normalise.reasons import RefusedError

MOST_BYTES = 65_536
_BODY = struct.Struct("<q6dq")
_NAN = math.nan


class Said(msgspec.Struct, kw_only=True):
    """Instants in microseconds, metres, metres per second, degrees. None: not said."""

    kind: Literal["fix", "reading", "press", "link", "statement", "order", "tick"] = "fix"
    seen_at_us: int | None = None
    received_at_us: int | None = None
    subject: str | None = None
    device: str | None = None
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


def in_calendar(us: int, shown: str) -> int:
    """The instant as it is. A zone can carry the first and the last day out of the calendar: then it raises RefusedError."""
    try:
        from_us(us)
    except OverflowError:
        raise RefusedError("out_of_range", f"{shown[:40]} is outside the calendar") from None
    return us


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

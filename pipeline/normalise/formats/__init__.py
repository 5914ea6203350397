"""The formats that devices speak, one file and one line each. `decode(payload, topic)` gives what was said, or None."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.normalise.formats import native, nmea, owntracks
from pipeline.normalise.formats.said import Said
from pipeline.normalise.reasons import RefusedError

Decode = Callable[[bytes, str], Said | None]

FORMATS: dict[str, Decode] = {
    "native": native.decode,
    "owntracks": owntracks.decode,
    "nmea": nmea.decode,
}


def split(name: str, payload: bytes) -> list[bytes]:
    """The inputs of one message: a native backlog is an array. Raises RefusedError."""
    return native.split(payload) if name == "native" else [payload]


def guess(payload: bytes) -> str:
    """Which format a payload is in, by what it begins with. Raises RefusedError."""
    head = payload.lstrip()[:1]
    if head in (b"$", b"!"):
        return "nmea"
    if head == b"[" or b'"kind"' in payload:
        return "native"
    if head == b"{":
        return "owntracks"
    raise RefusedError("malformed", "neither JSON nor NMEA")


__all__ = ["FORMATS", "Said", "guess", "split"]

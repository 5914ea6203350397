"""OwnTracks' JSON (owntracks.org/booklet/tech/json): location, transition and lwt, and its cousins that write numbers as strings.

`tst` is the instant of the fix, `created_at` that of the message; speeds are km/h.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats.said import Format, Said, json_object, number
from pipeline.normalise.reasons import RefusedError

KMH = 1 / 3.6


def _instant(value: Any) -> int | None:
    """Seconds since 1970 as microseconds. Milliseconds are not guessed at: they are out of range."""
    seconds = number(value, "tst")
    if seconds is None:
        return None
    if not 0 <= seconds < 253_402_300_800:
        raise RefusedError("out_of_range", f"tst {seconds:.0f} is no instant in seconds")
    return round(seconds * 1_000_000)


def _positive(value: Any, name: str) -> float | None:
    found = number(value, name)
    return None if found is None or found < 0 else found


def decode(payload: bytes, topic: str = "") -> Said | None:
    """One observation. Raises RefusedError."""
    m = json_object(payload)
    if "payload" in m and "topic" in m and "_type" not in m and isinstance(m["payload"], dict):
        m = m["payload"]  # as brokers and bridges log it: the topic beside the message
    kind = m.get("_type")
    if kind == "encrypted":
        raise RefusedError("undecoded", "encrypted; this region keeps no key")
    if kind is None or not isinstance(kind, str):
        raise RefusedError("malformed", "no _type")
    if kind == "lwt":
        return Said(kind="link", what="offline", seen_at_us=_instant(m.get("tst")))
    if kind not in ("location", "transition"):
        raise RefusedError("unsupported", f"_type {kind[:40]!r}")
    lat, lon = number(m.get("lat"), "lat"), number(m.get("lon"), "lon")
    seen_at_us = _instant(m.get("tst"))
    if lat is None or lon is None:
        raise RefusedError("no_position", "no lat and lon")
    if seen_at_us is None:
        raise RefusedError("malformed", "no tst")
    speed = _positive(m.get("vel"), "vel")
    return Said(
        seen_at_us=seen_at_us,
        lat=lat,
        lon=lon,
        speed_mps=None if speed is None else speed * KMH,
        course_deg=_positive(m.get("cog"), "cog"),
        accuracy_m=number(m.get("acc"), "acc"),
        altitude_m=number(m.get("alt"), "alt"),
    )


FORMAT = Format(decode, looks=lambda m: isinstance(m.get("_type"), str), topic=r"owntracks/[^/]+/[^/]+(/.*)?")

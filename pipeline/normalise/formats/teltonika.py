"""Teltonika-like JSON over MQTT: the AWS codec of their trackers, and the flat objects of their routers and of many cousins.

    {"state": {"reported": {"ts": 1763892000000, "latlng": "35.28,73.21", "alt": 1200, "ang": 87, "sat": 9, "sp": 43, "evt": 0}}}
    {"ident": "356307042441013", "timestamp": 1763892000, "position.latitude": 35.28, "position.speed": 43, "position.valid": true}
    {"imei": "356307042441013", "timestamp": "1763892000", "latitude": "35.28", "longitude": "73.21", "speed": "43", "angle": "87"}

Units: km/h, degrees, metres. Instants count from 1970 in milliseconds, as in their records, or in seconds, as from their
routers: from 100,000,000,000 on (as seconds the year 5138) it is milliseconds. Or they are ISO 8601 with a zone.

Traps:
- Every number may be a string.
- 0/0 until the first fix (`zero_island`); later without satellites (`sat` 0, `fix_status` 0, `valid` false) the last known place, again
  and again (`no_position`).
- The place may lie one level down, under `gps` or `position`, or behind a dot (`position.latitude`, as gateways for many makers write it).
- A clock of 2004, or of 1970, until the first fix: `too_old`.
- AVL id 236 (alarm) 1, a record of priority 2 (their word for it is panic), or `alarm`/`event` sos: somebody pressed.
- The device is its IMEI, which a gateway's plan lists; a tracker's own login need not say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.normalise.formats import words
from pipeline.normalise.formats.said import Format, Said, inner, instant, json_object, maybe, names, number, unix
from pipeline.normalise.reasons import RefusedError

KMH = 1 / 3.6
LAT, LON = ("latitude", "lat"), ("longitude", "lon", "lng")
INSTANTS = ("ts", "timestamp", "time", "utc")
IMEI = ("imei", "IMEI", "deviceId", "device_id", "ident", "id")
SPEED, COURSE, ALTITUDE = (
    ("speed", "sp", "spd"),
    ("angle", "ang", "course", "heading", "direction"),
    ("altitude", "alt"),
)
SATELLITES = ("satellites", "sat", "sats")
VALID = ("fix_status", "valid")
DOTTED = "position."
ALARM_AVL = "236"
PRIORITY, PANIC = ("pr", "priority"), 2
MILLISECONDS_FROM = 100_000_000_000


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """A press where there is one, then the fix. Raises RefusedError."""
    m = json_object(payload)
    at = _level(inner(inner(m, "state"), "reported") or m)
    known_as = names(_first(at, IMEI) or _first(m, IMEI))
    pressed = _pressed(at)
    try:
        fix = _fix(at, known_as)
    except RefusedError:
        if not pressed:
            raise
        fix = None
    out = [fix] if fix is not None else []
    if not pressed:
        return out
    lat, lon = _place(at) if fix is not None else (None, None)
    try:
        seen_at_us = _instant(at)
    except RefusedError:
        seen_at_us = None
    return [Said(kind="press", what="sos", seen_at_us=seen_at_us, lat=lat, lon=lon, known_as=known_as), *out]


def _level(m: dict[str, Any]) -> dict[str, Any]:
    """All of it on one level, the place first."""
    dotted = {key.removeprefix(DOTTED): value for key, value in m.items() if key.startswith(DOTTED)}
    return {**m, **(inner(m, "gps") or inner(m, "position")), **dotted}


def _first(at: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((at[key] for key in keys if at.get(key) not in (None, "")), None)


def _pressed(at: Mapping[str, Any]) -> bool:
    if maybe(at.get(ALARM_AVL)) == 1 or maybe(_first(at, PRIORITY)) == PANIC or words.pressed(at, any_button=False):
        return True
    return any(isinstance(at.get(key), str) and words.plain(at[key]) in words.SOS for key in ("alarm", "event", "evt"))


def _place(at: Mapping[str, Any]) -> tuple[float | None, float | None]:
    both = at.get("latlng")
    if isinstance(both, str) and "," in both:
        lat, lon = both.split(",", 1)
        return number(lat, "latlng"), number(lon, "latlng")
    return number(_first(at, LAT), "latitude"), number(_first(at, LON), "longitude")


def _instant(at: Mapping[str, Any]) -> int | None:
    for key in INSTANTS:
        value = at.get(key)
        if value in (None, ""):
            continue
        count = maybe(value)
        if count is None:
            return instant(value, key)
        return unix(count, key, 1000 if count >= MILLISECONDS_FROM else 1)
    return None


def _fix(at: Mapping[str, Any], known_as: tuple[str, ...]) -> Said:
    lat, lon = _place(at)
    if lat is None or lon is None:
        raise RefusedError("no_position", "no latitude and longitude")
    unfixed = any(words.alarm(at.get(key)) == words.CLEAR for key in VALID)
    if (unfixed or maybe(_first(at, SATELLITES)) == 0) and (lat, lon) != (0, 0):
        raise RefusedError("no_position", "no satellites: the last known place")
    seen_at_us = _instant(at)
    if seen_at_us is None:
        raise RefusedError("malformed", "no instant")
    speed = maybe(_first(at, SPEED))
    hdop, accuracy = maybe(at.get("hdop")), maybe(at.get("accuracy"))
    return Said(
        seen_at_us=seen_at_us,
        lat=lat,
        lon=lon,
        speed_mps=None if speed is None else speed * KMH,
        course_deg=maybe(_first(at, COURSE)),
        accuracy_m=accuracy or (hdop * 5.0 if hdop else None),
        altitude_m=maybe(_first(at, ALTITUDE)),
        known_as=known_as,
    )


def _looks(m: dict[str, Any]) -> bool:
    if inner(inner(m, "state"), "reported"):
        return True
    m = {**m, **inner(m, "gps")}  # what is written with dots is read where it is asked for, and not guessed
    placed = _first(m, LAT) is not None and _first(m, LON) is not None and _first(m, INSTANTS) is not None
    return placed and any(key in m for key in ("imei", "IMEI", "sp", "ang", "angle", *SATELLITES))


FORMAT = Format(decode, looks=_looks)

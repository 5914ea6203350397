"""What the decoder of a LoRaWAN server made of a device's bytes: a tracker's place, a sensor's words. TTN and ChirpStack share it.

The keys are those that the makers' own decoders use (Milesight, Dragino, Abeeway, Digital Matter, SenseCAP, GlobalSat, Browan, MerryIoT,
Elsys, Yobiiq, Bosch, Nwave, Tektelic, Cayenne LPP). The bytes
themselves are not read: an uplink that was not decoded is `undecoded`, and the server is where that is mended.

Traps:
- A tracker without a fix says 0/0 or leaves the place out. Its battery does not make such an uplink a message.
- `speed` has no unit in these decoders: only a key that names one is read (`speed_kmh`, `speed_mps`, `speed_knots`).
- `battery` is per cent with some and volts with others; a bare `contact: true` may mean either: what is not certain is left out.
- A button that is made for nothing else (`press: short`) asks for help: every press of it is an SOS. One on a thing that is screwed to a
  wall (a door's sensor, a smoke alarm) is there to set it up.
- A tracker that found no fix repeats the last place and says so beside it (`fixFailed`, `gnss_fix: false`): `no_position`.
- `time` may be the clock alone: then the server's instant counts. Abeeway's fix is `age` seconds old, SenseCAP's of its own `timestamp`.
- The place of the *gateway* stands beside the radio's data (`rx_metadata`, `rxInfo`); it is never the device's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.normalise.formats import words
from pipeline.normalise.formats.said import Said, instant, maybe, number, shown, unix
from pipeline.normalise.reasons import RefusedError

LAT = ("latitude", "lat", "gpslatitude", "latitudedeg", "gpslat")
LON = ("longitude", "lon", "lng", "long", "gpslongitude", "longitudedeg", "gpslon", "gpslng", "longitud")
SPEEDS = {
    "speedkmh": 1 / 3.6,
    "speedkph": 1 / 3.6,
    "speedkmph": 1 / 3.6,
    "speedmps": 1.0,
    "speedms": 1.0,
    "speedknots": 1852 / 3600,
}
COURSES = ("heading", "course", "direction", "headingdeg", "cog")
ACCURACIES = ("accuracy", "horizontalaccuracy", "ehpe")
FIXED = ("gnssfix", "gpsfix", "gpsvalid", "fixvalid", "positionvalid", "locationvalid")
UNFIXED = ("fixfailed", "gpsfixfailed", "gnssfixfailed")
ON_A_WALL = ("door", "smoke", "gas", "water", "occupancy")
EVENTS = ("type", "event", "eventtype", "reporttype", "messagetype", "alarm", "alarmtype", "mode", "trackingmode")
_HELP = re.compile(
    r"(sos|panic|help|emergency)(report|alarm|alert|on|start|started|triggered|pressed|button|message|mode|event|active)*"
)
DAY_S = 86_400
METRES_PER_HDOP = 5.0
MOST_KEYS = 256
MOST_LISTED = 16


def eui(value: Any) -> tuple[Any, ...]:
    """An EUI as it came, and in the two ways that people write it in a plan."""
    return (value, value.lower(), value.upper()) if isinstance(value, str) else (value,)


def said_in(decoded: Any, heard_at: Any, known_as: tuple[str, ...], seq: int) -> list[Said]:
    """A press, then the fix, then the readings; `heard_at` is the server's instant. Raises RefusedError: undecoded, unsupported, or what is wrong with the place."""
    if not isinstance(decoded, dict) or not decoded:
        raise RefusedError("undecoded", "no decoded payload: set the device's decoder in its LoRaWAN server")
    values = _flat(decoded)
    place, refused = None, None
    try:
        place = _place(values)
    except RefusedError as error:
        refused = error
    out: list[Said] = []
    tracker = place is not None or refused is not None
    readings = words.readings(values)
    if _pressed(values, any(said.what in ON_A_WALL for said in readings)) or (tracker and _alarm_status(values)):
        out.append(Said(kind="press", what="sos", lat=place.lat if place else None, lon=place.lon if place else None))
    if place is not None:
        out.append(place)
    out += readings
    if refused is not None and all(said.aside for said in out):
        raise refused
    if not out:
        raise RefusedError("unsupported", f"nothing in it that is known here: {', '.join(values)[:120]}")
    undated = place is not None and place.seen_at_us is None
    told = words.dated(out, lambda: instant(heard_at, "the server's instant"), known_as, seq)
    if undated and place is not None and place.seen_at_us is not None:
        place.seen_at_us -= round(_age_s(values) * 1_000_000)
    return told


def _pressed(values: Mapping[str, Any], on_a_wall: bool) -> bool:
    """A key that says so, here or one level below, a button that is for nothing else, or an event of that name."""
    if words.pressed(values, any_button=not on_a_wall):
        return True
    if any(words.pressed(value, any_button=False) for value in values.values() if isinstance(value, dict)):
        return True
    told = (value for key, value in values.items() if words.plain(key) in EVENTS)
    return any(isinstance(value, str) and _HELP.fullmatch(words.plain(value)) for value in told)


def _age_s(values: Mapping[str, Any]) -> float:
    """Abeeway's: how old the fix was when it was sent."""
    age = maybe(values.get("age")) if "gpsLatitude" in values else None
    return age if age is not None and 0 < age < DAY_S else 0.0


def _flat(decoded: Mapping[str, Any]) -> dict[str, Any]:
    """Key and value, of the shapes that decoders give: plain, under `data`, with a unit beside each value, SenseCAP's lists."""
    if isinstance(decoded.get("data"), dict) and len(decoded) <= 4:
        decoded = decoded["data"]
    values: dict[str, Any] = {}
    for key in list(decoded)[:MOST_KEYS]:
        value = decoded[key]
        values[str(key)] = value["value"] if isinstance(value, dict) and "value" in value and len(value) <= 4 else value
    messages = decoded.get("messages")
    rows = messages[:MOST_LISTED] if isinstance(messages, list) else []
    for row in rows:
        for entry in row[:MOST_LISTED] if isinstance(row, list) else [row]:
            if isinstance(entry, dict) and isinstance(entry.get("type"), str):
                value = entry.get("measurementValue")
                values[entry["type"]] = value
                if entry["type"] == "Latitude" and "time" not in values:
                    values["time"] = entry.get("timestamp")
                for event in value[:MOST_LISTED] if isinstance(value, list) else []:
                    if isinstance(event, dict) and shown(event.get("eventName")).lower().startswith("sos"):
                        values["sos"] = True
    return values


def _alarm_status(values: Mapping[str, Any]) -> bool:
    """Dragino's trackers: the red button."""
    return any(
        words.plain(key) == "alarmstatus" and words.alarm(value) == words.DETECTED for key, value in values.items()
    )


def _place(values: dict[str, Any]) -> Said | None:
    """The fix, from the top or from one object below (Cayenne's gps_1). None: it speaks of none. Raises RefusedError."""
    for level in (values, *(value for value in values.values() if isinstance(value, dict) and len(value) <= MOST_KEYS)):
        at = {words.plain(key): value for key, value in level.items() if isinstance(key, str)}
        lat, lon = _first(at, LAT), _first(at, LON)
        if lat is not None and lon is not None:
            return _fix(at, lat, lon, values)
    return None


_CLOCK = re.compile(r"\d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?)?")


def _unfixed(at: Mapping[str, Any]) -> bool:
    return any(words.alarm(at.get(key)) == words.CLEAR for key in FIXED) or any(
        words.alarm(at.get(key)) == words.DETECTED for key in UNFIXED
    )


def _first(at: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((at[key] for key in keys if at.get(key) is not None), None)


def _fix(at: Mapping[str, Any], lat: Any, lon: Any, values: Mapping[str, Any]) -> Said:
    fix = Said(lat=number(lat, "latitude"), lon=number(lon, "longitude"))
    if (fix.lat, fix.lon) != (0, 0) and _unfixed(at):
        raise RefusedError("no_position", "it found no fix: the last known place")
    told = values.get("time", at.get("time"))
    if isinstance(told, str) and not _CLOCK.fullmatch(told):
        fix.seen_at_us = instant(told, "time")  # of the place; without it that of the uplink counts
    elif isinstance(values.get("messages"), list) and maybe(told):
        fix.seen_at_us = unix(told, "timestamp", 1000)
    fix.altitude_m = maybe(_first(at, ("altitude", "alt")))
    fix.course_deg = maybe(_first(at, COURSES))
    hdop = maybe(at.get("hdop"))
    accuracy = maybe(_first(at, ACCURACIES))
    fix.accuracy_m = accuracy if accuracy else (hdop * METRES_PER_HDOP if hdop else None)
    for key, mps in SPEEDS.items():
        if (speed := maybe(at.get(key))) is not None:
            fix.speed_mps = speed * mps
    return fix

"""Traccar's position and event forwarding (traccar.org/forward, `forward.type` and `event.forward.type` json or mqtt).

    {"position": {...}, "device": {...}}         {"event": {...}, "position": {...}, "device": {...}}

Units: speed in *knots*; altitude and accuracy in metres, course in degrees; instants ISO 8601 with a zone, in older servers
milliseconds since 1970.

Traps:
- `accuracy` 0 means: not known. `valid` false: the receiver has no fix. `outdated` true: the last known place, sent again.
- `fixTime` is when the place was true, `deviceTime` when the device spoke, `serverTime` when Traccar got it. A fix is of
  its fixTime, a press of its deviceTime: who presses in a tunnel has an old place.
- `attributes.alarm` may hold several words, `sos,lowBattery`; the same press comes with the position and as an event.
- `deviceId` is a number of Traccar's own; the device is `device.uniqueId` (an IMEI, mostly), which a gateway's plan lists.
- Traccar's own verdicts (geofences, overspeed, motion) are not ours: of such an event the position is taken.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats.said import Format, Said, inner, instant, json_object, maybe, names, number, unix
from pipeline.normalise.reasons import RefusedError

KNOT = 1852 / 3600
LINKS = {"deviceOnline": "online", "deviceOffline": "offline"}


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """A press where there is one, then the fix. Raises RefusedError."""
    m = json_object(payload)
    position, event, device = inner(m, "position"), inner(m, "event"), inner(m, "device")
    known_as = names(device.get("uniqueId"), device.get("name"))
    kind = event.get("type")
    if isinstance(kind, str) and kind in LINKS:
        seen = _instant(event.get("eventTime", event.get("serverTime")), "eventTime")
        return [Said(kind="link", what=LINKS[kind], seen_at_us=seen, known_as=known_as)]
    if not position and not event:
        raise RefusedError("unsupported", f"neither position nor event: {', '.join(m)[:80]}")
    out = [_press(position, event, known_as)] if _alarmed(position, event) else []
    try:
        out.append(_fix(position, known_as))
    except RefusedError:
        if not out:
            raise
    return out


def _alarmed(position: dict[str, Any], event: dict[str, Any]) -> bool:
    alarms = [inner(position, "attributes").get("alarm")]
    if event.get("type") == "alarm":
        alarms.append(inner(event, "attributes").get("alarm"))
    return any("sos" in alarm.lower().replace(" ", "").split(",") for alarm in alarms if isinstance(alarm, str))


def _press(position: dict[str, Any], event: dict[str, Any], known_as: tuple[str, ...]) -> Said:
    said = Said(kind="press", what="sos", known_as=known_as)
    for told in (position.get("deviceTime"), position.get("fixTime"), event.get("eventTime"), event.get("serverTime")):
        try:
            said.seen_at_us = _instant(told, "deviceTime")
        except RefusedError:
            continue
        if said.seen_at_us is not None:
            break
    said.lat, said.lon = maybe(position.get("latitude")), maybe(position.get("longitude"))
    return said


def _fix(position: dict[str, Any], known_as: tuple[str, ...]) -> Said:
    if not position:
        raise RefusedError("no_position", "an event without a position")
    lat, lon = number(position.get("latitude"), "latitude"), number(position.get("longitude"), "longitude")
    if position.get("valid") is False and (lat, lon) != (0, 0):
        raise RefusedError("no_position", "valid is false: the receiver has no fix")
    if position.get("outdated") is True:
        raise RefusedError("no_position", "outdated: the last known place, sent again")
    seen_at_us = _instant(position.get("fixTime"), "fixTime")
    if seen_at_us is None:
        raise RefusedError("malformed", "no fixTime")
    speed, accuracy = number(position.get("speed"), "speed"), number(position.get("accuracy"), "accuracy")
    return Said(
        seen_at_us=seen_at_us,
        lat=lat,
        lon=lon,
        speed_mps=None if speed is None else speed * KNOT,
        course_deg=number(position.get("course"), "course"),
        accuracy_m=accuracy or None,
        altitude_m=number(position.get("altitude"), "altitude"),
        known_as=known_as,
    )


def _instant(value: Any, name: str) -> int | None:
    return unix(value, name, 1000) if isinstance(value, int | float) else instant(value, name)


def _looks(m: dict[str, Any]) -> bool:
    return isinstance(m.get("device"), dict) and (
        isinstance(m.get("position"), dict) or isinstance(m.get("event"), dict)
    )


FORMAT = Format(decode, looks=_looks)

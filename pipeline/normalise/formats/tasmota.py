"""Tasmota: `tele/<device>/SENSOR`, `stat/<device>/RESULT`, `tele/<device>/LWT`, and its Zigbee bridge (`ZbReceived`).

    {"ZbReceived": {"0x1C9D": {"Device": "0x1C9D", "Name": "Gate", "Contact": 1, "LinkQuality": 92}}}

Units: temperature in what `TempUnit` says, and only Celsius is read; `BatteryPercentage` in per cent.

Traps:
- `Contact: 1` is *open*. (Zigbee2MQTT's `contact: true` is closed.)
- `Time` has no zone: it is local, and of a clock that may never have been set. What is seen is of when it was received, unless the
  zone is there.
- `Switch1: ON` says that an input is on; whether that is a door, and which way, is wired and not told: it is left out.
  `ZoneStatus` and `Power` are numbers whose meaning depends on the device: left out as well.
- One message of the bridge may speak of several devices.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.normalise.formats import words
from pipeline.normalise.formats.said import Format, Said, inner, instant, json_object, names
from pipeline.normalise.reasons import RefusedError

MOST_DEVICES = 32


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    if payload in (b"Online", b"Offline"):
        return [Said(kind="link", what=payload.decode().lower())]
    m = json_object(payload)
    heard = inner(m, "ZbReceived")
    out: list[Said] = []
    for address, values in list(heard.items())[:MOST_DEVICES]:
        if isinstance(values, dict):
            known_as = names(values.get("Name"), values.get("Device"), address)
            out += words.dated(_told(values), lambda: _time(m.get("Time")), known_as)
    if not heard:
        status = inner(m, "StatusSNS") or m
        out = words.dated(_told(status | _climate(status)), lambda: _time(status.get("Time")))
    if not out:
        raise RefusedError("unsupported", f"nothing in it that is known here: {', '.join(heard or m)[:120]}")
    return out


def _told(values: dict[str, Any]) -> list[Said]:
    out = [Said(kind="press", what="sos")] if words.pressed(values, any_button=False) else []
    for key, value in list(values.items())[:256]:
        if key.lower().startswith("button") and isinstance(value, dict) and (how := words.button(value.get("Action"))):
            out.append(Said(kind="reading", what="button", value=how))
    return out + words.readings(values, true_contact=words.OPEN)


def _climate(values: dict[str, Any]) -> dict[str, Any]:
    """Temperature and humidity of a sensor that has an object of its own (AM2301, BME280)."""
    out: dict[str, Any] = {}
    for value in list(values.values())[:64]:
        if isinstance(value, dict):
            if values.get("TempUnit") == "C" and "Temperature" in value:
                out["Temperature"] = value["Temperature"]
            if "Humidity" in value:
                out["Humidity"] = value["Humidity"]
    return out


def _time(value: Any) -> int | None:
    try:
        zoned = isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return None
    return instant(value, "Time") if zoned else None


def _looks(m: dict[str, Any]) -> bool:
    return "ZbReceived" in m or "StatusSNS" in m or isinstance(m.get("Time"), str) or "Contact" in m


FORMAT = Format(
    decode,
    looks=_looks,
    topic=r"(?:tele|stat|tasmota)/(?P<device>[^/]+)(?:/[^/]+)?/(?:SENSOR|RESULT|LWT|STATE|STATUS\d*)",
)

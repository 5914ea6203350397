"""Shelly: the first generation's `shellies/<id>/...` (`info`, `status`, `sensor/state` and the like) and the RPC of all later ones.

    {"src": "shellyplussmoke-a1", "method": "NotifyStatus", "params": {"ts": 1680962879.62, "smoke:0": {"alarm": true}}}

Units: `ts` in seconds with a fraction, `unixtime` and `timestamp` in seconds; `tC` and `tmp.value` with `units` C in Celsius,
`bat.value` and `percent` in per cent, `tilt` in degrees (left out).

Traps:
- `is_valid` false: what stands beside it was never measured. `unixtime` 0: it has no clock yet.
- The first generation says `open` and `close`; Bluetooth sensors (BTHome) say `window: 1` or `door: 1`, which is open.
- `input:0` is whatever is wired to it, and its state is left out; a push of it is a button.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.normalise.formats import words
from pipeline.normalise.formats.said import Format, Said, inner, json_object, names, shown, unix
from pipeline.normalise.reasons import RefusedError

_SINGLE = re.compile(r"(?:.*/)?shellies/[^/]+/sensor/(?P<what>[a-z_]+)")
_ONLINE = re.compile(r".*/online")
_WORDS = {"state": "door", "flood": "waterleak"}  # what the first generation calls them
_PUSHES = ("single_push", "double_push", "triple_push", "long_push", "btn_down")
_PARTS = {"smoke": "smoke", "flood": "waterleak", "gas": "gas", "presence": "presence", "motion": "motion"}


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    text = payload.strip()
    if _ONLINE.fullmatch(topic) and text in (b"true", b"false"):
        return [Said(kind="link", what="online" if text == b"true" else "offline")]
    if (single := _SINGLE.fullmatch(topic)) and text[:1] not in (b"{", b"["):
        what = single["what"]
        value = text[:64].decode("utf-8", "replace")
        named: dict[str, Any] = {_WORDS.get(what, what): value}
        return _some(words.readings(named), topic)
    m = json_object(payload)
    params = inner(m, "params")
    if "method" in m or params:
        return _rpc(m, params)
    return _first(m)


def _some(found: list[Said], of: Any) -> list[Said]:
    if not found:
        raise RefusedError(
            "unsupported", f"nothing in it that is known here: {', '.join(of)[:120]}" if not isinstance(of, str) else of
        )
    return found


def _first(m: dict[str, Any]) -> list[Said]:
    sensor, accel, bat, tmp = inner(m, "sensor"), inner(m, "accel"), inner(m, "bat"), inner(m, "tmp")
    values: dict[str, Any] = {key: m.get(key) for key in ("motion", "vibration", "smoke", "gas", "tamper")}
    values["waterleak"] = m.get("flood")
    if sensor.get("is_valid") is not False:
        values["door"] = sensor.get("state")
        values.update({key: sensor[key] for key in ("motion", "vibration") if key in sensor})
    if "vibration" in accel:
        values["vibration"] = accel["vibration"]
    values["battery"] = bat.get("value")
    if tmp.get("is_valid") is not False and tmp.get("units") in ("C", None):
        values["temperature"] = tmp.get("value", tmp.get("tC"))
    told = m.get("unixtime") or m.get("timestamp") or None
    return words.dated(
        _some(words.readings(values), m), lambda: unix(told, "unixtime", 1), names(m.get("id"), m.get("mac"))
    )


def _rpc(m: dict[str, Any], params: dict[str, Any]) -> list[Said]:
    known_as = names(m.get("src"))
    events = params.get("events")
    out: list[Said] = []
    for event in events[:32] if isinstance(events, list) else []:
        if isinstance(event, dict):
            out += _event(event, known_as)
    values: dict[str, Any] = {}
    for key, part in list(params.items())[:256]:
        if not isinstance(part, dict):
            continue
        kind = key.split(":")[0]
        if kind in _PARTS and "alarm" in part:
            values[_PARTS[kind]] = part["alarm"]
        elif kind in _PARTS and isinstance(part.get("state"), bool):
            values[_PARTS[kind]] = part["state"]
        elif kind == "devicepower":
            values["battery"] = inner(part, "battery").get("percent")
        elif kind == "temperature":
            values["temperature"] = part.get("tC")
        elif kind == "humidity":
            values["humidity"] = part.get("rh")
    out += words.dated(words.readings(values), lambda: unix(params.get("ts"), "ts", 1), known_as)
    return _some(out, params)


def _event(event: dict[str, Any], known_as: tuple[str, ...]) -> list[Said]:
    data = inner(event, "data")
    found: list[Said] = []
    if "BTHome_version" in data:
        known_as = names(data.get("address")) or known_as
        found = words.readings(data, true_contact=words.OPEN)
    elif event.get("event") in _PUSHES:
        found = [Said(kind="reading", what="button", value=str(event["event"]).split("_")[0])]
    return words.dated(found, lambda: unix(event.get("ts"), "ts", 1), known_as)


def _looks(m: dict[str, Any]) -> bool:
    if isinstance(m.get("method"), str) and "params" in m and "shelly" in shown(m.get("src")).lower():
        return True
    return "bat" in m and any(key in m for key in ("sensor", "motion", "accel", "flood", "smoke"))


FORMAT = Format(
    decode, looks=_looks, topic=r"shellies/(?P<device>[^/]+)/.+|(?P<rpc>shelly[^/]+)/(?:events/rpc|online|status/.+)"
)

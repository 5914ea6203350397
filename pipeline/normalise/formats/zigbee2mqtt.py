"""Zigbee2MQTT: a device's state as JSON on `zigbee2mqtt/<friendly name>`; through a gateway's login `v1/<shard>/<login>/zigbee2mqtt/<device>`.

Units: battery in per cent, temperature in Celsius, `last_seen` as ISO 8601 with a zone or as milliseconds since 1970, as it is
configured; without it the state was seen when it was received.

Traps:
- `contact: true` is *closed*: the contact is made. (Tasmota's `Contact: 1` is open.)
- A message repeats the whole state; a value that the device never gave is null, and is left out.
- `occupancy` is what a motion sensor says. `action` is a button or what a vibration sensor felt (`vibration`, `tilt`, `drop`);
  `emergency`, `panic` and `sos` ask for help. An empty action is only the end of the one before.
- `water_leak`, `tamper`, `smoke`, `gas` come as true or false. `voltage` is in millivolts and is left out.
- The name is in the topic; `device` is there only if it is configured.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats import words
from pipeline.normalise.formats.said import Format, Said, inner, instant, json_object, names, unix
from pipeline.normalise.reasons import RefusedError

FELT = {"vibration": "vibration", "drop": "vibration", "shake": "vibration", "knock": "vibration", "tilt": "tilt"}
HELP = ("emergency", "panic", "sos")
_STATES = {b"online": "online", b"offline": "offline"}
_OURS = (
    "contact",
    "occupancy",
    "presence",
    "vibration",
    "tamper",
    "water_leak",
    "smoke",
    "gas",
    "carbon_monoxide",
    "action",
    "sos",
)


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    if (state := _STATES.get(payload.strip().lower())) is not None:
        return [Said(kind="link", what=state)]
    m = json_object(payload)
    known_as = names(inner(m, "device").get("friendlyName"), inner(m, "device").get("ieeeAddr"))
    if m.get("state") in ("online", "offline"):
        return [Said(kind="link", what=m["state"], known_as=known_as)]
    values = {key: value for key, value in list(m.items())[:256] if value is not None}
    action = values.pop("action", None)
    out: list[Said] = []
    if action in HELP or words.pressed(values, any_button=False):
        out.append(Said(kind="press", what="sos"))
    elif isinstance(action, str) and action in FELT:
        values[FELT[action]] = True
    elif isinstance(action, str) and action:
        out.append(Said(kind="reading", what="button", value=words.plain(action)[:32] or "single"))
    out += words.readings(values, true_contact=words.CLOSED)
    if not out:
        raise RefusedError("unsupported", f"nothing in it that is known here: {', '.join(m)[:120]}")
    return words.dated(out, lambda: _last_seen(m.get("last_seen")), known_as)


def _last_seen(value: Any) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return unix(value, "last_seen", 1000)
    return instant(value, "last_seen")


def _looks(m: dict[str, Any]) -> bool:
    return "linkquality" in m or "last_seen" in m or any(isinstance(m.get(key), bool) for key in _OURS)


FORMAT = Format(decode, looks=_looks, topic=r"zigbee2mqtt/(?P<device>(?!bridge/).+?)(/availability)?")

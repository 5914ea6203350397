"""Meshtastic's JSON over MQTT (`msh/<region>/2/json/<channel>/!<gateway>`), as its gateways publish what they heard on the air.

    {"from": 2130636288, "sender": "!7efeee00", "id": 452664778, "type": "position", "timestamp": 1646832724,
     "payload": {"latitude_i": 350000000, "longitude_i": 730000000, "altitude": 900, "time": 1646832720}}

Units: latitude and longitude are integers, degrees x 10,000,000; altitude in metres, `ground_speed` in m/s; `time` (of the place) and
`timestamp` (of the gateway) in seconds since 1970.

Traps:
- `from` is the device, `sender` the *gateway* that heard it. A plan lists the device's number, or that in hexadecimal as its
  screen shows it, without the exclamation mark: 7efeee00.
- One packet arrives through several gateways: its `id` is the sequence, so that they are the same observation.
- `precision_bits` below 32: the place was made coarse on purpose, 16 bits to 364 m. It is the accuracy.
- `time` 0: the device has no clock yet, and the gateway's counts.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats.said import Format, Said, inner, json_object, maybe, names, number, shown, unix
from pipeline.normalise.reasons import RefusedError

DEGREES = 1e-7
COARSE_M = 364.0 * (1 << 16)  # over 2 to the power of the bits
EXACT_BITS = 32


def decode(payload: bytes, topic: str = "") -> Said:
    """Raises RefusedError."""
    m = json_object(payload)
    kind, heard = m.get("type"), inner(m, "payload")
    sender = m.get("from")
    if not isinstance(sender, int) or isinstance(sender, bool):
        raise RefusedError("malformed", "no from")
    known_as = names(f"{sender & 0xFFFFFFFF:08x}", str(sender & 0xFFFFFFFF))
    seq = m["id"] if isinstance(m.get("id"), int) and not isinstance(m["id"], bool) and 0 <= m["id"] < 1 << 40 else 0
    seen_at_us = unix(heard.get("time") or m.get("timestamp") or None, "time", 1)
    if kind == "telemetry" and (battery := maybe(heard.get("battery_level"))) is not None and 0 <= battery <= 100:
        return Said(
            kind="reading",
            what="battery_percent",
            value=battery,
            aside=True,
            seen_at_us=seen_at_us,
            known_as=known_as,
            seq=seq,
        )
    if kind != "position":
        raise RefusedError("unsupported", f"type {shown(kind)!r}")
    if seen_at_us is None:
        raise RefusedError("malformed", "neither time nor timestamp")
    lat, lon = number(heard.get("latitude_i"), "latitude_i"), number(heard.get("longitude_i"), "longitude_i")
    return Said(
        seen_at_us=seen_at_us,
        lat=None if lat is None else lat * DEGREES,
        lon=None if lon is None else lon * DEGREES,
        altitude_m=maybe(heard.get("altitude")),
        speed_mps=maybe(heard.get("ground_speed")),
        accuracy_m=_coarse_m(heard.get("precision_bits")),
        known_as=known_as,
        seq=seq,
    )


def _coarse_m(bits: Any) -> float | None:
    count = maybe(bits)
    return COARSE_M / 2**count if count is not None and 0 < count < EXACT_BITS else None


def _looks(m: dict[str, Any]) -> bool:
    return isinstance(m.get("from"), int) and "type" in m and isinstance(m.get("payload"), dict)


FORMAT = Format(decode, looks=_looks, topic=r"msh/.+/json/.+")

"""The Things Stack (TTN) v3: an uplink as its MQTT server, a webhook or its storage sends it.

    {"end_device_ids": {"device_id", "dev_eui"}, "received_at", "uplink_message": {"f_port", "f_cnt", "decoded_payload", ...}}

Instants: ISO 8601 with nanoseconds. `uplink_message.received_at` is when the network heard it, and stands for the device's, which
mostly has no clock; the outer `received_at` is later. A tracker's own `time` counts for its place.

Traps: without a payload formatter there is no `decoded_payload` (`undecoded`); `decoded_payload_warnings` may say why it is half.
Joins, acknowledgements and `location_solved` (a place made from radio signals) come on topics of the same device: `unsupported`.
`normalized_payload` repeats some of it in other words, and is not read. What the bytes mean: see `uplink`.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats.said import Format, Said, inner, json_object, names, sequence
from pipeline.normalise.formats.uplink import eui, said_in
from pipeline.normalise.reasons import RefusedError


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    m = json_object(payload)
    m = inner(m, "result") or (inner(m, "data") if "end_device_ids" in inner(m, "data") else m)  # storage; event stream
    ids, uplink = inner(m, "end_device_ids"), inner(m, "uplink_message")
    if not uplink:
        raise RefusedError("unsupported", f"no uplink: {', '.join(m)[:100]}")
    heard_at = uplink.get("received_at") or m.get("received_at")
    known_as = names(ids.get("device_id"), *eui(ids.get("dev_eui")))
    return said_in(uplink.get("decoded_payload"), heard_at, known_as, sequence(uplink.get("f_cnt")))


def _looks(m: dict[str, Any]) -> bool:
    return any("end_device_ids" in level for level in (m, inner(m, "result"), inner(m, "data")))


FORMAT = Format(decode, looks=_looks, topic=r"v3/[^/]+/devices/(?P<device>[^/]+)/.+")

"""ChirpStack v4: an event `up` as its MQTT integration sends it (JSON marshaler).

    {"time", "deviceInfo": {"devEui", "deviceName"}, "fCnt", "fPort", "data": base64, "object": {what the codec made of it}}

Instants: ISO 8601; `time` is when the gateways heard it. Traps: without a codec there is no `object`, or an empty one
(`undecoded`); the codec's numbers are floats, and it writes counters as `1.0`. The name is free text: a plan lists the EUI.
`join`, `ack`, `txack`, `status`, `log` and `location` come on topics of the same device: `unsupported`.
The keys of v3 (`devEUI`, `objectJSON`) are others, and are told apart. What the bytes mean: see `uplink`.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats.said import Format, Said, inner, json_object, names, sequence
from pipeline.normalise.formats.uplink import eui, said_in
from pipeline.normalise.reasons import RefusedError


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    m = json_object(payload)
    device = inner(m, "deviceInfo")
    if not device:
        raise RefusedError("unsupported", "ChirpStack v3; v4 is read" if "devEUI" in m else "no deviceInfo")
    if "data" not in m and "object" not in m and "fPort" not in m:
        raise RefusedError("unsupported", f"no uplink: {', '.join(m)[:100]}")
    known_as = names(*eui(device.get("devEui")), device.get("deviceName"))
    return said_in(m.get("object"), m.get("time"), known_as, sequence(m.get("fCnt")))


def _looks(m: dict[str, Any]) -> bool:
    return "devEui" in inner(m, "deviceInfo") or ("devEUI" in m and "applicationID" in m)


FORMAT = Format(decode, looks=_looks, topic=r"application/[^/]+/device/(?P<device>[^/]+)/event/.+")

"""LoRaWAN where the plan does not say which server: an uplink of The Things Stack or of ChirpStack, by what it looks like."""

from __future__ import annotations

from pipeline.normalise.formats import chirpstack, ttn
from pipeline.normalise.formats.said import Format, Said, json_object


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    decode_it = chirpstack.decode if chirpstack.FORMAT.looks(json_object(payload)) else ttn.decode
    return decode_it(payload, topic)


FORMAT = Format(decode)

"""LoRaWAN where the plan does not say which server: an uplink of The Things Stack or of ChirpStack, by what it looks like."""

from __future__ import annotations

from pipeline.normalise.formats import chirpstack, ttn
from pipeline.normalise.formats.said import Format, Said, json_object


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """Raises RefusedError."""
    server = chirpstack if chirpstack.FORMAT.looks(json_object(payload)) else ttn
    return server.decode(payload, topic)


FORMAT = Format(decode)

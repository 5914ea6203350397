"""The formats that devices speak: one file and one line here each (docs/formats.md says how to add one)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from pipeline.normalise.formats import (
    chirpstack,
    homeassistant,
    lorawan,
    meshtastic,
    native,
    nmea,
    owntracks,
    shelly,
    tasmota,
    teltonika,
    traccar,
    ttn,
    zigbee2mqtt,
)
from pipeline.normalise.formats.backlog import elements, is_array, parts
from pipeline.normalise.formats.said import MOST_BYTES, Format, Said
from pipeline.normalise.reasons import RefusedError

# Where a message looks like several, the first of them has it.
FORMATS: dict[str, Format] = {
    "native": native.FORMAT,
    "owntracks": owntracks.FORMAT,
    "nmea": nmea.FORMAT,
    "traccar": traccar.FORMAT,
    "ttn": ttn.FORMAT,
    "chirpstack": chirpstack.FORMAT,
    "lorawan": lorawan.FORMAT,
    "homeassistant": homeassistant.FORMAT,
    "shelly": shelly.FORMAT,
    "tasmota": tasmota.FORMAT,
    "meshtastic": meshtastic.FORMAT,
    "teltonika": teltonika.FORMAT,
    "zigbee2mqtt": zigbee2mqtt.FORMAT,
}
_TOPICS = [(name, re.compile(form.topic)) for name, form in FORMATS.items() if form.topic]
MOST_TO_LOOK_AT = 1 << 20  # of a message that is too large: this much is searched for presses
MOST_PARTS_TO_LOOK_AT = 4000

Read = tuple[bytes, list[Said] | RefusedError]


def read(name: str, payload: bytes, topic: str = "") -> Iterator[Read]:
    """Every input of one message: its bytes, and what was said in it (nothing: accepted, and nothing to keep) or why not.

    Nothing is raised, whatever comes. `name` is one of FORMATS.
    """
    form = FORMATS[name]
    if len(payload) > MOST_BYTES:
        yield from _oversized(name, payload, topic, too_large(payload))
        return
    inputs = [payload]
    if form.arrays and is_array(payload):
        try:
            inputs = elements(payload)
        except RefusedError as refused:
            yield from _oversized(name, payload, topic, refused)
            return
    for part in inputs:
        yield part, _decoded(form, part, topic)


def _decoded(form: Format, part: bytes, topic: str) -> list[Said] | RefusedError:
    try:
        told = form.decode(part, topic)
    except RefusedError as refused:
        return refused
    except Exception as error:  # noqa: BLE001  # a fault of ours must not stop the stream: the bytes are kept, for the day it is mended
        return RefusedError("undecoded", f"{FAULT}: {type(error).__name__}: {error}")
    if told is None:
        return []
    return told if isinstance(told, list) else [told]


def too_large(payload: bytes) -> RefusedError:
    return RefusedError("oversized", f"{len(payload)} bytes; at most {MOST_BYTES}")


FAULT = "a fault of the decoder"


def _oversized(name: str, payload: bytes, topic: str, refused: RefusedError) -> Iterator[Read]:
    """Too large, or too many: somebody may have pressed all the same. An object is its press; of an array the rest is refused."""
    pressed: list[Said] = []
    if name == "native":
        pressed = native.presses(payload[:MOST_TO_LOOK_AT])
    elif len(payload) <= MOST_TO_LOOK_AT:
        form = FORMATS[name]
        for part in parts(payload)[:MOST_PARTS_TO_LOOK_AT] if form.arrays and is_array(payload) else [payload]:
            told = _decoded(form, part, topic)
            pressed += [said for said in told if said.kind == "press"] if isinstance(told, list) else []
    if pressed and not is_array(payload):
        yield payload, pressed
        return
    for press in pressed:
        yield payload, [press]
    yield payload, refused


def by_topic(topic: str) -> str | None:
    """Whose own topic this is, if anybody's."""
    return next((name for name, pattern in _TOPICS if pattern.fullmatch(topic)), None)


def device_in(topic: str) -> str | None:
    """The device that a format's own topic names."""
    for _, pattern in _TOPICS:
        if match := pattern.fullmatch(topic):
            return match.groupdict().get("device")
    return None


def guess(payload: bytes) -> str:
    """Which format a payload is in, by what it looks like. Raises RefusedError: malformed (no form at all) or unsupported."""
    head = payload.lstrip()[:1]
    if head in (b"$", b"!"):
        return "nmea"
    try:
        found = orjson.loads(payload)
    except (orjson.JSONDecodeError, RecursionError) as error:
        if native.presses(payload[:MOST_TO_LOOK_AT]):
            return "native"
        what = "neither JSON nor NMEA" if head not in (b"{", b"[") else str(error)
        raise RefusedError("malformed", what) from None
    if not isinstance(found, dict):
        raise RefusedError("malformed", f"a JSON {type(found).__name__}, not an object")
    for name, form in FORMATS.items():
        if form.looks(found):
            return name
    raise RefusedError("unsupported", f"JSON of no format that is known here: {', '.join(found)[:100]}")


__all__ = ["FORMATS", "MOST_BYTES", "Format", "Said", "by_topic", "device_in", "guess", "read", "too_large"]

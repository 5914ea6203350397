"""Home Assistant: an entity's state as its REST interface, its event stream or an automation publishes it.

    {"entity_id": "binary_sensor.gate", "state": "on", "attributes": {"device_class": "door"}, "last_changed": "...", "last_updated": "..."}

It comes bare or as `{"event_type": "state_changed", "data": {"new_state": {...}}}`. Instants are ISO 8601 with a zone;
`last_changed` is of the state's last change, `last_updated` of its last report, which is the one that counts.

Units: those of `unit_of_measurement`; temperature is read in Celsius and Fahrenheit, battery and humidity in per cent, gps_accuracy
in metres. `speed` has no declared unit and is left out.

Traps:
- `on` means what `device_class` says: door, window, garage_door, opening: open; lock: unlocked; motion, smoke and the like: detected;
  battery: low; connectivity: online; *problem* and *tamper* on are bad, *power* on is good. Without a class it means nothing.
- `unavailable` is no state: Home Assistant has lost the device (a link that is offline). `unknown` was never told.
- The state's text alone (`homeassistant/binary_sensor/gate/state`: `on`) lacks the class, and is `undecoded`.
- The device is the entity's id without its domain.
"""

from __future__ import annotations

from typing import Any

from pipeline.normalise.formats import words
from pipeline.normalise.formats.said import Format, Said, inner, instant, json_object, maybe, names, number, shown
from pipeline.normalise.reasons import RefusedError

OPENINGS = ("door", "window", "garage_door", "opening", "lock", "garage", "gate")
CLASSES = {
    "motion": "motion", "moving": "motion", "occupancy": "occupancy", "presence": "occupancy", "vibration": "vibration",
    "tamper": "tamper", "smoke": "smoke", "gas": "gas", "carbon_monoxide": "gas", "moisture": "water", "sound": "sound",
    "problem": "fault", "safety": "fault", "battery": "battery_low",
}  # fmt: skip
MEASURED = {("battery", "%"): "battery_percent", ("humidity", "%"): "humidity_percent", ("temperature", "°C"): "temperature_c",
            ("voltage", "V"): "voltage_v", ("carbon_dioxide", "ppm"): "co2_ppm"}  # fmt: skip


def decode(payload: bytes, topic: str = "") -> Said:
    """Raises RefusedError."""
    if payload.lstrip()[:1] != b"{":
        raise RefusedError("undecoded", "a state without its device_class")
    m = json_object(payload)
    m = inner(inner(m, "data"), "new_state") or inner(inner(inner(m, "event"), "data"), "new_state") or m
    entity = m.get("entity_id")
    if not isinstance(entity, str) or "." not in entity:
        raise RefusedError("unsupported", "no entity_id")
    domain, name = entity.split(".", 1)
    state, attributes = m.get("state"), inner(m, "attributes")
    said = _said(domain, state, attributes, entity)
    try:
        said.seen_at_us = instant(m.get("last_updated") or m.get("last_changed"), "last_updated")
    except RefusedError:
        if said.kind != "press":
            raise
    said.known_as = names(name, entity)
    return said


def _said(domain: str, state: Any, attributes: dict[str, Any], entity: str) -> Said:
    kind = attributes.get("device_class")
    if not isinstance(kind, str):
        kind = None
    if state == "unavailable":
        return Said(kind="link", what="offline")
    if state == "unknown" or state is None:
        raise RefusedError("undecoded", f"the state of {entity[:80]} was never told")
    if domain in ("device_tracker", "person"):
        return _fix(attributes)
    if domain == "binary_sensor" and state in ("on", "off"):
        on = state == "on"
        if kind in OPENINGS:
            return Said(kind="reading", what="door", value=words.OPEN if on else words.CLOSED)
        if kind in CLASSES:
            what = CLASSES[kind]
            return Said(
                kind="reading", what=what, value=words.DETECTED if on else words.CLEAR, aside=what in words.ASIDE
            )
        if kind in ("power", "plug"):
            return Said(kind="reading", what="power", value=state)
        if kind == "connectivity":
            return Said(kind="link", what="online" if on else "offline")
        if kind is None and words.plain(entity).endswith(words.SOS):
            return (
                Said(kind="press", what="sos")
                if on
                else Said(kind="reading", what="button", value="released", aside=True)
            )
        raise RefusedError("undecoded", f"{entity[:80]} is {state}, and has no device_class that says what this means")
    if domain in ("cover", "lock") and (found := words.door(state)):
        return Said(kind="reading", what="door", value=found)
    if domain in ("event", "button") and isinstance(attributes.get("event_type"), str):
        return Said(kind="reading", what="button", value=words.plain(attributes["event_type"])[:32] or "single")
    if domain == "sensor":
        value, unit = maybe(state), attributes.get("unit_of_measurement")
        if value is not None and (kind, unit) == ("temperature", "°F"):
            value, unit = round((value - 32) / 1.8, 3), "°C"
        measured = MEASURED.get((shown(kind), shown(unit)))
        if value is not None and abs(value) < 1e6 and measured:
            return Said(kind="reading", what=measured, value=value, aside=True)
    raise RefusedError(
        "unsupported", f"{entity[:80]} is {shown(state)}: no state of a sensor or tracker that is known here"
    )


def _fix(attributes: dict[str, Any]) -> Said:
    return Said(
        lat=number(attributes.get("latitude"), "latitude"),
        lon=number(attributes.get("longitude"), "longitude"),
        accuracy_m=maybe(attributes.get("gps_accuracy")) or None,
        altitude_m=maybe(attributes.get("altitude")),
        course_deg=maybe(attributes.get("course")),
    )


def _looks(m: dict[str, Any]) -> bool:
    return (
        (isinstance(m.get("entity_id"), str) and "state" in m)
        or m.get("event_type") == "state_changed"
        or (inner(m, "event").get("event_type") == "state_changed")
    )


FORMAT = Format(decode, looks=_looks, topic=r"homeassistant/[^/]+/(?P<device>[^/]+)/state")

"""Sensors of houses and sites: what each family of them means by open, by on and by true. Written by hand after their documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.model.observation import Link, Press, Reading
from pipeline.model.times import format_us
from pipeline.normalise.files import Reader
from pipeline.normalise.formats import guess
from tests.normalise.builders import GATEWAY, SECOND, SENSOR, T0, item, observations, only, outcome, record

NOW = format_us(T0)
S = T0 // SECOND


def z2m(**more: Any) -> tuple[str, dict[str, Any]]:
    return "zigbee2mqtt", {"battery": 97, "linkquality": 120, "voltage": 3015} | more


def zb(**more: Any) -> tuple[str, dict[str, Any]]:
    return "tasmota", {
        "ZbReceived": {"0x1C9D": {"Device": "0x1C9D", "Name": SENSOR, "Endpoint": 1, "LinkQuality": 92} | more}
    }


def tele(**more: Any) -> tuple[str, dict[str, Any]]:
    return "tasmota", {"Time": "2024-01-01T12:00:00"} | more


def rpc(**more: Any) -> tuple[str, dict[str, Any]]:
    params = {"ts": S + 0.25} | {key.replace("_", ":"): value for key, value in more.items()}
    return "shelly", {"src": "shellyplus-a1b2", "dst": "x/events", "method": "NotifyStatus", "params": params}


def blu(**more: Any) -> tuple[str, dict[str, Any]]:
    data = {"BTHome_version": 2, "pid": 3, "battery": 100, "address": SENSOR} | more
    event = {"component": "script:1", "event": "shelly-blu", "data": data, "ts": S}
    return "shelly", {"src": "shellyplus-a1b2", "method": "NotifyEvent", "params": {"ts": S, "events": [event]}}


def gen1(**more: Any) -> tuple[str, dict[str, Any]]:
    return "shelly", {
        "bat": {"value": 87, "voltage": 5.9},
        "tmp": {"value": 21.5, "units": "C", "is_valid": True},
    } | more


def ha(
    kind: str | None, state: Any, entity: str = f"binary_sensor.{SENSOR}", **attributes: Any
) -> tuple[str, dict[str, Any]]:
    about = attributes | ({} if kind is None else {"device_class": kind})
    return "homeassistant", {
        "entity_id": entity,
        "state": state,
        "attributes": about,
        "last_changed": NOW,
        "last_updated": NOW,
    }


# what is sent -> what is told of it first, and whether it shows what format it is in
MEANT: list[tuple[tuple[str, dict[str, Any]], str, Any]] = [
    # the same word, and the opposite
    (z2m(contact=True), "door", "closed"),
    (z2m(contact=False), "door", "open"),
    (zb(Contact=1), "door", "open"),
    (zb(Contact=0), "door", "closed"),
    (tele(Contact=1), "door", "open"),
    (blu(window=1), "door", "open"),
    (blu(window=0), "door", "closed"),
    (gen1(sensor={"state": "open", "is_valid": True}), "door", "open"),
    (gen1(sensor={"state": "close", "is_valid": True}), "door", "closed"),
    (ha("door", "on"), "door", "open"),
    (ha("window", "off"), "door", "closed"),
    (ha("lock", "on"), "door", "open"),
    (ha(None, "open", "cover.gate"), "door", "open"),
    (ha(None, "locked", "lock.gate"), "door", "closed"),
    # motion
    (z2m(occupancy=True), "occupancy", "detected"),
    (z2m(occupancy=False, tamper=None), "occupancy", "clear"),
    (z2m(presence=True), "occupancy", "detected"),
    (zb(Occupancy=1), "occupancy", "detected"),
    (blu(motion=1), "motion", "detected"),
    (gen1(motion=True, timestamp=S), "motion", "detected"),
    (gen1(sensor={"motion": False, "vibration": True}), "motion", "clear"),
    (rpc(presence_0={"id": 0, "state": True}), "occupancy", "detected"),
    (ha("motion", "on"), "motion", "detected"),
    (ha("presence", "off"), "occupancy", "clear"),
    # tamper, vibration, tilt
    (z2m(tamper=True), "tamper", "detected"),
    (z2m(vibration=True), "vibration", "detected"),
    (z2m(action="vibration"), "vibration", "detected"),
    (z2m(action="drop"), "vibration", "detected"),
    (z2m(action="tilt", angle_x=3), "tilt", "detected"),
    (zb(Tamper=1), "tamper", "detected"),
    (gen1(accel={"tilt": 3, "vibration": 1}), "vibration", "detected"),
    (ha("vibration", "on"), "vibration", "detected"),
    (ha("tamper", "off"), "tamper", "clear"),
    # smoke, gas, water, power
    (z2m(smoke=True, smoke_density=3), "smoke", "detected"),
    (z2m(carbon_monoxide=False), "gas", "clear"),
    (z2m(water_leak=True), "water", "detected"),
    (zb(Fire=1), "smoke", "detected"),
    (rpc(smoke_0={"id": 0, "alarm": True, "mute": False}), "smoke", "detected"),
    (rpc(flood_0={"id": 0, "alarm": False}), "water", "clear"),
    (gen1(flood=True), "water", "detected"),
    (gen1(smoke=False), "smoke", "clear"),
    (ha("smoke", "on"), "smoke", "detected"),
    (ha("moisture", "on"), "water", "detected"),
    (ha("power", "off"), "power", "off"),
    (ha("problem", "on"), "fault", "detected"),
    # buttons
    (z2m(action="single"), "button", "single"),
    (z2m(action="1_double"), "button", "1double"),
    (tele(Button1={"Action": "SINGLE"}), "button", "single"),
    (ha(None, NOW, "event.button", event_type="press"), "button", "press"),
    # of the device itself
    (z2m(), "battery_percent", 97),
    (zb(BatteryPercentage=55), "battery_percent", 55),
    (tele(AM2301={"Temperature": 21.5, "Humidity": 40}, TempUnit="C"), "temperature_c", 21.5),
    (tele(AM2301={"Temperature": 70.0, "Humidity": 40}, TempUnit="F"), "humidity_percent", 40),
    (rpc(temperature_0={"id": 0, "tC": 19.8, "tF": 67.6}), "temperature_c", 19.8),
    (rpc(devicepower_0={"battery": {"V": 2.9, "percent": 40}}), "battery_percent", 40),
    (ha("temperature", "68", f"sensor.{SENSOR}", unit_of_measurement="°F"), "temperature_c", 20),
    (ha("battery", "87", f"sensor.{SENSOR}", unit_of_measurement="%"), "battery_percent", 87),
]  # fmt: skip


def sent(form: str, body: Any, login: str = SENSOR) -> Any:
    return item(body if isinstance(body, bytes) else json.dumps(body).encode(), login=login, form=form)


@pytest.mark.parametrize(("message", "what", "value"), MEANT)
def test_a_sensor_means_this(message: tuple[str, dict[str, Any]], what: str, value: Any) -> None:
    first = record(sent(*message))
    told = [one for one in observations(first) if isinstance(one, Reading)]
    assert (told[0].sensor, told[0].what, told[0].value) == ("s1", what, value)
    assert guess(json.dumps(message[1]).encode()) == message[0]


PRESSED = [
    z2m(action="emergency"), z2m(action="panic"), z2m(action="sos"), z2m(sos=True), zb(SOS=1), ha(None, "on", "binary_sensor.hall_panic"),
]  # fmt: skip


@pytest.mark.parametrize("message", PRESSED)
def test_who_asks_for_help_is_heard(message: tuple[str, dict[str, Any]]) -> None:
    press = observations(record(sent(*message)))[0]
    assert isinstance(press, Press) and (press.subject, press.what) == ("s1", "sos")


LINKS = [
    ("zigbee2mqtt", b"offline", "offline"), ("zigbee2mqtt", b'{"state":"online"}', "online"), ("tasmota", b"Offline", "offline"),
    ("homeassistant", json.dumps(ha("door", "unavailable")[1]).encode(), "offline"),
    ("homeassistant", json.dumps(ha("connectivity", "on")[1]).encode(), "online"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "body", "state"), LINKS)
def test_what_its_bridge_has_lost_is_offline(form: str, body: bytes, state: str) -> None:
    link = only(sent(form, body))
    assert isinstance(link, Link) and (link.device, link.state) == (SENSOR, state)


REFUSED: list[tuple[tuple[str, Any], str]] = [
    (("zigbee2mqtt", {"linkquality": 3, "contact": None}), "unsupported"),
    (("zigbee2mqtt", {"linkquality": 3, "contact": "ajar"}), "unsupported"),
    (("zigbee2mqtt", {"linkquality": 3, "state": "ON", "position": 0}), "unsupported"),
    (("zigbee2mqtt", {"linkquality": 3, "action": ""}), "unsupported"),
    (("zigbee2mqtt", {"contact": True, "last_seen": S}), "too_old"),  # milliseconds, then, of January 1970
    (("zigbee2mqtt", {"contact": True, "last_seen": "2026-05-28T20:26:40"}), "malformed"),
    (("zigbee2mqtt", {"contact": True, "last_seen": 1e300}), "out_of_range"),
    (("zigbee2mqtt", b""), "malformed"),
    (("zigbee2mqtt", b"ON"), "malformed"),
    (tele(Switch1="ON"), "unsupported"),
    (tele(ENERGY={"Power": 1}), "unsupported"),
    (zb(ZoneStatus=33, ZoneStatusChange=33), "unsupported"),
    (("tasmota", {"ZbReceived": {"0x1": 5}}), "unsupported"),
    (rpc(input_0={"id": 0, "state": True}), "unsupported"),
    (gen1(sensor={"state": "open", "is_valid": False}, bat=None, tmp=None), "unsupported"),
    (rpc(ts=-1, smoke_0={"alarm": True}), "out_of_range"),
    (ha(None, "on"), "undecoded"),
    (ha("light", "on"), "undecoded"),
    (ha("door", "unknown"), "undecoded"),
    (("homeassistant", b"on"), "undecoded"),
    (ha("door", "ajar"), "unsupported"),
    (ha("energy", "5", f"sensor.{SENSOR}", unit_of_measurement="kWh"), "unsupported"),
    (ha(None, "home", "device_tracker.phone", latitude=35, longitude=73), "identity_mismatch"),
]


@pytest.mark.parametrize(("message", "reason"), REFUSED)
def test_what_is_not_certain_is_not_guessed_at(message: tuple[str, Any], reason: str) -> None:
    assert outcome(sent(*message)) == reason


@pytest.mark.parametrize(
    ("last_seen", "at_us"),
    [(None, T0), (T0 // 1000 - 5000, T0 - 5 * SECOND), ("2026-05-29T01:26:35+05:00", T0 - 5 * SECOND), ("", T0)],
)
def test_zigbee_is_of_when_it_was_last_seen_else_of_when_it_came(last_seen: Any, at_us: int) -> None:
    reading = only(sent("zigbee2mqtt", {"contact": True, "last_seen": last_seen}))
    assert reading.seen_at_us == at_us


@pytest.mark.parametrize(
    ("told", "at_us"), [("2024-01-01T12:00:00", T0), ("2026-05-28T20:26:35Z", T0 - 5 * SECOND), ("x", T0), (5, T0)]
)
def test_tasmotas_clock_has_no_zone_and_does_not_count(told: Any, at_us: int) -> None:
    assert only(sent("tasmota", {"Time": told, "Contact": 1})).seen_at_us == at_us


def test_a_tamper_contact_is_told_beside_its_door() -> None:
    out = record(sent(*z2m(contact=True, tamper=True)))
    assert [(one.what, one.value) for one in observations(out) if isinstance(one, Reading)] == [
        ("door", "closed"), ("tamper", "detected"), ("battery_percent", 97),
    ]  # fmt: skip
    assert out.counts == {"inputs": 1, "accepted": 1, "beside": 2}


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (f"v1/0/{GATEWAY}/zigbee2mqtt/{SENSOR}", "accepted"),
        (f"zigbee2mqtt/{SENSOR}", "accepted"),
        (f"v1/0/{GATEWAY}/zigbee2mqtt/v3-d0", "identity_mismatch"),
        ("zigbee2mqtt/other", "identity_mismatch"),
        (f"v1/0/{GATEWAY}/zigbee2mqtt", "unknown_device"),
        ("zigbee2mqtt/bridge/state", "unsupported"),
    ],
)
def test_a_bridge_names_its_sensor_in_the_topic(topic: str, expected: str) -> None:
    assert outcome(item(b'{"contact":true}', login=GATEWAY, topic=topic)) == expected


def test_one_message_of_tasmotas_bridge_speaks_of_several_devices() -> None:
    body = {"ZbReceived": {"0x1": {"Name": SENSOR, "Contact": 1}, "0x2": {"Name": "stray", "Contact": 1}}}
    (reading,) = observations(record(sent("tasmota", body, login=GATEWAY)))
    assert isinstance(reading, Reading) and reading.device == SENSOR


PLAIN = [
    ("shellies/dw-1/sensor/state", b"open", ("door", "open")),
    ("shellies/dw-1/sensor/state", b"close", ("door", "closed")),
    ("shellies/dw-1/sensor/vibration", b"1", ("vibration", "detected")),
    ("shellies/fl-1/sensor/flood", b"false", ("water", "clear")),
    ("shellies/dw-1/sensor/battery", b"87", ("battery_percent", 87.0)),
    ("zigbee2mqtt/gate door", b'{"contact":false}', ("door", "open")),
    ("tele/porch/SENSOR", b'{"Time":"2024-01-01T12:00:00","Contact":0}', ("door", "closed")),
]


@pytest.mark.parametrize(("topic", "payload", "told"), PLAIN)
def test_a_logged_line_is_known_by_its_topic(tmp_path: Path, topic: str, payload: bytes, told: tuple[str, Any]) -> None:
    logged = {
        "tst": "2026-05-28T20:26:40.000000+0000",
        "topic": topic,
        "qos": 1,
        "retain": 0,
        "payload": payload.decode(),
    }
    path = tmp_path / "x.log"
    path.write_bytes(json.dumps(logged).encode() + b"\n" + (topic.replace(" ", "-").encode() + b" " + payload))
    found = [outcome.observation for outcome in Reader().read(path)]
    assert [(one.what, one.value) for one in found if isinstance(one, Reading)] == [told, told]
    assert {one.seen_at_us for one in found if isinstance(one, Reading)} == {T0}

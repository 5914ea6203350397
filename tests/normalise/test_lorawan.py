"""Uplinks of The Things Stack and ChirpStack: the recorded ones, with what their makers' decoders give put in, and some by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.model.observation import Fix, Press, Reading
from pipeline.model.times import format_us
from pipeline.normalise.files import Outcome, Reader
from pipeline.normalise.formats import FORMATS, Said
from tests.normalise.builders import GATEWAY, SENSOR, T0, TRACKER, item, observations, only, outcome, record

FOLDERS = ("lorawan-ttn-v3", "lorawan-chirpstack-v4")

# recorded uplink -> what is told of it, the weightiest first
TOLD: dict[str, list[tuple[str, Any]]] = {
    "bosch-parking_lot_sensor-vehicle-presence": [("occupancy", "detected"), ("temperature_c", 18)],
    "bosch-parking_lot_sensor-vehicle-presence_1": [("occupancy", "detected")],
    "bosch-parking_lot_sensor-vehicle-presence_2": [("occupancy", "clear")],
    "milesight-at101-gps-tracker": [
        ("fix", (24.62435, 118.030088)), ("tilt", "detected"), ("temperature_c", 26.6), ("battery_percent", 100),
    ],
    "milesight-at101-gps-tracker_1": [("tilt", "detected"), ("temperature_c", 27.4), ("battery_percent", 100)],
    "milesight-em300-di_hall-hall": [("water", "detected")],
    "milesight-em300-mcs-door-magnet": [
        ("door", "open"), ("temperature_c", 30.8), ("humidity_percent", 50.5), ("battery_percent", 92),
    ],
    "milesight-em310-tilt-tilt": [("tilt", "detected")],
    "milesight-em320-tilt-tilt": [("tilt", "detected"), ("battery_percent", 100)],
    "milesight-gs301-gas": [
        ("nh3_ppm", 0), ("h2s_ppm", 0.01), ("temperature_c", 28.4), ("humidity_percent", 50), ("battery_percent", 100),
    ],
    "milesight-vs330-occupancy": [("occupancy", "detected"), ("battery_percent", 98)],
    "milesight-ws101-button-sos": [("press", "sos"), ("battery_percent", 16)],
    "milesight-ws202-pir-light": [("motion", "detected"), ("battery_percent", 16)],
    "milesight-ws301-door-magnet": [("door", "open"), ("tamper", "detected"), ("battery_percent", 100)],
    "nwave-g4_nps_sm-vehicle-presence": [("occupancy", "detected")],
    "nwave-g4_nps_sm-vehicle-presence_1": [("occupancy", "clear"), ("temperature_c", -10), ("battery_v", 2.32)],
    "nwave-g4_nps_sm-vehicle-presence_2": [("occupancy", "clear")],
    "tektelic-comfort-reed-multi": [("temperature_c", 22.5), ("humidity_percent", 38.5), ("battery_v", 2.974)],
    "tektelic-vivid-reed-pir-multi": [("temperature_c", 22.5), ("humidity_percent", 38.5), ("battery_v", 2.974)],
    "yobiiq-sd1001-smoke": [("power", "off")],
    "yobiiq-sd1001-smoke_01": [("battery_percent", 100)],
    "yobiiq-sd1001-smoke_02": [
        ("smoke", "clear"), ("fault", "detected"), ("power", "on"), ("interconnect", "clear"), ("test", "clear"),
        ("battery_low", "detected"), ("battery_percent", 16),
    ],
    "yobiiq-sd1001-smoke_03": [
        ("smoke", "clear"), ("fault", "clear"), ("power", "off"), ("interconnect", "clear"), ("battery_low", "clear"),
        ("battery_percent", 100),
    ],
}  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_table_names_every_recorded_uplink(shared: Path, folder: str) -> None:
    found = {path.name for path in (shared / "data" / "payloads" / folder).iterdir()}
    assert found == {name + tail for name in TOLD for tail in (".json", ".expected.json")}


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("folder", FOLDERS)
def test_bytes_alone_are_undecoded(shared: Path, folder: str, name: str) -> None:
    (found,) = Reader().read(shared / "data" / "payloads" / folder / f"{name}.json")
    assert (found.outcome, found.reason) == ("rejected", "undecoded")


def decoded(shared: Path, folder: str, name: str) -> tuple[bytes, dict[str, Any]]:
    at = shared / "data" / "payloads" / folder
    uplink = json.loads((at / f"{name}.json").read_bytes())
    telemetry = json.loads((at / f"{name}.expected.json").read_bytes())["telemetry"]
    telemetry = telemetry[0] if isinstance(telemetry, list) else telemetry
    if "uplink_message" in uplink:
        uplink["uplink_message"]["decoded_payload"] = telemetry["values"]
    else:
        uplink["object"] = telemetry["values"]
    return json.dumps(uplink).encode(), telemetry


def short(said: Said) -> tuple[str, Any]:
    if said.kind == "fix":
        return "fix", (said.lat, said.lon)
    return ("press", said.what) if said.kind == "press" else (said.what, said.value)


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_decoded_uplink_tells_this(shared: Path, tmp_path: Path, folder: str, name: str) -> None:
    uplink, telemetry = decoded(shared, folder, name)
    form = "ttn" if folder == FOLDERS[0] else "chirpstack"
    for by in (form, "lorawan"):
        told = FORMATS[by].decode(uplink, "")
        assert isinstance(told, list)
        assert [short(said) for said in told] == TOLD[name]
        assert {(said.seen_at_us or 0) // 1000 for said in told} == {telemetry["ts"]}
        assert len({said.seq for said in told}) == len(told)
    path = tmp_path / "x.json"
    path.write_bytes(uplink)
    (found,) = Reader().read(path)
    assert (found.outcome, found.format) == ("accepted", form)
    kind = TOLD[name][0][0]
    assert type(found.observation) is {"fix": Fix, "press": Press}.get(kind, Reading)


# the bodies that others' trackers send: four are uplinks of The Things Stack, the rest is of no format of ours
VENDORS = {
    "dragino-01.json": "zero_island",
    "ttnhttp-01.json": (1762936141.0, 37.4219, -122.084),
    "ttnhttp-02.json": (1762936141.749842, 37.7858, -122.4064),
    "ttnhttp-03.json": (1762916363.0, 37.7858, -122.4064),
}


def test_vendors_own_bodies_are_unsupported_and_nothing_worse(shared: Path) -> None:
    paths = sorted((shared / "data" / "payloads" / "traccar-json").iterdir())
    assert len(paths) == 14
    for path in paths:
        found: list[Outcome] = list(Reader().read(path))
        expected = VENDORS.get(path.name, "unsupported")
        for one in found:
            if isinstance(expected, str):
                assert one.reason == expected, path.name
            else:
                assert isinstance(one.observation, Fix)
                assert (one.observation.seen_at_us / 1e6, one.observation.lat, one.observation.lon) == expected


NOW = format_us(T0)


def ttn(values: Any, device: str = SENSOR, **more: Any) -> bytes:
    uplink = {
        "f_cnt": 7,
        "received_at": NOW,
        "decoded_payload": values,
        "rx_metadata": [{"location": {"latitude": 1, "longitude": 2}}],
    }
    body = {
        "end_device_ids": {"device_id": device, "dev_eui": "A8"},
        "received_at": NOW,
        "uplink_message": uplink | more,
    }
    return json.dumps(body).encode()


def chirpstack(values: Any, device: str = SENSOR, **more: Any) -> bytes:
    body = {
        "time": NOW,
        "deviceInfo": {"devEui": device, "deviceName": "A door"},
        "fCnt": 7,
        "fPort": 85,
        "data": "AQ==",
        "object": values,
    }
    return json.dumps(body | more).encode()


SERVERS = [("ttn", ttn), ("chirpstack", chirpstack), ("lorawan", ttn), ("lorawan", chirpstack)]


@pytest.mark.parametrize(("form", "uplink"), SERVERS)
def test_a_gateway_speaks_for_its_listed_devices_only(form: str, uplink: Any) -> None:
    sent = item(uplink({"magnet_status": "open"}), login=GATEWAY, form=form)
    reading = only(sent)
    assert (reading.sensor, reading.device, reading.what, reading.value, reading.seq) == (
        "s1",
        SENSOR,
        "door",
        "open",
        7,
    )
    assert (
        outcome(item(uplink({"magnet_status": "open"}, device="other"), login=GATEWAY, form=form))
        == "identity_mismatch"
    )
    assert outcome(item(uplink({"magnet_status": "open"}), login=TRACKER, form=form)) == "identity_mismatch"


@pytest.mark.parametrize(("form", "uplink"), SERVERS)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, "undecoded"),
        ({}, "undecoded"),
        ("AQ==", "undecoded"),
        ([1], "undecoded"),
        ({"colour": "red"}, "unsupported"),
        ({"contact": True}, "unsupported"),  # open or closed? it does not say
        ({"battery": 3.6}, "unsupported"),  # volts or per cent? it does not say
        ({"battery": 90}, "accepted"),
        ({"DOOR_OPEN_STATUS": 1}, "accepted"),
        ({"magnet_status": "ajar"}, "unsupported"),
        ({"moisture": 1}, "unsupported"),  # of soil, in per cent
        ({"position": 0}, "unsupported"),  # of a cover, in per cent
        ({"temperature": 1e300}, "unsupported"),
        ({"latitude": 35, "longitude": 73}, "identity_mismatch"),  # the sensor is no tracker
        ({"latitude": 35, "longitude": 73, "battery": 90}, "identity_mismatch"),
        ({"latitude": 35, "longitude": 73, "pir": "trigger"}, "accepted"),
    ],
)
def test_what_a_sensor_sends_has_this_outcome(form: str, uplink: Any, values: Any, expected: str) -> None:
    assert outcome(item(uplink(values), login=GATEWAY, form=form)) == expected


@pytest.mark.parametrize(("form", "uplink"), SERVERS)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"latitude": 35, "longitude": 73}, "accepted"),
        ({"latitude": "35", "longitude": "73"}, "accepted"),
        ({"gps_1": {"latitude": 35, "longitude": 73, "altitude": 900}}, "accepted"),
        ({"lat": 35, "lng": 73, "battery": 90}, "accepted"),
        ({"latitude": 0, "longitude": 0, "battery": 90}, "zero_island"),
        ({"latitude": 95, "longitude": 0}, "out_of_range"),
        ({"latitude": "x", "longitude": 0, "battery": 90}, "malformed"),
        ({"latitude": 35, "longitude": 73, "time": "2026-05-28T20:26:40"}, "malformed"),
        ({"latitude": 35, "longitude": 73, "time": "2026-05-27T20:26:40Z"}, "accepted"),
        ({"latitude": 35, "longitude": 73, "time": "2004-05-27T20:26:40Z"}, "too_old"),
        ({"battery": 90}, "no_position"),
        ({"position": "tilt"}, "no_position"),
        ({"Latitude": 35, "Longitude": 73, "LON": "ON", "Date": "2026-05-28", "Time": "9:5:40"}, "accepted"),  # Dragino
        ({"latitudeDeg": 35, "longitudeDeg": 73, "fixFailed": False}, "accepted"),  # Digital Matter
        ({"latitudeDeg": 35, "longitudeDeg": 73, "fixFailed": True, "batV": 5.2}, "no_position"),
        ({"latitude": 35, "longitude": 73, "gnss_fix": False}, "no_position"),
        ({"latitude": 35, "longitude": 73, "gnss_fix": True}, "accepted"),
    ],
)
def test_what_a_tracker_sends_has_this_outcome(form: str, uplink: Any, values: Any, expected: str) -> None:
    assert outcome(item(uplink(values, device="v2-d0"), login=GATEWAY, form=form)) == expected


@pytest.mark.parametrize(
    ("key", "mps"), [("speed", None), ("speed_kmh", 10.0), ("speed_mps", 36.0), ("speed_knots", 36 * 1852 / 3600)]
)
def test_a_speed_counts_where_its_unit_is_named(key: str, mps: float | None) -> None:
    fix = only(item(ttn({"latitude": 35, "longitude": 73, key: 36}, device="v2-d0"), login=GATEWAY, form="ttn"))
    assert fix.speed_mps == (mps if mps is None else pytest.approx(mps))


def sensecap(at_us: int) -> dict[str, Any]:
    rows = [("Longitude", "73"), ("Latitude", "35"), ("Battery", 90)]
    entries = [{"type": kind, "measurementValue": value, "timestamp": at_us // 1000} for kind, value in rows]
    return {"err": 0, "messages": [entries]}


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"latitudeDeg": 35, "longitudeDeg": 73, "speedKmph": 36, "headingDeg": 90}, {"speed_mps": 10, "course_deg": 90}),
        ({"gpsLatitude": 35, "gpsLongitude": 73, "horizontalAccuracy": 12, "age": 16}, {"accuracy_m": 12, "seen_at_us": T0 - 16_000_000}),
        ({"latitude": 35, "longitude": 73, "age": 16}, {"seen_at_us": T0}),  # of what, it does not say
        (sensecap(T0 - 90_000_000), {"seen_at_us": T0 - 90_000_000}),
    ],
    ids=["Digital Matter", "Abeeway", "an age of something", "SenseCAP"],
)  # fmt: skip
def test_what_makers_say_of_a_fix(values: dict[str, Any], fields: dict[str, float]) -> None:
    fix = observations(record(item(ttn(values, device="v2-d0"), login=GATEWAY, form="ttn")))[0]
    assert isinstance(fix, Fix) and (fix.lat, fix.lon) == (35, 73)
    assert {name: getattr(fix, name) for name in fields} == pytest.approx(fields)


@pytest.mark.parametrize(
    ("values", "what", "value"),
    [
        ({"DOOR_OPEN_STATUS": "OPEN", "DOOR_OPEN_TIMES": 5, "ALARM": 0, "TIME": "2023-01-01 10:00:00"}, "door", "open"),
        ({"WATER_LEAK_STATUS": 1, "MOD": 2, "BAT_V": 3.0}, "water", "detected"),
        ({"leakage_status": "leak", "battery": 99}, "water", "detected"),
        ({"magnet_status": 1, "battery": 99}, "door", "open"),  # Milesight's own server writes numbers
        ({"tamper_status": 1}, "tamper", "detected"),
        ({"motion": 6, "light": 39, "vdd": 3621}, "motion", "detected"),  # Elsys counts
        ({"occupancy": 2}, "occupancy", "detected"),
        ({"TamperDetect": True, "Battery_mV": 3100}, "tamper", "detected"),
        ({"battery_voltage": 3900}, "battery_v", 3.9),
    ],
)
def test_what_makers_say_of_a_sensor(values: dict[str, Any], what: str, value: Any) -> None:
    reading = observations(record(item(chirpstack(values), login=GATEWAY, form="chirpstack")))[0]
    assert (reading.what, reading.value) == (what, value)


PRESSES = [
    ({"press": "short"}, True), ({"press": "long"}, True), ({"press": "double", "battery": 3}, True),
    ({"button_event": {"status": "short press"}}, True), ({"sos": True}, True), ({"sos": 1}, True), ({"SOS_event": "trigger"}, True),
    ({"panic_button": "pressed"}, True), ({"emergency": "TRUE"}, True), ({"sosAlarm": "Alarm"}, True),
    ({"press": "short", "latitude": "x", "longitude": None}, True),
    ({"ALARM_status": "TRUE", "Latitude": 0, "Longitude": 0}, True),
    ({"sosFlag": 1, "messageType": "HEARTBEAT"}, True), ({"header": {"sos": True}, "position": {}}, True),  # Abeeway
    ({"report_type": "Help report"}, True), ({"type": "Alarm", "alarm": "SOS"}, True), ({"eventType": "SOS_ON"}, True),
    ({"eventType": "SOS_OFF", "battery": 3}, False), ({"sosFlag": 0, "battery": 3}, False),
    ({"DoorOpen": True, "ButtonPress": True}, False), ({"Occupied": False, "ButtonPress": True}, False),  # MerryIoT: to set it up
    ({"press": "none", "battery": 3}, False), ({"sos": False, "battery": 3}, False), ({"sos": "unknown", "battery": 3}, False),
    ({"sos": 0, "battery": 3}, False), ({"press": None, "battery": 3}, False), ({"ALARM_status": "FALSE", "battery": 3}, False),
]  # fmt: skip


@pytest.mark.parametrize(("values", "pressed"), PRESSES)
def test_a_button_that_is_worn_asks_for_help(values: dict[str, Any], pressed: bool) -> None:
    found = observations(record(item(ttn(values), login=GATEWAY, form="ttn")))
    assert [one.what for one in found if isinstance(one, Press)] == ["sos"] * pressed


def test_a_press_is_heard_whatever_the_server_made_of_its_time() -> None:
    for broken in ("now", None, 5, "2004-01-01T00:00:00Z"):
        found = observations(record(item(ttn({"press": "short"}, received_at=broken), login=GATEWAY, form="ttn")))
        assert isinstance(found[0], Press) and found[0].subject == "s1", broken


def test_what_the_server_itself_says_is_unsupported() -> None:
    join = {"end_device_ids": {"device_id": SENSOR}, "join_accept": {"session_key_id": "x"}}
    status = {"deviceInfo": {"devEui": SENSOR}, "batteryLevel": 90, "margin": 5}
    assert outcome(item(json.dumps(join).encode(), login=GATEWAY, form="ttn")) == "unsupported"
    assert outcome(item(json.dumps(status).encode(), login=GATEWAY, form="chirpstack")) == "unsupported"
    assert (
        outcome(item(b'{"devEUI":"x","applicationID":"1","object":{}}', login=GATEWAY, form="chirpstack"))
        == "unsupported"
    )


SHAPES = [
    ({"data": {"magnet_status": "close"}}, ("door", "closed")),
    ({"battery_voltage": {"displayName": "Battery", "value": 3.1, "unit": "V"}}, ("battery_v", 3.1)),
    ({"TempC_SHT": 20.5, "Work_mode": "SHT"}, ("temperature_c", 20.5)),
    ({"gpsLatitude": 35, "gpsLongitude": 73, "shock_detected": True}, ("vibration", "detected")),
    ({"gps": {"latitude": None, "longitude": None, "fix": False}, "door_open": True}, ("door", "open")),
    ({"DOOR_OPEN_STATUS": 0, "ALARM": 0, "BAT_V": 2.9}, ("door", "closed")),
]


@pytest.mark.parametrize(("values", "expected"), SHAPES)
def test_decoders_give_these_shapes(values: Any, expected: tuple[str, Any]) -> None:
    told = [
        (one.what, one.value)
        for one in observations(record(item(ttn(values), login=GATEWAY, form="ttn")))
        if isinstance(one, Reading)
    ]
    assert told[0] == expected


def test_a_list_of_measurements_is_a_place_and_a_press() -> None:
    row = [
        {"measurementId": "4197", "type": "Longitude", "measurementValue": 73.0},
        {"measurementId": "4198", "type": "Latitude", "measurementValue": 35.0},
        {"measurementId": "4200", "type": "Event Status", "measurementValue": [{"id": 7, "eventName": "SOS event."}]},
        {"measurementId": "3000", "type": "Battery", "measurementValue": 80},
    ]
    values = {"err": 0, "valid": True, "messages": [row]}
    found = observations(record(item(ttn(values, device="v2-d0"), login=GATEWAY, form="ttn")))
    assert {type(one) for one in found} == {Fix, Press}
    del row[2]
    assert isinstance(only(item(ttn(values, device="v2-d0"), login=GATEWAY, form="ttn")), Fix)


def test_an_eui_may_be_written_small_or_large() -> None:
    said = FORMATS["chirpstack"].decode(chirpstack({"pir": "trigger"}, device="a84041FF"), "")
    assert isinstance(said, list)
    assert said[0].known_as == ("a84041FF", "a84041ff", "A84041FF", "A door")

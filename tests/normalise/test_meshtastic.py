"""Meshtastic's JSON: integers of ten-millionths, the device that is not the sender, one packet heard twice. Written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.normalise.formats import FORMATS, Said, guess
from tests.normalise.builders import SECOND, SENSOR, T0, TRACKER, item, only, outcome

S = T0 // SECOND


def packet(
    kind: str = "position", sender: str = "!7efeee00", of: Any = 0xA1B2C3D4, at_s: Any = S, **heard: Any
) -> bytes:
    place = {"latitude_i": 350_000_000, "longitude_i": 730_000_000, "altitude": 900, "time": at_s, "ground_speed": 12}
    body = {"from": of, "sender": sender, "id": 452664778, "type": kind, "timestamp": S, "payload": place | heard}
    return json.dumps(body).encode()


def test_a_packet_is_a_fix_in_our_units() -> None:
    assert guess(packet()) == "meshtastic"
    fix = only(item(packet(), form="meshtastic"))
    assert (fix.vehicle, fix.lat, fix.lon) == ("v1", pytest.approx(35.0), pytest.approx(73.0))
    assert (fix.altitude_m, fix.speed_mps, fix.seen_at_us, fix.seq) == (900.0, 12.0, T0, 452664778)


def test_one_packet_that_two_gateways_heard_is_the_same() -> None:
    assert only(item(packet(), form="meshtastic")) == only(item(packet(sender="!00000001"), form="meshtastic"))


@pytest.mark.parametrize(
    ("bits", "accuracy_m"), [(32, None), (16, 364.0), (13, 2912.0), (0, None), ("x", None), (None, None)]
)
def test_a_place_that_was_made_coarse_says_so(bits: Any, accuracy_m: float | None) -> None:
    assert only(item(packet(precision_bits=bits), form="meshtastic")).accuracy_m == accuracy_m


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (packet(), "accepted"),
        (packet(at_s=0), "accepted"),  # no clock: the gateway's
        (packet(at_s=1078000000), "too_old"),
        (packet(at_s=S * 1000), "out_of_range"),
        (packet(precision_bits=13), "inaccurate"),
        (packet(latitude_i=0, longitude_i=0), "zero_island"),
        (packet(latitude_i=35.0, longitude_i=73.0), "outside_plan"),  # degrees, which it never sends
        (packet(latitude_i=950_000_000), "out_of_range"),
        (packet(latitude_i=None), "no_position"),
        (packet(latitude_i="x"), "malformed"),
        (packet(of=None), "malformed"),
        (packet(of=-1), "accepted"),
        (packet("text", text="hello"), "unsupported"),
        (packet("telemetry", battery_level=80), "no_position"),  # of a vehicle's device
    ],
)
def test_a_packet_has_this_outcome(payload: bytes, expected: str) -> None:
    assert outcome(item(payload, login=TRACKER, form="meshtastic")) == expected


def test_the_battery_of_a_sensors_node_is_a_reading() -> None:
    reading = only(item(packet("telemetry", battery_level=80), login=SENSOR, form="meshtastic"))
    assert (reading.sensor, reading.what, reading.value) == ("s1", "battery_percent", 80)


def test_a_gateways_plan_lists_the_device_and_not_the_sender() -> None:
    said = FORMATS["meshtastic"].decode(packet(), "")
    assert isinstance(said, Said)
    assert said.known_as == ("a1b2c3d4", "2712847316")

"""Teltonika-like JSON: numbers as strings, 0/0 before the first fix, a clock of 2004. Written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.model.observation import Fix, Press
from pipeline.normalise.formats import guess
from tests.normalise.builders import GATEWAY, SECOND, T0, TRACKER, item, observations, only, outcome, record

MS = T0 // 1000
S = T0 // SECOND


def shadow(**more: Any) -> bytes:
    """As the AWS codec of the trackers writes it."""
    reported = {"ts": MS, "latlng": "35.0,73.0", "alt": 900, "ang": 80, "sat": 9, "sp": 36, "evt": 0, "239": 1} | more
    return json.dumps({"state": {"reported": {k: v for k, v in reported.items() if v is not None}}}).encode()


def flat(**more: Any) -> bytes:
    """As the routers and many cousins write it: everything is a string."""
    body = {
        "imei": "356307042441013", "timestamp": str(S), "latitude": "35.0", "longitude": "73.0", "altitude": "900",
        "angle": "80", "satellites": "9", "speed": "36", "hdop": "1.2",
    } | more  # fmt: skip
    return json.dumps({k: v for k, v in body.items() if v is not None}).encode()


def dotted(**more: Any) -> bytes:
    """As a gateway for many makers writes it."""
    place = {
        "latitude": 35.0,
        "longitude": 73.0,
        "altitude": 900,
        "direction": 80,
        "satellites": 9,
        "speed": 36,
        "valid": True,
    }
    body = {"ident": "356307042441013", "timestamp": S, "server.timestamp": S + 2.5}
    return json.dumps(body | {f"position.{key}": value for key, value in (place | more).items()}).encode()


def nested(**more: Any) -> bytes:
    place = {"lat": 35.0, "lng": 73.0, "alt": 900, "angle": 80, "satellites": 9, "speed": 36}
    return json.dumps({"imei": "356307042441013", "timestamp": MS, "priority": 0, "gps": place | more}).encode()


@pytest.mark.parametrize("payload", [shadow(), flat(), dotted(), nested()])
def test_a_record_is_a_fix_in_our_units(payload: bytes) -> None:
    assert b"position." in payload or guess(payload) == "teltonika"
    fix = only(item(payload, form="teltonika"))
    assert isinstance(fix, Fix)
    assert (fix.vehicle, fix.seen_at_us, fix.lat, fix.lon, fix.speed_mps) == ("v1", T0, 35.0, 73.0, pytest.approx(10))
    assert (fix.course_deg, fix.altitude_m) == (80.0, 900.0)


ROWS = [
    (dotted(), "accepted"),
    (dotted(valid=False), "no_position"),
    (nested(), "accepted"),
    (nested(satellites=0), "no_position"),
    (flat(fix_status="1"), "accepted"),
    (flat(fix_status="0"), "no_position"),
    (shadow(), "accepted"),
    (shadow(ts=str(MS)), "accepted"),
    (shadow(latlng="0.000000,0.000000", sat=0), "zero_island"),
    (shadow(sat=0), "no_position"),
    (shadow(latlng=None), "no_position"),
    (shadow(latlng="35.0"), "no_position"),
    (shadow(latlng="north,73"), "malformed"),
    (shadow(latlng="95,73"), "out_of_range"),
    (shadow(ts=None), "malformed"),
    (shadow(ts=1078000000000), "too_old"),
    (shadow(ts=T0), "out_of_range"),  # microseconds
    (flat(), "accepted"),
    (flat(timestamp=S), "accepted"),
    (flat(timestamp=str(MS)), "accepted"),
    (flat(timestamp="2026-05-28T20:26:40Z"), "accepted"),
    (flat(timestamp="2026-05-28T20:26:40"), "malformed"),
    (flat(timestamp="2026-05-28 20:26:40"), "malformed"),
    (flat(latitude="0.000000", longitude="0.000000", timestamp="1078000000"), "too_old"),  # a clock of 2004 at 0/0
    (flat(latitude="0", longitude="0"), "zero_island"),
    (flat(satellites="0"), "no_position"),
    (flat(latitude=""), "no_position"),
    (flat(latitude="nan"), "malformed"),
    (flat(speed="fast"), "accepted"),  # what stands beside the place costs nobody the place
    (flat(speed="260"), "implausible"),
    (flat(latitude=True), "malformed"),
]


@pytest.mark.parametrize(("payload", "expected"), ROWS)
def test_a_record_has_this_outcome(payload: bytes, expected: str) -> None:
    assert outcome(item(payload, form="teltonika")) == expected


def test_an_array_is_as_many_records() -> None:
    out = record(
        item(b"[" + flat() + b"," + flat(timestamp=str(S - 1)) + b"," + flat(latitude="x") + b"]", form="teltonika")
    )
    assert [out.counts[k] for k in ("inputs", "accepted", "rejected:malformed")] == [3, 2, 1]


@pytest.mark.parametrize(
    "payload",
    [
        shadow(**{"236": 1}),
        shadow(**{"236": "1"}),
        flat(alarm="sos"),
        flat(event="SOS"),
        flat(panic=1),
        flat(sos="true"),
    ],
)
def test_a_press_is_heard_and_its_fix_is_taken(payload: bytes) -> None:
    found = observations(record(item(payload, form="teltonika")))
    (press,) = [one for one in found if isinstance(one, Press)]
    assert (press.subject, press.what, press.lat, press.seen_at_us) == ("v1", "sos", 35.0, T0)
    assert sum(isinstance(one, Fix) for one in found) == 1


@pytest.mark.parametrize("more", [{"latlng": "x,y"}, {"ts": "x"}, {"sat": 0}, {"latlng": "0,0"}, {"ts": 0}])
def test_a_press_is_heard_whatever_else_is_wrong(more: dict[str, Any]) -> None:
    (press,) = [
        one
        for one in observations(record(item(shadow(**{"236": 1}, **more), form="teltonika")))
        if isinstance(one, Press)
    ]
    assert press.subject == "v1"


def test_a_gateway_lists_the_imei() -> None:
    assert only(item(flat(imei="v2-d0"), login=GATEWAY, form="teltonika")).vehicle == "v2"
    assert outcome(item(flat(), login=GATEWAY, form="teltonika")) == "identity_mismatch"
    assert only(item(flat(), login=TRACKER, form="teltonika")).vehicle == "v1"

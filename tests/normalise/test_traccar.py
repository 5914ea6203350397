"""Traccar's forwarding, written by hand after its model classes: knots, places that are none, presses that come twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.model.observation import Fix, Link, Press
from pipeline.model.times import format_us
from tests.normalise.builders import GATEWAY, SECOND, T0, TRACKER, item, observations, only, outcome, record

NOW = format_us(T0).replace("000Z", "+0000")


def message(event: dict[str, Any] | None = None, device: Any = "v2-d0", **more: Any) -> bytes:
    position = {
        "id": 1, "attributes": {"batteryLevel": 80}, "deviceId": 7, "protocol": "teltonika", "serverTime": NOW,
        "deviceTime": NOW, "fixTime": NOW, "outdated": False, "valid": True, "latitude": 35.0, "longitude": 73.0,
        "altitude": 900.0, "speed": 10.0, "course": 80.0, "address": None, "accuracy": 8.0, "network": None,
    }  # fmt: skip
    body: dict[str, Any] = {"position": position | more, "device": {"id": 7, "name": "Escort 2", "uniqueId": device}}
    return json.dumps(body if event is None else {"event": event} | body).encode()


def sent(payload: bytes, login: str = GATEWAY) -> Any:
    return item(payload, login=login, form="traccar")


def test_a_forwarded_position_is_a_fix_in_our_units() -> None:
    fix = only(sent(message()))
    assert isinstance(fix, Fix)
    assert (fix.vehicle, fix.device, fix.seen_at_us, fix.lat, fix.lon) == ("v2", "v2-d0", T0, 35.0, 73.0)
    assert fix.speed_mps == pytest.approx(10 * 1852 / 3600)
    assert (fix.course_deg, fix.accuracy_m, fix.altitude_m) == (80.0, 8.0, 900.0)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "accepted"),
        ({"valid": False}, "no_position"),
        ({"valid": False, "latitude": 0, "longitude": 0}, "zero_island"),
        ({"outdated": True}, "no_position"),
        ({"latitude": None}, "no_position"),
        ({"latitude": "35.0"}, "accepted"),
        ({"latitude": "north"}, "malformed"),
        ({"fixTime": None}, "malformed"),
        ({"fixTime": "2026-05-28T20:26:40"}, "malformed"),  # no zone
        ({"fixTime": T0 // 1000}, "accepted"),  # milliseconds
        ({"fixTime": T0}, "out_of_range"),
        ({"fixTime": T0 // SECOND}, "too_old"),  # seconds, which it never sends
        ({"speed": 140}, "implausible"),
        ({"speed": 130}, "accepted"),  # knots
        ({"accuracy": 501}, "inaccurate"),
        ({"accuracy": 0}, "accepted"),
        ({"device": "v9"}, "identity_mismatch"),
        ({"device": 123456789012345}, "identity_mismatch"),
        ({"device": None}, "identity_mismatch"),  # then its name counts
    ],
)
def test_a_position_has_this_outcome(more: dict[str, Any], expected: str) -> None:
    assert outcome(sent(message(**more))) == expected


def test_an_accuracy_of_0_is_not_known() -> None:
    assert only(sent(message(accuracy=0))).accuracy_m is None


@pytest.mark.parametrize("alarm", ["sos", "sos,lowBattery", "powerCut, sos"])
def test_an_alarm_is_a_press_and_its_fix(alarm: str) -> None:
    press, fix = observations(record(sent(message(attributes={"alarm": alarm}, deviceTime=format_us(T0 + SECOND)))))[
        ::-1
    ]
    assert isinstance(press, Press) and isinstance(fix, Fix)
    assert (press.subject, press.what, press.lat, press.lon, press.seen_at_us) == ("v2", "sos", 35.0, 73.0, T0 + SECOND)
    assert fix.seen_at_us == T0


def test_the_same_press_as_a_position_and_as_an_event_is_the_same() -> None:
    position = message(attributes={"alarm": "sos"})
    event = message({"type": "alarm", "eventTime": NOW, "attributes": {"alarm": "sos"}}, attributes={"alarm": "sos"})
    assert observations(record(sent(position))) == observations(record(sent(event)))


@pytest.mark.parametrize(
    "more",
    [{"latitude": "x"}, {"fixTime": "x", "deviceTime": "y"}, {"valid": False}, {"outdated": True}, {"latitude": 95}],
)
def test_a_press_is_heard_whatever_its_position(more: dict[str, Any]) -> None:
    (press,) = observations(record(sent(message(attributes={"alarm": "sos"}, **more))))[-1:]
    assert isinstance(press, Press) and press.subject == "v2"
    assert outcome(sent(message(attributes={"alarm": "sos"}, **more))) == "accepted"


def test_a_press_of_a_device_that_is_not_listed_is_of_nobodys_vehicle() -> None:
    (press,) = observations(record(sent(message(attributes={"alarm": "sos"}, device="v9"))))
    assert isinstance(press, Press) and press.subject == GATEWAY


@pytest.mark.parametrize("alarm", ["lowBattery", "sosX", "", None, 1, ["sos"]])
def test_another_alarm_is_no_press(alarm: Any) -> None:
    assert isinstance(only(sent(message(attributes={"alarm": alarm}))), Fix)


@pytest.mark.parametrize("kind", ["geofenceEnter", "deviceOverspeed", "ignitionOn", "deviceMoving", None, 5])
def test_of_another_event_the_position_is_taken(kind: Any) -> None:
    assert isinstance(only(sent(message({"type": kind, "eventTime": NOW}))), Fix)


@pytest.mark.parametrize(("kind", "state"), [("deviceOnline", "online"), ("deviceOffline", "offline")])
def test_an_event_of_the_connection_is_a_link(kind: str, state: str) -> None:
    body = {"event": {"type": kind, "eventTime": NOW, "positionId": 0}, "device": {"uniqueId": "v2-d0"}}
    link = only(sent(json.dumps(body).encode()))
    assert isinstance(link, Link) and (link.device, link.state, link.seen_at_us) == ("v2-d0", state, T0)


def test_an_event_without_a_position_has_none() -> None:
    assert outcome(sent(b'{"event":{"type":"commandResult"},"device":{"uniqueId":"v2-d0"}}')) == "no_position"


def test_a_tracker_of_its_own_login_may_have_its_makers_number_but_not_another_devices() -> None:
    assert only(sent(message(device="352093081234567"), login=TRACKER)).vehicle == "v1"
    assert outcome(sent(message(device="v2-d0"), login=TRACKER)) == "identity_mismatch"

"""OwnTracks as phones, Home Assistant's tests and Traccar's tests write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.model.observation import Fix, Link
from pipeline.normalise.files import Reader
from tests.normalise.builders import T0, TRACKER, item, only, outcome

AT = T0 // 1_000_000

# file -> outcome or reason; of a fix: seconds since 1970, lat, lon, m/s
TABLE: dict[str, tuple[str, tuple[float, ...] | None]] = {
    "ha-bad-json.txt": ("malformed", None),
    "ha-bad-unsupported.json": ("unsupported", None),
    "ha-location.json": ("accepted", (1, 45.0, 90.0)),
    "ha-location-inaccurate.json": ("inaccurate", (1, 45.099365, 90.09936499999999)),
    "ha-location-not-home.json": ("accepted", (1, 43.0, 88.1)),
    "ha-location-zero-accuracy.json": ("accepted", (1, 45.099365, 90.09936499999999)),
    "ha-lwt.json": ("accepted", None),
    "ha-region-beacon-enter.json": ("zero_island", None),
    "ha-region-beacon-leave.json": ("zero_island", None),
    "ha-region-gps-enter.json": ("accepted", (2, 45.099365, 90.1)),
    "ha-region-gps-enter-inaccurate.json": ("inaccurate", (2, 45.099365, 90.1)),
    "ha-region-gps-enter-zero.json": ("accepted", (2, 45.099365, 90.1)),
    "ha-region-gps-leave.json": ("accepted", (2, 45.093650000000004, 90.09365)),
    "ha-region-gps-leave-inaccurate.json": ("inaccurate", (2, 45.093650000000004, 90.09365)),
    "ha-region-gps-leave-zero.json": ("accepted", (2, 45.093650000000004, 90.09365)),
    "ha-waypoint.json": ("unsupported", None),
    "ha-waypoints-exported.json": ("unsupported", None),
    "traccar-test-owntracks-01.json": ("accepted", (1551874878, 46.0681247, 11.1512805)),
    "traccar-test-owntracks-02.json": ("accepted", (1497349316, 48.85833, 2.29513)),
    "traccar-test-owntracks-03.json": ("accepted", (1497349316, 48.85833, 2.29513)),
    "traccar-test-owntracks-04.json": ("accepted", (1497476456, 48.85, 2.295)),
    "traccar-test-owntracks-05.json": ("accepted", (1736161169, 37.0, -122.0)),  # created_at is 246 s later
    "traccar-test-owntracks-06.json": ("accepted", (1736519167, 47.420051, 13.654704)),
}


@pytest.fixture
def recorded(shared: Path) -> Path:
    return shared / "data" / "payloads" / "owntracks"


def test_the_table_names_every_recorded_file(recorded: Path) -> None:
    assert {path.name for path in recorded.iterdir()} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_recorded_message_has_this_outcome(recorded: Path, name: str) -> None:
    expected, place = TABLE[name]
    (found,) = Reader().read(recorded / name)
    assert (found.reason or found.outcome) == expected
    fix = found.observation
    if place is None:
        assert not isinstance(fix, Fix)
        return
    assert isinstance(fix, Fix)
    assert (fix.seen_at_us / 1e6, fix.lat, fix.lon) == place


def test_a_recorded_last_will_is_a_link_that_went_offline(recorded: Path) -> None:
    (found,) = Reader().read(recorded / "ha-lwt.json")
    assert isinstance(found.observation, Link)
    assert (found.observation.state, found.observation.seen_at_us) == ("offline", 1_000_000)


def test_a_recorded_fix_is_in_our_units(recorded: Path) -> None:
    (found,) = Reader().read(recorded / "traccar-test-owntracks-03.json")
    fix = found.observation
    assert isinstance(fix, Fix)
    assert fix.speed_mps == pytest.approx(61 / 3.6)
    assert (fix.course_deg, fix.accuracy_m, fix.altitude_m) == (271.0, 5.0, 167.0)


def message(**more: Any) -> bytes:
    return json.dumps({"_type": "location", "lat": 35.0, "lon": 73.0, "tst": AT} | more).encode()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "accepted"),
        ({"lat": "35.0", "lon": "73.0", "tst": str(AT), "vel": "36"}, "accepted"),
        ({"lat": "north"}, "malformed"),
        ({"lat": True}, "malformed"),
        ({"lat": "nan"}, "malformed"),
        ({"lat": []}, "malformed"),
        ({"lat": None}, "no_position"),
        ({"tst": None}, "malformed"),
        ({"tst": AT * 1000}, "out_of_range"),
        ({"tst": -1}, "out_of_range"),
        ({"tst": AT + 120}, "accepted"),
        ({"tst": AT + 121}, "future"),
        ({"tst": 1}, "too_old"),
        ({"_type": None}, "malformed"),
        ({"_type": "card"}, "unsupported"),
        ({"_type": "encrypted"}, "undecoded"),
        ({"acc": 501}, "inaccurate"),
        ({"vel": 253}, "implausible"),  # km/h
        ({"vel": 251}, "accepted"),
    ],
)
def test_a_message_has_this_outcome(more: dict[str, Any], expected: str) -> None:
    assert outcome(item(message(**more), form="owntracks")) == expected


@pytest.mark.parametrize(("vel", "mps"), [(36, 10.0), ("36", 10.0), (0, 0.0), (-1, None), (None, None)])
def test_kilometres_an_hour_become_metres_a_second(vel: Any, mps: float | None) -> None:
    assert only(item(message(vel=vel), form="owntracks")).speed_mps == mps


@pytest.mark.parametrize("created_at", [AT - 3600, AT + 60, AT + 86_400])
def test_the_instant_is_that_of_the_fix_and_not_of_the_message(created_at: int) -> None:
    assert only(item(message(tst=AT - 7, created_at=created_at), form="owntracks")).seen_at_us == (AT - 7) * 1_000_000


def test_a_last_will_of_long_ago_is_refused_and_one_of_now_is_a_link() -> None:
    assert outcome(item(b'{"_type":"lwt","tst":1}', form="owntracks")) == "too_old"
    link = only(item(json.dumps({"_type": "lwt", "tst": AT}).encode(), form="owntracks"))
    assert (link.device, link.state) == (TRACKER, "offline")

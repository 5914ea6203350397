"""NMEA as receivers write it: gpsd's recorded logs, and sentences made here with their checksums."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path

import pytest

from pipeline.model.observation import Fix
from pipeline.normalise.files import Outcome, Reader
from pipeline.normalise.reasons import MARKS, REASONS
from tests.normalise.builders import T0, item, only, outcome

KNOT_MPS = 1852 / 3600


def sentence(body: str) -> bytes:
    return f"${body}*{reduce(lambda a, b: a ^ b, body.encode()):02X}".encode()


RMC = "GPRMC,202640,A,3500.000,N,07300.000,E,010.0,080.0,280526,,"
GGA = "GPGGA,202640,3500.000,N,07300.000,E,1,08,2.0,900.0,M,,M,,"


def read(tmp_path: Path, *lines: bytes) -> list[Outcome]:
    path = tmp_path / "x.nmea"
    path.write_bytes(b"\r\n".join(lines))
    return list(Reader().read(path))


def lines_of(path: Path) -> list[int]:
    return [n for n, line in enumerate(path.read_bytes().splitlines(), 1) if line.strip() and not line.startswith(b"#")]


def test_no_recorded_log_is_lost_and_every_position_is_one(shared: Path) -> None:
    logs = sorted((shared / "data" / "payloads" / "nmea" / "gpsd").iterdir())
    assert len(logs) > 50
    fixes = 0
    for path in logs:
        found = list(Reader(form="nmea").read(path))
        assert [o.line for o in found] == lines_of(path), path.name
        for o in found:
            assert (o.outcome == "accepted") == (o.reason is None), path.name
            assert o.reason in (None, *REASONS, *MARKS), path.name
            if o.observation is not None:
                assert isinstance(o.observation, Fix)
                assert -90 <= o.observation.lat <= 90 and -180 <= o.observation.lon <= 180, path.name
                assert (o.observation.lat, o.observation.lon) != (0, 0), path.name
                fixes += 1
    assert fixes > 1000


# log -> fixes, refused for want of a position, for a form (a wrong checksum too), for want of a date
LOGS = {
    "GPSmap-76S.log": (0, 12, 0, 0),
    "bt-q818.log": (10, 0, 0, 0),
    "bu353-glonass.log": (9, 10, 0, 0),
    "ch-4701.log": (27, 0, 0, 1),
    "firefly-II.log": (23, 0, 23, 0),  # every GGA has a wrong checksum, every RMC a right one
    "garmin-10x.log": (9, 5, 0, 0),
    "nmea-rtk.log": (122, 0, 0, 0),
    "sounder.log": (0, 0, 0, 122),  # GLL alone: a time of day, and never a date
}


@pytest.mark.parametrize("name", LOGS)
def test_a_recorded_log_tells_this(shared: Path, name: str) -> None:
    found = list(Reader().read(shared / "data" / "payloads" / "nmea" / "gpsd" / name))
    reasons = [o.reason for o in found]
    told = tuple(reasons.count(reason) for reason in ("no_position", "malformed", "undecoded"))
    assert (sum(o.observation is not None for o in found), *told) == LOGS[name]


def test_positions_are_where_others_say_they_are(shared: Path) -> None:
    listed = json.loads((shared / "data/payloads/nmea/pynmea2/sentences.json").read_bytes())["sentences"]
    compared = 0
    for row in listed:
        text, place = row["sentence"], row.get("expected_position")
        if not row.get("checksum_ok") or not place or text[3:6] != "RMC" or text.split(",")[2] != "A":
            continue
        fix = only(item(text.encode(), form="nmea", trusted=False))
        assert (fix.lat, fix.lon) == pytest.approx((place["lat"], place["lon"]), abs=1e-6)
        compared += 1
    assert compared


def test_a_message_of_an_epoch_is_one_fix_in_our_units() -> None:
    fix = only(item(sentence(GGA) + b"\r\n" + sentence(RMC), form="nmea"))
    assert (fix.seen_at_us, fix.lat, fix.lon) == (T0, 35.0, 73.0)
    assert fix.speed_mps == pytest.approx(10 * KNOT_MPS)
    assert (fix.course_deg, fix.altitude_m, fix.accuracy_m) == (80.0, 900.0, 10.0)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (sentence(RMC), "accepted"),
        (sentence(RMC)[:-1] + b"X", "malformed"),
        (sentence(RMC).replace(b"3500", b"3501"), "malformed"),
        (sentence(RMC)[:-3], "malformed"),  # no checksum
        (sentence(RMC.replace(",A,", ",V,")), "no_position"),
        (sentence("GPRMC,202640,V,,,,,,,280526,,"), "no_position"),
        (sentence(GGA.replace(",E,1,", ",E,0,")), "no_position"),
        (sentence(GGA), "undecoded"),  # no date
        (sentence("GPZDA,202640,28,05,2026,00,00") + b"\n" + sentence(GGA), "accepted"),
        (sentence(RMC.replace("3500.000", "0000.000").replace("07300", "00000")), "zero_island"),
        (sentence(RMC.replace("3500.000", "9959.000")), "out_of_range"),
        (sentence("GPXYZ,1"), "unsupported"),
        (sentence("PGRME,15.0,M,22.5,M,15.0,M"), "accepted"),  # read, and nothing of it is a position
        (sentence("GPGSV,1,1,00"), "accepted"),
        (b"$" + b"G" * 300, "oversized"),
        (b"\xff\xfe\x00", "malformed"),
    ],
)
def test_a_message_has_this_outcome(payload: bytes, expected: str) -> None:
    assert outcome(item(payload, form="nmea")) == expected


def test_an_epoch_of_a_file_is_one_observation_on_its_last_position(tmp_path: Path) -> None:
    later = [sentence(s.replace("202640", "202641")) for s in (GGA, RMC)]
    found = read(tmp_path, sentence(GGA), sentence(RMC), sentence("GPGSV,1,1,00"), *later, b"$junk")
    assert [(o.line, o.outcome, o.observation is not None) for o in found] == [
        (1, "accepted", False),
        (2, "accepted", True),
        (3, "accepted", False),
        (4, "accepted", False),
        (5, "accepted", True),
        (6, "rejected", False),
    ]


@pytest.mark.parametrize("head", [(), (b"# a comment",), (b"", b"# a comment", b"")])
def test_a_log_is_known_behind_comments_and_empty_lines(tmp_path: Path, head: tuple[bytes, ...]) -> None:
    found = read(tmp_path, *head, sentence(GGA), sentence(RMC))
    assert [(o.format, o.line) for o in found] == [("nmea", len(head) + 1), ("nmea", len(head) + 2)]

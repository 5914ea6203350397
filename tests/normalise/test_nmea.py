"""NMEA as receivers write it: gpsd's recorded logs, and sentences made here with their checksums."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import pytest

from pipeline.model.observation import Fix
from pipeline.normalise.files import Outcome, Reader
from pipeline.normalise.reasons import MARKS, REASONS
from tests.normalise.builders import T0, item, observations, only, outcome, record

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


def at(clock: str, date: str = "280526", kind: str = "RMC") -> bytes:
    return sentence((RMC if kind == "RMC" else GGA).replace("202640", clock).replace("280526", date))


GLL = "GPGLL,3500.000,N,07300.000,E,202640,A,A"
VTG = "GPVTG,80.0,T,,M,20.0,N,37.0,K,A"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (sentence(GLL), "undecoded"),
        (sentence("GPZDA,202640,28,05,2026,00,00") + b"\n" + sentence(GLL), "accepted"),
        (sentence(GLL.replace(",A,A", ",V,N")), "no_position"),
        (sentence(RMC.replace(",A,", ",V,").replace("3500.000", "8960.000")), "no_position"),
        (sentence(RMC.replace("3500.000", "3560.000")), "malformed"),  # 60 minutes are a degree
        (sentence(RMC.replace(",N,", ",X,")), "malformed"),
        (sentence(RMC.replace(",N,", ",,")), "malformed"),
        (sentence(RMC.replace("280526", "000000")), "undecoded"),
        (sentence(RMC.replace("280526", "310226")), "undecoded"),
        (sentence(RMC.replace("202640", "246060")), "malformed"),
        (sentence(RMC.replace("202640", "")), "malformed"),
        (sentence(RMC.replace("010.0", "fast")), "malformed"),
        (sentence(RMC.replace("010.0", "nan")), "out_of_range"),
        (sentence(RMC.replace("280526", "121006")), "too_old"),  # 1,024 weeks ago
        (sentence(RMC).replace(b"$", b"!"), "malformed"),
        (sentence(VTG), "accepted"),
        (sentence(GGA) + sentence(RMC), "malformed"),  # two on a line: neither can be trusted
    ],
)
def test_a_receiver_says_this_and_it_has_this_outcome(payload: bytes, expected: str) -> None:
    assert outcome(item(payload, form="nmea")) == expected


@pytest.mark.parametrize(("weeks", "told"), [(1024, True), (2048, True), (1000, False), (60, False)])
def test_a_week_number_that_rolled_over_is_told(weeks: int, told: bool) -> None:
    day = datetime.fromtimestamp(T0 / 1e6 - weeks * 7 * 86_400, UTC).strftime("%d%m%y")
    (reject,) = record(item(at("202640", day), form="nmea")).rejects
    assert reject.reason == "too_old"
    assert ("rolled over" in reject.detail) == told


@pytest.mark.parametrize(
    ("first", "mps"),
    [(GLL, 20 * KNOT_MPS), (RMC, 10 * KNOT_MPS), (RMC.replace("010.0,080.0", ","), 20 * KNOT_MPS)],
)
def test_vtg_tells_the_speed_where_rmc_does_not(first: str, mps: float) -> None:
    lines = [sentence("GPZDA,202640,28,05,2026,00,00"), sentence(first), sentence(VTG)]
    fix = only(item(b"\r\n".join(lines), form="nmea"))
    assert (fix.speed_mps, fix.course_deg) == (pytest.approx(mps), 80.0)


def test_a_message_of_several_epochs_is_a_fix_each() -> None:
    out = record(item(b"\n".join([at("202638"), at("202639", kind="GGA"), at("202640")]), form="nmea"))
    assert [fix.seen_at_us - T0 for fix in observations(out) if isinstance(fix, Fix)] == [-2_000_000, -1_000_000, 0]
    assert out.counts == {"inputs": 1, "accepted": 1, "beside": 2}


MIDNIGHT = [
    ([at("235959"), at("000001", kind="GGA"), at("000002", "290526")], [-1, 1, 2]),
    ([at("235959"), at("000001", kind="GGA"), at("000002", kind="GGA")], [-1, 1, 2]),
    ([at("235959"), sentence("GPZDA,000001,29,05,2026,00,00"), at("000001", kind="GGA")], [-1, 1]),
    (
        [at("235959"), at("000001", kind="GGA"), sentence("GPZDA,000001,29,05,2026,00,00"), at("000003", kind="GGA")],
        [-1, 1, 3],
    ),
    ([at("000005", "290526"), at("000003", kind="GGA")], [5, 3]),  # out of order, and no new day
]


@pytest.mark.parametrize(("lines", "expected"), MIDNIGHT)
def test_after_midnight_it_is_the_next_day(tmp_path: Path, lines: list[bytes], expected: list[int]) -> None:
    midnight = datetime(2026, 5, 29, tzinfo=UTC).timestamp()
    for found in (
        [one.observation for one in read(tmp_path, *lines)],
        observations(record(item(b"\n".join(lines), form="nmea", trusted=False))),
    ):
        assert [fix.seen_at_us / 1e6 - midnight for fix in found if isinstance(fix, Fix)] == expected


WEEKS_1024_S = 1024 * 7 * 86_400
# logs in which gpsd tells more of the same, or we do: it makes an epoch of what we refuse, or waits for a second to start
MORE_THAN_GPSD = {"hemi.log": 15, "humminbird-M37.log": 2, "garmin17n.log": 1}


def test_where_and_when_gpsd_says_it_was(shared: Path) -> None:
    """Its own expectations, whose dates it moves by whole 1,024 weeks."""
    compared = 0
    for path in sorted((shared / "data" / "payloads" / "nmea" / "gpsd").glob("*.log")):
        check = path.with_name(path.name + ".chk")
        if not check.exists():
            continue
        theirs: dict[float, tuple[float, float]] = {}
        for line in check.read_bytes().splitlines():
            told = json.loads(line) if line.startswith(b'{"class":"TPV"') else {}
            if told.get("mode", 0) >= 2 and "time" in told and "lat" in told:
                when = datetime.fromisoformat(told["time"]).timestamp() % WEEKS_1024_S
                theirs[round(when, 2)] = (told["lat"], told["lon"])
        ours: dict[float, list[tuple[float, float]]] = {}
        for found in Reader(form="nmea").read(path):
            if isinstance(found.observation, Fix):
                when = round(found.observation.seen_at_us / 1e6 % WEEKS_1024_S, 2)
                ours.setdefault(when, []).append((found.observation.lat, found.observation.lon))
        assert set(theirs) <= set(ours), path.name
        assert len(set(ours) - set(theirs)) <= MORE_THAN_GPSD.get(path.name, 1), path.name
        for when, place in theirs.items():
            assert any(one == pytest.approx(place, abs=2e-6) for one in ours[when]), (path.name, when)
            compared += 1
    assert compared > 600


def test_every_sentence_that_others_test_with_has_one_outcome_and_its_place(shared: Path) -> None:
    listed = json.loads((shared / "data/payloads/nmea/pynmea2/sentences.json").read_bytes())["sentences"]
    assert len(listed) == 121
    day = sentence("GPZDA,202640,28,05,2026,00,00") + b"\n"
    placed = 0
    for row in listed:
        text, place = row["sentence"], row.get("expected_position")
        out = record(item(day + text.encode(), form="nmea", trusted=False))
        assert out.counts["inputs"] == 1
        if not row.get("checksum_ok"):
            assert not observations(out), text
        for fix in observations(out):
            assert isinstance(fix, Fix) and place, text
            assert (fix.lat, fix.lon) == pytest.approx((place["lat"], place["lon"]), abs=1e-6)
            placed += 1
    assert placed >= 15


def test_a_wrong_checksum_is_told_in_a_sentence() -> None:
    (reject,) = record(item(sentence(RMC).replace(b"3500", b"3501"), form="nmea")).rejects
    assert reject.detail.startswith("checksum does not match")
    assert "[" not in reject.detail


UBLOX = (
    "GNTXT,01,01,02,u-blox AG - www.u-blox.com",
    "PUBX,00,202640.00,3500.000,N,07300.000,E,980.1,G3,2.1,2.0,0.1,87.5,0.0,,0.9,1.1,0.7,9,0,0",
    "GNRMC,202640.00,A,3500.000,N,07300.000,E,010.0,080.0,280526,,,A,V",
    "GNGNS,202640.00,3500.000,N,07300.000,E,AAN,09,0.9,980.1,-30.0,,,V",
    "GNGSA,A,3,01,02,03,,,,,,,,,,1.5,0.9,1.2,1",
    "GNGLL,3500.000,N,07300.000,E,202640.00,A,A",
    "PMTK010,001",
    "GNGNS,202641.00,3500.010,N,07300.000,E,AAN,09,0.9,980.1,-30.0,,,V",
    "GNGNS,202642.00,,,,,NNN,00,99.99,,,,,V",
)


def test_a_receiver_of_several_constellations_with_its_makers_lines_between(tmp_path: Path) -> None:
    found = read(tmp_path, *map(sentence, UBLOX))
    assert [(o.line, o.observation.lat) for o in found if isinstance(o.observation, Fix)] == [
        (6, 35.0),
        (8, pytest.approx(35 + 0.01 / 60)),
    ]
    assert [o.reason for o in found] == [None] * 8 + ["no_position"]
    first = found[5].observation
    assert isinstance(first, Fix) and first.speed_mps == pytest.approx(10 * KNOT_MPS) and first.accuracy_m == 4.5


def test_a_makers_own_sentence_costs_a_message_nothing() -> None:
    """It has no sentence type at all."""
    sent = item(b"\r\n".join(map(sentence, UBLOX[:4])), form="nmea")
    assert isinstance(only(sent), Fix)
    assert observations(record(item(sentence("PMTK010,001"), form="nmea"))) == []


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("", ",1779999600123"),
        ("2026-05-28 20:26:40.123 ", ""),
        ("[20:26:40] ", ""),
        ("NMEA,", ",1779999600123"),
        ("", "\r"),
    ],
)
def test_what_a_logger_put_around_a_sentence_is_not_read(tmp_path: Path, before: str, behind: str) -> None:
    lines = [before.encode() + sentence(body) + behind.encode() for body in (RMC, GGA)]
    found = read(tmp_path, *lines)
    assert [o.format for o in found] == ["nmea"] * len(found)
    assert [o.observation.seen_at_us for o in found if isinstance(o.observation, Fix)] == [T0]


def test_two_sentences_that_ran_together_are_malformed(tmp_path: Path) -> None:
    (found,) = read(tmp_path, sentence(RMC) + sentence(GGA))
    assert found.reason == "malformed"


def test_gpspipes_greeting_comes_before_a_log(tmp_path: Path) -> None:
    found = read(tmp_path, b'{"class":"VERSION","release":"3.22"}', *map(sentence, (RMC, GGA)))
    assert [o.reason for o in found] == ["malformed", None, None]
    assert found[2].observation is not None

"""Tracks and tables: GPX as others write it, CSV with our own names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.model.observation import Fix, Press, Reading
from pipeline.normalise import tables
from pipeline.normalise.files import Outcome, Reader
from pipeline.normalise.reasons import MARKS, REASONS

HEAD = '<?xml version="1.0"?><gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
POINT = '<trkpt lat="35.0" lon="73.0"><ele>900</ele><time>2026-05-28T20:26:40Z</time></trkpt>'


def read(tmp_path: Path, name: str, text: str) -> list[Outcome]:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return list(Reader().read(path))


def track(*points: str) -> str:
    return HEAD + "<trk><trkseg>" + "".join(points) + "</trkseg></trk></gpx>"


def test_a_track_is_a_fix_a_point(tmp_path: Path) -> None:
    found = read(tmp_path, "x.gpx", track(POINT, POINT.replace("20:26:40Z", "20:26:41")))
    fixes = [one.observation for one in found if isinstance(one.observation, Fix)]
    assert [(fix.lat, fix.lon, fix.altitude_m) for fix in fixes] == [(35.0, 73.0, 900.0)] * 2
    assert fixes[1].seen_at_us - fixes[0].seen_at_us == 1_000_000  # a time without a zone is UTC


def test_speed_and_course_may_stand_in_extensions(tmp_path: Path) -> None:
    beside = (
        '<hdop>1.5</hdop><extensions><x:TrackPointExtension xmlns:x="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">'
        "<x:speed>12.5</x:speed><x:course>80</x:course></x:TrackPointExtension></extensions></trkpt>"
    )
    (found,) = read(tmp_path, "x.gpx", track(POINT.replace("</trkpt>", beside)))
    fix = found.observation
    assert isinstance(fix, Fix)
    assert (fix.speed_mps, fix.course_deg, fix.accuracy_m) == (12.5, 80.0, 7.5)


POINTS = [
    (POINT, None),
    (POINT.replace("<time>2026-05-28T20:26:40Z</time>", ""), "malformed"),
    (POINT.replace('"35.0"', '"95.0"'), "out_of_range"),
    (POINT.replace('"35.0"', '"0"').replace('"73.0"', '"0"'), "zero_island"),
    (POINT.replace("2026-", "0001-"), None),
]


@pytest.mark.parametrize(("point", "reason"), POINTS)
def test_a_point_has_this_outcome(tmp_path: Path, point: str, reason: str | None) -> None:
    assert read(tmp_path, "x.gpx", track(point, POINT))[0].reason == reason


DOCUMENTS = [
    "<gpx",
    "",
    "<html></html>",
    "not xml",
    '<!DOCTYPE gpx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + track(POINT),
    HEAD + "<extensions>" + "<a>" * 20_000 + "</a>" * 20_000 + "</extensions></gpx>",
    track(POINT).replace("20:26:40Z", "99:99:99Z"),
    track(POINT).replace('"35.0"', '"north"'),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_what_is_no_track_is_refused_and_nothing_worse(tmp_path: Path, document: str) -> None:
    assert all(one.reason in REASONS for one in read(tmp_path, "x.gpx", document))


@pytest.mark.parametrize("folder", ["gpxpy", "barefoot", "e-mission", "bus-304"])
def test_recorded_tracks_have_one_outcome_a_point(shared: Path, folder: str) -> None:
    paths = [
        path for path in sorted((shared / "data" / "tracks" / folder).rglob("*")) if path.suffix in (".gpx", ".csv")
    ]
    for path in paths:
        for one in Reader().read(path):
            assert one.reason in (None, *REASONS, *MARKS), path.name


def test_a_table_of_all_kinds(tmp_path: Path) -> None:
    text = (
        "kind,seen_at,vehicle,sensor,subject,what,value,lat,lon,seq\n"
        "fix,2026-05-28T20:26:40Z,v1,,,,,35,73,1\n"
        "reading,2026-05-28T20:26:41Z,,s1,,door,open,,,2\n"
        "reading,2026-05-28T20:26:41Z,,s1,,temperature_c,21.5,,,3\n"
        "press,2026-05-28T20:26:42Z,,,v1,duress,,35,73,4\n"
        "press,yesterday,,,v1,duress,,north,73,4\n"
        "dance,2026-05-28T20:26:43Z,,,,,,,,\n"
    )
    found = read(tmp_path, "x.csv", text)
    assert [one.reason for one in found] == [None, None, None, None, None, "unsupported"]
    kinds = [one.observation for one in found]
    assert isinstance(kinds[0], Fix) and isinstance(kinds[1], Reading) and isinstance(kinds[2], Reading)
    assert (kinds[1].value, kinds[2].value) == ("open", 21.5)
    assert isinstance(kinds[3], Press) and isinstance(kinds[4], Press)
    assert (kinds[3].what, kinds[4].what) == ("duress", "duress")


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("seen_at,lat,lon\n2026-05-28T20:26:40Z,35,73\n", [None]),
        ("seen_at;lat;lon\n2026-05-28T20:26:40Z;35;73\n", [None]),
        ("\ufeffseen_at, lat, lon\n2026-05-28T20:26:40Z,35,73\n", [None]),
        ("seen_at,lat,lon\n2026-05-28T20:26:40,35,73\n", ["malformed"]),
        ("seen_at,lat,lon\n2026-05-28T20:26:40Z,=cmd,73\n", ["malformed"]),
        ("seen_at,lat,lon\n2026-05-28T20:26:40Z,35\n", ["no_position"]),
        ("seen_at,lat,lon\n2026-05-28T20:26:40Z,35,73,9,9\n", [None]),
        ('seen_at,lat,lon\n"2026', ["malformed"]),
        ("lat,lon\n35,73\n", ["malformed"]),
        ("", ["malformed"]),
        ("kind,seen_at\npress,\n", [None]),
    ],
)
def test_a_table_has_these_outcomes(tmp_path: Path, text: str, reasons: list[str | None]) -> None:
    assert [one.reason for one in read(tmp_path, "x.csv", text)] == reasons


def test_a_file_has_a_most(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tables, "MOST_FILE_BYTES", 10)
    for name in ("x.csv", "x.gpx"):
        assert [one.reason for one in read(tmp_path, name, track(POINT))] == ["oversized"]

"""`rahdar detect`: the ledger as lines, the same whatever the order and the records, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from pipeline.model.episode import episode_id
from pipeline.model.times import format_us, parse_us

KEYS = ["began_at", "ended_at", "evidence", "id", "object", "peak", "rule", "severity", "subject"]
BEGAN = "2026-11-23T17:00:00.000000Z"  # a Monday, 22:00 in the region
PIT = (35.025, 73.025)
ROAD = (35.000, 73.000)


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["detect", *map(str, args)])


def ledger(*args: object) -> bytes:
    done = run(*args)
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


@pytest.fixture
def vale(root: Path, tmp_path: Path) -> Path:
    """The tiny sound plan, with its pit forbidden at all hours and to everybody."""
    target = tmp_path / "vale"
    shutil.copytree(root / "tests" / "plan" / "sound", target)
    areas = target / "areas.yaml"
    text = areas.read_text(encoding="utf-8")
    for gone in ("        roles: [principal]\n", "        schedule: [{days: [fri, sun], from: 21:30, to: 05:00}]\n"):
        assert gone in text
        text = text.replace(gone, "")
    areas.write_text(text, encoding="utf-8")
    return target


def said(vehicle: str, at_s: float, place: tuple[float, float]) -> str:
    lat, lon = place
    seen = format_us(parse_us(BEGAN) + round(at_s * 1e6))
    return json.dumps(
        {"kind": "fix", "vehicle": vehicle, "seen_at": seen, "lat": lat, "lon": lon, "accuracy_m": 5, "speed_mps": 9}
    )


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """c-1 is in the pit from 0 s to 60 s and again from 120 s on; c-2 from 0 s to 30 s. Told vehicle by vehicle, the later one first."""
    lines = [said("c-2", t, PIT if t < 30 else ROAD) for t in range(0, 100, 10)]
    lines += [said("c-1", t, ROAD if 60 <= t < 120 else PIT) for t in range(0, 200, 10)]
    path = tmp_path / "drives.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_line_has_the_contracts_form(vale: Path, drives: Path) -> None:
    first, *_ = ledger("--plan", vale, drives).splitlines()
    row = json.loads(first)
    evidence = row.pop("evidence")
    assert list(json.loads(first)) == KEYS
    assert isinstance(evidence, dict) and evidence
    assert row == {
        "id": episode_id("area.forbidden", "c-1", "pit", parse_us(BEGAN)),
        "rule": "area.forbidden",
        "subject": "c-1",
        "object": "pit",
        "began_at": BEGAN,
        "ended_at": "2026-11-23T17:01:00.000000Z",
        "severity": "high",
        "peak": None,
    }


def test_lines_are_sorted_by_beginning_rule_and_subject(vale: Path, drives: Path) -> None:
    told = [json.loads(line) for line in ledger("--plan", vale, drives).splitlines()]
    assert [(row["subject"], row["began_at"][14:19], (row["ended_at"] or "")[14:19]) for row in told] == [
        ("c-1", "00:00", "01:00"),
        ("c-2", "00:00", "00:30"),
        ("c-1", "02:00", ""),
    ]


@pytest.mark.parametrize(
    "options", [("--shuffle", 1), ("--shuffle", 2), ("--batch", 1), ("--batch", 7, "--shuffle", 3)]
)
def test_neither_order_nor_records_change_a_byte(vale: Path, drives: Path, options: tuple[object, ...]) -> None:
    expected = ledger("--plan", vale, drives)
    assert expected.count(b"\n") == 3
    assert ledger("--plan", vale, *options, drives) == expected


def test_several_files_are_one_input(vale: Path, drives: Path, tmp_path: Path) -> None:
    lines = drives.read_text().splitlines()
    halves = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    halves[0].write_text("\n".join(lines[1::2]))
    halves[1].write_text("\n".join(lines[::2]))
    assert ledger("--plan", vale, *halves) == ledger("--plan", vale, drives)


def test_a_folder_of_regions_is_a_plan_too(vale: Path, drives: Path, tmp_path: Path) -> None:
    regions = tmp_path / "regions"
    regions.mkdir()
    shutil.copytree(vale, regions / "vale")
    assert ledger("--plan", regions, drives) == ledger("--plan", vale, drives)


def test_a_csv_with_our_own_names_says_the_same(vale: Path, drives: Path, tmp_path: Path) -> None:
    names = ["vehicle", "seen_at", "lat", "lon", "accuracy_m", "speed_mps"]
    rows = [json.loads(line) for line in drives.read_text().splitlines()]
    table = tmp_path / "drives.csv"
    table.write_text("\n".join([",".join(names), *(",".join(str(row[n]) for n in names) for row in rows)]))
    assert ledger("--plan", vale, table) == ledger("--plan", vale, drives)


def test_what_is_rejected_is_counted_on_stderr_and_costs_nothing_else(vale: Path, drives: Path) -> None:
    expected = ledger("--plan", vale, drives)
    with drives.open("a") as file:
        file.write("\nnonsense\n" + said("stranger", 0, PIT))
    done = run("--plan", vale, drives)
    assert done.exit_code == 0
    assert done.stdout_bytes == expected
    assert "2 of the messages were rejected" in done.stderr
    assert "malformed" in done.stderr and "unknown_device" in done.stderr


def test_the_first_that_is_rejected_is_shown_where_it_stands(vale: Path, tmp_path: Path) -> None:
    path = tmp_path / "strangers.jsonl"
    path.write_text("\n".join([said("c-1", 0, ROAD), said("stranger", 1, ROAD)]))
    told = run("--plan", vale, path).stderr
    assert f"the first in {path}, line 2: vehicle 'stranger' is not in the plan" in told


def test_fixes_that_no_rule_looks_at_are_counted(vale: Path, tmp_path: Path) -> None:
    path = tmp_path / "away.jsonl"
    path.write_text("\n".join([said("c-1", 0, ROAD), said("c-1", 10, (48.2, 16.4))]))
    assert "1 of the fixes are kept out of the rules (1 outside_plan)" in run("--plan", vale, path).stderr


SILENT = """  device.silent:
    mode: live
    severity: high
    owner: shift-officer
    respond_within: 5 min
    response: Call the vehicle.
    expected_within: 4 min
"""


@pytest.mark.parametrize("name", [None, "ingest-1"])
def test_ticks_in_a_file_are_of_whoever_took_its_fixes(vale: Path, tmp_path: Path, name: str | None) -> None:
    """Twenty minutes of them, with five in the middle in which nobody listened: these extend the deadline."""
    with (vale / "rules.yaml").open("a", encoding="utf-8") as rules:
        rules.write(SILENT)

    def tick(at_s: int) -> str:
        line = {"kind": "tick", "seen_at": format_us(parse_us(BEGAN) + at_s * 1_000_000)}
        return json.dumps(line | ({"source": name} if name else {}))

    fixes = [said("c-1", t, ROAD) for t in range(0, 40, 10)]
    for first_blind_s, expected in ((1200, "04:30"), (100, "09:25")):
        path = tmp_path / f"{first_blind_s}.jsonl"
        path.write_text(
            "\n".join([*fixes, *(tick(t) for t in range(0, 1201, 5) if not first_blind_s < t < first_blind_s + 295)])
        )
        for options in ((), ("--batch", 7), ("--shuffle", 3)):
            (row,) = [json.loads(line) for line in ledger("--plan", vale, *options, path).splitlines()]
            assert (row["rule"], row["began_at"][14:19]) == ("device.silent", expected)


def test_a_topic_of_a_devices_own_login_says_whose_fix_it_is(vale: Path, tmp_path: Path) -> None:
    """Whatever vehicle is given for files that do not say: this one does."""
    at = parse_us(BEGAN) // 1_000_000
    lines = [
        f"v1/0/t-1/owntracks {json.dumps({'_type': 'location', 'tid': 'zz', 'lat': PIT[0], 'lon': PIT[1], 'acc': 5, 'tst': at + t})}"
        for t in range(0, 60, 10)
    ]
    log = tmp_path / "own.log"
    log.write_text("\n".join(lines))
    for options in ((), ("--vehicle", "c-2")):
        (row,) = [json.loads(line) for line in ledger("--plan", vale, *options, log).splitlines()]
        assert (row["rule"], row["subject"]) == ("area.forbidden", "c-1")


def test_nothing_said_is_an_empty_ledger(vale: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert ledger("--plan", vale, empty) == b""


def test_a_file_without_names_belongs_to_the_vehicle_that_is_given(vale: Path, tmp_path: Path) -> None:
    points = "".join(
        f'<trkpt lat="{PIT[0]}" lon="{PIT[1]}"><time>2026-11-23T17:00:{s:02}Z</time></trkpt>' for s in range(0, 60, 10)
    )
    track = tmp_path / "a.gpx"
    head = '<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">'
    track.write_text(f"{head}<trk><trkseg>{points}</trkseg></trk></gpx>")
    (row,) = [json.loads(line) for line in ledger("--plan", vale, "--vehicle", "c-2", track).splitlines()]
    assert (row["subject"], row["object"], row["began_at"]) == ("c-2", "pit", BEGAN)
    nobody = run("--plan", vale, track)
    assert nobody.exit_code == 0
    assert nobody.stdout_bytes == b""
    assert "6 of the messages were rejected" in nobody.stderr


def cause(done: Result) -> str:
    assert done.exit_code == 1
    assert done.stdout_bytes == b""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_unknown_vehicle_is_refused_by_name(vale: Path, drives: Path) -> None:
    assert "'x-9'" in cause(run("--plan", vale, "--vehicle", "x-9", drives))


def test_a_bad_plan_is_refused_with_all_its_faults(vale: Path, drives: Path) -> None:
    for name, old, new in (
        ("areas.yaml", "radius_m: 300", "radius_m: -1"),
        ("convoys.yaml", "c-2]", "c-99]"),
    ):
        text = (vale / name).read_text(encoding="utf-8")
        assert old in text
        (vale / name).write_text(text.replace(old, new), encoding="utf-8")
    told = cause(run("--plan", vale, drives))
    assert "areas.yaml" in told and "camp" in told
    assert "convoys.yaml" in told and "c-99" in told


def test_a_plan_that_is_not_there_is_refused(drives: Path, tmp_path: Path) -> None:
    assert "nowhere" in cause(run("--plan", tmp_path / "nowhere", drives))


def test_a_missing_file_is_named(vale: Path, drives: Path, tmp_path: Path) -> None:
    assert "none.jsonl" in cause(run("--plan", vale, drives, tmp_path / "none.jsonl"))


def test_an_until_that_is_no_instant_is_refused(vale: Path, drives: Path) -> None:
    assert "--until" in cause(run("--plan", vale, "--until", "tomorrow", drives))


@pytest.mark.parametrize("wrong", [("--batch", 0), ("--shuffle", "x"), ()])
def test_wrong_usage_has_its_own_exit_code(vale: Path, drives: Path, wrong: tuple[object, ...]) -> None:
    done = run("--plan", vale, *wrong, drives) if wrong else run("--plan", vale)
    assert done.exit_code == 2

"""`rahdar decode`: the contract's line for every message, in input order, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from pipeline.normalise.reasons import MARKS, REASONS

KEYS = ["file", "line", "outcome", "format", "reason", "detail", "observation"]
FIX = '{"kind":"fix","vehicle":"v1","seen_at":"2026-11-23T10:00:00Z","lat":35.1,"lon":73.0,"speed_mps":12.0}'


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["decode", *map(str, args)])


def rows(*args: object) -> list[dict[str, Any]]:
    done = run(*args)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_a_line_has_the_contracts_form(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(FIX)
    (row,) = rows(path)
    assert list(row) == KEYS
    assert row == {
        "file": str(path),
        "line": 1,
        "outcome": "accepted",
        "format": "native",
        "reason": None,
        "detail": None,
        "observation": {
            "kind": "fix",
            "vehicle": "v1",
            "device": "v1",
            "seen_at": "2026-11-23T10:00:00.000000Z",
            "received_at": "2026-11-23T10:00:00.000000Z",
            "lat": 35.1,
            "lon": 73.0,
            "speed_mps": 12.0,
            "seq": 0,
        },
    }


def test_one_line_a_message_in_the_order_of_the_input(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    inaccurate = FIX.replace("12.0", '12.0,"accuracy_m":900')
    a.write_text(f"{FIX}\n\nnonsense\n{inaccurate}\n[]\n")
    b.write_text('{"_type":"lwt","tst":1}\n')
    told = [(Path(r["file"]).name, r["line"], r["outcome"], r["reason"]) for r in rows(b, a, b)]
    assert told == [
        ("b.jsonl", 1, "accepted", None),
        ("a.jsonl", 1, "accepted", None),
        ("a.jsonl", 3, "rejected", "malformed"),
        ("a.jsonl", 4, "flagged", "inaccurate"),
        ("a.jsonl", 5, "rejected", "malformed"),
        ("b.jsonl", 1, "accepted", None),
    ]


def test_a_document_over_many_lines_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(json.loads(FIX), indent=1))
    assert [(r["line"], r["outcome"]) for r in rows(path)] == [(1, "accepted")]


def test_a_stated_format_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(FIX)
    (row,) = rows("--format", "owntracks", path)
    assert (row["format"], row["outcome"], row["reason"]) == ("owntracks", "rejected", "malformed")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("far.jsonl", FIX.replace("2026-11-23T10:00:00Z", "0001-01-01T00:00:00+14:00"), "out_of_range"),
        ("late.jsonl", FIX.replace("2026-11-23T10:00:00Z", "9999-12-31T23:59:59-14:00"), "out_of_range"),
        ("big.jsonl", '{"kind":"reading","sensor":"s","what":"x","value":%s,"seen_at":"2026-11-23T10:00:00Z"}' % ("9" * 30), "out_of_range"),
        ("seq.csv", "seen_at,lat,lon,seq\n2026-11-23T10:00:00Z,35,73,1e300\n", "out_of_range"),
        ("far.csv", "seen_at,lat,lon\n0001-01-01T00:00:00+14:00,35,73\n", "out_of_range"),
        ("header.csv", "lat,lon\n35,73\n", "malformed"),
        ("cut.gpx", "<gpx", "malformed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_reject_and_no_crash(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert [row["reason"] for row in rows(path)] == [expected]


def test_a_files_name_need_not_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "\udcff.jsonl"
    path.write_text(FIX)
    assert [row["outcome"] for row in rows(path)] == ["accepted"]


def rahdar(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "decode", *args],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_file_that_is_not_there_is_bad_input_in_one_line(tmp_path: Path) -> None:
    done = rahdar(str(tmp_path / "none.json"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "none.json" in done.stderr


@pytest.mark.parametrize("args", [(), ("--format", "smoke", "x"), ("--nonsense", "x")])
def test_what_was_not_meant_is_a_matter_of_usage(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2


def test_rejects_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("nonsense")
    assert rahdar(str(tmp_path / "a.json")).returncode == 0


@pytest.mark.parametrize("folder", ["traccar-json", "lorawan-ttn-v3", "lorawan-chirpstack-v4"])
def test_recorded_payloads_of_formats_yet_to_come_have_one_outcome_each(shared: Path, folder: str) -> None:
    files = sorted((shared / "data" / "payloads" / folder).glob("*.json"))
    assert len(files) >= 14
    for path in files:
        found = json.loads(path.read_bytes())
        told = rows(path)
        assert len(told) == (len(found) if isinstance(found, list) else 1), path.name
        for row in told:
            assert list(row) == KEYS
            assert row["outcome"] in ("accepted", "flagged", "rejected")
            assert (row["outcome"] == "accepted") == (row["reason"] is None)
            assert row["reason"] in (None, *REASONS, *MARKS)

"""`rahdar simulate` as others script against it."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from simulators.scenarios import STORIES

HAZARA = str(Path(__file__).resolve().parents[2] / "plans" / "hazara")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["simulate", *arguments])


def test_list_has_a_name_and_a_sentence_a_line() -> None:
    result = _run("--list")
    assert result.exit_code == 0
    assert [line.split("  ")[0] for line in result.stdout.splitlines()] == list(STORIES)


def test_out_is_what_stdout_is_and_seed_vehicles_start_and_for_count(tmp_path: Path) -> None:
    arguments = ("first-watch", "--plan", HAZARA, "--for", "30", "--vehicles", "7", "--start", "2026-11-24T12:00:00Z")
    shown = _run(*arguments)
    assert shown.exit_code == 0
    out = tmp_path / "story.jsonl"
    assert _run(*arguments, "--out", str(out)).exit_code == 0
    assert out.read_bytes() == shown.stdout_bytes
    lines = [orjson.loads(line) for line in shown.stdout_bytes.splitlines()]
    assert len({line["vehicle"] for line in lines if "vehicle" in line}) == 7
    assert lines[0]["seen_at"] == "2026-11-24T12:00:00.000000Z"
    assert max(line["seen_at"] for line in lines) < "2026-11-24T12:00:30"
    assert _run(*arguments, "--seed", "2").stdout_bytes != shown.stdout_bytes


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("no-such-story",), 2),
        (("first-watch", "--start", "noon"), 2),
        (("first-watch", "--mqtt", "mqtt://127.0.0.1:1"), 2),
        (("first-watch", "--mqtt", "mqtt://127.0.0.1:1", "--out", "x"), 2),
        (("first-watch", "--plan", "/no/such/plan"), 1),
        (("quiet-hour", "--plan", HAZARA, "--vehicles", "41"), 1),
        (("first-watch", "--plan", HAZARA, "--out", "/no/such/folder/x"), 1),
    ],
)
def test_mistakes_have_the_contracts_exit_codes(arguments: tuple[str, ...], code: int) -> None:
    assert _run(*arguments).exit_code == code


def test_a_broker_that_is_not_there_is_exit_code_3(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords.json"
    passwords.write_text(json.dumps({"e-1-tracker": "secret"}))
    arguments = ("first-watch", "--plan", HAZARA, "--mqtt", "mqtt://127.0.0.1:1", "--passwords", str(passwords))
    assert _run(*arguments).exit_code == 3
    passwords.write_text("[]")
    assert _run(*arguments).exit_code == 1

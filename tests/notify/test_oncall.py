"""Who is on call: shifts across midnight, overrides, leave; and the command that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.plan.roster import ShiftIn as In
from pipeline.plan.roster import empty_hours, on_call, on_post
from pipeline.plan.times import instant_us
from tests.plan.overlay import SOUND

PKT = 5 * 3600


@pytest.fixture(scope="module")
def sound() -> CompiledPlan:
    return load_plan(SOUND)


def names(plan: CompiledPlan, local: str) -> list[str]:
    return [one.officer.id for one in on_post(plan.rosters["vale"], "shift-officer", instant_us(local, PKT))]


@pytest.mark.parametrize(
    ("local", "who"),
    [
        ("2026-11-25 06:59:59", "babar"), ("2026-11-25 07:00", "asma"), ("2026-11-25 18:59:59", "asma"), ("2026-11-25 19:00", "babar"),
        ("2026-11-25 23:59:59", "babar"), ("2026-11-26 00:00", "babar"),
        ("2026-11-24 06:59:59", "babar"), ("2026-11-24 07:00", "babar"), ("2026-11-24 12:59:59", "babar"), ("2026-11-24 13:00", "asma"),
    ],
)  # fmt: skip
def test_a_shift_ends_where_the_next_begins(sound: CompiledPlan, local: str, who: str) -> None:
    assert names(sound, local) == [who]


@pytest.mark.parametrize(
    ("local", "who"),
    [
        ("2026-11-30 23:59", ["babar"]),
        ("2026-12-01 00:00", []),
        ("2026-12-02 23:59", []),
        ("2026-12-03 00:00", ["babar"]),
    ],
)
def test_leave_empties_the_post(sound: CompiledPlan, local: str, who: list[str]) -> None:
    assert names(sound, local) == who


@pytest.mark.parametrize(
    ("local", "until"),
    [("2026-11-25 08:00", "2026-11-25 19:00"), ("2026-11-25 20:00", "2026-11-26 07:00"), ("2026-11-24 08:00", "2026-11-24 13:00")],
)  # fmt: skip
def test_until_when(sound: CompiledPlan, local: str, until: str) -> None:
    found = on_call(sound, "vale", instant_us(local, PKT))
    assert found[0].until_us == instant_us(until, PKT)


@pytest.mark.parametrize(
    ("shifts", "gap"),
    [
        ([("00:00", "24:00")], None), ([("07:00", "19:00"), ("19:00", "07:00")], None),
        ([("07:00", "19:00"), ("19:00", "06:59")], (6 * 3600 + 59 * 60, 7 * 3600)), ([], (0, 7 * 86_400)),
    ],
)  # fmt: skip
def test_hours_without_anybody(shifts: list[tuple[str, str]], gap: tuple[int, int] | None) -> None:
    assert empty_hours([In.model_validate({"officers": ["a"], "from": a, "to": b}) for a, b in shifts]) == gap


def test_the_command_masks_addresses_and_finds_the_empty_post(tmp_path: Path) -> None:
    file = tmp_path / "addresses"
    file.touch(mode=0o600)
    file.write_text("asma-sms: +923001234567\n")
    run = CliRunner().invoke(
        cli, ["oncall", "--plan", str(SOUND), "--at", "2026-11-25 08:00", "--json"], env={"RAHDAR_ADDRESSES_FILE": str(file)},
        standalone_mode=False,
    )  # fmt: skip
    rows = [json.loads(line) for line in run.output.splitlines()]
    assert [(r["post"], r["officer"]) for r in rows] == [("shift-officer", "asma"), ("office", None)]
    assert rows[0]["channels"][0]["address"] == "+92 3** ***45 67" and "923001" not in run.output
    assert run.return_value == 1, "an empty post is a finding"


def test_addresses_that_others_may_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "addresses"
    file.write_text("a: b\n")
    file.chmod(0o644)
    run = CliRunner().invoke(cli, ["oncall", "--plan", str(SOUND)], env={"RAHDAR_ADDRESSES_FILE": str(file)})
    assert run.exit_code == 1 and "chmod 600" in run.output

"""A recording is told again by the devices that it is from."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.commands.replay import logins_by_device, payload, schedule, spoken
from pipeline.model.observation import Fix, Tick
from pipeline.plan.load import load_plan

T0 = 1_780_000_000_000_000
MINUTE = 60_000_000


def fix(minute: int) -> Fix:
    at = T0 + minute * MINUTE
    return Fix(vehicle="c-1", device="c-1-tracker", seen_at_us=at, received_at_us=at, lat=35.0, lon=73.0, seq=minute)


def test_at_speed_one_the_first_fix_is_now() -> None:
    now = T0 + 999 * MINUTE
    told = [(at - now, seen - now) for at, seen, _ in schedule([fix(0), fix(2)], now, 1.0, False)]
    assert told == [(0, 0), (2 * MINUTE, 2 * MINUTE)]


def test_above_speed_one_it_starts_in_the_past_and_ends_now() -> None:
    now = T0 + 999 * MINUTE
    told = [(at - now, seen - now) for at, seen, _ in schedule([fix(0), fix(10)], now, 10.0, False)]
    assert told == [(0, -9 * MINUTE), (MINUTE, MINUTE)]


def test_times_are_kept_when_asked_for() -> None:
    assert [seen for _, seen, _ in schedule([fix(0), fix(1)], T0 * 2, 5.0, True)] == [T0, T0 + MINUTE]


def test_what_is_published_is_native_json_without_our_own_stamps() -> None:
    said = json.loads(payload(fix(3), T0))
    assert said["kind"] == "fix" and said["vehicle"] == "c-1" and said["seq"] == 3
    assert said["seen_at"] == "2026-05-28T20:26:40.000000Z"
    assert not {"received_at", "body", "flags"} & said.keys()


def test_only_devices_speak_and_in_the_order_of_time() -> None:
    assert [o.seen_at_us - T0 for o in spoken([fix(2), Tick(source="x", at_us=T0), fix(1)])] == [MINUTE, 2 * MINUTE]


def test_every_device_of_the_plan_has_a_login(root: Path) -> None:
    plan = load_plan(root / "plans" / "hazara")
    assert set(logins_by_device(plan)) >= set(plan.device_subject)


def test_faults_have_the_contracts_exit_codes(root: Path, tmp_path: Path) -> None:
    passwords = tmp_path / "p.json"
    passwords.write_text("{}")
    plan = ["--plan", str(root / "plans" / "hazara"), "--passwords", str(passwords)]
    run = CliRunner().invoke
    recording = tmp_path / "r.jsonl"
    recording.write_bytes(payload(fix(0), T0) + b"\n")
    assert run(cli, ["replay", *plan, str(tmp_path / "none.jsonl")]).exit_code == 1
    assert run(cli, ["replay", *plan, "--mqtt", "mqtt://127.0.0.1:1", str(recording)]).exit_code == 3
    assert run(cli, ["replay", str(recording)]).exit_code == 2

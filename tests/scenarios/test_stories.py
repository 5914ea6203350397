"""Every story through normalise and detect: the ledger is what a person wrote down, no more and no less."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.model.times import parse_us
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from simulators.run import native_lines
from simulators.scenarios import STORIES
from simulators.story import Story
from tests.scenarios.judge import differences

ROOT = Path(__file__).resolve().parents[2]


@cache
def plan_at(path: Path) -> CompiledPlan:
    """Read once: nobody changes it."""
    return load_plan(ROOT / path)


def ledger_of(story: Story, seed: int, folder: Path, *options: str) -> bytes:
    """What `rahdar detect` makes of the story."""
    lines = folder / f"{story.name}-{seed}.jsonl"
    if not lines.exists():
        with lines.open("wb") as file:
            file.writelines(native_lines(story, plan_at(story.plan), seed))
    words = ["detect", "--plan", str(ROOT / story.plan), *options, str(lines)]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def _told(ledger: bytes, plan: CompiledPlan) -> list[dict[str, object]]:
    """What would be told: rules and areas that run in shadow are in the ledger but page nobody. (Our regions have the same in shadow.)"""
    modes = {rule: setting.mode for region in plan.regions.values() for rule, setting in region.rules.items()}
    modes |= {f"{rule.rule} {area.id}": rule.mode for area in plan.areas for rule in area.rules}
    rows = [orjson.loads(line) for line in ledger.splitlines()]
    return [r for r in rows if modes.get(f"{r['rule']} {r['object']}", modes.get(r["rule"])) == "live"]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("story", STORIES.values(), ids=lambda s: s.name)
def test_the_ledger_is_what_a_person_wrote_down(story: Story, seed: int, tmp_path: Path) -> None:
    told = _told(ledger_of(story, seed, tmp_path), plan_at(story.plan))
    assert differences(told, story.expected, parse_us(story.at)) == []


@pytest.mark.parametrize("name", ["first-watch", "gorge-backlog", "bad-network", "handed-over"])
def test_neither_the_order_of_arrival_nor_the_size_of_records_changes_a_byte(name: str, tmp_path: Path) -> None:
    story = STORIES[name]
    whole = ledger_of(story, 1, tmp_path)
    assert whole
    assert ledger_of(story, 1, tmp_path, "--shuffle", "5", "--batch", "7") == whole

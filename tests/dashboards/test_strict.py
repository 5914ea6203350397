"""Dashboards and watchdogs read by Grafana's own types, strictly: a field with a wrong name would else be dropped in silence."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dashboards.watchdogs import ALERTING

HERE = Path(__file__).parent
KNOWN = re.compile(r"options\.(view\.(lat|lon|zoom)|layers\[\d+\]\.opacity): json: cannot unmarshal number")
"""The types' own fault: they hold degrees in whole numbers."""


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        why = "no Go here to build Grafana's types with"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    out = tmp_path_factory.mktemp("strict") / "strict"
    built = subprocess.run(["go", "build", "-o", str(out), "."], cwd=HERE / "strict", capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out


def faults(strict: Path, *paths: Path) -> list[str]:
    said = subprocess.run([str(strict), *map(str, paths)], capture_output=True, text=True)
    assert said.returncode in (0, 1), said.stderr
    return [line for line in said.stdout.splitlines() if not KNOWN.search(line)]


def rule_group() -> dict[str, Any]:
    """The provisioned group as Grafana's interface has it: the file says names and durations, the interface ids and seconds."""
    group = copy.deepcopy(ALERTING["groups"][0])
    for rule in group["rules"]:
        rule |= {"orgID": 1, "folderUID": "rahdar", "ruleGroup": group["name"], "keepFiringFor": 60_000_000_000}
    return {"title": group["name"], "folderUid": "rahdar", "interval": 10, "rules": group["rules"]}


@pytest.mark.timeout(600)
def test_grafanas_own_types_take_every_dashboard(strict: Path, root: Path) -> None:
    assert faults(strict, *sorted((root / "dashboards" / "json").glob("*.json"))) == []


@pytest.mark.timeout(600)
def test_grafanas_own_types_take_the_watchdogs(strict: Path, tmp_path: Path) -> None:
    path = tmp_path / "rulegroup.json"
    path.write_text(json.dumps(rule_group()))
    assert faults(strict, path) == []


@pytest.mark.timeout(600)
def test_a_wrong_name_is_seen(strict: Path, root: Path, tmp_path: Path) -> None:
    """The check itself: a misspelt field in a dashboard and in a rule."""
    board = json.loads((root / "dashboards" / "json" / "rahdar-overview.json").read_text())
    board["panels"][0]["gridPoss"] = {}
    (tmp_path / "board.json").write_text(json.dumps(board))
    group = rule_group()
    group["rules"][0]["no_data_state"] = "Alerting"
    (tmp_path / "rulegroup.json").write_text(json.dumps(group))
    found = faults(strict, tmp_path / "board.json", tmp_path / "rulegroup.json")
    assert any("gridPoss" in line for line in found)
    assert any("no_data_state" in line for line in found)

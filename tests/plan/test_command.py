"""`rahdar plan`: exit codes, one line a fault, and what others may pipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import BadInput
from pipeline.commands.plan import plan
from pipeline.plan.rules import table
from tests.plan.overlay import SOUND, overlaid


def run(*arguments: object) -> Result:
    return CliRunner().invoke(plan, [str(a) for a in arguments], catch_exceptions=True)


def test_a_sound_plan_is_one_line_and_exit_0() -> None:
    result = run("check", SOUND)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1 and "Invented" in result.stdout


def test_faults_are_a_line_each_on_stdout_and_exit_1(tmp_path: Path) -> None:
    result = run("check", overlaid("many_at_once", tmp_path))
    assert result.exit_code == BadInput.exit_code == 1
    expected = (SOUND.parent / "faults" / "many_at_once" / "expected.txt").read_text().splitlines()
    assert len(result.stdout.splitlines()) == len(expected)


def test_geojson_is_one_document_on_stdout() -> None:
    result = run("geojson", SOUND)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["type"] == "FeatureCollection"


def test_geojson_of_a_bad_plan_is_exit_1_and_nothing_on_stdout(tmp_path: Path) -> None:
    result = run("geojson", overlaid("many_at_once", tmp_path))
    assert result.exit_code == 1 and result.stdout == ""


@pytest.mark.parametrize("what", ["route", "areas"])
def test_import_prints_a_fragment(what: str, tmp_path: Path) -> None:
    path = tmp_path / "line.geojson"
    path.write_text(json.dumps({"type": "LineString", "coordinates": [[73.2, 35.2], [73.21, 35.2], [73.22, 35.21]]}))
    result = run("import", path, "--as", what, "--id", "x", "--tolerance", 0)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["routes" if what == "route" else "areas"][0]["id"] == "x"


def test_import_of_nonsense_is_exit_1_and_of_nothing_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "x.gpx"
    path.write_text("hello")
    assert run("import", path, "--as", "route", "--id", "x").exit_code == 1
    assert run("import", tmp_path / "absent", "--as", "route", "--id", "x").exit_code == 2


def test_the_documentation_has_the_rules_as_they_are(root: Path) -> None:
    assert table() in (root / "docs" / "plan.md").read_text(encoding="utf-8"), "put in what `rahdar plan rules` prints"
    assert run("rules").stdout == table()

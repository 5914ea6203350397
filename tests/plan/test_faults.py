"""A bad plan is refused whole: every fault at once, each with file, line, key, value, problem and cure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plan.load import PlanError, load_plan
from pipeline.plan.read import FILES
from tests.plan.overlay import FAULTS, SOUND, faults_of

NAMES = sorted(folder.name for folder in FAULTS.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_told_as_expected(name: str, tmp_path: Path) -> None:
    expected = (FAULTS / name / "expected.txt").read_text(encoding="utf-8").splitlines()
    assert expected, "every folder here is a fault"
    assert faults_of(name, tmp_path) == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_fault_names_a_file_a_problem_and_a_cure(name: str, tmp_path: Path) -> None:
    for line in faults_of(name, tmp_path):
        head, _, rest = line.partition("; ")
        assert head.split(":")[0].endswith(".yaml")
        problem, _, cure = rest.partition(". ")
        assert problem and cure


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    files = {line.split(":")[0] for line in faults_of("many_at_once", tmp_path)}
    assert files == {"areas.yaml", "routes.yaml", "vehicles.yaml", "convoys.yaml", "movements.yaml"}


def test_ids_are_unique_over_regions(tmp_path: Path) -> None:
    """Subjects, devices and cells are names in one broker and one ledger: two regions that share them are refused."""
    for name in ("vale", "dale"):
        shutil.copytree(SOUND, tmp_path / name)
    region = tmp_path / "dale" / "region.yaml"
    region.write_text(region.read_text().replace("id: vale", "id: dale").replace("[vale, vale-north]", "[dale]"))
    with pytest.raises(PlanError) as refused:
        load_plan(tmp_path)
    spaces = {fault.problem.split(" is taken")[0] for fault in refused.value.faults if "taken" in fault.problem}
    assert spaces == {
        "the id of areas", "the id of routes", "the id of movements", "the subject", "the device", "the gateway's device",
    }  # fmt: skip


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_a_region_is_refused(there: bool, tmp_path: Path) -> None:
    path = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(PlanError) as refused:
        load_plan(path)
    assert len(refused.value.faults) == 1


def test_a_file_that_is_too_big_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "vale"
    shutil.copytree(SOUND, folder)
    (folder / "convoys.yaml").write_bytes(b"# \n" * 2_000_000)
    with pytest.raises(PlanError) as refused:
        load_plan(folder)
    assert [fault.file for fault in refused.value.faults] == [f"{folder.as_posix()}/convoys.yaml"]


@settings(max_examples=60, deadline=None)
@given(file=st.sampled_from(FILES), data=st.data())
def test_whatever_a_file_holds_the_answer_is_a_plan_or_faults(
    file: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No damage to a file raises anything but PlanError."""
    text = (SOUND / file).read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 30))
    put = data.draw(
        st.sampled_from(
            ["", "[", "]", "{", ":", "- ", "\n", " ", "'", "null", "-1", "9" * 20, "1e999", "[]", "{}", "é"]
        )
    )
    folder = tmp_path_factory.mktemp("plan") / "vale"
    shutil.copytree(SOUND, folder)
    (folder / file).write_text(text[:start] + put + text[start + length :], encoding="utf-8")
    try:
        load_plan(folder)
    except PlanError as error:
        assert error.faults

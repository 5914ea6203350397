"""A plan whose large files were read before is the same plan, sooner; what is kept and not whole is as if it were not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.bench import write_plan
from pipeline.plan import tree
from pipeline.plan.faults import PlanError
from pipeline.plan.kept import MOST, WORTH_BYTES, KeptTrees
from pipeline.plan.load import load_plan

VEHICLES = 500
LARGE = b"# " + b"." * WORTH_BYTES + b"\na: 1\n"


@pytest.fixture
def plan_dir(tmp_path: Path) -> Path:
    folder = write_plan(tmp_path / "plan", VEHICLES, 50)
    assert (folder / "vehicles.yaml").stat().st_size > WORTH_BYTES
    return folder


def unread(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose YAML is read from now on."""
    read: list[str] = []
    real = tree.read_tree

    def seen(data: bytes, file: str) -> tree.Tree:
        read.append(Path(file).name)
        return real(data, file)

    monkeypatch.setattr(tree, "read_tree", seen)
    return read


def test_a_plan_that_was_read_before_is_the_same(
    plan_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, kept = load_plan(plan_dir), tmp_path / "trees"
    assert repr(load_plan(plan_dir, kept)) == repr(plain)
    read = unread(monkeypatch)
    assert repr(load_plan(plan_dir, kept)) == repr(plain)
    assert "vehicles.yaml" not in read and "region.yaml" in read


def test_another_word_in_a_file_is_another_file(plan_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "trees"
    before = load_plan(plan_dir, kept)
    path = plan_dir / "vehicles.yaml"
    path.write_text(path.read_text().replace("- d-7\n", "- d-7000\n"))
    after = load_plan(plan_dir, kept)
    assert "d-7" in before.device_subject and "d-7000" not in before.device_subject
    assert "d-7" not in after.device_subject and after.device_subject["d-7000"] == "v-7"


@pytest.mark.parametrize("harm", ["turned", "cut", "emptied", "a folder"])
def test_what_is_kept_and_not_whole_does_not_count(plan_dir: Path, tmp_path: Path, harm: str) -> None:
    plain, kept = load_plan(plan_dir), tmp_path / "trees"
    load_plan(plan_dir, kept)
    for path in kept.iterdir():
        data = path.read_bytes()
        at = data.index(b"v-7")
        if harm == "turned":
            path.write_bytes(data[:at] + b"w" + data[at + 1 :])
        elif harm == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif harm == "emptied":
            path.write_bytes(b"")
        else:
            path.unlink()
            path.mkdir()
    assert repr(load_plan(plan_dir, kept)) == repr(plain)


def test_a_fault_has_its_line_all_the_same(plan_dir: Path, tmp_path: Path) -> None:
    """In a file that was read anew, and in one whose YAML is sound and kept."""
    kept = tmp_path / "trees"
    load_plan(plan_dir, kept)
    (plan_dir / "convoys.yaml").write_text("convoys:\n  - id: c-1\n    members: [v-1, v-1]\n")
    with pytest.raises(PlanError) as plain:
        load_plan(plan_dir)
    with pytest.raises(PlanError) as told:
        load_plan(plan_dir, kept)
    assert told.value.faults == plain.value.faults
    path = plan_dir / "vehicles.yaml"
    (plan_dir / "convoys.yaml").unlink()
    path.write_text(path.read_text().replace("id: v-9\n", "id: v-8\n"))
    for _ in range(2):  # the second time its data is kept: YAML has no fault
        with pytest.raises(PlanError) as told:
            load_plan(plan_dir, kept)
        assert all(fault.line for fault in told.value.faults)


def test_where_nothing_can_be_kept_the_plan_is_read(plan_dir: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    assert load_plan(plan_dir, nowhere).hash == load_plan(plan_dir).hash


def test_the_oldest_go(tmp_path: Path) -> None:
    kept = KeptTrees(tmp_path)
    contents = [LARGE + b"b: %d\n" % n for n in range(MOST + 3)]
    for n, content in enumerate(contents):
        kept.put(content, {"a": 1, "b": n})
        for path in set(tmp_path.iterdir()):
            if path.stat().st_mtime > 1_000_000:
                os.utime(path, (n, n))
    assert len(list(tmp_path.iterdir())) == MOST
    assert [kept.get(content) for content in contents[:3]] == [None] * 3
    assert kept.get(contents[3]) == {"a": 1, "b": 3}


def test_what_another_program_read_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KeptTrees(tmp_path).put(LARGE, {"a": 1})
    assert KeptTrees(tmp_path).get(LARGE) == {"a": 1}
    (other := tmp_path / "tree.py").write_text("# takes YAML otherwise\n")
    monkeypatch.setattr(tree, "__file__", str(other))
    assert KeptTrees(tmp_path).get(LARGE) is None

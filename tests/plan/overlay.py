"""The fault table: `faults/NAME/` has the files that differ from the sound plan, and `expected.txt`, what is told."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.plan.load import PlanError, load_plan

HERE = Path(__file__).parent
SOUND = HERE / "sound"
FAULTS = HERE / "faults"


def overlaid(name: str, tmp_path: Path) -> Path:
    """The sound plan with the named folder's files over it."""
    folder = tmp_path / "vale"
    shutil.copytree(SOUND, folder)
    for path in sorted((FAULTS / name).glob("*.yaml")):
        shutil.copy(path, folder / path.name)
    return folder


def faults_of(name: str, tmp_path: Path) -> list[str]:
    """What `plan check` prints, with paths from the plan's folder on; empty when it finds nothing."""
    folder = overlaid(name, tmp_path)
    try:
        load_plan(folder)
    except PlanError as error:
        return [str(fault).replace(f"{folder.as_posix()}/", "") for fault in error.faults]
    return []

"""A folder of YAML in, a compiled plan out; or every fault of it at once."""

from __future__ import annotations

from pathlib import Path

from pipeline.plan.checks import check
from pipeline.plan.compile import compile_plan
from pipeline.plan.faults import Fault, PlanError
from pipeline.plan.kept import KeptTrees
from pipeline.plan.model import CompiledPlan
from pipeline.plan.read import RegionSource, read_region
from pipeline.plan.tree import Reader, read_tree

__all__ = ["Fault", "PlanError", "load_plan", "region_folders"]


def region_folders(path: Path) -> list[Path]:
    """The folders of regions at this path: itself when it has a region.yaml, else those below it that have one.
    Sorted by name."""
    if not path.is_dir():
        return []
    if (path / "region.yaml").is_file():
        return [path]
    return sorted(child for child in path.iterdir() if (child / "region.yaml").is_file())


def _checked(folders: list[Path], whole: bool, read: Reader) -> tuple[list[RegionSource], list[Fault]]:
    sources = [read_region(folder, folder.as_posix(), read) for folder in folders]
    return sources, [fault for source in sources for fault in source.faults] + check(sources, whole)


def load_plan(path: Path, trees: Path | None = None) -> CompiledPlan:
    """One region's folder, or a folder of them. Raises `PlanError` with all faults.

    `trees`: a folder of our own in which what large files say is kept for the next time.
    """
    folders = region_folders(path)
    if not folders:
        problem = (
            "no region here: neither a region.yaml nor a folder that has one"
            if path.is_dir()
            else "there is no such folder"
        )
        raise PlanError(
            [Fault(str(path), "", "", problem, "Give a region's folder, as plans/hazara, or a folder of regions")]
        )
    whole = folders != [path]  # a folder of regions has all that there are
    sources, faults = _checked(folders, whole, KeptTrees(trees).read_tree if trees else read_tree)
    if faults and trees:
        sources, faults = _checked(folders, whole, read_tree)  # every fault with its line
    if faults:
        raise PlanError(faults)
    try:
        return compile_plan(sources)
    except ValueError as error:  # of `fit`: the regions together are too wide
        first = sources[0]
        file = f"{first.folder}/region.yaml"
        raise PlanError(
            [Fault(file, "region.bounds", "", str(error), "Load these regions in separate runs")]
        ) from error

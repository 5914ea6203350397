"""A plan's files as one piece of content, named by its hash: so that yesterday's plan is still at hand tomorrow."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import msgspec

from pipeline.plan.faults import PlanError
from pipeline.plan.load import load_plan, region_folders
from pipeline.plan.model import CompiledPlan
from pipeline.plan.read import FILES
from pipeline.plan.tree import MAX_BYTES

MOST_BYTES = 64 * 1024 * 1024
_decode = msgspec.msgpack.Decoder(dict[str, dict[str, bytes]]).decode
_encode = msgspec.msgpack.Encoder().encode


class ContentError(ValueError):
    """Not the content of a plan, or of another one."""


def read_content(path: Path) -> bytes:
    """What `load_plan` reads of this path, compressed. Raises OSError."""
    folders = {}
    for folder in region_folders(path):
        folders[folder.name] = {f: (folder / f).read_bytes() for f in FILES if (folder / f).is_file()}
    return zlib.compress(_encode(folders), 6)


def plan_of(content: bytes, plan_hash: str, cache: Path, trees: Path | None = None) -> CompiledPlan:
    """The plan of this hash; its files are kept below `cache`, what they say in `trees`. Raises ContentError, OSError."""
    kept = cache / plan_hash
    if not kept.is_dir():
        unpack(content, kept)
    try:
        plan = load_plan(kept, trees)
    except PlanError as error:
        raise ContentError(f"plan {plan_hash}: this version of the program refuses it: {error}") from error
    if plan.hash != plan_hash:
        raise ContentError(f"what is kept as plan {plan_hash} is plan {plan.hash}")
    return plan


def unpack(content: bytes, folder: Path) -> None:
    """All files or none. Raises ContentError, OSError."""
    inflate = zlib.decompressobj()
    try:
        folders = _decode(inflate.decompress(content, MOST_BYTES))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ContentError(f"no plan's content: {error}") from error
    beside = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    for region, files in folders.items():
        if not region or region in (".", "..") or "/" in region or "\0" in region:
            raise ContentError(f"region {region!r}")
        (beside / region).mkdir(parents=True, mode=0o700)
        for name, data in files.items():
            if name not in FILES or len(data) > MAX_BYTES:
                raise ContentError(f"file {name!r} of {len(data)} bytes")
            (beside / region / name).write_bytes(data)
    try:
        beside.rename(folder)
    except OSError:
        if not folder.is_dir():  # else somebody else was quicker
            raise
    shutil.rmtree(beside, ignore_errors=True)

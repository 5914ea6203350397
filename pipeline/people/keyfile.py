"""A secret in a file of its own: made at the first use, for the owner's eyes only, and the same for all who make it at once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pipeline.ingest.authority import write_private

OTHERS = 0o077
LARGEST_BYTES = 64 * 1024


class KeyFileError(ValueError):
    """The key file cannot be used as it is; says which and what to do."""


def read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; `make()` where there is none yet. Raises KeyFileError when others may read it, or it is no key's size."""
    try:
        return read(path)
    except FileNotFoundError:
        write_new(path, make())
        return read(path)


def read(path: Path) -> bytes:
    """Raises FileNotFoundError, and KeyFileError as above."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & OTHERS:
            raise KeyFileError(f"{path}: others may read this key; chmod 600 it, and make a new one if they did")
        data = file.read(LARGEST_BYTES + 1)
    if not data or len(data) > LARGEST_BYTES:
        raise KeyFileError(f"{path}: {len(data)} bytes are no key; put the copy back that was kept elsewhere")
    return data


def write_new(path: Path, data: bytes) -> bool:
    """Whole or not at all, and never over one that is there: then False."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(6)}")  # of its own: two may make a key at once
    write_private(unfinished, data)
    try:
        os.link(unfinished, path)  # fails where a file is; a rename would not
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    _sync(path.parent)
    return True


def write_over(path: Path, data: bytes) -> None:
    """Another content for a file that may be there, 0600, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, data)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """A name is only on disk when its folder is."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What large files of a plan say, kept by what they are: whoever starts again need not read thousands of vehicles' YAML again.

A file here counts only for the very bytes that it was read from and for the very program that read it, and only when it is whole; without it
the YAML is read. It is as trusted as the state beside it, so it belongs below `RAHDAR_VAR`, which nobody else may write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from pipeline.plan import tree

WORTH_BYTES = 32_768  # below this YAML is read as soon
MOST = 64
_DIGEST = 32
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class KeptTrees:
    """Files' data by their content. What cannot be kept or had is read anew by the caller: no method raises."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = _digest(Path(tree.__file__).read_bytes())  # what reads YAML otherwise reads all of it anew

    def read_tree(self, content: bytes, file: str) -> tree.Tree:
        """As `tree.read_tree`; what was kept has no lines."""
        if (known := self.get(content)) is not None:
            return tree.Tree(file, known)
        found = tree.read_tree(content, file)
        if not found.faults:
            self.put(content, found.data)
        return found

    def get(self, content: bytes) -> dict[str, Any] | None:
        """What `content` says; None when it is not here, or not whole."""
        if len(content) < WORTH_BYTES:
            return None
        path = self._path(content)
        try:
            kept = path.read_bytes()
            digest, packed = kept[:_DIGEST], kept[_DIGEST:]
            if digest != _digest(packed):
                return None
            data = _decode(packed)
            os.utime(path)
        except (OSError, msgspec.MsgspecError):
            return None
        return data

    def put(self, content: bytes, data: object) -> None:
        """Keep what `content` says, and at most so many of all."""
        if len(content) < WORTH_BYTES or not isinstance(data, dict):
            return
        path = self._path(content)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            packed = _encode(data)
            beside.write_bytes(_digest(packed) + packed)
            beside.replace(path)
            by_age = sorted(self._folder.iterdir(), key=lambda p: p.stat().st_mtime)
            for old in by_age[:-MOST]:
                old.unlink(missing_ok=True)

    def _path(self, content: bytes) -> Path:
        name = hashlib.blake2b(content, digest_size=_DIGEST, key=self._program).hexdigest()
        return self._folder / name


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()

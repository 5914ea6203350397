"""The captions of a story that is being played: written by whoever plays it, shown as they come due."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

FILE_NAME = "story.json"
LARGEST_BYTES = 256 * 1024


def write_story(var: Path, captions: Iterable[tuple[int, str]], name: str = "", starts_us: int | None = None) -> None:
    """`captions`: (instant in microseconds of the system's clock, words). `var`: the desk's `RAHDAR_VAR`. None ends it."""
    rows = [[int(at_us), text] for at_us, text in captions]
    first = starts_us if starts_us is not None else (rows[0][0] if rows else 0)
    var.mkdir(parents=True, exist_ok=True)
    unfinished = var / (FILE_NAME + ".new")
    unfinished.write_bytes(orjson.dumps({"name": name, "starts_us": first, "captions": rows}))
    unfinished.replace(var / FILE_NAME)


class Story:
    """Reads the file again when it has changed."""

    def __init__(self, var: Path | None = None, captions: Iterable[tuple[int, str]] = (), name: str = "") -> None:
        self._path = var / FILE_NAME if var else None
        self._stamp: tuple[int, int] | None = None
        self.put(captions, name)

    def put(self, captions: Iterable[tuple[int, str]], name: str = "", starts_us: int | None = None) -> None:
        rows = [[int(at), text] for at, text in captions]
        first = starts_us if starts_us is not None else (rows[0][0] if rows else 0)
        self.view: dict[str, Any] = {"name": name, "starts_us": first, "captions": rows}

    def refresh(self) -> bool:
        """True when there is something new to show. A file that cannot be read is no story."""
        if self._path is None:
            return False
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp or status.st_size > LARGEST_BYTES:
                return False
            self._stamp = stamp
            data = orjson.loads(self._path.read_bytes())
            self.put([(at, str(text)) for at, text in data["captions"]], str(data["name"]), int(data["starts_us"]))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

"""Processes wake one another through named pipes in the log's directory, so that nobody polls.

Every process that reads holds `wake/PID-N` open; whoever has committed writes a byte into each. A pipe that nobody
reads any more belongs to a dead process and is removed. A lost byte costs a second: readers look by themselves that
often.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

_numbers = itertools.count()


class Wake:
    def __init__(self, directory: Path) -> None:
        self._directory = directory / "wake"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._name = f"{os.getpid()}-{next(_numbers)}"
        self._fd = -1
        self._others: dict[str, int] = {}

    def listen(self, loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
        """Call `told` in the loop whenever another process has committed."""
        if self._fd >= 0:
            return
        # Made and opened under a hidden name first: a pipe without a reader would be taken for a dead process's.
        hidden = self._directory / f".{self._name}"
        hidden.unlink(missing_ok=True)
        os.mkfifo(hidden, 0o600)
        self._fd = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        hidden.rename(self._directory / self._name)

        def readable() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 65536)
            told()

        loop.add_reader(self._fd, readable)

    def poke(self) -> None:
        """Wake all others. Called by the writer's thread, after a commit."""
        names = {name for name in os.listdir(self._directory) if not name.startswith(".") and name != self._name}  # noqa: PTH208
        for name in self._others.keys() - names:
            os.close(self._others.pop(name))
        for name in names:
            try:
                fd = self._others.get(name, -1)
                if fd < 0:
                    fd = self._others[name] = os.open(self._directory / name, os.O_WRONLY | os.O_NONBLOCK)
                os.write(fd, b"!")
            except BlockingIOError:
                pass  # full: its reader has enough to wake up to
            except OSError:
                (self._directory / name).unlink(missing_ok=True)
                if (fd := self._others.pop(name, -1)) >= 0:
                    os.close(fd)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._fd >= 0:
            loop.remove_reader(self._fd)
            (self._directory / self._name).unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
        for fd in self._others.values():
            os.close(fd)
        self._others.clear()

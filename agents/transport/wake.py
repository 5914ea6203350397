"""Processes wake one another through named pipes in the log's directory, so that nobody polls.

Every process that reads holds `wake/PID-N.MASK` open; whoever has committed writes a byte into each that asks for what
was written: bit T of the mask (hexadecimal) stands for the topics whose number modulo 63 is T, and nobody sleeps
through a change of groups or topics. A pipe that nobody reads any more belongs to a dead process and is removed. A lost
byte costs a second: readers look by themselves that often.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

_numbers = itertools.count()

BITS = 63
ALL = (1 << BITS) - 1
RECORDS, GROUPS = b"!", b"g"


def mask_of(topics: Iterable[int]) -> int:
    """Of topics by their numbers."""
    mask = 0
    for number in topics:
        mask |= 1 << number % BITS
    return mask


def wants(name: str, mask: int) -> bool:
    """Whether the reader of this pipe asks for any of these topics. What we cannot read is woken."""
    try:
        return bool(int(name.rpartition(".")[2], 16) & mask)
    except ValueError:
        return True


class Wake:
    def __init__(self, directory: Path) -> None:
        self._directory = directory / "wake"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._id = f"{os.getpid()}-{next(_numbers)}"
        self._mask = ALL
        self._fd = -1
        self._others: dict[str, int] = {}

    @property
    def _name(self) -> str:
        return f"{self._id}.{self._mask:x}"

    def want(self, mask: int) -> None:
        """Only be woken for these topics, and for changes of groups and topics. Look once afterwards: what was written
        meanwhile may have woken nobody."""
        if mask == self._mask:
            return
        before, self._mask = self._name, mask
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                (self._directory / before).rename(self._directory / self._name)

    def listen(self, loop: asyncio.AbstractEventLoop, told: Callable[[bool], None]) -> None:
        """Call `told` in the loop whenever another process has committed; True: groups or topics may have changed."""
        if self._fd >= 0:
            return
        # Made and opened under a hidden name first: a pipe without a reader would be taken for a dead process's.
        hidden = self._directory / f".{self._id}"
        hidden.unlink(missing_ok=True)
        os.mkfifo(hidden, 0o600)
        self._fd = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        hidden.rename(self._directory / self._name)

        def readable() -> None:
            said = b""
            with contextlib.suppress(BlockingIOError):
                said = os.read(self._fd, 65536)
            told(GROUPS in said)

        loop.add_reader(self._fd, readable)

    def poke(self, mask: int | None = None) -> None:
        """Wake all others that ask for these topics; None: all. Called by the writer's thread, after a commit."""
        mine = f"{self._id}."
        names = {name for name in os.listdir(self._directory) if not name.startswith((".", mine))}  # noqa: PTH208
        for name in self._others.keys() - names:
            os.close(self._others.pop(name))
        for name in names:
            if mask is not None and not wants(name, mask):
                continue
            try:
                fd = self._others.get(name, -1)
                if fd < 0:
                    fd = self._others[name] = os.open(self._directory / name, os.O_WRONLY | os.O_NONBLOCK)
                os.write(fd, GROUPS if mask is None else RECORDS)
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

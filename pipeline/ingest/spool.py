"""What the broker has accepted, on disk before it says so. Ingest reads it in order and moves a cursor behind what is safe in the log.

Segments of records; a record is length, CRC-32 and a msgpack `RawItem`. Whatever waits is written with one write and one fsync (group
commit). A torn tail, as kill -9 or a power cut leaves it, was never acknowledged and is cut off. The cursor is not synced: losing
it sends some items again, which the stages behind take for what they are.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from pipeline.clock import Clock
from pipeline.ingest.agree import Agreement
from pipeline.model.wire import RawItem

log = logging.getLogger("rahdar.ingest")

SEGMENT_BYTES = 16 * 1024 * 1024
WAITING_BYTES = 64 * 1024 * 1024
BEHIND_US = 2_000_000
MOST_FRESH_BYTES = 4 * 1024 * 1024
LARGEST = 1 << 17  # no record is as large as this
_HEAD = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RawItem).decode


class SpoolFullError(Exception):
    """Could not be kept: the disk is full or broken. The sender must not be told that it was."""


class Spool:
    """One writer and one reader, in one process. `clock_trusted` is False while the clock is behind what was already stamped, and while
    the devices agree on another time: `seen_us(topic, payload)` says what a message speaks of, None: nobody asks."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        segment_bytes: int = SEGMENT_BYTES,
        most_fresh_bytes: int = MOST_FRESH_BYTES,
        seen_us: Callable[[str, bytes], int | None] | None = None,
    ) -> None:
        self.directory = directory
        self.clock = clock
        self.segment_bytes = segment_bytes
        self.most_fresh_bytes = most_fresh_bytes
        self.agreement = Agreement()
        self._seen_us = seen_us
        self.durable = asyncio.Event()
        """Set when something new is on disk; the reader clears it."""
        self.refused = 0
        self.accepted = 0
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.newest = 0
        """The id of the newest item that is on disk."""
        self.decided = 0
        """Up to this id every item is on disk or was refused."""
        self.fresh: list[RawItem] = []
        """Items that are on disk and not yet read, the newest; kept so that a reader that keeps up reads no file."""
        self._fresh_bytes = 0
        self._waiting: list[tuple[bytes, asyncio.Future[int], RawItem]] = []
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._thread = ThreadPoolExecutor(1, "spool")
        self._task: asyncio.Task[None] | None = None
        self._next_id = 1
        self._last_us = 0
        self._fd = -1
        self._size = 0
        self._closed = False
        self._open()

    # ---- starting -----------------------------------------------------------------------------------------------------

    def segments(self) -> list[tuple[int, Path]]:
        """First id and file, oldest first."""
        return sorted((int(path.stem), path) for path in self.directory.glob("*.spool"))

    def _open(self) -> None:
        cursor, last_us = self._read_cursor()
        self._next_id = cursor + 1
        self._last_us = last_us
        segments = self.segments()
        for first, path in segments:
            data = path.read_bytes()
            good = 0
            for item, end in records(data):
                good = end
                self._next_id = item.id + 1
                self._last_us = max(self._last_us, item.received_at_us)
            if good < len(data):
                log.warning("%s: cutting off %d torn bytes", path.name, len(data) - good)
                with path.open("r+b") as file:
                    file.truncate(good)
                    os.fsync(file.fileno())
            self._next_id = max(self._next_id, first)
        self.newest = self.decided = self._next_id - 1
        self._trusted = self.clock.now_us() >= self._last_us - BEHIND_US
        if not self._trusted:
            log.warning("the clock is behind what was stamped before: it is not trusted until it has caught up")
        self._roll(segments[-1][1] if segments else None)

    def _roll(self, path: Path | None = None) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        if path is None:
            path = self.directory / f"{self._next_id:020d}.spool"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # ---- writing ------------------------------------------------------------------------------------------------------

    def stamp(self) -> tuple[int, bool]:
        """Now, never before what was already stamped; and whether the clock can be believed."""
        now = self.clock.now_us()
        if not self._trusted and now >= self._last_us:
            self._trusted = True
        self._last_us = max(self._last_us, now)
        return self._last_us, self._trusted and self.agreement.trusted

    def _compare(self, login: str, topic: str, payload: bytes) -> None:
        """The device's clock with ours."""
        now_us = self.clock.now_us()
        if self._seen_us is None or not self.agreement.due(login, now_us):
            return
        if (seen_us := self._seen_us(topic, payload)) is None:
            return
        before = self.agreement.trusted
        self.agreement.hear(login, now_us, seen_us)
        if before and not self.agreement.trusted:
            log.warning("most devices agree on another time than our clock's: it is not trusted")
        elif self.agreement.trusted and not before:
            log.warning("the devices agree with our clock again")

    async def room(self) -> None:
        """Wait while too much waits for the disk."""
        await self._room.wait()

    def append(self, login: str, topic: str, payload: bytes, retained: bool = False) -> asyncio.Future[int]:
        """Resolves to the item's id once it is on disk. In the order of the calls. Fails with SpoolFullError."""
        if not retained:
            self._compare(login, topic, payload)
        received_at_us, trusted = self.stamp()
        item = RawItem(self._next_id, login, topic, payload, received_at_us, retained, trusted)
        self._next_id += 1
        body = _encode(item)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(SpoolFullError("the spool is closed"))
            return future
        self._waiting.append((_HEAD.pack(len(body), zlib.crc32(body)) + body, future, item))
        self._waiting_bytes += len(body)
        if self._waiting_bytes > WAITING_BYTES:
            self._room.clear()
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self._closed and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            if not waiting:
                continue
            self._waiting_bytes = 0
            self._room.set()
            try:
                await loop.run_in_executor(self._thread, self._write, b"".join(data for data, _, _ in waiting))
            except OSError as error:
                self.refused += len(waiting)
                self._decide(waiting[-1][2].id)
                log.error("the spool cannot write: %s", error)
                for _, future, _ in waiting:
                    if not future.done():
                        future.set_exception(SpoolFullError(str(error)))
                continue
            self.accepted += len(waiting)
            self.newest = waiting[-1][2].id
            self._fresh_bytes += sum(len(data) for data, _, _ in waiting)
            if self._fresh_bytes > self.most_fresh_bytes:
                self.take_fresh()
            else:
                self.fresh += [item for _, _, item in waiting]
            self._decide(self.newest)
            for _, future, item in waiting:
                if not future.done():
                    future.set_result(item.id)

    def _decide(self, number: int) -> None:
        self.decided = number
        self.durable.set()

    @property
    def stamped(self) -> int:
        """The id of the newest item that was stamped; it may still wait for the disk."""
        return self._next_id - 1

    def _write(self, data: bytes) -> None:
        if self._size >= self.segment_bytes:
            self._roll()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
        except OSError:
            # half of it may be there: what follows must not stand behind a torn record
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    async def close(self) -> None:
        """What was appended is written before it returns."""
        self._closed = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ---- reading ------------------------------------------------------------------------------------------------------

    def take_fresh(self) -> None:
        """They were read, or are too many to be kept: from here on it is the file's."""
        self.fresh, self._fresh_bytes = [], 0

    def reader(self) -> SpoolReader:
        """From behind the cursor on."""
        return SpoolReader(self, self._read_cursor()[0])

    def _read_cursor(self) -> tuple[int, int]:
        """The newest id that is safe elsewhere, and its stamp."""
        try:
            number, stamp = (self.directory / "cursor").read_text().split()
            return int(number), int(stamp)
        except (FileNotFoundError, ValueError):
            return 0, 0

    def done(self, number: int, received_at_us: int) -> None:
        """Everything up to this id is safe elsewhere: remember that, and delete what nobody needs."""
        new = self.directory / "cursor.new"
        new.write_text(f"{number} {received_at_us}\n")
        new.replace(self.directory / "cursor")
        segments = self.segments()
        for (_, path), (following, _) in itertools.pairwise(segments):
            if following <= number + 1:
                path.unlink(missing_ok=True)


def records(data: bytes, start: int = 0) -> Iterator[tuple[RawItem, int]]:
    """Whole records from here on, each with the place behind it; ends at the first that is torn."""
    at = start
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + length
        body = data[at + _HEAD.size : end]
        if end > len(data) or zlib.crc32(body) != crc:
            return
        try:
            item = _decode(body)
        except msgspec.MsgspecError:
            return
        yield item, end
        at = end


class SpoolReader:
    """Reads what is on disk, in order, once."""

    def __init__(self, spool: Spool, after: int) -> None:
        self._spool = spool
        self._after = after
        self._path: Path | None = None
        self._at = 0

    @property
    def behind(self) -> bool:
        """Something is on disk that was not read."""
        return self._after < self._spool.newest

    def fresh(self) -> list[RawItem]:
        """What comes next, if it is still in memory; empty when `read` has to look at the disk."""
        items = [item for item in self._spool.fresh if item.id > self._after]
        if not items or items[0].id != self._after + 1:
            return []
        self._spool.take_fresh()
        self._after = items[-1].id
        self._path = None  # the file is found again by the id
        return items

    def read(self, most_bytes: int = 1 << 20) -> list[RawItem]:
        """What is there now, up to about so many bytes; empty when all was read."""
        newest = self._spool.newest
        while True:
            # listed before it is read: once a later segment is there, nothing is added to this one
            segments = [path for _, path in self._spool.segments()]
            if self._path is None:
                before = [path for first, path in self._spool.segments() if first <= self._after + 1]
                if not segments:
                    self._after = max(self._after, newest)
                    return []
                self._path, self._at = (before[-1] if before else segments[0]), 0
            later = [path for path in segments if path > self._path]
            try:
                with self._path.open("rb") as file:
                    file.seek(self._at)
                    data = file.read(most_bytes + LARGEST)
            except FileNotFoundError:
                data = b""  # everything in it was done with
            found = []
            end = 0
            for item, behind in records(data):
                end = behind
                if item.id > self._after:
                    found.append(item)
                    self._after = item.id
                if end >= most_bytes:
                    break
            self._at += end
            if found:
                return found
            if end == 0:
                if not later:
                    self._after = max(self._after, newest)  # what is missing was done with, and its cursor lost
                    return []
                self._path, self._at = later[0], 0

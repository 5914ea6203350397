"""A disk without space: nothing is told to be durable that is not, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agents.transport import LogStore, make_app
from agents.transport.address import log_directory
from agents.transport.writer import Transaction
from tests.transport.apps import RAW, WITHIN_S, collecting, make_topic, numbers, running


def can_mount() -> bool:
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as directory:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], capture_output=True
        ).returncode:
            return False
        subprocess.run(["umount", directory], check=True)
    return True


class PageLimit:
    """SQLite's own limit of pages, on the writer's connection, lifted from outside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def fill(self, store: LogStore) -> None:
        def limit(tx: Transaction) -> None:
            self._db = tx.db
            pages = tx.db.execute("pragma page_count").fetchone()[0]
            tx.db.execute(f"pragma max_page_count={pages + 8}").fetchall()

        await store.call(limit)

    def free(self) -> None:
        self._db.execute(f"pragma max_page_count={0x3FFFFFFF}").fetchall()


class SmallDisk:
    """A file system of 16 MB, filled up by another file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    async def fill(self, store: LogStore) -> None:
        with self._ballast.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while os.statvfs(self.directory).f_bavail * os.statvfs(self.directory).f_frsize > 64 << 10:
                ballast.write(b"x" * 16384)

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture(params=["pages", *(["tmpfs"] if can_mount() else [])])
async def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PageLimit | SmallDisk]:
    """Both where we may mount."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if request.param == "pages":
        yield PageLimit(directory)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", directory], check=True)
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", directory], check=True)


async def test_appends_wait_for_space_and_keep_their_order(disk: PageLimit | SmallDisk) -> None:
    store = LogStore.acquire(disk.directory / "log")
    try:
        await store.make_topic("t", 1)
        await disk.fill(store)
        sent = [store.append("t", 0, None, b"%06d" % n + b"x" * 2000) for n in range(500)]
        done, waiting = await asyncio.wait(sent, timeout=0.3)
        assert waiting
        assert all(future.exception() is None for future in done)
        tp = store.topic("t").tp(0)
        assert store.head(tp) == len(done)
        disk.free()
        assert await asyncio.wait_for(asyncio.gather(*sent), WITHIN_S) == list(range(500))
        found = store.read(tp, 0, 500, 1 << 24)
        assert [record.value[:6] for record in found if record.value] == [b"%06d" % n for n in range(500)]
    finally:
        await store.release()


async def test_an_app_goes_on_by_itself(disk: PageLimit | SmallDisk, fresh: Callable[[str], str]) -> None:
    """Members that could not say that they live are not put out when there is space again."""
    url, topic = f"log://{disk.directory / 'log'}", fresh("t")
    await make_topic(url, topic)
    app = make_app(fresh("app"), url, broker_session_timeout=0.6, broker_heartbeat_interval=0.2)
    seen = collecting(app, topic)
    async with running(app):
        store = LogStore.acquire(log_directory(url))
        try:
            await disk.fill(store)
            target = app.topic(topic, **RAW)
            sent = [await target.send(key=b"k", value=b"%d" % n + b" " * 2000, partition=0) for n in range(100)]
            _, waiting = await asyncio.wait(sent, timeout=1.5)  # two sessions
            assert waiting
            disk.free()
            await asyncio.wait_for(asyncio.gather(*sent), WITHIN_S)
            await seen.until_count(100)
        finally:
            await store.release()
        assert app.crash_reason is None
    assert [value.strip() for value in seen.values] == numbers(0, 100)

"""The spool keeps what it said it had kept: across group commits, torn tails, kill -9, a full disk and a clock that runs back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.clock import SetClock
from pipeline.ingest.spool import Spool, SpoolFullError, records

T0 = 1_780_000_000_000_000


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool"))


async def test_what_is_appended_is_read_in_order_with_one_stamp_each(tmp_path: Path) -> None:
    clock = SetClock(T0)
    spool = Spool(tmp_path, clock)
    futures = []
    for n in range(500):
        clock.put(T0 + n)
        futures.append(spool.append("d", "v1/0/d/native", b"%d" % n))
    ids = await asyncio.gather(*futures)
    await spool.close()
    reader = Spool(tmp_path, clock).reader()
    items = []
    while part := reader.read(4096):
        items += part
    assert ids == list(range(1, 501))
    assert [(i.id, i.payload, i.received_at_us) for i in items] == [(n + 1, b"%d" % n, T0 + n) for n in range(500)]


async def test_the_cursor_is_where_reading_goes_on_and_old_segments_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SetClock(T0), segment_bytes=2000)
    for n in range(20):
        await spool.append("d", "t", b"x" * 300 + b"%d" % n)
    assert len(segments(tmp_path)) > 2
    spool.done(15, T0)
    await spool.close()
    left = sorted(int(p.stem) for p in segments(tmp_path))
    assert left[0] > 10
    again = Spool(tmp_path, SetClock(T0))
    reader = again.reader()
    seen = []
    while part := reader.read(1000):
        seen += [i.id for i in part]
    assert seen == [16, 17, 18, 19, 20]
    assert await again.append("d", "t", b"next") == 21
    await again.close()


async def test_a_reader_follows_a_writer_through_segments(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SetClock(T0), segment_bytes=500)
    reader = spool.reader()
    seen = []
    for n in range(50):
        await spool.append("d", "t", b"%050d" % n)
        if n % 3 == 0:
            while part := reader.read():
                seen += [i.id for i in part]
            if seen:
                spool.done(seen[-1], T0)
    while part := reader.read():
        seen += [i.id for i in part]
    await spool.close()
    assert seen == list(range(1, 51))


@pytest.mark.parametrize(
    "torn", [b"\x07", b"\x40\x00\x00\x00\x00\x00\x00\x00short", os.urandom(64)], ids=("byte", "short", "noise")
)
async def test_a_torn_tail_is_cut_off_and_nothing_before_it(tmp_path: Path, torn: bytes) -> None:
    spool = Spool(tmp_path, SetClock(T0))
    for n in range(5):
        await spool.append("d", "t", b"%d" % n)
    await spool.close()
    (segment,) = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(torn)
    again = Spool(tmp_path, SetClock(T0))
    assert await again.append("d", "t", b"5") == 6
    await again.close()
    assert [i.payload for i, _ in records(segment.read_bytes())] == [b"%d" % n for n in range(6)]


async def test_stamps_never_run_back_and_a_clock_that_does_is_not_trusted(tmp_path: Path) -> None:
    """After load-shedding the clock may be years behind: what comes then must not be thrown away as from the future."""
    first = Spool(tmp_path, SetClock(T0))
    await first.append("d", "t", b"1")
    await first.close()
    clock = SetClock(T0 - 3_600_000_000)
    again = Spool(tmp_path, clock)
    await again.append("d", "t", b"2")
    clock.put(T0 + 5)
    await again.append("d", "t", b"3")
    await again.close()
    (segment,) = segments(tmp_path)
    stamps = [(i.received_at_us - T0, i.clock_trusted) for i, _ in records(segment.read_bytes())]
    assert stamps == [(0, True), (0, False), (5, True)]


async def test_on_a_full_disk_nothing_is_promised_and_it_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, SetClock(T0))
    assert await spool.append("d", "t", b"before") == 1
    written = os.write
    room = [10]

    def small_disk(fd: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        part = data[: room[0]]
        room[0] -= len(part)
        return written(fd, part)

    monkeypatch.setattr("pipeline.ingest.spool.os.write", small_disk)
    with pytest.raises(SpoolFullError):
        await spool.append("d", "t", b"lost")
    room[0] = 1 << 20
    await spool.append("d", "t", b"after")
    await spool.close()
    (segment,) = segments(tmp_path)
    assert [i.payload for i, _ in records(segment.read_bytes())] == [b"before", b"after"]


WRITER = """
import asyncio, sys
from pathlib import Path
from pipeline.clock import WallClock
from pipeline.ingest.spool import Spool
async def main():
    spool = Spool(Path(sys.argv[1]), WallClock(), segment_bytes=50_000)
    async def one(n):
        number = await spool.append("d", "t", b"%d" % n)
        sys.stdout.write(f"{n} {number}\\n"); sys.stdout.flush()
    n = 0
    while True:
        await asyncio.gather(*(one(n + k) for k in range(20)))
        n += 20
asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(600)]
    child.kill()
    said += child.stdout.read().splitlines(keepends=True)
    child.wait()
    child.stdout.close()
    promised = {int(line.split()[1]): line.split()[0].encode() for line in said if line.endswith("\n")}
    kept = {}
    for path in sorted(tmp_path.glob("*.spool")):
        kept |= {i.id: i.payload for i, _ in records(path.read_bytes())}
    assert len(promised) >= 600
    assert promised.items() <= kept.items()

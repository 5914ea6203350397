"""From the spool into raw: Ticks behind what was stamped before them, a cursor that follows under load, nothing twice and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from agents.ingest import IngestStage
from agents.transport import declare_topics, make_app, read_topic
from pipeline.clock import WallClock
from pipeline.model import topics
from pipeline.model.wire import RawBatch, decode_raw
from pipeline.settings import Settings
from tests.detect.plans import plan
from tests.waiting import until

PARTITIONS = 3


@contextlib.asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[IngestStage]:
    settings = Settings(
        log_url=f"log://{tmp_path}/log", partitions=PARTITIONS, var=tmp_path / "var", tick_s=0.02, plan=tmp_path
    )
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    app = make_app("rahdar-ingest", settings.log_url)
    stage = IngestStage(app, settings, plan(), WallClock())
    await app.start()
    work = [asyncio.ensure_future(stage.forward()), asyncio.ensure_future(stage.tick())]
    try:
        yield stage
    finally:
        await stage.spool.close()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await app.stop()


async def records(tmp_path: Path) -> list[list[RawBatch]]:
    url = f"log://{tmp_path}/log"
    return [
        [decode_raw(value or b"") async for _, _, value in read_topic(url, topics.RAW.name, partition)]
        for partition in range(PARTITIONS)
    ]


async def test_a_tick_stands_behind_everything_that_was_stamped_before_it(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for burst in range(30):
            for n in range(200):
                stage.spool.append(f"d-{n}", f"v1/0/d-{n}/native", b"%d %d" % (burst, n))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while stage.spool.reader().behind:  # noqa: ASYNC110  # the stage tells nobody
                await asyncio.sleep(0.05)
    found = await records(tmp_path)
    items = [item.id for partition in found for record in partition for item in record.items]
    assert sorted(items) == list(range(1, 6001))
    ticks = 0
    for partition in found:
        told_us = 0
        for record in partition:
            assert all(item.received_at_us >= told_us for item in record.items), (
                "a Tick had said that nothing older comes"
            )
            for tick in record.ticks:
                told_us = tick.at_us
                ticks += 1
    assert ticks > 3 * PARTITIONS


async def test_the_cursor_follows_although_something_is_always_on_its_way(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for n in range(150):
            stage.spool.append("d", "v1/0/d/native", b"%d" % n)
            await asyncio.sleep(0.01)
        there = int((tmp_path / "var" / "spool" / "cursor").read_text().split()[0])
        assert there > 20


async def test_after_a_lost_cursor_ticks_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.spool.append("d", "v1/0/d/native", b"x")
        assert await until((tmp_path / "var" / "spool" / "cursor").exists)
    (tmp_path / "var" / "spool" / "cursor").unlink()
    for segment in (tmp_path / "var" / "spool").glob("*.spool"):
        segment.rename(segment.with_name(f"{9:020d}.spool"))
        segment.with_name(f"{9:020d}.spool").write_bytes(b"")
    before = sum(len(record.ticks) for record in (await records(tmp_path))[0])
    async with running(tmp_path):
        await asyncio.sleep(0.5)
    assert sum(len(record.ticks) for record in (await records(tmp_path))[0]) > before

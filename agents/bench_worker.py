"""One Faust worker on the embedded log: how many fixes a second go from records in to changes out, checkpoints included."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from agents.detect import detect_stage
from agents.transport import RAW_RECORDS, declare_topics, make_app
from pipeline.commands.bench_core import Drive, Row, invented_plan
from pipeline.model import topics
from pipeline.model.wire import encode_observations
from pipeline.settings import Settings

TARGET = 150_000
WITHIN_S = 300.0


async def measure_worker(seed: int = 1, vehicles: int = 10_000, records: int = 400, size: int = 1000) -> list[Row]:
    """Write so many records, then start a worker that has seen none of them; until its last checkpoint covers them all."""
    plan = invented_plan(vehicles, 1000, 20, seed)
    with tempfile.TemporaryDirectory(prefix="rahdar-bench-") as name:
        settings = Settings(log_url=f"log://{name}/log", partitions=1, plan=Path(name), var=Path(name) / "var")
        await declare_topics(settings.log_url, topics.ALL, settings.partitions)
        await fill(settings, [encode_observations(b) for b in Drive(plan, seed).batches(size, records)])
        app = make_app("rahdar-detect", settings.log_url)
        stage = detect_stage(app, settings, plan)
        cpu, wall = time.process_time(), time.monotonic()
        await app.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                # the stage tells nobody when a checkpoint is done
                while not (0 in stage.owned and stage.owned[0].next_input >= records and not stage.owned[0].unacked):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            episodes = sum(stage.owned[0].engine.first.vehicles.revisions)
        finally:
            await app.stop()
    fixes = records * size
    conditions = (
        f"{vehicles} vehicles, 1,000 areas, {records} records of {size} fixes, log:// on disk, from the start of the worker "
        "to the checkpoint that covers all"
    )
    return [
        Row("worker.fixes_per_second", fixes / wall, "fixes/s", TARGET, seed, episodes, conditions),
        Row("worker.fixes_per_cpu_second", fixes / cpu, "fixes/s", None, seed, episodes, conditions),
    ]


async def fill(settings: Settings, values: list[bytes]) -> None:
    """These records into the one partition of observations, until they are durable."""
    app = make_app("rahdar-bench-fill", settings.log_url)
    topic = app.topic(topics.OBSERVATIONS.name, partitions=settings.partitions, **RAW_RECORDS)
    await app.start()
    try:
        for sent in [await topic.send(key=b"c", value=value, partition=0) for value in values]:
            await sent
    finally:
        await app.stop()

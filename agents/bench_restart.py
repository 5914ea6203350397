"""How long a worker that was killed keeps people waiting: from its death to the first change that is new."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

from agents.bench import METRE_LON, QUIET, home_of, write_plan
from agents.bench_worker import fill
from agents.supervise import Supervisor
from agents.transport import declare_topics, end_offset, read_topic
from pipeline.commands.bench_core import START_US, Row
from pipeline.detect.checkpoint import Recovery
from pipeline.model import topics
from pipeline.model.episode import decode_changes
from pipeline.model.observation import Fix
from pipeline.model.wire import BatchBuilder, encode_observations
from pipeline.settings import Settings

TARGET_S = 5.0
WITHIN_S = 180.0
TURNS = 5
ROUNDS = 4  # fixes of every vehicle before the first death
AREAS = 500
WORKER = ("normalise", "detect")  # one process, as `rahdar run all` has it
AS_INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Modules of an installed program are compiled; a shell that says not to keep that would have every start of ours do it again."""


async def measure_restart(seed: int = 1, vehicles: int = 10_000, turns: int = TURNS) -> list[Row]:
    """Every vehicle is known and in a checkpoint; the worker is killed, a vehicle goes into its area, and the supervisor starts again what
    has died."""
    with tempfile.TemporaryDirectory(prefix="rahdar-bench-") as name:
        plan = write_plan(Path(name), vehicles, min(vehicles, AREAS))
        settings = Settings(log_url=f"log://{name}/log", partitions=1, plan=plan, var=Path(name) / "var")
        await declare_topics(settings.log_url, topics.ALL, settings.partitions)
        rounds = [
            _record(range(a, min(a + 1000, vehicles)), r, 800.0)
            for r in range(ROUNDS)
            for a in range(0, vehicles, 1000)
        ]
        await fill(settings, rounds)
        waits: list[float] = []
        blocks: list[bytes] = []
        for turn in range(min(turns, vehicles)):
            supervisor = Supervisor({**settings.environment(), **QUIET, **AS_INSTALLED}, [WORKER])
            supervisor.start()
            watching = asyncio.ensure_future(asyncio.to_thread(supervisor.run))
            try:
                blocks = await _covered(settings, blocks)
                told = await end_offset(settings.log_url, topics.EPISODES.name, 0)
                os.kill(supervisor.pids[WORKER], signal.SIGKILL)
                began = time.monotonic()
                offset = await end_offset(settings.log_url, topics.OBSERVATIONS.name, 0)
                await fill(settings, [_record([turn], ROUNDS, 0.0)])
                await _told(settings, offset, told)
                waits.append(time.monotonic() - began)
                blocks = await _covered(settings, blocks)
            finally:
                supervisor.stop()
                await watching
                await asyncio.to_thread(supervisor.close)
    conditions = (
        f"{vehicles} vehicles in one partition, {len(rounds)} records in the checkpoint, embedded log, normalise and detect in one process, "
        "with the supervisor that looks 20 times a second, modules compiled"
    )
    return [
        Row("restart.first_new_change_median", float(np.median(waits)), "s", TARGET_S, seed, len(waits), conditions),
        Row("restart.first_new_change_worst", max(waits), "s", TARGET_S, seed, len(waits), conditions),
    ]


def _record(who: range | list[int], turn: int, east_m: float) -> bytes:
    """A fix of each of these vehicles, so far from home."""
    builder = BatchBuilder("bench")
    for i in who:
        lat, lon = home_of(i % AREAS)
        at_us = START_US + turn * 10_000_000
        builder.add(
            Fix(
                vehicle=f"v-{i}",
                device=f"d-{i}",
                seen_at_us=at_us,
                received_at_us=at_us,
                lat=lat,
                lon=lon + east_m * METRE_LON,
                speed_mps=10.0,
                accuracy_m=5.0,
                seq=turn,
            )
        )
    return encode_observations(builder.build())


async def _covered(settings: Settings, before: list[bytes]) -> list[bytes]:
    """Wait until a checkpoint covers all that there is; the keys of its blocks, which are none of those `before`: an owner begins with a
    whole state of its own."""
    end = await end_offset(settings.log_url, topics.OBSERVATIONS.name, 0)
    async with asyncio.timeout(WITHIN_S):
        while True:
            recovery = Recovery(0)
            async for _, key, value in read_topic(settings.log_url, topics.SNAPSHOTS.name, 0):
                recovery.see(key or b"", value)
            newest = recovery.newest()
            if newest is not None and newest.next_input == end and set(before).isdisjoint(newest.blocks):
                return newest.blocks
            await asyncio.sleep(0.2)


async def _told(settings: Settings, offset: int, start: int) -> None:
    """Wait until a change has come of this record: at `start` or behind it."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            async for _, _, value in read_topic(settings.log_url, topics.EPISODES.name, 0, start):
                if value is not None and decode_changes(value).input_offset == offset:
                    return
            await asyncio.sleep(0.01)

"""A look at a log from outside, for `rahdar doctor`: the newest Tick, and how far each stage is behind. Belongs to no group, writes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from agents.transport.address import is_log, log_directory
from agents.transport.kafka import partitions_of
from agents.transport.schema import MOST_PARTITIONS
from pipeline.kafka_url import kafka_place
from pipeline.model import topics
from pipeline.model.observation import Tick
from pipeline.model.wire import WireError, decode_raw

READERS = {
    "normalise": topics.RAW.name,
    "detect": topics.OBSERVATIONS.name,
    "alert": topics.EPISODES.name,
}
"""Stage and what it reads; its group is `rahdar-STAGE`."""
LAST_RECORDS = 2000
WITHIN_S = 20.0


@dataclass(slots=True)
class Seen:
    partitions: int = 0
    """Of `rahdar.raw`; 0: there is no such topic."""
    tick: Tick | None = None
    behind: dict[str, int] = field(default_factory=dict)
    """Records that a stage has not committed."""
    waiting_since_us: dict[str, int] = field(default_factory=dict)
    """When the oldest of them was written, microseconds since 1970."""


async def look(url: str) -> Seen:
    """Raises ConnectionError when there is no log, or it does not answer."""
    if is_log(url):
        return await asyncio.to_thread(_look_at_file, url)
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _look_at_kafka(url)
    except (KafkaError, OSError, TimeoutError) as error:
        raise ConnectionError(f"cannot reach Kafka at {url}: {error or 'no answer'}") from error


def _newest_tick(value: bytes | None) -> Tick | None:
    try:
        ticks = decode_raw(value or b"").ticks
    except WireError:
        return None
    return ticks[-1] if ticks else None


def _look_at_file(url: str) -> Seen:
    path = log_directory(url) / "log.sqlite"
    if not path.is_file():
        raise ConnectionError(f"there is no log at {path}: no stage has run here yet")
    seen = Seen()
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
            known = {name: (i, n) for name, i, n in db.execute("select name, id, partitions from topics")}
            if topics.RAW.name not in known:
                return seen
            raw, seen.partitions = known[topics.RAW.name]
            newest = db.execute(
                "select value from records where tp=? and key=? order by offset desc limit 1",
                (raw * MOST_PARTITIONS, topics.TICK_KEY),
            ).fetchone()
            seen.tick = _newest_tick(newest[0]) if newest else None
            for stage, topic in READERS.items():
                number, partitions = known[topic]
                count, oldest = _behind_in_file(db, f"rahdar-{stage}", number, partitions)
                seen.behind[stage] = count
                if count:
                    seen.waiting_since_us[stage] = oldest
    except sqlite3.Error as error:
        raise ConnectionError(f"{path}: {error}") from error
    return seen


def _behind_in_file(db: sqlite3.Connection, group: str, topic: int, partitions: int) -> tuple[int, int]:
    count, oldest = 0, 0
    for tp in range(topic * MOST_PARTITIONS, topic * MOST_PARTITIONS + partitions):
        head = db.execute("select next from heads where tp=?", (tp,)).fetchone()
        done = db.execute("select offset from committed where grp=? and tp=?", (group, tp)).fetchone()
        behind = (head[0] if head else 0) - (done[0] if done else 0)
        if behind <= 0:
            continue
        first = db.execute(
            "select ts from records where tp=? and offset>=? order by offset limit 1", (tp, done[0] if done else 0)
        ).fetchone()
        if first:
            count += behind
            oldest = min(oldest or first[0], first[0])
    return count, oldest


async def _look_at_kafka(url: str) -> Seen:
    seen = Seen()
    reader = _consumer(url, None)
    try:
        await reader.start()
        raw = await partitions_of(reader, topics.RAW.name)
        if not raw:
            return seen
        seen.partitions = len(raw)
        seen.tick = await _last_tick(reader, TopicPartition(topics.RAW.name, 0))
        for stage, topic in READERS.items():
            group = _consumer(url, f"rahdar-{stage}")
            try:
                await group.start()
                tps = [TopicPartition(topic, p) for p in await partitions_of(group, topic)]
                await _behind_in_kafka(seen, stage, reader, group, tps)
            finally:
                await group.stop()
    finally:
        await reader.stop()
    return seen


def _consumer(url: str, group: str | None) -> Any:
    """It never subscribes: a look into a group does not join it."""
    return AIOKafkaConsumer(**kafka_place(url).client_options(), group_id=group, enable_auto_commit=False)


async def _records(reader: Any, tp: TopicPartition, start: int, end: int) -> list[Any]:
    reader.assign([tp])
    reader.seek(tp, start)
    found: list[Any] = []
    while await reader.position(tp) < end:
        found += (await reader.getmany(tp, timeout_ms=500)).get(tp, [])
    return found


async def _last_tick(reader: Any, tp: TopicPartition) -> Tick | None:
    end = (await reader.end_offsets([tp]))[tp]
    start = max((await reader.beginning_offsets([tp]))[tp], end - LAST_RECORDS)
    for record in reversed(await _records(reader, tp, start, end)):
        if record.key == topics.TICK_KEY and (tick := _newest_tick(record.value)):
            return tick
    return None


async def _behind_in_kafka(seen: Seen, stage: str, reader: Any, group: Any, tps: list[TopicPartition]) -> None:
    ends, begins = await reader.end_offsets(tps), await reader.beginning_offsets(tps)
    behind: dict[TopicPartition, tuple[int, int]] = {}
    for tp in tps:
        done = max(await group.committed(tp) or 0, begins[tp])
        if ends[tp] > done:
            behind[tp] = (done, ends[tp] - done)
    seen.behind[stage] = sum(count for _, count in behind.values())
    for tp in sorted(behind, key=lambda tp: -behind[tp][1])[:3]:  # those that are most behind tell enough
        first = behind[tp][0]
        for record in (await _records(reader, tp, first, first + 1))[:1]:
            at_us = record.timestamp * 1000
            seen.waiting_since_us[stage] = min(seen.waiting_since_us.get(stage, at_us), at_us)

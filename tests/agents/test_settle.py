"""A day is settled out of raw: what came beyond the horizon takes part, nobody is paged, and a second time nothing differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.settle import Settled, Settlement, publish
from agents.transport import RAW_RECORDS, declare_topics, make_app, read_topic
from pipeline.detect.timed import Timed
from pipeline.model import topics
from pipeline.model.episode import CHANGES_VERSION, ChangeBatch, Ledger, decode_changes, encode_changes
from pipeline.model.times import parse_us
from pipeline.model.wire import RAW_VERSION, RawBatch, RawItem, encode_raw
from pipeline.normalise.normalise import Normaliser
from pipeline.plan.load import load_plan
from pipeline.settings import Settings
from simulators.run import mqtt_messages, story_named

PARTITIONS = 4
HORIZON_US = 3_600_000_000
START_US = parse_us("2026-11-23T05:00:00Z")
DAY = parse_us("2026-11-22T19:00:00Z"), parse_us("2026-11-23T19:00:00Z")


@pytest.fixture
def settings(tmp_path: Path, root: Path) -> Settings:
    return Settings(
        log_url=f"log://{tmp_path / 'log'}", partitions=PARTITIONS, plan=root / "plans" / "hazara", var=tmp_path / "var"
    )


async def write(settings: Settings, topic: str, values: Sequence[bytes], partition: int) -> None:
    app = make_app("test-writer", settings.log_url)
    of = app.topic(topic, partitions=PARTITIONS, **RAW_RECORDS)
    await app.maybe_start_producer()
    try:
        for sent in [await of.send(key=b"k", value=value, partition=partition) for value in values]:
            await sent
    finally:
        await app.producer.stop()


async def published(settings: Settings) -> Ledger:
    ledger = Ledger()
    for p in range(PARTITIONS):
        async for _, _, value in read_topic(settings.log_url, topics.EPISODES.name, p):
            ledger.apply(decode_changes(value or b"").changes)
    return ledger


async def settle(settings: Settings) -> Settled:
    plan = load_plan(settings.plan)
    settled = await Settlement(settings, plan, *DAY).run()
    await publish(settings, settled)
    return settled


async def test_what_came_beyond_the_horizon_is_told_and_pages_nobody(settings: Settings) -> None:
    plan = load_plan(settings.plan)
    await declare_topics(settings.log_url, topics.ALL, PARTITIONS)
    messages = list(mqtt_messages(story_named("first-watch"), plan, 1, START_US, 900))
    subjects = {d: v.id for v in plan.vehicles.values() for d in v.devices}
    in_time = Timed(plan), Normaliser(plan, HORIZON_US)
    everything = Timed(plan), Normaliser(plan, 1 << 60)
    loud = sorted({subjects[m.login] for m in messages if m.login in subjects})
    raw, told, whole = [], Ledger(), Ledger()
    late = set(loud[: len(loud) // 2])
    changes = []
    for n, m in enumerate(sorted(messages, key=lambda m: m.at_us + 2 * HORIZON_US * (subjects.get(m.login) in late))):
        at_us = m.at_us + 2 * HORIZON_US * (subjects.get(m.login) in late)
        record = RawBatch(RAW_VERSION, "t", plan.hash, [RawItem(n + 1, m.login, m.topic, m.payload, at_us)], [])
        raw.append(encode_raw(record))
        for (engine, normaliser), ledger in ((in_time, told), (everything, whole)):
            for batch in normaliser.record(record).batches.values():
                new = engine.feed(batch)
                ledger.apply(new)
                if ledger is told:
                    changes += new
    assert told.lines() != whole.lines()
    partition = topics.partition_of("hazara", PARTITIONS)
    await write(settings, topics.RAW.name, raw, partition)
    batch = ChangeBatch(version=CHANGES_VERSION, partition=partition, epoch=3, input_offset=0, changes=changes)
    await write(settings, topics.EPISODES.name, [encode_changes(batch)], partition)

    first = await settle(settings)

    over = [e.line() for e in whole.sorted() if e.ended_at_us is not None]
    after = await published(settings)
    assert [e.line() for e in after.sorted() if e.ended_at_us is not None] == over
    assert first.counts()["begin"] + first.counts()["amend"] > 0
    mine = first.changes[partition]
    assert all(c.settled and c.mode == ("live" if c.episode.rule == "sos.pressed" else "shadow") for c in mine)
    assert first.epochs[partition] == 3
    assert (await settle(settings)).changes == {}

"""Workers come, sleep and die while records flow: the ledger is the one of a run that nobody disturbed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.transport import RAW_RECORDS, App, LogStore, declare_topics, end_offset, make_app, read_topic
from agents.transport.address import is_log, log_directory
from agents.transport.kafka import bootstrap
from pipeline.detect.checkpoint import EPOCH_KEY, Recovery
from pipeline.detect.engine import Engine
from pipeline.model import topics
from pipeline.model.episode import Ledger, decode_changes
from pipeline.model.wire import decode_observations, decode_raw, encode_raw
from pipeline.normalise.normalise import Normaliser
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from tests.transport.cells import SOURCE, Feed, write_plan
from tests.transport.kafka_server import KafkaServer

PARTITIONS = 32
ROUND_S = 20.0
SECONDS = float(os.environ.get("RAHDAR_WORKERS_S", "180"))  # 1800 in the campaign
LOG_SECONDS = float(os.environ.get("RAHDAR_WORKERS_S", "20"))
STEP_S = 0.8
ASLEEP_S = 9.0  # longer than the session of six seconds: others are given its partitions meanwhile
LAG_WITHIN_S = 60.0
READY_WITHIN_S = 120.0
GROUPS = {topics.RAW.name: "rahdar-normalise", topics.OBSERVATIONS.name: "rahdar-detect"}


@dataclass
class Worker:
    """`rahdar run normalise detect`."""

    number: int
    output: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "run", "normalise", "detect"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def ready(self) -> bool:
        return all(f"{stage}: ready" in self.said for stage in ("normalise", "detect"))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@dataclass
class Crew:
    """The workers of one log. Those that find out that they were put out end by themselves, and are started again."""

    environment: dict[str, str]
    folder: Path
    workers: list[Worker] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def add(self) -> Worker:
        self._number += 1
        worker = Worker(self._number, self.folder / f"worker-{self._number}.txt", self.environment)
        self.workers.append(worker)
        return worker

    async def until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not all(worker.ready for worker in self.workers):
            self.replace_the_fenced()
            assert time.monotonic() < deadline, "the workers did not start: " + self.workers[-1].said[-2000:]
            await asyncio.sleep(0.2)

    def replace_the_fenced(self) -> None:
        for worker in list(self.workers):
            if worker.process.poll() is not None:
                self.workers.remove(worker)
                self.done["ended by itself"] += 1
                assert "FencedError" in worker.said, worker.said[-3000:]
                self.add()

    async def disturb(self) -> None:
        """One round: one is killed, one sleeps and wakes, one is added."""
        began = time.monotonic()
        killed = self.workers.pop(0)
        killed.process.kill()
        killed.process.wait()
        self.done["killed"] += 1
        await asyncio.sleep(ROUND_S * 0.15)
        asleep = self.workers[0]
        asleep.send(signal.SIGSTOP)
        self.done["put to sleep"] += 1
        await asyncio.sleep(ASLEEP_S)
        asleep.send(signal.SIGCONT)
        self.add()
        self.done["added"] += 1
        while time.monotonic() - began < ROUND_S:
            self.replace_the_fenced()
            await asyncio.sleep(0.2)

    def close(self) -> None:
        """What they did has been read: nobody waits for an orderly end."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


@pytest.fixture(params=["log", "kafka"])
def own_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A log that nobody else uses: the stages' topics have fixed names."""
    if request.param == "log":
        yield f"log://{tmp_path / 'log'}"
        return
    request.getfixturevalue("kafka_jars")
    server = KafkaServer(tmp_path / "kafka")
    server.start()
    try:
        yield server.url
    finally:
        server.discard()


@pytest.fixture
def plan_folder(tmp_path: Path) -> Path:
    return write_plan(tmp_path)


@pytest.fixture
async def crew(own_url: str, plan_folder: Path, tmp_path: Path) -> AsyncIterator[Crew]:
    environment = {
        "RAHDAR_LOG_URL": own_url,
        "RAHDAR_PLAN": str(plan_folder),
        "RAHDAR_PARTITIONS": str(PARTITIONS),
        "RAHDAR_VAR": str(tmp_path / "var"),
        "RAHDAR_LOG_LEVEL": "INFO",
    }
    crew = Crew(environment, tmp_path)
    try:
        yield crew
    finally:
        await asyncio.to_thread(crew.close)


async def feed_until(over: asyncio.Event, app: App, feed: Feed) -> None:
    """As ingest: each cell's records into its partition, a Tick into every one behind them."""
    raw = app.topic(topics.RAW.name, partitions=PARTITIONS, **RAW_RECORDS)
    number = 0
    while not over.is_set():
        began = time.monotonic()
        sent = []
        for cell, record in feed.step(number):
            where = topics.partition_of(cell, PARTITIONS)
            sent.append(await raw.send(key=cell.encode(), value=encode_raw(record), partition=where))
        tick = encode_raw(feed.tick(number))
        sent += [await raw.send(key=b"_tick", value=tick, partition=p) for p in range(PARTITIONS)]
        for durable in sent:
            await durable
        number += 1
        await asyncio.sleep(max(0.0, STEP_S - (time.monotonic() - began)))


async def committed(url: str, topic: str) -> dict[int, int]:
    """How far the stage that reads this topic has committed."""
    group = GROUPS[topic]
    if is_log(url):
        store = LogStore.acquire(log_directory(url))
        try:
            known = dict(store.query("select tp, offset from committed where grp=?", (group,)))
            return {p: int(known.get(store.topic(topic).tp(p), 0)) for p in range(PARTITIONS)}
        finally:
            await store.release()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap(url), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return {p: await consumer.committed(TopicPartition(topic, p)) or 0 for p in range(PARTITIONS)}
    finally:
        await consumer.stop()


async def until_all_are_owned(url: str) -> None:
    """A worker that is killed before it has read anything of a partition was never its owner."""
    while True:
        if all([all((await committed(url, topic)).values()) for topic in GROUPS]):
            return
        await asyncio.sleep(0.2)


async def lag(url: str) -> dict[str, int]:
    """Records that a stage has not committed yet."""
    behind = {}
    for topic in GROUPS:
        done = await committed(url, topic)
        behind[topic] = sum([await end_offset(url, topic, p) - done[p] for p in range(PARTITIONS)])
    return behind


async def until_no_lag(url: str) -> float:
    """How long it took."""
    began = time.monotonic()
    while any((behind := await lag(url)).values()):
        assert time.monotonic() - began < LAG_WITHIN_S, f"lag after {LAG_WITHIN_S:.0f} s: {behind}"
        await asyncio.sleep(0.5)
    return time.monotonic() - began


@dataclass
class Found:
    """What the log holds at the end."""

    fixes_in: Counter[Any] = field(default_factory=Counter)
    fixes_out: Counter[Any] = field(default_factory=Counter)
    undisturbed: Ledger = field(default_factory=Ledger)
    ledger: Ledger = field(default_factory=Ledger)
    owners: int = 0
    fenced: int = 0


async def look(url: str, plan: CompiledPlan) -> Found:
    """Read all of it; beside it, what one engine for each partition that nobody disturbs makes of the same raw records."""
    found = Found()
    for p in range(PARTITIONS):
        normaliser, engine = Normaliser(plan), Engine(plan)
        async for _, _, value in read_topic(url, topics.RAW.name, p):
            for batch in normaliser.record(decode_raw(value or b"")).batches.values():
                found.fixes_in.update((f.device, f.seen_at_us) for f in batch.fixes.rows())
                found.undisturbed.apply(engine.feed(batch))
        async for _, _, value in read_topic(url, topics.OBSERVATIONS.name, p):
            batch = decode_observations(value or b"")
            found.fixes_out.update((f.device, f.seen_at_us) for f in batch.fixes.rows())
        newest = 0
        async for _, _, value in read_topic(url, topics.EPISODES.name, p):
            record = decode_changes(value or b"")
            if record.epoch >= newest:
                newest = record.epoch
                found.ledger.apply(record.changes)
            else:
                found.fenced += 1
        newest = 0  # each owner numbers itself by one more than the last
        async for _, key, value in read_topic(url, topics.SNAPSHOTS.name, p):
            if key == EPOCH_KEY:
                newest = max(newest, Recovery.claimed(value or b"")[0])
            elif value is not None and key is not None:
                found.fenced += int.from_bytes(key[1:9], "big") < newest
        found.owners += newest
    return found


def differences(found: Found) -> list[str]:
    """Lines of one ledger that are not in the other."""
    here, there = (set(ledger.lines().decode().splitlines()) for ledger in (found.ledger, found.undisturbed))
    return sorted([f"only disturbed: {line}" for line in here - there] + [f"missing: {line}" for line in there - here])


@pytest.mark.slow
@pytest.mark.timeout(2400)
async def test_workers_killed_asleep_and_added(own_url: str, crew: Crew, plan_folder: Path) -> None:
    """Every 20 s one of three workers is killed, one sleeps past its session and wakes, one is added."""
    plan = load_plan(plan_folder)
    await declare_topics(own_url, topics.ALL, PARTITIONS)
    for _ in range(3):
        crew.add()
    await crew.until_ready()
    app, feed, over = make_app(SOURCE, own_url), Feed(plan.hash), asyncio.Event()
    await app.maybe_start_producer()
    feeding = asyncio.ensure_future(feed_until(over, app, feed))
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await until_all_are_owned(own_url)
        for _ in range(round((LOG_SECONDS if is_log(own_url) else SECONDS) / ROUND_S)):
            await crew.disturb()
            assert not feeding.done(), feeding.result()
        over.set()
        await feeding
        await crew.until_ready()  # the last one added is still starting
        waited_s = await until_no_lag(own_url)
    finally:
        feeding.cancel()
        await app.producer.stop()
    found = await look(own_url, plan)

    assert sum(found.fixes_in.values()) == len(found.fixes_in)
    assert found.fixes_out.keys() == found.fixes_in.keys()
    assert differences(found) == []
    assert {e.rule for e in found.ledger.sorted()} == {"area.forbidden", "device.silent"}
    assert found.owners > PARTITIONS, "no partition ever changed hands"
    print(
        f"{own_url.split(':')[0]}: {dict(crew.done)}; {len(found.fixes_in)} fixes, "
        f"{sum(found.fixes_out.values()) - len(found.fixes_in)} written again, {len(found.ledger.episodes)} episodes by "
        f"{found.owners} owners, {found.fenced} records of earlier owners void, no lag after {waited_s:.1f} s"
    )

"""The demo's story on the control room's servers, end to end, while each of them is restarted: the ledger is the embedded one."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.look import look
from agents.transport import LogStore, declare_topics, end_offset, read_topic
from agents.transport.address import log_directory
from agents.transport.kafka import keep_readers
from pipeline.model import topics
from pipeline.model.alert import AlertEvent, decode_event
from simulators.run import story_named
from tests.stack.ledgers import Told, read_everything
from tests.stack.native import ControlRoom, Service

PARTITIONS = 32
OURS = ("pipeline.stalled", "pipeline.notifier")
SECONDS = 100  # the last of the story's three begins at 80
WITHIN_S = 240.0  # for what takes seconds on a machine of one's own


@pytest.fixture
def room(tmp_path: Path, kafka_jars: None) -> Iterator[ControlRoom]:
    made = ControlRoom(tmp_path)
    try:
        yield made
    finally:
        made.close()


async def disturb(room: ControlRoom) -> None:
    """Both brokers, a worker and InfluxDB, one after the other, while the story is told."""
    await asyncio.sleep(10)
    room.mosquitto.kill(signal.SIGTERM)
    await asyncio.to_thread(room.mosquitto.start)
    await asyncio.sleep(8)
    room.kafka.kill()
    await asyncio.to_thread(room.kafka.start)
    await asyncio.sleep(8)
    room.of("worker")[0].kill()
    await asyncio.sleep(6)
    room.influxd.stop(signal.SIGKILL)
    await asyncio.sleep(8)
    await asyncio.to_thread(room.influxd.start)


async def acknowledge(room: ControlRoom) -> str:
    """A person, through nginx: logs in with the first password, waits for the coach's alert, acknowledges it. Returns its id."""
    async with room.browser() as web:
        await room.log_in(web)
        csrf = (await web.get("/api/session")).json()["csrf"]
        async with asyncio.timeout(SECONDS + WITHIN_S):
            while True:
                for alert in (await web.get("/api/snapshot")).json()["alerts"]:
                    if alert["rule"] == "route.deviation" and alert["subject"] == "c-1":
                        break
                else:
                    await asyncio.sleep(0.5)
                    continue
                break
        headers = {"X-CSRF-Token": csrf, "Idempotency-Key": "key-00000001"}
        done = await web.post(f"/api/alerts/{alert['id']}/acknowledge", json={}, headers=headers)
        assert done.status_code == 200, done.text
    return str(alert["id"])


async def alerts_of(room: ControlRoom) -> list[AlertEvent]:
    found = read_topic(room.log_url, topics.ALERTS.name, 0)
    return [decode_event(value) async for _, _, value in found if value is not None]


async def all_are_opened(room: ControlRoom, wanted: set[tuple[str, str]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            events = await alerts_of(room)
            if wanted <= {(e.alert.rule, e.alert.subject) for e in events if e.transition == "opened"}:
                return
            await asyncio.sleep(1)


class Embedded:
    """A log of one machine and a worker of its own, which hears what Kafka's raw holds."""

    def __init__(self, room: ControlRoom) -> None:
        self.room = room
        self.url = f"log://{room.directory / 'embedded'}"
        environment = {**room.environment("worker"), "RAHDAR_LOG_URL": self.url}
        command = ["run", "normalise", "detect"]
        self.worker = Service("worker", command, environment, room.directory / "embedded.txt")

    async def ledger_of(self, end: dict[int, int]) -> bytes:
        """Of raw's records up to `end`, by partition: the same bytes in the same order, until every one is dealt with."""
        await declare_topics(self.url, topics.ALL, PARTITIONS)
        store = LogStore.acquire(log_directory(self.url))
        try:
            for p in range(PARTITIONS):
                async for _, key, value in read_topic(self.room.log_url, topics.RAW.name, p, end=end[p]):
                    await store.append(topics.RAW.name, p, key, value)
            async with asyncio.timeout(WITHIN_S):
                while True:
                    behind = (await look(self.url)).behind
                    if not behind["normalise"] and not behind["detect"]:
                        break
                    await asyncio.sleep(0.5)
            return (await read_everything(self.url, PARTITIONS)).ledger.lines()
        finally:
            await store.release()


async def nothing_waits(room: ControlRoom) -> None:
    """Every record of Kafka's has been dealt with by its stage."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            behind = (await look(room.log_url)).behind
            if not any(behind.values()):
                return
            await asyncio.sleep(0.5)


def in_influx(room: ControlRoom, bucket: str, measurement: str, field: str) -> list[dict[str, Any]]:
    return room.in_influx(
        f'from(bucket: "{bucket}") |> range(start: -1d, stop: 1d)'
        f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field}") |> group()'
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_the_demos_story_on_the_control_rooms_servers(room: ControlRoom) -> None:
    async with keep_readers():
        await tell_and_compare(room)


async def tell_and_compare(room: ControlRoom) -> None:
    began = time.monotonic()

    def mark(what: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {what}")

    await asyncio.to_thread(room.set_up)
    mark("set up")
    await asyncio.to_thread(room.start)
    watching = asyncio.ensure_future(room.watch())
    try:
        await room.until_ready()
        mark("all are ready")
        playing = room.simulators("--for", str(SECONDS))
        acknowledging = asyncio.ensure_future(acknowledge(room))
        await disturb(room)
        embedded = Embedded(room)
        embedded.worker.start()
        room.services.append(embedded.worker)
        said, _ = await asyncio.to_thread(playing.communicate, timeout=SECONDS + WITHIN_S)
        story = story_named("first-watch")
        wanted = {(e.rule, e.subject) for e in story.expected}
        mark("the story is told")
        await all_are_opened(room, wanted)
        acknowledged = await acknowledging
        mark("alerts are there")
        doctor = await asyncio.to_thread(
            room.rahdar, "doctor", "--quiet", *(w for name in CHECKS for w in ("--only", name))
        )
        assert (doctor.returncode, doctor.stdout) == (0, ""), doctor.stdout
        mark("the doctor has looked")

        watching.cancel()
        for service in room.of("ingest"):
            await asyncio.to_thread(service.stop)  # time ends here: what follows compares finished logs
        await nothing_waits(room)
        end = {p: await end_offset(room.log_url, topics.RAW.name, p) for p in range(PARTITIONS)}
        told = await read_everything(room.log_url, PARTITIONS)
        counts = re.search(r"(\d+) messages sent, (\d+) acknowledged", said)
        assert counts is not None, said
        sent, acked = int(counts[1]), int(counts[2])
        assert sent == acked
        assert sum(not item.topic.startswith("$") for item in told.raw) >= sent, "an acknowledged message is not in raw"
        assert {(e.rule, e.subject) for e in told.ledger.sorted()} >= wanted
        live = {c.episode.id for c in told.changes if c.mode == "live"}
        by_seq = {e.seq: e for e in told.events}
        opened = [e.alert.id for e in by_seq.values() if e.transition == "opened" and e.alert.rule not in OURS]
        assert len(opened) == len(set(opened)), "an alert was opened twice"
        assert set(opened) <= live
        assert ("acknowledged", acknowledged) in {(e.transition, e.alert.id) for e in by_seq.values()}
        mark("no message and no alert is lost or doubled")

        here = await embedded.ledger_of(end)
        assert told.ledger.lines().decode().splitlines() == here.decode().splitlines()
        mark("the ledger is the embedded one")
        await wall_is_complete(room, told)
        mark("the wall is complete")
        restarts = {s.name: s.starts - 1 for s in room.services if s.starts > 1}
        assert restarts["worker"] == 1, "one was killed, and nothing else ends a worker"
        print(f"{sent} messages, {len(told.ledger.episodes)} episodes, {len(opened)} alerts; started again: {restarts}")
    finally:
        watching.cancel()


CHECKS = (
    "settings", "plan", "versions", "secrets", "certificates", "disk", "databases", "broker", "influx", "ticks", "lag", "ports",
)  # fmt: skip
"""All but the machine's own clock, which nobody keeps where tests run."""


async def wall_is_complete(room: ControlRoom, told: Told) -> None:
    """InfluxDB was dead for a while: it holds every alert's transition and every position all the same."""
    fixes = {
        (f.vehicle, f.seen_at_us) for batches in told.observations.values() for b in batches for f in b.fixes.rows()
    }
    transitions = {e.seq for e in told.events}  # more may follow: ingest has stopped, and that is told too
    async with asyncio.timeout(WITHIN_S):
        while True:
            alerts = await asyncio.to_thread(in_influx, room, "rahdar_hazara_events", "alerts", "seq")
            rows = await asyncio.to_thread(in_influx, room, "rahdar_hazara_raw", "positions", "lat_deg")
            places = {(row["vehicle"], row["_time"]) for row in rows}
            if transitions <= {int(row["_value"]) for row in alerts} and len(places) >= len(fixes):
                return
            await asyncio.sleep(1)

"""The whole system records into InfluxDB; InfluxDB is killed on the way, and neither an alert nor the desk's memory waits for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents.local import LocalStack
from agents.transport import read_topic
from pipeline.clock import WallClock
from pipeline.model import topics
from pipeline.model.alert import AlertEvent, decode_event
from pipeline.record.influx import Influx
from pipeline.record.local import LocalInfluxd
from simulators.publish import Publisher
from simulators.run import mqtt_messages, story_named
from tests.record.servers import started
from tests.stack.ledgers import recorded
from tests.stack.running import running

SECONDS = 150
SPEED = 2.0  # of the devices: what they send is then at most 75 s ahead of our clock, and none is "from the future"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalInfluxd]:
    one = started(tmp_path / "influxd", ("hazara",))
    yield one
    one.stop(signal.SIGKILL)


@pytest.fixture
def stack(tmp_path: Path, root: Path, server: LocalInfluxd) -> Iterator[LocalStack]:
    d = tmp_path / "system"
    stack = LocalStack(
        d, root / "plans" / "hazara",
        extra={
            "RAHDAR_LOG_LEVEL": "ERROR", "RAHDAR_RECORD_URL": f"{server.url}?memory={d}/record.sqlite",
            "RAHDAR_INFLUX_TOKEN_FILE": str(server.tokens.writer),
        },
    )  # fmt: skip
    with running(stack, 0.2):
        yield stack


async def events_of(stack: LocalStack) -> list[AlertEvent]:
    return [decode_event(v) async for _, _, v in read_topic(stack.log_url, topics.ALERTS.name, 0) if v is not None]


def in_influx(server: LocalInfluxd) -> tuple[int, int]:
    with closing(Influx(server.place, server.tokens.reader.read_text().strip())) as reader:
        out = []
        for bucket, measurement, field in (("raw", "positions", "lat_deg"), ("events", "alerts", "seq")):
            rows = reader.query(
                f'from(bucket: "rahdar_hazara_{bucket}") |> range(start: -1d, stop: 1d)'
                f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field}") |> group() |> count()'
            )
            out.append(int(rows[0]["_value"]) if rows else 0)
    return out[0], out[1]


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_influxdb_is_killed_under_a_story(stack: LocalStack, server: LocalInfluxd) -> None:
    """It is dead while all three alerts of the story are raised; afterwards it holds what the desk's memory holds."""
    story, clock, stop = story_named("first-watch"), WallClock(SPEED), asyncio.Event()
    messages = mqtt_messages(story, stack.compiled, 1, clock.now_us(), SECONDS)
    publisher = Publisher(stack.mqtt_url, stack.credentials, clock)
    publishing = asyncio.ensure_future(publisher.run(messages, stop))
    await asyncio.sleep(8)
    server.stop(signal.SIGKILL)
    await asyncio.wait_for(publishing, 150)
    assert publisher.acked == publisher.sent
    wanted = {(e.rule, e.subject) for e in story.expected if e.began_at_s < SECONDS - 60}
    async with asyncio.timeout(60):
        while True:
            events = await events_of(stack)
            if wanted <= {(e.alert.rule, e.alert.subject) for e in events if e.transition == "opened"}:
                break
            await asyncio.sleep(0.5)
    assert stack.healthy(), "the desk goes on"
    server.start()
    async with asyncio.timeout(90):
        while True:
            memory, wall = (
                await asyncio.to_thread(recorded, stack.directory / "record.sqlite"),
                await asyncio.to_thread(in_influx, server),
            )
            if memory == wall and memory[0] > 100:
                break
            await asyncio.sleep(1)
    assert memory[1] == len({e.seq for e in await events_of(stack)})

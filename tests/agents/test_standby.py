"""Two alert stages on one database: one works, the other stands by outside the group, and takes over when the first lets go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agents.alert import AlertStage, alert_stage
from agents.transport import declare_topics, make_app, read_topic
from pipeline.alert.lease import Lease
from pipeline.clock import SetClock, WallClock
from pipeline.model import topics
from pipeline.model.alert import decode_event
from pipeline.model.episode import encode_changes
from pipeline.settings import Settings
from tests.alert.builders import at, batch, change, sos
from tests.detect.plans import plan


def held_by(stage: AlertStage, settings: Settings, name: str) -> None:
    """As if it ran on a host of this name."""
    stage._lease = Lease(settings.alert_url, WallClock().now_us, name)


async def told(settings: Settings, wanted: int) -> list[str]:
    found: dict[int, str] = {}
    async with asyncio.timeout(40):
        while len(found) < wanted:
            async for _, _, value in read_topic(settings.log_url, topics.ALERTS.name, 0, start=0):
                event = decode_event(value or b"")
                found[event.seq] = event.alert.id
            await asyncio.sleep(0.05)
    return [found[seq] for seq in sorted(found)]


async def test_a_standby_takes_over_where_the_active_one_stopped(tmp_path: Path) -> None:
    settings = Settings(log_url=f"log://{tmp_path}/log", alert_url=f"sqlite:///{tmp_path}/alert.db", partitions=1)
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    clock = SetClock(at(1))
    apps: list[Any] = [make_app("rahdar-alert", settings.log_url) for _ in range(2)]
    first, second = (alert_stage(app, settings, plan(), clock) for app in apps)
    held_by(first, settings, "one/1/0")
    held_by(second, settings, "two/1/0")
    await first.prepare()
    await apps[0].start()
    standing_by = asyncio.ensure_future(second.prepare())
    source = apps[0].topic(topics.EPISODES.name)
    await (await source.send(key=b"c", value=encode_changes(batch(change("begin", sos(0)))), partition=0))
    assert await told(settings, 1) == [sos(0).id]
    assert not standing_by.done()
    await apps[0].stop()
    await first.stopped()  # it lets the lease go
    async with asyncio.timeout(10):
        await standing_by
    await apps[1].start()
    try:
        source = apps[1].topic(topics.EPISODES.name)
        await (await source.send(key=b"c", value=encode_changes(batch(change("begin", sos(5)))), partition=0))
        assert await told(settings, 2) == [sos(0).id, sos(5).id], "nothing twice, nothing lost"
    finally:
        await apps[1].stop()
        await second.stopped()

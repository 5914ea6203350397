"""The alert stage publishes what its database holds and the log does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.alert import alert_stage
from agents.transport import declare_topics, make_app, read_topic
from pipeline.alert.store import AlertStore
from pipeline.clock import SetClock
from pipeline.model import topics
from pipeline.model.alert import decode_event
from pipeline.settings import Settings
from tests.alert.builders import WORDS, at, batch, change, episode
from tests.detect.plans import plan

MANY = 2100  # more than two pages of what the store gives out at a time


async def test_a_long_outage_of_the_log_passes_over_no_event(tmp_path: Path) -> None:
    settings = Settings(log_url=f"log://{tmp_path}/log", alert_url=f"sqlite:///{tmp_path}/alert.db", partitions=1)
    before = AlertStore(settings.alert_url, plan(), lambda _: WORDS)
    begun = batch(*(change("begin", episode(n)) for n in range(MANY)))
    held = len(before.take_changes([(topics.EPISODES.name, 0, 0, begun)], at(0)))
    assert held >= MANY
    before.close()
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    app = make_app("rahdar-alert", settings.log_url)
    stage = alert_stage(app, settings, plan(), SetClock(at(1)))
    told: set[int] = set()
    await app.start()
    try:
        async with asyncio.timeout(30):
            offset = 0
            while len(told) < held:
                async for here, _, value in read_topic(settings.log_url, topics.ALERTS.name, 0, start=offset):
                    offset = here + 1
                    told.add(decode_event(value or b"").seq)
                await asyncio.sleep(0.05)
    finally:
        await app.stop()
        await stage.stopped()
    assert told == set(range(1, held + 1))

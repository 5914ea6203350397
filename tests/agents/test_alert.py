"""The alert stage publishes what its database holds and the log does not."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import msgspec
import pytest

from agents.alert import alert_stage
from agents.transport import RAW_RECORDS, declare_topics, make_app, read_topic
from pipeline.alert.store import AlertStore
from pipeline.clock import SetClock, WallClock
from pipeline.model import topics
from pipeline.model.alert import decode_event
from pipeline.model.episode import Episode, encode_changes
from pipeline.model.observation import Tick
from pipeline.model.wire import NO_FIXES, ObservationBatch, Placed, encode_observations
from pipeline.notify.leases import Leases
from pipeline.settings import Settings
from tests.alert.builders import WORDS, at, batch, change, episode, sos
from tests.detect.plans import plan, setting
from tests.notify.builders import manned

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


async def test_a_log_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    """Its records have the offsets and epochs of those that were read: to go on behind them would pass over new alerts in silence."""
    settings = Settings(log_url=f"log://{tmp_path}/log", alert_url=f"sqlite:///{tmp_path}/alert.db", partitions=1)

    async def told_of(found: list[Episode], epoch: int) -> set[str]:
        """Those of which the topic of alerts has an `opened` when all of these are told."""
        await declare_topics(settings.log_url, topics.ALL, settings.partitions)
        app = make_app("rahdar-alert", settings.log_url)
        stage = alert_stage(app, settings, plan(), SetClock(at(1)))
        sender = app.topic(topics.EPISODES.name, partitions=1, **RAW_RECORDS)
        opened: set[str] = set()
        await app.start()
        try:
            for one in found:
                record = msgspec.structs.replace(batch(change("begin", one)), epoch=epoch)
                await (await sender.send(key=b"0", value=encode_changes(record), partition=0))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(15):
                    while not {one.id for one in found} <= opened:
                        async for _, _, value in read_topic(settings.log_url, topics.ALERTS.name, 0):
                            event = decode_event(value or b"")
                            opened |= {event.alert.id} if event.transition == "opened" else set()
                        await asyncio.sleep(0.05)
        finally:
            await app.stop()
            await stage.stopped()
        return opened

    before, after = [episode(n) for n in range(3)], [episode(n) for n in range(3, 5)]
    assert await told_of(before, 7) >= {one.id for one in before}
    shutil.rmtree(tmp_path / "log")
    assert await told_of(after, 1) >= {one.id for one in [*before, *after]}


@pytest.mark.parametrize("healthy", [True, False])
async def test_an_ingest_that_says_it_misses_messages_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, healthy: bool
) -> None:
    monkeypatch.setattr("agents.alert.STALLED_AFTER_S", 1.5)
    monkeypatch.setattr("agents.alert.LOOK_EVERY_S", 0.1)
    settings = Settings(log_url=f"log://{tmp_path}/log", alert_url=f"sqlite:///{tmp_path}/alert.db", partitions=1)
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    app = make_app("rahdar-alert", settings.log_url)
    stage = alert_stage(app, settings, plan(rules={"pipeline.stalled": setting("pipeline.stalled")}), WallClock())
    observations = app.topic(topics.OBSERVATIONS.name, partitions=1, **RAW_RECORDS)
    opened = False
    await app.start()
    try:
        for _ in range(40):
            tick = Placed(0, Tick(source="a", at_us=WallClock().now_us(), healthy=healthy))
            value = encode_observations(ObservationBatch(NO_FIXES, (tick,), "", "test", "a"))
            await (await observations.send(key=topics.TICK_KEY, value=value, partition=0))
            await asyncio.sleep(0.1)
            async for _, _, event in read_topic(settings.log_url, topics.ALERTS.name, 0):
                told = decode_event(event or b"")
                opened = opened or (told.transition, told.alert.rule) == ("opened", "pipeline.stalled")
            if opened:
                break
    finally:
        await app.stop()
        await stage.stopped()
    assert opened is not healthy


async def test_tellings_that_no_notifier_takes_are_told_at_the_desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No notify runs: what the desk reads has a critical alert about that, until one takes what is due."""
    monkeypatch.setattr("agents.alert.LOOK_EVERY_S", 0.1)
    settings = Settings(log_url=f"log://{tmp_path}/log", alert_url=f"sqlite:///{tmp_path}/alert.db", partitions=1)
    clock = WallClock()
    of = manned(**{"pipeline.notifier": setting("pipeline.notifier", patience_us=500_000)})
    before = AlertStore(settings.alert_url, of, lambda _: WORDS)
    before.take_changes([(topics.EPISODES.name, 0, 0, batch(change("begin", sos())))], clock.now_us())
    before.close()
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    app = make_app("rahdar-alert", settings.log_url)
    stage = alert_stage(app, settings, of, clock)
    leases = Leases(settings.alert_url, "n")
    edges: dict[str, str] = {}
    await app.start()
    try:
        async with asyncio.timeout(20):
            while "cleared" not in edges:
                await asyncio.sleep(0.1)
                async for _, _, event in read_topic(settings.log_url, topics.ALERTS.name, 0):
                    told = decode_event(event or b"")
                    if told.alert.rule == "pipeline.notifier":
                        edges[told.transition] = told.reason
                if "opened" in edges:
                    leases.take(clock.now_us(), 10, critical=True)
    finally:
        await app.stop()
        await stage.stopped()
        leases.close()
    assert edges == {"opened": "TELLINGS_NOT_TAKEN", "cleared": "TELLINGS_TAKEN_AGAIN"}

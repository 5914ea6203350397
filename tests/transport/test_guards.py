"""What Faust 0.15.3 loses with its defaults, and the guards keep. Without them each of these tests sees the loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import faust
import pytest
from faust.types import TP
from faust.types.transports import TransportT
from faust.types.tuples import RecordMetadata

from agents.transport import App, Transport, app_options, make_app, on_assigned
from agents.transport.address import broker_url
from agents.transport.deliveries import Deliveries
from agents.transport.guards import check_version
from agents.transport.producer import Producer
from tests.transport.apps import RAW, Collected, collecting, committed_offset, fill, make_topic, numbers, running

type_fresh = Callable[[str], str]

guarded = pytest.mark.parametrize("guards", [True, False], ids=["guarded", "faust alone"])


def any_app(guards: bool, app_id: str, url: str, **more: Any) -> faust.App:
    """An app of ours, or the same options given to Faust itself."""
    if guards:
        return make_app(app_id, url, **more)
    more.pop("on_failure", None)
    more.pop("stop_within_s", None)
    options = app_options(**more)
    del options["Stream"], options["TableManager"]
    return faust.App(app_id, broker=broker_url(url), **options)


@guarded
async def test_row_1_an_event_whose_agent_raised_is_not_committed(
    guards: bool, embedded_url: str, fresh: type_fresh
) -> None:
    topic, group = fresh("raises"), fresh("app")
    await make_topic(embedded_url, topic)
    failed: list[BaseException] = []
    seen = Collected()
    app = any_app(guards, group, embedded_url, on_failure=failed.append)

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def work(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            seen.add(event)
            if event.value == b"10":
                raise RuntimeError("the database is away")

    async with running(app):
        await fill(app, topic, numbers(0, 40))
        await seen.until(lambda: len(failed) > 0 or len(seen.seen) == 40)
    assert await committed_offset(embedded_url, group, topic) == (10 if guards else 40)
    assert [str(error) for error in failed] == (["the database is away"] if guards else [])


@guarded
async def test_row_2_nothing_is_committed_past_an_event_in_work(
    guards: bool, embedded_url: str, fresh: type_fresh
) -> None:
    topic, group = fresh("concurrent"), fresh("app")
    await make_topic(embedded_url, topic)
    go_on = asyncio.Event()
    done = Collected()
    app = any_app(guards, group, embedded_url)

    @app.agent(app.topic(topic, partitions=1, **RAW), concurrency=2)
    async def work(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            if event.value == b"10":
                await go_on.wait()
            done.add(event)

    async with running(app):
        await fill(app, topic, numbers(0, 40))
        await done.until_count(39)
        await asyncio.sleep(0)  # let the last one be acknowledged
        await app.consumer.commit()
        await app.consumer.commit()  # Faust stops before the gap the first time, and steps over it the second
        while_in_work = await committed_offset(embedded_url, group, topic)
        go_on.set()
        await done.until_count(40)
    assert while_in_work is not None
    assert (while_in_work <= 10) is guards
    assert await committed_offset(embedded_url, group, topic) == 40


@guarded
async def test_row_3_a_stop_does_not_acknowledge_the_event_in_work(
    guards: bool, embedded_url: str, fresh: type_fresh
) -> None:
    topic, group = fresh("stopped"), fresh("app")
    await make_topic(embedded_url, topic)
    seen = Collected()
    app = any_app(guards, group, embedded_url, stream_wait_empty=False, stop_within_s=0.05)

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def work(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            seen.add(event)
            if event.value == b"10":
                await asyncio.Event().wait()

    async with running(app):
        await fill(app, topic, numbers(0, 20))
        await seen.until_count(11)
    assert await committed_offset(embedded_url, group, topic) == (10 if guards else 11)


async def test_row_4_take_acknowledges_a_batch_that_was_not_processed(embedded_url: str, fresh: type_fresh) -> None:
    topic, group = fresh("batch"), fresh("app")
    await make_topic(embedded_url, topic)
    app = any_app(False, group, embedded_url)
    seen = Collected()

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def work(stream: faust.StreamT[bytes]) -> None:
        async for batch in stream.take(5, within=1.0):
            for value in batch:
                seen.seen.append((0, 0, value))
            seen._changed.set()
            raise RuntimeError("the database is away")

    async with running(app):
        await fill(app, topic, numbers(0, 5))
        await seen.until_count(5)
    assert await committed_offset(embedded_url, group, topic) == 5


async def test_row_4_take_is_refused(embedded_url: str, fresh: type_fresh) -> None:
    topic, group = fresh("batch"), fresh("app")
    await make_topic(embedded_url, topic)
    failed: list[BaseException] = []
    refused = asyncio.Event()

    def on_failure(error: BaseException) -> None:
        failed.append(error)
        refused.set()

    app = any_app(True, group, embedded_url, on_failure=on_failure)

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def work(stream: faust.StreamT[bytes]) -> None:
        async for _ in stream.take(5, within=1.0):
            pass

    async with running(app):
        await asyncio.wait_for(refused.wait(), 5)
        await fill(app, topic, numbers(0, 5))
    assert isinstance(failed[0], TypeError)
    assert await committed_offset(embedded_url, group, topic) in (None, 0)


class SlowChangelog(Producer):
    """A broker that takes its time with changelogs."""

    async def send(self, topic: str, *args: Any, **kwargs: Any) -> Awaitable[RecordMetadata]:
        if topic.endswith("changelog"):
            await asyncio.sleep(0.15)
        return await super().send(topic, *args, **kwargs)


class SlowTransport(Transport):
    Producer = SlowChangelog


@guarded
async def test_row_5_input_is_committed_only_with_its_changelog(
    guards: bool, embedded_url: str, fresh: type_fresh
) -> None:
    """Faust's flush gives up after 0.1 s without progress, and commits with changelog records still in its buffer."""
    topic, group = fresh("slow"), fresh("app")
    await make_topic(embedded_url, topic)

    class Slow(App if guards else faust.App):  # type: ignore[misc]
        def _new_transport(self) -> TransportT:
            made = SlowTransport(self.conf.broker, self)
            return made if not guards else self.guard(made)

    options = app_options()
    if not guards:
        del options["Stream"], options["TableManager"]
    app = Slow(group, broker=broker_url(embedded_url), **options)
    table = app.Table("state", default=int, partitions=1)
    seen = Collected()

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def work(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            table[event.value.decode()] = 1
            seen.add(event)

    async with running(app):
        await fill(app, topic, numbers(0, 8))
        await seen.until_count(8)
        buffered_before = app.producer.buffer.size
        await app.consumer.commit()
        buffered_after = app.producer.buffer.size
        committed = await committed_offset(embedded_url, group, topic)
    assert buffered_before > 0
    assert (committed or 0) >= 7
    assert (buffered_after == 0) is guards


async def test_another_version_of_faust_is_refused() -> None:
    check_version("0.15.3")
    with pytest.raises(RuntimeError, match=r"0\.15\.4 is installed"):
        check_version("0.15.4")


async def test_hooks_need_an_app_with_guards(embedded_url: str) -> None:
    async def nothing(tps: set[Any]) -> None:
        """Never called."""

    with pytest.raises(TypeError, match="make_app"):
        on_assigned(any_app(False, "plain", embedded_url), nothing)


def test_only_what_lies_before_the_first_open_delivery_is_committable() -> None:
    deliveries = Deliveries()
    tp = TP("t", 0)
    assert deliveries.committable(tp) is None
    for offset in (31, 32, 35, 36):  # 33 and 34 were compacted away
        deliveries.delivered(tp, offset)
    assert deliveries.committable(tp) == 31
    assert deliveries.acknowledged(tp, 32)
    assert deliveries.committable(tp) == 31
    assert deliveries.acknowledged(tp, 31)
    assert not deliveries.acknowledged(tp, 31)
    assert deliveries.committable(tp) == 35
    assert deliveries.acknowledged(tp, 35)
    assert deliveries.acknowledged(tp, 36)
    assert deliveries.committable(tp) == 37
    deliveries.delivered(tp, 37)
    deliveries.seal()
    assert not deliveries.acknowledged(tp, 37)
    assert deliveries.committable(tp) == 37
    deliveries.forget([tp])
    assert deliveries.committable(tp) is None


async def test_a_hook_that_fails_crashes_the_app(embedded_url: str, fresh: type_fresh) -> None:
    """Whoever runs the app sees it, and starts it again; records do not flow past it."""
    topic = fresh("hook")
    await make_topic(embedded_url, topic)
    app = make_app(fresh("app"), embedded_url)
    seen = collecting(app, topic)

    async def fail(tps: set[Any]) -> None:
        raise RuntimeError("no checkpoint can be read")

    on_assigned(app, fail)
    async with running(app):
        await asyncio.wait_for(app._crashed.wait(), 5)
        await fill(app, topic, numbers(0, 3))
        assert str(app.crash_reason) == "no checkpoint can be read"
    assert seen.seen == []

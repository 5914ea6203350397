"""What stages may rely on, whatever carries their records: the embedded log or Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import faust
import pytest

from agents.transport import (
    PartitionMismatchError,
    declare_topics,
    end_offset,
    make_app,
    on_assigned,
    on_revoked,
    read_topic,
    seek,
)
from pipeline.model.topics import TopicSpec, partition_of
from tests.transport.apps import (
    RAW,
    WITHIN_S,
    Collected,
    collecting,
    committed_offset,
    fill,
    make_topic,
    numbers,
    running,
)

type_fresh = Callable[[str], str]


async def test_a_partition_keeps_its_order(log_url: str, fresh: type_fresh) -> None:
    topic = fresh("order")
    await make_topic(log_url, topic, 4)
    app = make_app(fresh("app"), log_url)
    collected = collecting(app, topic, 4)
    async with running(app):
        target = app.topic(topic, **RAW)
        sent = [await target.send(key=b"k", value=b"%d" % n, partition=n % 4) for n in range(400)]
        await asyncio.gather(*sent)
        await collected.until_count(400)
    for partition in range(4):
        mine = [(offset, value) for p, offset, value in collected.seen if p == partition]
        assert mine == [(i, b"%d" % (partition + 4 * i)) for i in range(100)]


async def test_key_value_headers_and_timestamp_arrive_as_sent(log_url: str, fresh: type_fresh) -> None:
    topic = fresh("whole")
    await make_topic(log_url, topic)
    app = make_app(fresh("app"), log_url)
    events: list[faust.EventT[Any]] = []
    arrived = asyncio.Event()

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def collect(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            events.append(event)
            if len(events) == 2:
                arrived.set()

    async with running(app):
        target = app.topic(topic, **RAW)
        body = bytes(range(256)) * 8
        await (await target.send(key=b"cell \xff", value=body, partition=0, headers={"kind": b"x"}, timestamp=1.5e9))
        await (await target.send(key=b"gone", value=None, partition=0))
        await asyncio.wait_for(arrived.wait(), WITHIN_S)
    first, second = events
    assert (first.key, first.value, dict(first.headers), first.message.timestamp) == (
        b"cell \xff",
        body,
        {"kind": b"x"},
        1.5e9,
    )
    assert (second.key, second.value) == (b"gone", None)


async def test_a_key_goes_to_the_partition_of_its_cell(log_url: str, fresh: type_fresh) -> None:
    topic = fresh("keys")
    await make_topic(log_url, topic, 8)
    app = make_app(fresh("app"), log_url)
    async with running(app):
        target = app.topic(topic, **RAW)
        for cell in ("hazara", "kohistan", "swat"):
            sent = await (await target.send(key=cell.encode(), value=b""))
            assert sent.partition == partition_of(cell, 8)


async def test_after_a_stop_the_next_run_goes_on_where_it_ended(log_url: str, fresh: type_fresh) -> None:
    topic, group = fresh("resume"), fresh("app")
    await make_topic(log_url, topic)
    first = make_app(group, log_url)
    seen = collecting(first, topic)
    async with running(first):
        await fill(first, topic, numbers(0, 50))
        await seen.until_count(50)
    assert await committed_offset(log_url, group, topic) == 50
    second = make_app(group, log_url)
    seen = collecting(second, topic)
    async with running(second):
        await fill(second, topic, numbers(50, 60))
        await seen.until_count(10)
    assert seen.values == numbers(50, 60)


async def test_what_was_not_acknowledged_comes_again(log_url: str, fresh: type_fresh) -> None:
    topic, group = fresh("again"), fresh("app")
    await make_topic(log_url, topic)

    def noack_app(upto: int) -> tuple[faust.App, Collected]:
        app = make_app(group, log_url, stop_within_s=0.1)
        collected = Collected()

        @app.agent(app.topic(topic, partitions=1, **RAW))
        async def hold(stream: faust.StreamT[bytes]) -> None:
            async for event in stream.noack().events():
                collected.add(event)
                if event.message.offset < upto:
                    event.ack()

        return app, collected

    app, seen = noack_app(upto=7)
    async with running(app):
        await fill(app, topic, numbers(0, 20))
        await seen.until_count(20)
    assert await committed_offset(log_url, group, topic) == 7
    app, seen = noack_app(upto=0)
    async with running(app):
        await seen.until_count(13)
    assert seen.values == numbers(7, 20)


async def test_two_groups_each_read_everything_in_one_process(log_url: str, fresh: type_fresh) -> None:
    topic = fresh("groups")
    await make_topic(log_url, topic, 2)
    apps = [make_app(fresh(f"app{i}"), log_url) for i in range(3)]
    seen = [collecting(app, topic, 2) for app in apps]
    async with running(*apps):
        await fill(apps[0], topic, numbers(0, 30), partition=1)
        for collected in seen:
            await collected.until_count(30)
            assert collected.values == numbers(0, 30)


async def test_a_table_recovers_what_it_knew(log_url: str, fresh: type_fresh) -> None:
    topic, group = fresh("table"), fresh("app")
    await make_topic(log_url, topic)

    def counting() -> tuple[faust.App, Any, Collected]:
        app = make_app(group, log_url)
        table = app.Table("counts", default=int, partitions=1)
        collected = Collected()

        @app.agent(app.topic(topic, partitions=1, **RAW))
        async def count(stream: faust.StreamT[bytes]) -> None:
            async for event in stream.events():
                table[event.value.decode()] += 1
                collected.add(event)

        return app, table, collected

    app, table, seen = counting()
    async with running(app):
        await fill(app, topic, [b"a"] * 30 + [b"b"] * 12)
        await seen.until_count(42)
    app, table, seen = counting()
    async with running(app):
        await fill(app, topic, [b"a"])
        await seen.until_count(1)
        assert (table["a"], table["b"]) == (31, 12)


async def test_assignment_may_seek_behind_and_past_what_is_committed(log_url: str, fresh: type_fresh) -> None:
    """detect goes back to its manifest's offset, the desk to its snapshot's; no record flows before."""
    topic, group = fresh("seek"), fresh("app")
    await make_topic(log_url, topic)
    first = make_app(group, log_url)
    seen = collecting(first, topic)
    async with running(first):
        await fill(first, topic, numbers(0, 20))
        await seen.until_count(20)
    for start in (5, 0, 23):
        app = make_app(group, log_url)
        seen = collecting(app, topic)
        flowed_before: list[int] = []

        async def go_there(
            tps: set[Any],
            start: int = start,
            app: faust.App = app,
            seen: Collected = seen,
            flowed_before: list[int] = flowed_before,
        ) -> None:
            assert {tp.topic for tp in tps} == {topic}
            flowed_before.append(len(seen.seen))
            await seek(app, topic, 0, start)

        on_assigned(app, go_there)
        async with running(app):
            await fill(app, topic, [b"marker"])
            await seen.until(lambda seen=seen: bool(seen.seen) and seen.values[-1] == b"marker")  # type: ignore[misc]
            end = await end_offset(log_url, topic, 0)
            await seen.until(lambda seen=seen, end=end: seen.seen[-1][1] == end - 1)  # type: ignore[misc]
        assert flowed_before == [0]
        assert [offset for _, offset, _ in seen.seen] == list(range(start, end))
        if start == 0:
            app = make_app(fresh("filler"), log_url)
            async with running(app):
                await fill(app, topic, numbers(0, 3))


async def test_what_is_acknowledged_when_partitions_go_is_committed(log_url: str, fresh: type_fresh) -> None:
    topic, group = fresh("revoked"), fresh("app")
    await make_topic(log_url, topic)
    app = make_app(group, log_url)
    held: list[faust.EventT[bytes]] = []
    seen = Collected()

    @app.agent(app.topic(topic, partitions=1, **RAW))
    async def hold(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.noack().events():
            held.append(event)
            seen.add(event)

    async def checkpoint(tps: set[Any]) -> None:
        for event in held[:8]:
            event.ack()

    on_revoked(app, checkpoint)
    async with running(app):
        await fill(app, topic, numbers(0, 10))
        await seen.until_count(10)
    assert await committed_offset(log_url, group, topic) == 8


async def test_members_share_partitions_and_inherit_them(log_url: str, fresh: type_fresh) -> None:
    """Equal numbers of two topics are in one hand; when a member leaves, the other reads on, and nothing is missed."""
    topics, group = [fresh("left"), fresh("right")], fresh("app")
    for topic in topics:
        await make_topic(log_url, topic, 6)

    def member() -> tuple[faust.App, list[Collected], list[set[Any]], asyncio.Event]:
        app = make_app(group, log_url)
        given: list[set[Any]] = []
        changed = asyncio.Event()

        async def assigned(tps: set[Any]) -> None:
            given.append(tps)
            changed.set()

        on_assigned(app, assigned)
        return app, [collecting(app, topic, 6) for topic in topics], given, changed

    async def until_given(given: list[set[Any]], changed: asyncio.Event, count: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not given or len(given[-1]) != count:
                changed.clear()
                await changed.wait()

    one, one_seen, one_given, one_changed = member()
    two, two_seen, two_given, two_changed = member()

    async def send_all(start: int) -> None:
        for topic in topics:
            for partition in range(6):
                await fill(one, topic, numbers(start, start + 10), partition)

    def values(collected: list[Collected]) -> set[tuple[int, int, bytes]]:
        return {(side, p, value) for side, c in enumerate(collected) for p, _, value in c.seen}

    everything = {(side, p, b"%d" % n) for side in range(2) for p in range(6) for n in range(30)}
    async with running(one):
        await until_given(one_given, one_changed, 12)
        await send_all(0)
        async with running(two):
            await until_given(one_given, one_changed, 6)
            await until_given(two_given, two_changed, 6)
            for given in (one_given[-1], two_given[-1]):
                sides = [{tp.partition for tp in given if tp.topic == topic} for topic in topics]
                assert sides[0] == sides[1]
            assert not one_given[-1] & two_given[-1]
            await send_all(10)
            wanted = {item for item in everything if int(item[2]) < 20}
            both = one_seen + two_seen
            for collected in both:
                await collected.until(
                    lambda: (
                        wanted <= values(one_seen) | values(two_seen)  # each of the two wakes for its own part
                        or all(c.seen for c in both)
                    )
                )
        await until_given(one_given, one_changed, 12)
        await send_all(20)
        await asyncio.gather(
            *[c.until(lambda c=c: {(p, b"%d" % n) for p in range(6) for n in range(20, 30)}  # type: ignore[misc]
                      <= {(p, v) for p, _, v in c.seen}) for c in one_seen]
        )  # fmt: skip
    assert values(one_seen) | values(two_seen) == everything


async def test_three_members_have_equal_numbers_of_both_topics(log_url: str, fresh: type_fresh) -> None:
    """Also when the partitions cannot be shared out evenly."""
    topics, group = [fresh("left"), fresh("right")], fresh("app")
    for topic in topics:
        await make_topic(log_url, topic, 8)
    given: dict[int, set[Any]] = {}
    changed = asyncio.Event()

    def member(number: int) -> faust.App:
        app = make_app(group, log_url)
        for topic in topics:
            collecting(app, topic, 8)

        async def assigned(tps: set[Any]) -> None:
            given[number] = tps
            changed.set()

        on_assigned(app, assigned)
        return app

    def shared() -> bool:
        return len(set().union(*given.values())) == 16 == sum(map(len, given.values())) and len(given) == 3

    async with running(*[member(n) for n in range(3)]):
        async with asyncio.timeout(WITHIN_S):
            while not shared():
                changed.clear()
                await changed.wait()
    for tps in given.values():
        sides = [{tp.partition for tp in tps if tp.topic == topic} for topic in topics]
        assert sides[0] == sides[1]


@pytest.mark.slow
async def test_no_record_is_skipped_while_members_come_and_go(log_url: str, fresh: type_fresh) -> None:
    """As detect does it: a new owner seeks to where the last one was, and reads on without a gap."""
    topic, group = fresh("turns"), fresh("app")
    await make_topic(log_url, topic, 8)
    following: Counter[int] = Counter()
    skipped: list[tuple[int, int, int]] = []
    moved, over = asyncio.Event(), asyncio.Event()

    def member() -> faust.App:
        app = make_app(group, log_url)

        async def assigned(tps: set[Any]) -> None:
            for tp in tps:
                await seek(app, topic, tp.partition, following[tp.partition])
            moved.set()

        on_assigned(app, assigned)

        @app.agent(app.topic(topic, partitions=8, **RAW), name="follow")
        async def follow(stream: faust.StreamT[bytes]) -> None:
            async for event in stream.noack().events():
                p, offset = event.message.partition, event.message.offset
                if offset > following[p]:
                    skipped.append((p, following[p], offset))
                following[p] = max(following[p], offset + 1)
                event.ack()
                moved.set()

        return app

    async def send(app: faust.App) -> None:
        target, number = app.topic(topic, **RAW), 0
        while not over.is_set():
            sent = [await target.send(key=b"k", value=b"%d" % number, partition=p) for p in range(8)]
            await asyncio.gather(*sent)
            number += 1
            await asyncio.sleep(0.003)

    first = member()
    async with running(first):
        sending = asyncio.ensure_future(send(first))
        for _ in range(4):
            async with running(member()):
                await asyncio.sleep(1.5)
            await asyncio.sleep(0.5)
        over.set()
        await sending
        ends = {p: await end_offset(log_url, topic, p) for p in range(8)}
        async with asyncio.timeout(WITHIN_S):
            while dict(following) != ends:
                moved.clear()
                await moved.wait()
    assert skipped == []


async def test_a_topic_can_be_read_from_outside_of_any_group(log_url: str, fresh: type_fresh) -> None:
    topic = fresh("outside")
    await declare_topics(log_url, [TopicSpec(topic, True, None, compacted=True)], 2)
    app = make_app(fresh("app"), log_url)
    async with running(app):
        target = app.topic(topic, **RAW)
        for n in range(10):
            await (await target.send(key=b"k%d" % n, value=b"v%d" % n, partition=1))
        await (await target.send(key=b"k0", value=None, partition=1))
    assert await end_offset(log_url, topic, 0) == 0
    assert await end_offset(log_url, topic, 1) == 11
    assert [r async for r in read_topic(log_url, topic, 0)] == []
    found = [r async for r in read_topic(log_url, topic, 1)]
    assert found == [*((n, b"k%d" % n, b"v%d" % n) for n in range(10)), (10, b"k0", None)]
    assert [o async for o, _, _ in read_topic(log_url, topic, 1, start=3, end=6)] == [3, 4, 5]


async def test_a_topic_with_another_number_of_partitions_is_refused(log_url: str, fresh: type_fresh) -> None:
    cells, single = TopicSpec(fresh("cells"), True, 60), TopicSpec(fresh("single"), False, 60)
    await declare_topics(log_url, [cells, single], 4)
    await declare_topics(log_url, [cells, single], 4)
    with pytest.raises(PartitionMismatchError, match=rf"{cells.name}.* has 4 partitions, not 5"):
        await declare_topics(log_url, [cells, single], 5)


@pytest.mark.parametrize("partitions", [1, 8])
async def test_a_burst_into_one_partition_does_not_wait_for_a_second(
    partitions: int, log_url: str, fresh: type_fresh
) -> None:
    """Faust sleeps for a second when a partition's buffer is full and nothing comes in the others."""
    topic = fresh("burst")
    await make_topic(log_url, topic, partitions)
    app = make_app(fresh("app"), log_url)
    seen = collecting(app, topic, partitions)
    async with running(app):
        await fill(app, topic, numbers(0, 2000))
        await seen.until_count(2000)
    assert seen.values == numbers(0, 2000)


async def test_what_an_app_is_in_no_hurry_to_read_comes_complete_and_in_order(log_url: str, fresh: type_fresh) -> None:
    """Also what another process wrote, and with a topic beside it that it is woken for."""
    slow, quick = fresh("slow"), fresh("quick")
    for topic in (slow, quick):
        await make_topic(log_url, topic)
    app = make_app(fresh("reader"), log_url, unhurried=[slow])
    later, at_once = collecting(app, slow), collecting(app, quick)
    writer = make_app(fresh("writer"), log_url)
    async with running(app, writer):
        for begin in range(0, 200, 50):
            await fill(writer, slow, numbers(begin, begin + 50))
        await fill(writer, quick, numbers(0, 10))
        await at_once.until_count(10)
        await later.until_count(200)
    assert later.values == numbers(0, 200)
    assert at_once.values == numbers(0, 10)

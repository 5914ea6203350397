"""Several processes on one log: what a kill -9 may not lose, who takes over, and how fast they wake."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from agents.transport import App, make_app, read_topic
from tests.transport.apps import committed_offset, fill, make_topic, numbers
from tests.transport.processes import worker

type_fresh = Callable[[str], str]

KILLS = int(os.environ.get("RAHDAR_KILLS", "5"))


@pytest.fixture
async def sender(log_url: str) -> AsyncIterator[App]:
    """A producer in this process."""
    app = make_app("sender", log_url)
    await app.maybe_start_producer()
    yield app
    await app.producer.stop()


async def test_what_was_said_to_be_durable_survives_kill_9(log_url: str, fresh: type_fresh) -> None:
    """Writers are killed at random times in the middle of writing; all that they had said is there, in order."""
    topic = fresh("killed")
    await make_topic(log_url, topic)
    seed = 7
    chance = random.Random(seed)
    said: list[int] = []
    for kill in range(KILLS):
        first = kill * 1_000_000
        async with worker("appender", log_url, topic, first) as writer:
            await writer.until(lambda writer=writer: len(writer.lines) > 0)  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            writer.send(signal.SIGKILL)
            await writer.process.wait()
        numbers_said = [int(line[0]) for line in writer.lines]
        assert numbers_said == list(range(first, first + len(numbers_said)))
        said += numbers_said
    found = [int(value or b"-1") async for _, _, value in read_topic(log_url, topic, 0)]
    assert found == sorted(set(found)), f"seed {seed}"
    assert set(said) <= set(found), f"seed {seed}"


async def test_a_record_wakes_an_agent_in_another_process(log_url: str, fresh: type_fresh, sender: App) -> None:
    """Well below the second after which readers look by themselves."""
    topic = fresh("wake")
    await make_topic(log_url, topic, 4)
    async with worker("reader", log_url, topic, 4, fresh("group")) as reader:
        await reader.until_said("assigned")
        await fill(sender, topic, [b"first"])
        await reader.until_said("got")
        waits_ms = []
        for n in range(20):
            began_ns = time.monotonic_ns()
            await fill(sender, topic, [b"%d" % n], partition=n % 4)
            lines = await reader.until_said("got", n + 2)
            waits_ms.append((int(lines[n + 1][4]) - began_ns) / 1e6)
    assert sorted(waits_ms)[10] < 100


async def test_several_groups_in_several_processes(log_url: str, fresh: type_fresh, sender: App) -> None:
    """Every group reads everything; within a group no partition is read by two."""
    topic, groups = fresh("several"), [fresh("a"), fresh("b")]
    await make_topic(log_url, topic, 8)
    arguments = (log_url, topic, 8, ",".join(groups))
    async with worker("reader", *arguments) as one, worker("reader", *arguments) as two:
        for group in groups:
            for reader in (one, two):
                await reader.until(
                    lambda reader=reader, group=group: any(  # type: ignore[misc]
                        line[0] == group and len(line) == 2 + 4 for line in reader.said("assigned")
                    )
                )
        for partition in range(8):
            await fill(sender, topic, numbers(0, 20), partition)
        both = (one, two)
        for reader in both:
            await reader.until(lambda reader=reader: len(reader.said("got")) >= 2 * 4 * 20)  # type: ignore[misc]
    for group in groups:
        read = [{(p, v) for g, p, _, v, _ in reader.said("got") if g == group} for reader in both]
        assert read[0] | read[1] == {(str(p), str(n)) for p in range(8) for n in range(20)}
        assert not {p for p, _ in read[0]} & {p for p, _ in read[1]}


async def test_after_kill_9_of_the_only_member_the_next_goes_on_at_once(embedded_url: str, fresh: type_fresh) -> None:
    """It does not wait for the dead one's session to end: the process is seen to be gone."""
    topic, group = fresh("restart"), fresh("group")
    await make_topic(embedded_url, topic)
    sender = make_app("sender", embedded_url)
    await sender.maybe_start_producer()
    async with worker("reader", embedded_url, topic, 1, group, "hold") as first:
        await first.until_said("assigned")
        await fill(sender, topic, numbers(0, 3))
        await first.until_said("got")
        first.send(signal.SIGKILL)
        await first.process.wait()
    assert await committed_offset(embedded_url, group, topic) in (None, 0)
    async with worker("reader", embedded_url, topic, 1, group) as second:
        assigned = await second.until_said("assigned")
        assert float(assigned[0][1]) < 1.0
        await second.until_said("got", 3)
    assert [line[3] for line in second.said("got")] == ["0", "1", "2"]
    await sender.producer.stop()


async def test_a_member_that_slept_too_long_can_neither_commit_nor_write(embedded_url: str, fresh: type_fresh) -> None:
    """A zombie: stopped for longer than its session, while another took its partitions. It finds out, and ends."""
    topic, out, group = fresh("zombie"), fresh("out"), fresh("group")
    await make_topic(embedded_url, topic)
    await make_topic(embedded_url, out)
    sender = make_app("sender", embedded_url)
    await sender.maybe_start_producer()
    arguments = (embedded_url, topic, 1, group)
    async with worker("reader", *arguments, "hold", "session=1", f"out={out}") as zombie:
        await zombie.until_said("assigned")
        await fill(sender, topic, numbers(0, 5))
        await zombie.until_said("got")
        zombie.send(signal.SIGSTOP)
        async with worker("reader", *arguments, "session=1") as heir:
            await heir.until_said("assigned")
            await heir.until_said("got", 5)
            zombie.go_on()
            zombie.send(signal.SIGCONT)
            assert await asyncio.wait_for(zombie.process.wait(), 10) == 70
            await fill(sender, topic, numbers(5, 7))
            await heir.until_said("got", 7)
    await zombie.until_said("crashed")
    assert zombie.said("sent") == []
    assert [v async for _, _, v in read_topic(embedded_url, out, 0)] == []
    await sender.producer.stop()


@pytest.mark.slow
async def test_three_idle_stages_cost_next_to_nothing(embedded_url: str) -> None:
    """Below 2 % of a core, whatever the number of partitions: nobody polls."""
    async with worker("idler", embedded_url, 10) as idler:
        await idler.until(lambda: bool(idler.lines))
    assert float(idler.lines[0][0]) < 0.02

"""The log itself: durable, in order, forgetful only where it may be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.transport import FencedError, LogStore, StoreError, UnknownTopicError
from agents.transport.address import broker_url, log_directory
from agents.transport.store import NEWS
from agents.transport.sweep import TOMBSTONE_US
from agents.transport.wake import Wake, mask_of
from pipeline.model.topics import TopicSpec

MINUTE_US = 60_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    store = LogStore.acquire(tmp_path / "log")
    yield store
    await store.release()


async def test_offsets_count_from_zero_in_each_partition(store: LogStore) -> None:
    await store.make_topic("t", 2)
    sent = [store.append("t", n % 2, None, b"%d" % n) for n in range(10)]
    assert await asyncio.gather(*sent) == [n // 2 for n in range(10)]
    tp = store.topic("t").tp(1)
    assert [(r.offset, r.value) for r in store.read(tp, 2, 2, 1 << 20)] == [(2, b"5"), (3, b"7")]


async def test_what_gathers_while_the_disk_is_busy_is_one_transaction(store: LogStore) -> None:
    await store.make_topic("t", 1)
    before = store.query("pragma data_version")[0][0]
    await asyncio.gather(*[store.append("t", 0, None, b"x") for _ in range(1000)])
    commits = store.query("pragma data_version")[0][0] - before
    assert commits <= 20


async def test_a_page_ends_at_its_size_but_is_never_empty(store: LogStore) -> None:
    await store.make_topic("t", 1)
    await asyncio.gather(*[store.append("t", 0, None, b"x" * 1000) for _ in range(10)])
    tp = store.topic("t").tp(0)
    assert len(store.read(tp, 0, 500, 3000)) == 3
    assert len(store.read(tp, 0, 500, 1)) == 1
    assert store.read(tp, 10, 500, 1) == []


async def test_an_unknown_topic_or_partition_is_an_error(store: LogStore) -> None:
    await store.make_topic("t", 1)
    with pytest.raises(UnknownTopicError, match="declare it first"):
        await store.append("absent", 0, None, b"x")
    with pytest.raises(StoreError, match="1 partitions; there is no 1"):
        await store.append("t", 1, None, b"x")


async def test_what_is_no_member_any_more_may_not_append(store: LogStore) -> None:
    await store.make_topic("t", 1)
    with pytest.raises(FencedError):
        await store.append("t", 0, None, b"x", member="gone/1-2-3")
    assert store.head(store.topic("t").tp(0)) == 0


async def test_a_lost_wake_up_costs_a_second(store: LogStore) -> None:
    """Readers look by themselves once a second, should a byte in a pipe get lost."""
    await store.make_topic("t", 1)
    arrived = asyncio.Event()
    store.listen(lambda heads: arrived.set(), lambda: None)
    (own_pipe,) = (store.directory / "wake").iterdir()
    own_pipe.unlink()

    async def append_elsewhere() -> None:
        other = LogStore.acquire(store.directory)  # another loop has a store of its own, like another process
        await other.append("t", 0, None, b"x")
        await other.release()

    await asyncio.get_running_loop().run_in_executor(None, asyncio.run, append_elsewhere())
    await asyncio.wait_for(arrived.wait(), 3)


async def test_looking_for_news_costs_the_same_however_long_the_log(store: LogStore) -> None:
    (plan,) = store.query(f"explain query plan {NEWS}", (5,))[:1]
    assert "INTEGER PRIMARY KEY (rowid>?)" in plan[3]


async def test_who_reads_one_topic_sleeps_through_the_others(store: LogStore) -> None:
    """But hears of a change of groups or topics, and of what is written to its own."""
    for name in ("mine", "other"):
        await store.make_topic(name, 1)
    woken: list[bool] = []
    other = Wake(store.directory)
    other.listen(asyncio.get_running_loop(), woken.append)
    other.want(mask_of([store.topic("mine").id]))

    async def write(topic: str) -> list[bool]:
        await store.append(topic, 0, None, b"x")
        await asyncio.sleep(0.05)
        said, woken[:] = list(woken), []
        return said

    assert await write("other") == []
    assert await write("mine") == [False]
    await store.make_topic("new", 1)
    await asyncio.sleep(0.05)
    assert woken == [True]
    woken.clear()
    other.want(mask_of([store.topic("mine").id, store.topic("other").id]))
    assert await write("other") == [False]
    other.close(asyncio.get_running_loop())


async def test_a_listener_that_asks_for_less_still_hears_its_own(store: LogStore) -> None:
    for name in ("mine", "other"):
        await store.make_topic(name, 1)
    heard: list[dict[int, int]] = []
    store.listen(heard.append, lambda: None)
    store.want(heard.append, ["mine"])
    (own_pipe,) = (store.directory / "wake").iterdir()
    assert own_pipe.name.endswith(f".{mask_of([store.topic('mine').id]):x}")

    async def append_elsewhere(topic: str) -> None:
        elsewhere = LogStore.acquire(store.directory)
        await elsewhere.append(topic, 0, None, b"x")
        await elsewhere.release()

    for topic in ("other", "mine"):
        await asyncio.get_running_loop().run_in_executor(None, asyncio.run, append_elsewhere(topic))
    await asyncio.sleep(0.05)
    assert any(store.topic("mine").tp(0) in heads for heads in heard)


async def test_a_process_in_no_hurry_is_not_woken_and_finds_what_was_written_when_it_looks(store: LogStore) -> None:
    await store.make_topic("t", 1)
    heard: list[dict[int, int]] = []
    store.listen(heard.append, lambda: None)
    store.want(heard.append, [])

    async def append_elsewhere() -> None:
        elsewhere = LogStore.acquire(store.directory)
        await elsewhere.append("t", 0, None, b"x")
        await elsewhere.release()

    await asyncio.get_running_loop().run_in_executor(None, asyncio.run, append_elsewhere())
    await asyncio.sleep(0.05)
    assert heard == []
    store.look_for_records()
    assert heard == [{store.topic("t").tp(0): 1}]


async def test_a_flush_waits_for_what_is_under_way_and_is_no_transaction_when_nothing_is(store: LogStore) -> None:
    await store.make_topic("t", 1)
    sent = [store.append("t", 0, None, b"x") for _ in range(100)]
    await store.flush()
    assert all(one.done() for one in sent)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count_turns())
    await asyncio.sleep(0)
    before = turns
    await store.flush()
    assert turns == before, "nothing was waited for"
    counting.cancel()


async def test_the_pipe_of_a_dead_process_is_removed(store: LogStore) -> None:
    await store.make_topic("t", 1)
    dead = store.directory / "wake" / "1-0"
    os.mkfifo(dead)
    await store.append("t", 0, None, b"x")
    assert not dead.exists()


async def test_old_records_go_and_their_offsets_do_not_come_back(store: LogStore) -> None:
    await store.declare(TopicSpec("t", False, 60), 1)
    now_us = store._clock.now_us()
    tp = store.topic("t").tp(0)
    for age_us in (3 * MINUTE_US, 2 * MINUTE_US, MINUTE_US + 1_000_000, MINUTE_US // 2):
        await store.append("t", 0, None, b"%d" % age_us, now_us - age_us)
    assert await store.sweep() == 3
    assert (store.first(tp), store.head(tp)) == (3, 4)
    await store.call(lambda tx: tx.db.execute("update records set ts=0").fetchall())
    assert await store.sweep() == 1
    assert (store.first(tp), store.head(tp)) == (4, 4)
    assert await store.append("t", 0, None, b"next") == 4


async def test_compaction_keeps_the_newest_of_every_key(store: LogStore) -> None:
    await store.declare(TopicSpec("t", False, None, compacted=True), 1)
    tp = store.topic("t").tp(0)
    for n in range(1200):
        store.append("t", 0, b"k%d" % (n % 4), b"%d" % n)
    await store.append("t", 0, b"last", b"x")
    assert await store.sweep() == 1196
    assert [(r.key, r.value) for r in store.read(tp, 0, 500, 1 << 20)] == [
        *((b"k%d" % (n % 4), b"%d" % n) for n in range(1196, 1200)),
        (b"last", b"x"),
    ]
    assert await store.sweep() == 0


async def test_a_deletion_stays_for_a_while_and_the_last_record_always(store: LogStore) -> None:
    await store.declare(TopicSpec("t", False, None, compacted=True), 1)
    tp = store.topic("t").tp(0)
    now_us = store._clock.now_us()
    old_us = now_us - TOMBSTONE_US - MINUTE_US
    await store.append("t", 0, b"old", b"v", old_us)
    await store.append("t", 0, b"old", None, old_us)
    await store.append("t", 0, b"young", b"v", now_us)
    await store.append("t", 0, b"young", None, now_us)
    await store.append("t", 0, b"end", None, old_us)
    await store.sweep()
    assert [(r.offset, r.key) for r in store.read(tp, 0, 500, 1 << 20)] == [(3, b"young"), (4, b"end")]
    await store.call(lambda tx: tx.db.execute("update records set ts=?", (old_us,)).fetchall())
    await store.sweep()
    assert [(r.offset, r.key) for r in store.read(tp, 0, 500, 1 << 20)] == [(4, b"end")]


async def test_what_is_reopened_is_as_it_was(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    store = LogStore.acquire(directory)
    await store.make_topic("t", 1)
    sent = [store.append("t", 0, b"k", b"%d" % n, headers=b"h") for n in range(5)]
    await store.release()  # writes what waits
    assert [future.result() for future in sent] == list(range(5))
    store = LogStore.acquire(directory)
    try:
        tp = store.topic("t").tp(0)
        found = store.read(tp, 0, 500, 1 << 20)
        assert [(r.offset, r.key, r.headers, r.value) for r in found] == [(n, b"k", b"h", b"%d" % n) for n in range(5)]
        assert await store.append("t", 0, None, b"5") == 5
    finally:
        await store.release()


def test_a_log_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    import sqlite3

    directory = tmp_path / "log"
    directory.mkdir()
    db = sqlite3.connect(directory / "log.sqlite")
    db.execute("pragma user_version=99")
    db.close()

    async def open_it() -> None:
        LogStore.acquire(directory)

    with pytest.raises(StoreError, match="has version 99"):
        asyncio.run(open_it())


def test_relative_and_absolute_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person may write either; Faust's URLs would lower the case of the first and split it at commas."""
    monkeypatch.chdir(tmp_path)
    assert log_directory("log://Var/log") == tmp_path / "Var" / "log"
    assert log_directory("log:///Var/log") == Path("/Var/log")
    assert broker_url("log:///a b/c,d") == "log:///a%20b/c%2Cd"
    assert broker_url("kafka://host:9092") == "kafka://host:9092"
    for wrong in ("log://", "kafka://x", "var/log"):
        with pytest.raises(ValueError, match="is no log"):
            log_directory(wrong)

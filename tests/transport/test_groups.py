"""Who reads what: the sharing out, and who counts as dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.transport import FencedError, LogStore
from agents.transport.groups import (
    Member,
    Seat,
    beat,
    boot,
    commit,
    is_dead,
    join,
    leave,
    rejoin,
    seat,
    share_out,
    started,
)

MEMBERS = st.sets(st.sampled_from("abcdef"), min_size=1)


@given(before=MEMBERS, now=MEMBERS, partitions=st.integers(1, 40))
def test_everything_is_shared_out_evenly_and_moves_only_when_it_must(
    before: set[str], now: set[str], partitions: int
) -> None:
    topics = {"x": partitions, "y": partitions, "single": 1}
    first = share_out({m: topics.keys() for m in before}, topics, {})
    shares = share_out({m: topics.keys() for m in now}, topics, first)
    assert shares.keys() == {(t, n) for t, count in topics.items() for n in range(count)}
    assert set(shares.values()) <= now
    for n in range(partitions):
        assert shares["x", n] == shares["y", n]
    counts = [sum(m == owner for (t, _), owner in shares.items() if t == "x") for m in now]
    assert max(counts) - min(counts) <= 1
    if before == now:
        assert shares == first
    moved = sum(first["x", n] in now and first["x", n] != shares["x", n] for n in range(partitions))
    must = sum(
        max(0, sum(first["x", n] == m for n in range(partitions)) - partitions // len(now)) for m in before & now
    )
    assert moved <= must


def test_a_topic_goes_only_to_those_who_ask_for_it() -> None:
    shares = share_out({"a": ["x"], "b": ["x", "y"]}, {"x": 4, "y": 4}, {})
    assert {owner for (topic, _), owner in shares.items() if topic == "y"} == {"b"}
    assert {owner for (topic, _), owner in shares.items() if topic == "x"} == {"a", "b"}


def test_a_process_is_dead_when_it_is_gone_or_another_has_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = started(child.pid)
    assert ticks is not None
    assert not is_dead(child.pid, ticks, boot())
    assert is_dead(child.pid, ticks + 1, boot())
    child.communicate()
    assert is_dead(child.pid, ticks, boot())
    other_container = boot().split()[0] + " pid:[1]"
    assert not is_dead(child.pid, ticks, other_container)
    assert is_dead(os.getpid(), started(os.getpid()) or 0, "another-boot pid:[1]")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    store = LogStore.acquire(tmp_path / "log")
    await store.make_topic("t", 4)
    yield store
    await store.release()


def living(name: str) -> Member:
    return Member(name, "g", os.getpid(), started(os.getpid()) or 0, boot(), 6.0)


def dead(name: str) -> Member:
    return Member(name, "g", os.getpid(), -1.0, boot(), 6.0)


async def test_a_newcomer_waits_until_the_others_have_let_go(store: LogStore) -> None:
    a, b = living("a"), living("b")
    first = await store.call(lambda tx: join(tx, a, ["t"], 0.0))
    assert first.shares == {("t", n) for n in range(4)}
    waiting = await store.call(lambda tx: join(tx, b, ["t"], 1.0))
    assert waiting == Seat(first.generation + 1, None)
    assert (await store.call(lambda tx: seat(tx, a))).generation == first.generation
    ours = await store.call(lambda tx: rejoin(tx, a, 2.0))
    theirs = await store.call(lambda tx: seat(tx, b))
    assert ours.generation == theirs.generation == waiting.generation
    assert ours.shares is not None
    assert theirs.shares is not None
    assert ours.shares | theirs.shares == first.shares
    assert len(ours.shares) == len(theirs.shares) == 2


async def test_a_commit_of_an_older_generation_is_refused(store: LogStore) -> None:
    a, b = living("a"), living("b")
    first = await store.call(lambda tx: join(tx, a, ["t"], 0.0))
    await store.call(lambda tx: commit(tx, a, first.generation, [("t", 0, 5)]))
    await store.call(lambda tx: join(tx, b, ["t"], 1.0))
    await store.call(lambda tx: commit(tx, a, first.generation, [("t", 0, 6)]))  # still its own: it has not let go
    await store.call(lambda tx: rejoin(tx, a, 2.0))
    with pytest.raises(FencedError):
        await store.call(lambda tx: commit(tx, a, first.generation, [("t", 0, 7)]))
    assert store.query("select offset from committed") == [(6,)]


async def test_the_silent_is_put_out_and_can_neither_commit_nor_write(store: LogStore) -> None:
    a, b = living("a"), living("b")
    first = await store.call(lambda tx: join(tx, a, ["t"], 0.0))
    await store.call(lambda tx: join(tx, b, ["t"], 1.0))
    await store.call(lambda tx: beat(tx, b, 5.0))
    assert (await store.call(lambda tx: seat(tx, b))).shares is None
    await store.call(lambda tx: beat(tx, b, 6.5))  # a was silent for longer than its six seconds
    assert (await store.call(lambda tx: seat(tx, b))).shares == {("t", n) for n in range(4)}
    with pytest.raises(FencedError):
        await store.call(lambda tx: commit(tx, a, first.generation, [("t", 0, 7)]))
    with pytest.raises(FencedError):
        await store.call(lambda tx: beat(tx, a, 7.0))
    with pytest.raises(FencedError):
        await store.append("t", 0, None, b"late", member="a")


async def test_who_could_not_write_itself_judges_nobody(store: LogStore) -> None:
    """After a full disk all are silent for the same time; nobody is to blame."""
    a, b = living("a"), living("b")
    await store.call(lambda tx: join(tx, a, ["t"], 0.0))
    await store.call(lambda tx: join(tx, b, ["t"], 0.0))
    await store.call(lambda tx: rejoin(tx, a, 0.0))
    await store.call(lambda tx: beat(tx, b, 60.0))
    await store.call(lambda tx: beat(tx, a, 60.1))
    assert (await store.call(lambda tx: seat(tx, a))).shares is not None


async def test_a_dead_member_is_replaced_at_once(store: LogStore) -> None:
    gone, new = dead("gone"), living("new")
    await store.call(
        lambda tx: tx.db.execute(
            "insert into members values(?,?,?,?,?,?,?,?,?)",
            (gone.id, gone.group, gone.pid, gone.started, gone.boot, 0.0, 6.0, 1, '["t"]'),
        ).fetchall()
    )
    taken = await store.call(lambda tx: join(tx, new, ["t"], 0.1))
    assert taken.shares == {("t", n) for n in range(4)}


async def test_the_generation_only_rises(store: LogStore) -> None:
    a = living("a")
    first = await store.call(lambda tx: join(tx, a, ["t"], 0.0))
    await store.call(lambda tx: leave(tx, a, 1.0))
    again = await store.call(lambda tx: join(tx, a, ["t"], 2.0))
    assert again.generation > first.generation

"""The outbox in PostgreSQL: several notifiers share it, and what one of them had in hand is told again with the word "repeat"."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from pipeline.alert.store import AlertStore
from pipeline.notify.figures import Watch
from pipeline.notify.leases import LEASE_US, Leases, Task
from pipeline.notify.outcome import Accepted, Sent
from tests.alert.builders import WORDS, at, batch, change, sos
from tests.alert.servers import afresh, postgres
from tests.notify.builders import ladder, manned, officer, post, roster, rung

MANY = 60
PLAN = manned(
    roster(
        posts=[post("post", "amina"), post("chief", "bilal")], officers=[officer("amina", most=1000), officer("bilal")],
        ladders=[ladder(rung(0, "owner"), rung(5, "chief"))],
    ),
    vehicles=[f"v{n}" for n in range(MANY)],
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def store(server: str) -> Iterator[AlertStore]:
    afresh(server)
    with closing(AlertStore(server, PLAN, lambda _: WORDS)) as made:
        yield made


def press(store: AlertStore, count: int) -> None:
    changes = batch(*(change("begin", sos(subject=f"v{n}")) for n in range(count)))
    store.take_changes([("episodes", 0, 0, changes)], at(1))


def test_each_telling_is_taken_by_one_notifier(server: str, store: AlertStore) -> None:
    press(store, MANY)
    taken: dict[str, list[Task]] = {"a": [], "b": [], "c": []}
    together = threading.Barrier(len(taken))

    def work(name: str) -> None:
        with closing(Leases(server, name)) as leases:
            together.wait()
            while found := leases.take(at(1), 7, critical=True):
                taken[name] += found
                for task in found:
                    leases.done(task, Sent(""), at(1))

    threads = [threading.Thread(target=work, args=(name,)) for name in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ids = [task.id for found in taken.values() for task in found]
    assert len(ids) == len(set(ids)) == MANY
    told = store.take_time(at(1.1), None)
    assert [(e.transition, e.reason) for e in told] == [("told", "RECEIPT")] * MANY


def test_two_that_tell_one_person_in_the_same_moment_do_not_both_say_it_for_the_first_time(server: str) -> None:
    """No notifier lived until two steps were due, and then two come at once."""
    again = roster(
        posts=[post("post", "amina")], officers=[officer("amina", most=1000)],
        ladders=[ladder(rung(0, "owner"), rung(1, "owner"))],
    )  # fmt: skip
    afresh(server)
    together = threading.Barrier(2)

    def take(leases: Leases) -> list[bool]:
        together.wait(10)
        return [task.repeat for task in leases.take(at(100), 1, critical=True)]

    with (
        closing(AlertStore(server, manned(again, vehicles=[f"v{n}" for n in range(MANY)]), lambda _: WORDS)) as store,
        closing(Leases(server, "a")) as a,
        closing(Leases(server, "b")) as b,
        ThreadPoolExecutor(2) as threads,
    ):
        for n in range(30):
            store.take_changes([("episodes", 0, n, batch(change("begin", sos(subject=f"v{n}"))))], at(n))
            store.take_time(at(n + 1.1), None)
            said = [repeat for found in threads.map(take, (a, b)) for repeat in found]
            assert sorted(said) == [False, True], f"round {n}"


def test_what_a_dead_one_had_in_hand_says_repeat(server: str, store: AlertStore) -> None:
    press(store, 3)
    with closing(Leases(server, "a")) as dead, closing(Leases(server, "b")) as other:
        first, second, third = dead.take(at(1), 10, critical=False)
        dead.done(first, Accepted("sms:1", 60), at(1))
        assert other.take(at(1) + LEASE_US, 10, critical=False) == [], "its leases hold"
        assert dead.take_back() == 2, "started again under its name it need not wait"
        again = other.take(at(1) + 1, 10, critical=False)
        assert {(task.id, task.repeat) for task in again} == {(second.id, True), (third.id, True)}
        dead.done(second, Sent(""), at(1) + 2)
        assert other.report("sms:1", True, "", at(1.1)) and not other.report("sms:1", True, "", at(1.1))
        later = dead.take(at(1) + 2 + LEASE_US, 10, critical=False)
        assert {(task.id, task.repeat) for task in later} == {(second.id, True), (third.id, True)}, (
            "a lost lease is lost"
        )
        with closing(Watch(server)) as watch:
            other.alive(at(1.05), 1, 0, 0)
            other.alive(at(1.1), 2, 0, 0)
            figures = watch.figures(at(1.1))
            assert (figures.sending, figures.awaited, figures.heard_s, figures.sent) == (2, 0, 0.0, 2)


def test_the_alert_stage_and_notify_make_the_tables_together(server: str) -> None:
    """Both start on an empty database in the same moment."""
    for _ in range(3):
        afresh(server)
        failed: list[BaseException] = []
        together = threading.Barrier(3)

        def begin(kind: str, together: threading.Barrier = together, failed: list[BaseException] = failed) -> None:
            together.wait()
            try:
                if kind == "store":
                    AlertStore(server, PLAN, lambda _: WORDS).close()
                else:
                    Leases(server, kind).close()
            except BaseException as error:  # whatever it is, it is what would have stopped it
                failed.append(error)

        threads = [threading.Thread(target=begin, args=(kind,)) for kind in ("store", "a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failed == []

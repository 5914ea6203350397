"""One active stage: it keeps its lease while it lives, another waits, and who was replaced writes nothing. In a file and on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.alert.lease import LEASE_US, Lease, is_gone, this_process
from pipeline.alert.store import AlertStore, FencedError
from pipeline.alert.tables import make_engine
from tests.alert.builders import HOUR, WORDS, at, batch, change, command, episode, sos
from tests.alert.servers import afresh, postgres
from tests.detect.plans import plan


class Time:
    def __init__(self) -> None:
        self.us = at(0)

    def __call__(self) -> int:
        return self.us


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/alerts.db"
    found: str = request.getfixturevalue("server")
    afresh(found)
    return found


def holds(url: str, sql: str) -> None:
    engine = make_engine(url)
    try:
        with engine.begin() as tx:
            tx.execute(sa.text(sql))
    finally:
        engine.dispose()


@pytest.fixture
def leases(url: str) -> Iterator[Callable[[str], Lease]]:
    made: list[Lease] = []

    def one(holder: str) -> Lease:
        made.append(Lease(url, Time(), holder))
        return made[-1]

    yield one
    for lease in made:
        lease.close()


def test_one_holds_it_and_the_other_waits(leases: Callable[[str], Lease]) -> None:
    first, second = leases("a/1/0"), leases("b/1/0")
    assert first.take() == 1
    assert second.take() is None
    assert first.renew()
    assert second.take() is None
    first.release()
    assert second.take() == 2
    assert not first.renew(), "it has another's name on it now"
    assert second.renew()


def test_what_has_run_out_is_taken_with_a_higher_token(url: str, leases: Callable[[str], Lease]) -> None:
    first, second = leases("a/1/0"), leases("b/1/0")
    first.take()
    holds(url, "update lease set until_us = 1")
    assert second.take() == 2
    assert first.take() is None
    assert not first.renew()


@pytest.mark.parametrize(("later_us", "taken"), [(LEASE_US - 1, False), (LEASE_US, True)])
def test_it_runs_out_after_five_seconds_of_this_machine(tmp_path: Path, later_us: int, taken: bool) -> None:
    clock = Time()
    with (
        closing(Lease(f"sqlite:///{tmp_path}/a.db", clock, "a/1/0")) as first,
        closing(Lease(f"sqlite:///{tmp_path}/a.db", clock, "b/1/0")) as second,
    ):
        first.take()
        clock.us += later_us
        assert (second.take() is not None) == taken


def test_a_process_of_this_machine_that_is_gone_holds_nothing(leases: Callable[[str], Lease]) -> None:
    alive = this_process()
    host, pid, _ = alive.split("/")
    assert not is_gone(alive)
    assert is_gone(f"{host}/{pid}/1.00"), "another process has its number now"
    assert not is_gone(f"elsewhere/{pid}/1.00"), "of another machine nobody can say"
    leases(f"{host}/{pid}/1.00").take()
    assert leases("b/1/0").take() == 2


def test_who_was_replaced_writes_nothing(url: str, leases: Callable[[str], Lease]) -> None:
    first, second = leases("a/1/0"), leases("b/1/0")
    old = AlertStore(url, plan(), lambda _: WORDS, first.take())
    new = None
    try:
        (event,) = old.take_changes([("episodes", 0, 0, batch(change("begin", episode())))], at(1))
        first.release()
        new = AlertStore(url, plan(), lambda _: WORDS, second.take())
        with pytest.raises(FencedError):
            old.take_changes([("episodes", 0, 1, batch(change("begin", sos())))], at(2))
        assert [a.id for a in new.open_alerts()] == [event.alert.id]
        (told,) = new.take_changes([("episodes", 0, 1, batch(change("begin", sos())))], at(2))
        assert told.seq == event.seq + 1
    finally:
        for store in (old, new):
            if store is not None:
                store.close()


def test_a_whole_life_in_either_database(url: str) -> None:
    """Held, told, taken, shelved, over and closed; then everything is read again from the beginning."""
    inputs = [
        lambda s: s.take_changes([("episodes", 0, 0, batch(*(change("begin", episode(n, subject=f"x{n}")) for n in range(9))))], at(10)),
        lambda s: s.take_commands([("commands", 0, 0, command("acknowledge", episode(0, subject="x0").id, id="c0"))], at(11)),
        lambda s: s.take_commands([("commands", 0, 1, command("shelve", episode(1, subject="x1").id, id="c1", until_us=at(12) + HOUR))], at(12)),
        lambda s: s.take_changes([("episodes", 0, 1, batch(change("end", episode(0, 5, subject="x0"))))], at(13)),
        lambda s: s.take_time(at(60), None),
    ]  # fmt: skip
    with closing(AlertStore(url, plan(), lambda _: WORDS)) as store:
        told = [event for step in inputs for event in step(store)]
    assert {"opened", "held", "acknowledged", "shelved", "cleared", "closed"} <= {event.transition for event in told}
    with closing(AlertStore(url, plan(), lambda _: WORDS)) as store:
        assert store.unpublished() == told
        for step in inputs[:-1]:
            assert step(store) == []
        assert store.audit_fault() is None
        assert (
            len(store.held_reasons()) + len([a for a in store.open_alerts() if not a.held and a.rule != "alerts.flood"])
            == 8
        )

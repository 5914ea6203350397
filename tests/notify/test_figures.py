"""What the record reads of telling: a notifier that is dead, or that takes nothing, is seen by what waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from pipeline.notify.figures import NEVER_S, Watch
from pipeline.notify.leases import LEASE_US, Leases
from pipeline.notify.outcome import Accepted, Sent
from tests.alert.builders import at, episode
from tests.notify.builders import Stage
from tests.notify.sending import MovingClock, sending
from tests.waiting import until

Opens = Callable[..., Stage]


@pytest.fixture
def s(stage: Opens) -> Stage:
    made = stage()
    made.opens(1, episode())
    return made


@pytest.fixture
def watch(s: Stage) -> Iterator[Watch]:
    with closing(Watch(s.url)) as one:
        yield one


def test_what_nobody_takes_is_due_for_longer_and_longer(s: Stage, watch: Watch) -> None:
    for minute, seconds in ((1, 0), (1.5, 30), (3, 120)):
        found = watch.figures(at(minute))
        assert (found.due, found.oldest_due_s, found.heard_s) == (1, seconds, NEVER_S)


def test_what_is_being_sent_is_due_again_when_its_sender_has_died(s: Stage, watch: Watch) -> None:
    with closing(Leases(s.url, "n")) as leases:
        leases.take(at(1), 9, critical=False)
    over_us = at(1) + LEASE_US
    sending_now, died = watch.figures(over_us - 1), watch.figures(over_us + 40_000_000)
    assert (sending_now.due, sending_now.oldest_due_s, sending_now.sending) == (0, 0, 1)
    assert (died.due, died.oldest_due_s) == (1, 40)


def test_a_report_that_nobody_misses_is_due_too(s: Stage, watch: Watch) -> None:
    with closing(Leases(s.url, "n")) as leases:
        (task,) = leases.take(at(1), 9, critical=False)
        leases.done(task, Accepted("r1", 60.0), at(1))
    awaited, missed = watch.figures(at(1.9)), watch.figures(at(3))
    assert (awaited.awaited, awaited.due) == (1, 0)
    assert (missed.due, missed.oldest_due_s) == (1, 60)


def test_what_was_sent_is_not_due(s: Stage, watch: Watch) -> None:
    with closing(Leases(s.url, "n")) as leases:
        (task,) = leases.take(at(1), 9, critical=False)
        leases.done(task, Sent("ok"), at(1))
    found = watch.figures(at(30))
    assert (found.due, found.oldest_due_s, found.sending, found.awaited) == (0, 0, 0, 0)


def test_the_living_speak_for_themselves_and_the_dead_are_not_counted(s: Stage, watch: Watch) -> None:
    with closing(Leases(s.url, "dead")) as dead, closing(Leases(s.url, "a")) as a, closing(Leases(s.url, "b")) as b:
        dead.alive(at(1), 100, 100, 100)
        a.alive(at(5), 3, 1, 0)
        a.alive(at(6), 4, 1, 0)
        b.alive(at(6), 1, 0, 2)
    found = watch.figures(at(6.5))
    assert (found.heard_s, found.sent, found.failed, found.faults) == (30, 5, 1, 2)
    assert watch.figures(at(200)).heard_s == NEVER_S


async def test_a_sender_says_that_it_lives_and_what_became_of_its_tries(s: Stage, watch: Watch) -> None:
    """No channel is set up: its one try fails for good."""
    clock = MovingClock(2)
    async with sending(s.url, s.store.plan, {}, {}, clock):
        assert await until(lambda: watch.figures(clock.now_us()).heard_s < 60, 10)
        assert await until(lambda: watch.figures(clock.now_us()).failed == 1, 10)


def test_where_no_alert_stage_has_been_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "alert.sqlite"
    with closing(Watch(f"sqlite:///{path}")) as one, pytest.raises(DBAPIError):
        one.figures(0)
    assert not path.exists()

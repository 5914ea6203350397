"""Whoever guesses waits; whoever was here before does not wait for the guesses of others; nothing lasts for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.clock import SetClock
from pipeline.people.lockout import MOST_ROWS, PATIENCE, SECOND_US, Lockout

HERE, THERE = "10.0.0.5", "203.0.113.9"


@pytest.fixture
def clock() -> SetClock:
    return SetClock(1_795_000_000 * SECOND_US)


@pytest.fixture
def lockout(clock: SetClock) -> Iterator[Lockout]:
    made = Lockout(":memory:", clock)
    yield made
    made.close()


def later(clock: SetClock, seconds: float) -> None:
    clock.put(clock.now_us() + int(seconds * SECOND_US))


@pytest.mark.parametrize(
    ("scope", "count", "pause_s"),
    [("pair", 4, 0), ("pair", 5, 30), ("pair", 6, 60), ("pair", 9, 480), ("pair", 10, 900), ("pair", 1000, 900),
     ("address", 19, 0), ("address", 20, 30), ("name", 49, 0), ("name", 50, 30), ("name", 1000, 300)],
)  # fmt: skip
def test_how_long_a_pause_is(scope: str, count: int, pause_s: float) -> None:
    assert PATIENCE[scope].pause_s(count) == pause_s


@pytest.mark.parametrize(("failures", "locked"), [(4, False), (5, True), (6, True)])
def test_a_name_from_one_address_waits_after_five(failures: int, locked: bool, lockout: Lockout) -> None:
    for _ in range(failures):
        lockout.failed("amina", HERE)
    assert (lockout.locked_for_s("amina", HERE) > 0) is locked
    assert lockout.locked_for_s("amina", THERE) == 0
    assert lockout.locked_for_s("bilal", HERE) == 0


@pytest.mark.parametrize(("failures", "locked"), [(19, False), (20, True)])
def test_one_address_that_tries_many_names_waits(failures: int, locked: bool, lockout: Lockout) -> None:
    for i in range(failures):
        lockout.failed(f"name-{i}", THERE)
    assert (lockout.locked_for_s("amina", THERE) > 0) is locked
    assert lockout.locked_for_s("amina", HERE) == 0


@pytest.mark.parametrize(("failures", "locked"), [(49, False), (50, True)])
def test_a_name_that_many_addresses_try_waits_for_browsers_that_nobody_knows(
    failures: int, locked: bool, lockout: Lockout
) -> None:
    for i in range(failures):
        lockout.failed("amina", f"203.0.113.{i}")
    assert (lockout.locked_for_s("amina", HERE) > 0) is locked


def test_who_was_here_before_is_let_try_however_many_guess_elsewhere(lockout: Lockout, clock: SetClock) -> None:
    """Also when the guesses come from the same address, as behind one router."""
    mark = lockout.succeeded("amina", HERE)
    for i in range(500):
        lockout.failed("amina", HERE if i % 2 else f"203.0.113.{i % 250}")
        later(clock, 1)
    assert lockout.locked_for_s("amina", HERE) > 0
    assert lockout.locked_for_s("amina", HERE, mark) == 0


def test_a_mark_is_of_one_name_and_buys_no_more_guesses_than_others_have(lockout: Lockout) -> None:
    mark = lockout.succeeded("amina", HERE)
    assert lockout.knows(mark, "amina")
    assert not lockout.knows(mark, "bilal")
    assert not lockout.knows("made up", "amina")
    for _ in range(PATIENCE["device"].free):
        lockout.failed("amina", HERE, mark)
    assert lockout.locked_for_s("amina", HERE, mark) > 0


def test_a_lock_ends_and_does_not_grow_while_it_lasts(lockout: Lockout, clock: SetClock) -> None:
    """Refused attempts are not counted: the desk asks `locked_for_s` first, and that changes nothing."""
    for _ in range(5):
        lockout.failed("amina", HERE)
    waits = [lockout.locked_for_s("amina", HERE) for _ in range(100)]
    assert set(waits) == {30.0}
    later(clock, 30)
    assert lockout.locked_for_s("amina", HERE) == 0


def test_after_a_day_all_is_forgotten(lockout: Lockout, clock: SetClock) -> None:
    for _ in range(9):
        lockout.failed("amina", HERE)
    later(clock, 86_401)
    lockout.failed("amina", HERE)
    assert lockout.locked_for_s("amina", HERE) == 0


def test_success_forgives_the_name_here_and_not_the_address_that_tries_many(lockout: Lockout) -> None:
    for _ in range(4):
        lockout.failed("amina", HERE)
    lockout.succeeded("amina", HERE)
    lockout.failed("amina", HERE)
    assert lockout.locked_for_s("amina", HERE) == 0
    for i in range(18):
        lockout.failed(f"name-{i}", HERE)
        lockout.failed("amina", HERE)
        lockout.succeeded("amina", HERE)  # a guesser with an account of his own
    lockout.failed("name-99", HERE)
    assert lockout.locked_for_s("zara", HERE) > 0


def test_it_outlives_a_restart_and_another_process_can_unlock(tmp_path: Path, clock: SetClock) -> None:
    file = tmp_path / "desk.sqlite"
    first = Lockout(file, clock)
    for _ in range(25):
        first.failed("amina", HERE)
    first.close()
    second, other = Lockout(file, clock), Lockout(file, clock)
    assert second.locked_for_s("amina", HERE) > 0
    assert other.unlock("amina") > 0
    assert second.locked_for_s("amina", HERE) == 0
    second.close()
    other.close()


def test_what_was_typed_for_a_name_does_not_lie_on_disk(tmp_path: Path, clock: SetClock) -> None:
    lockout = Lockout(tmp_path / "desk.sqlite", clock)
    lockout.failed("my secret password", HERE)
    lockout.close()
    assert not any(b"secret password" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_flood_of_names_is_bounded(lockout: Lockout) -> None:
    for i in range(MOST_ROWS // 2 + 100):
        lockout.failed(f"n{i}", THERE)
    (rows,) = lockout._db.execute("SELECT count(*) FROM failed").fetchone()
    assert rows <= MOST_ROWS

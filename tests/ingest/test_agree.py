"""Whose clock is wrong: ours when most devices say the same other time, theirs when few do, nobody's when a backlog comes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.clock import SetClock
from pipeline.ingest.agree import Agreement
from pipeline.ingest.spool import Spool
from pipeline.model.times import format_us
from pipeline.normalise.peek import newest_seen_us

T0 = 1_780_000_000_000_000
SECOND = 1_000_000
YEAR = 365 * 86_400 * SECOND


def run(agreement: Agreement, off_us: dict[str, int], from_s: int = 0, until_s: int = 120) -> bool:
    """Each device reports once in ten seconds what its clock says, `off_us` from ours."""
    for at in range(from_s, until_s, 10):
        for device, off in off_us.items():
            ours = T0 + at * SECOND
            if agreement.due(device, ours):
                agreement.hear(device, ours, ours + off)
    return agreement.trusted


@pytest.mark.parametrize("off", [20 * YEAR, -20 * YEAR, 400 * SECOND, -400 * SECOND])
def test_most_devices_say_another_time_and_later_ours(off: int) -> None:
    agreement = Agreement()
    assert not run(agreement, {"a": off, "b": off + 5 * SECOND, "c": off - 5 * SECOND, "d": 0})
    assert run(agreement, {"a": 0, "b": 5 * SECOND, "c": 0}, 200, 300)


def test_few_devices_or_devices_that_differ_prove_nothing() -> None:
    assert run(Agreement(), {"a": YEAR, "b": YEAR})
    assert run(Agreement(), {"a": YEAR, "b": YEAR, "c": 0, "d": 0, "e": 1})
    assert run(Agreement(), {"a": YEAR, "b": -YEAR, "c": 2 * YEAR, "d": 3 * YEAR})
    assert run(Agreement(), {"a": 250 * SECOND, "b": 250 * SECOND, "c": 250 * SECOND})


def test_a_cut_that_ends_is_no_fault_of_our_clock() -> None:
    """Everybody sends two hours of stored fixes at once, the oldest first, a minute's worth a second."""
    agreement = Agreement()
    for second in range(110):
        for device in "abcde":
            ours = T0 + second * SECOND
            if agreement.due(device, ours):
                agreement.hear(device, ours, T0 - 7200 * SECOND + second * 60 * SECOND)
    assert agreement.trusted


def test_while_too_few_vote_the_last_judgement_stands() -> None:
    agreement = Agreement()
    assert not run(agreement, dict.fromkeys("abc", YEAR))
    assert not run(agreement, dict.fromkeys("a", 0), 1000, 1100)


def native(at_us: int) -> bytes:
    return b'{"kind":"fix","vehicle":"v","seen_at":"%s","lat":35.0,"lon":73.0}' % format_us(at_us).encode()


async def test_the_spool_marks_what_came_while_the_fleet_disagreed(tmp_path: Path) -> None:
    clock = SetClock(T0)
    spool = Spool(tmp_path, clock, seen_us=newest_seen_us)
    assert spool.stamp()[1]
    for at in range(0, 60, 10):
        clock.put(T0 + at * SECOND)
        for login in "abc":
            await spool.append(login, f"v1/0/{login}/native", native(clock.now_us() + YEAR))
    assert not spool.stamp()[1]
    marks = [item.clock_trusted for item in spool.reader().read()]
    assert marks[0]
    assert not marks[-1]
    await spool.close()
    await asyncio.sleep(0)


def test_a_peek_reads_what_a_device_says_and_never_fails() -> None:
    assert newest_seen_us("v1/0/a/native", native(T0)) == T0
    assert newest_seen_us("owntracks/u/d", b'{"_type":"location","lat":35,"lon":73,"tst":1780000000}') == T0
    for topic, payload in (
        ("v1/0/a/native", b"\xff"),
        ("v1/0/a/nothing", b"{}"),
        ("x", b"{}"),
        ("v1/0/a/native", b"[" * 9000),
        ("v1/0/a/native", b'{"kind":"press","subject":"v","what":"sos","seen_at":"2026-01-01T00:00:00Z"}'),
    ):
        assert newest_seen_us(topic, payload) is None

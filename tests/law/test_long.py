"""Some of what the campaign tries by the hundred."""

from __future__ import annotations

import pytest

from pipeline.detect.convoys import Marching
from pipeline.detect.engine import Engine
from tests.law.long import sizes, trial

NUMBERS = range(8)
HOUR_US = 3_600_000_000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_short_horizon_gives_up_is_not_needed_again() -> None:
    failed = {number: found[:3] for number in NUMBERS if (found := trial(number))}
    assert not failed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_convoy_that_gives_up_points_too_soon_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault: more than the slack between sources is given up, and the horizon with it."""
    tidy = Marching.tidy
    monkeypatch.setattr(Marching, "tidy", lambda self, oldest_us: tidy(self, oldest_us + HOUR_US))
    assert any(trial(number) for number in NUMBERS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_engine_that_asks_for_no_history_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault: a vehicle is taken back to what was forgotten."""
    monkeypatch.setattr(Engine, "_require_history", lambda self, late: None)
    assert any(trial(number) for number in NUMBERS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_held_does_not_grow_with_the_hours() -> None:
    """A day in quarters: none ends with much more than the first one. Readings are those of an hour and more: it counts how busy that was."""
    quarters = sizes(0, 24.0, 4)
    grown = {
        name: [quarter[name] for quarter in quarters]
        for name, first in quarters[0].items()
        if max(quarter[name] for quarter in quarters) > 2 * first + 60
    }
    assert set(grown) <= {"readings"}, grown
    assert all(quarter["readings"] < 600 for quarter in quarters)

"""Some of what the campaign tries by the thousand."""

from __future__ import annotations

import pytest

from pipeline.detect.timed import Timed
from tests.law.timelines import trial

NUMBERS = range(40)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_day_under_any_orders_is_told_the_same_in_whatever_order_it_comes() -> None:
    failed = {number: found[:3] for number in NUMBERS if (found := trial(number))}
    assert not failed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_timelines_find_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in late under one version of the plan is not carried on into the next."""
    monkeypatch.setattr(Timed, "_go_on", lambda *_: set())
    assert any(trial(number) for number in NUMBERS)

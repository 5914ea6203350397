"""Some of what the campaign tries by the thousand."""

from __future__ import annotations

import pytest

from pipeline.detect.blackout import Blackout
from pipeline.detect.layers import is_scanned
from pipeline.detect.segment import Segment
from tests.law.switches import trial

NUMBERS = range(40)
FOUND = (99,)
"""Blackouts were kept as another plan had told them."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whatever_only_one_plan_asks_for_is_told_the_same_in_whatever_order_it_comes() -> None:
    failed = {number: found[:3] for number in (*NUMBERS, *FOUND) if (found := trial(number))}
    assert not failed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_that_is_read_back_is_heard_again_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault: versions that are made late do without what nobody kept."""
    monkeypatch.setattr(Segment, "hear_again", lambda self, batches, from_us: [])
    assert any(trial(number) for number in NUMBERS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_blackout_is_judged_by_the_plan_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blackout, "again", lambda self: None)
    assert any(trial(number) for number in FOUND)


def test_no_blackout_is_laid_together_as_what_the_scan_tells() -> None:
    """It has the name of its rules, and goes through the versions as silence does."""
    assert is_scanned("area.forbidden") and not is_scanned("area.blackout")

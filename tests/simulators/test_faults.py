"""Each fault does what it is called, nothing else, and the same again for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from simulators.devices import SECOND_US, FixItem, Parcel
from simulators.faults import Fault, delay, drop, reorder, repeat, wrong_clock

N = 2000


def _stream() -> list[Parcel]:
    out = []
    for n in range(N):
        device = f"d-{n % 3}"
        item = FixItem(
            vehicle="v", device=device, seq=n, seen_at_us=n * SECOND_US, lat=35.0, lon=73.0,
            speed_mps=1.0, course_deg=None, accuracy_m=5.0, altitude_m=0.0,
        )  # fmt: skip
        out.append(Parcel(at_us=(n + 1) * SECOND_US, login=device, device=device, format="native", items=(item,)))
    return out


def _after(fault: Fault) -> list[Parcel]:
    return list(fault(_stream(), np.random.default_rng(3)))


def _seqs(parcels: list[Parcel]) -> list[int]:
    return [p.items[0].seq for p in parcels]


ALL = [drop(0.1), delay(0.2, 60.0), repeat(0.1, 30.0), reorder(20.0), wrong_clock(frozenset({"d-1"}), 30.0)]


@pytest.mark.parametrize("fault", ALL)
def test_every_fault_repeats_itself_and_keeps_the_order_of_arrival(fault: Fault) -> None:
    once = _after(fault)
    assert once == _after(fault)
    assert all(a.at_us <= b.at_us for a, b in pairwise(once))
    assert once != _stream()


def test_drop_loses_its_share() -> None:
    left = _after(drop(0.1))
    assert 0.87 * N < len(left) < 0.93 * N
    assert _seqs(left) == sorted(_seqs(left))


def test_delay_loses_nothing_and_lets_others_overtake() -> None:
    late = _after(delay(0.2, 60.0))
    assert sorted(_seqs(late)) == list(range(N))
    waits = [p.at_us - p.items[0].seen_at_us - SECOND_US for p in late]
    assert 0.15 * N < sum(w > 0 for w in waits) < 0.25 * N
    assert max(waits) <= 60 * SECOND_US


def test_repeat_sends_the_same_again() -> None:
    counts = Counter(_seqs(_after(repeat(0.1, 30.0))))
    assert set(counts) == set(range(N))
    assert 0.07 * N < sum(c > 1 for c in counts.values()) < 0.13 * N


def test_reorder_keeps_everything_near_its_place() -> None:
    seqs = _seqs(_after(reorder(20.0)))
    assert sorted(seqs) == list(range(N))
    assert max(abs(place - seq) for place, seq in enumerate(seqs)) <= 21


def test_a_wrong_clock_is_wrong_in_its_own_device_only() -> None:
    for p in _after(wrong_clock(frozenset({"d-1"}), 30.0)):
        shift = p.items[0].seen_at_us - p.items[0].seq * SECOND_US
        assert shift == (30 * SECOND_US if p.device == "d-1" else 0)

"""Durations, clock times and weeks, as planners write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from pipeline.model.times import format_us
from pipeline.plan.model import Schedule
from pipeline.plan.times import DAY_S, DAYS, WEEK_S, clock_s, duration_us, instant_us, merged, week_windows


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 s", 30), ("3 min", 180), ("2 h", 7200), ("1 h 30 min", 5400), ("1.5 min", 90), ("500 ms", 0.5), ("2 days", 172_800),
     ("3min", 180), ("PT3M", 180), ("P1DT2H", 93_600), ("PT1.5S", 1.5), ("0 s", 0)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert duration_us(text) == seconds * 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        "",
        "3",
        3,
        3.0,
        True,
        None,
        "min",
        "3 minutos",
        "-3 min",
        "3 min ago",
        "P",
        "PT",
        "P1",
        "1,5 min",
        "3 M",
        ["3 min"],
    ],
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        duration_us(value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00", 0), ("5:07", 18_420), ("21:30", 77_400), ("23:59", 86_340), ("24:00", 86_400)]
)
def test_clock_times(text: str, seconds: int) -> None:
    assert clock_s(text) == seconds


@pytest.mark.parametrize("value", ["24:01", "25:00", "12:60", "9 pm", "12", "", 1290, "12:00:00"])
def test_what_is_no_clock_time(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        clock_s(value)


def test_an_instant_in_local_time_or_with_a_zone() -> None:
    assert format_us(instant_us("2026-11-23 21:30", 18_000)) == "2026-11-23T16:30:00.000000Z"
    assert instant_us("2026-11-23T16:30:00Z", 18_000) == instant_us("2026-11-23 21:30", 18_000)


def test_all_day_every_day_is_always() -> None:
    assert merged(week_windows(DAYS, 0, DAY_S)) == ()


def test_nights_that_touch_become_one_window() -> None:
    assert merged([*week_windows(["mon"], 79_200, 7_200), *week_windows(["tue"], 7_200, 10_800)]) == ((79_200, 97_200),)


_lines = st.lists(
    st.tuples(st.lists(st.sampled_from(DAYS), min_size=1), st.integers(0, DAY_S - 1), st.integers(0, DAY_S)).filter(lambda w: w[1] != w[2]),
    min_size=1, max_size=4,
)  # fmt: skip


@given(lines=_lines, second=st.integers(0, WEEK_S - 1))
def test_merging_changes_no_instant(lines: list[tuple[list[str], int, int]], second: int) -> None:
    """The compiled windows apply exactly when one of the written ones does, said day by day."""

    def written() -> bool:
        for days, start, end in lines:
            for day in days:
                begin = DAYS.index(day) * DAY_S + start  # type: ignore[arg-type]  # drawn from DAYS
                length = (end - start) if end > start else (end + DAY_S - start)
                if (second - begin) % WEEK_S < length:
                    return True
        return False

    schedule = Schedule(merged(w for days, a, b in lines for w in week_windows(days, a, b)), 0)  # type: ignore[arg-type]
    monday_us = 4 * DAY_S * 1_000_000  # 1970-01-05
    assert schedule.applies(monday_us + second * 1_000_000) is written()

"""Times as plans write them: `3 min`, `21:30`, `2026-11-23 21:30`; and as the program holds them: microseconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Literal

from pipeline.model.times import to_us
from pipeline.plan.faults import bad

ZONES: dict[str, int] = {"Asia/Karachi": 5 * 3600, "UTC": 0}
"""Zones of a plan and their offset in seconds. Both keep one offset all year: a zone with summer time would need
more than that."""

DAY_S = 86_400
WEEK_S = 7 * DAY_S
ALWAYS_US = (0, 253_402_300_799_000_000)
"""1970 to the end of 9999: a movement that is always in force."""

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_UNITS_US = {
    "ms": 1_000, "s": 1_000_000, "sec": 1_000_000, "second": 1_000_000, "seconds": 1_000_000,
    "min": 60_000_000, "minute": 60_000_000, "minutes": 60_000_000,
    "h": 3_600_000_000, "hour": 3_600_000_000, "hours": 3_600_000_000,
    "d": 86_400_000_000, "day": 86_400_000_000, "days": 86_400_000_000,
}  # fmt: skip
_PART = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]+)\s*")
_ISO = re.compile(r"P(?:(\d{1,4})D)?(?:T(?=\d)(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6}(?:\.\d{1,6})?)S)?)?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_DURATION_CURE = 'Write it with its unit: "30 s", "3 min", "2 h" or "1 h 30 min"'


def duration_us(value: object) -> int:
    """`3 min`, `1 h 30 min`, `PT3M`. A bare number is refused: it has no unit."""
    if isinstance(value, bool) or not isinstance(value, str):
        raise bad("a duration needs a unit", _DURATION_CURE)
    text = value.strip()
    if iso := _ISO.fullmatch(text):
        if any(iso.groups()):
            days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
            return round((days * DAY_S + hours * 3600 + minutes * 60 + seconds) * 1e6)
    else:
        total, position = 0.0, 0
        while found := _PART.match(text, position):
            if found[2] not in _UNITS_US:
                break
            total += float(found[1]) * _UNITS_US[found[2]]
            position = found.end()
        if position == len(text) and position:
            return round(total)
    raise bad("this is no duration", _DURATION_CURE)


def clock_s(value: object) -> int:
    """Seconds since midnight of `21:30`; `24:00` is the end of the day."""
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found:
        hours, minutes = int(found[1]), int(found[2])
        if minutes < 60 and (hours < 24 or (hours, minutes) == (24, 0)):
            return hours * 3600 + minutes * 60
    raise bad("this is no time of day", 'Write hours and minutes, 00:00 to 24:00, as in "21:30"')


def instant_us(text: str, utc_offset_s: int) -> int:
    """An instant in local time, or with a zone of its own. ValueError when it is none."""
    parsed = datetime.fromisoformat(text.strip())
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone(timedelta(seconds=utc_offset_s)))
    return to_us(parsed)


def week_windows(days: Iterable[Day], start_s: int, end_s: int) -> list[tuple[int, int]]:
    """Windows of the local week for one line of a schedule. An end at or before its start belongs to the next day;
    the window that
    runs over the end of the week has an end smaller than its start."""
    length = end_s - start_s if end_s > start_s else end_s + DAY_S - start_s
    windows = []
    for day in days:
        start = DAYS.index(day) * DAY_S + start_s
        windows.append((start % WEEK_S, (start + length) % WEEK_S))
    return windows


def merged(windows: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same times in the fewest windows: touching and overlapping ones become one. () when nothing is left out:
    always."""
    flat: list[tuple[int, int]] = []
    for start, end in windows:
        flat += [(start, end)] if start < end else [(start, WEEK_S), (0, end)]
    out: list[tuple[int, int]] = []
    for start, end in sorted(w for w in flat if w[0] < w[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    if out == [(0, WEEK_S)]:
        return ()
    if len(out) > 1 and out[0][0] == 0 and out[-1][1] == WEEK_S:
        out = [*out[1:-1], (out[-1][0], out[0][1])]
    # an end at the week's last instant is second 0 of the next: written so, the window wraps and stays half open
    return tuple((start, end % WEEK_S if start else end) for start, end in out)

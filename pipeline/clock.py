"""The one place that reads a clock. Ingest, the alert stage and the simulators are handed a `Clock`; nobody else asks the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Microseconds since 1970-01-01 UTC."""

    def now_us(self) -> int: ...


class WallClock:
    """The machine's clock, scaled by `speed` from the instant it was made; never runs backwards within a process."""

    def __init__(self, speed: float = 1.0, epoch_us: int | None = None) -> None:
        self._started_ns = time.monotonic_ns()
        self._epoch_us = time.time_ns() // 1000 if epoch_us is None else epoch_us
        self.speed = speed

    def now_us(self) -> int:
        elapsed_us = (time.monotonic_ns() - self._started_ns) / 1000
        return self._epoch_us + int(elapsed_us * self.speed)


def scaled_clock(speed: float, anchor_us: int | None = None) -> WallClock:
    """A clock that agrees, in every process that is given the same `anchor_us` (an instant of wall time), on a time that has run
    `speed` times as fast since that instant. Without an anchor it is plain wall time."""
    wall_us = time.time_ns() // 1000
    if anchor_us is None or speed == 1.0:
        return WallClock(speed, wall_us)
    return WallClock(speed, anchor_us + int((wall_us - anchor_us) * speed))


class SetClock:
    """A clock that stands where it was put: for tests and for simulators at full speed."""

    def __init__(self, now_us: int = 0) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def put(self, now_us: int) -> None:
        self._now_us = now_us

"""Time as data: up to when a source's Ticks say that nothing else came, and when nobody listened to it."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from pipeline.model.observation import Tick

BLIND_US = 15_000_000  # three Ticks are missing: nobody listened
GONE_US = 3_600_000_000  # a source that is not heard for so long, while others are, is waited for no more
ANY_SOURCE = "until"  # whoever says that time passed up to an instant speaks for all

Kept = dict[str, tuple[int, int, list[tuple[int, int]]]]
"""Of each source, in a checkpoint: its first Tick, its last, and the stretches between that were too long."""


@dataclass(slots=True)
class Listening:
    """A source's Ticks: the first, the last, and the stretches between that were too long."""

    first_us: int
    last_us: int
    blind: list[tuple[int, int]]

    def add(self, at_us: int) -> bool:
        """True when it changes what is behind the last Tick."""
        if at_us >= self.last_us:
            if at_us - self.last_us > BLIND_US:
                self.blind.append((self.last_us, at_us))
            self.last_us = at_us
            return False
        if at_us < self.first_us:
            if self.first_us - at_us > BLIND_US:
                self.blind.insert(0, (at_us, self.first_us))
            self.first_us = at_us
            return True
        place = bisect.bisect_right(self.blind, (at_us, at_us)) - 1
        if place < 0 or at_us >= self.blind[place][1]:
            return False
        start, end = self.blind.pop(place)
        parts = [(a, b) for a, b in ((start, at_us), (at_us, end)) if b - a > BLIND_US]
        self.blind[place:place] = parts
        return True

    def awake(self, start_us: int, length_us: int) -> int:
        """When somebody has listened for so long since `start_us`."""
        end = start_us + length_us
        for a, b in self.blind:
            if b <= start_us:
                continue
            if a >= end:
                break
            end += b - max(a, start_us)
        return end


class Clock:
    """Up to when it is known that nothing else came from a source, and when somebody has listened to it for so long."""

    def __init__(self) -> None:
        self.listening: dict[str, Listening] = {}
        self.now_us = 0
        self.trusted_us = 0
        """As `now_us`, by Ticks whose clock was trusted: no other one gives anything up."""

    def tick(self, tick: Tick) -> bool:
        """True when deadlines may have moved. A Tick of an ingest that missed something says nothing: nobody listened."""
        if not tick.healthy:
            return False
        known = self.listening.get(tick.source)
        self.now_us = max(self.now_us, tick.at_us)
        if tick.clock_trusted:
            self.trusted_us = max(self.trusted_us, tick.at_us)
        if known is None:
            self.listening[tick.source] = Listening(tick.at_us, tick.at_us, [])
            return False
        gap = tick.at_us - known.last_us > BLIND_US
        return known.add(tick.at_us) or gap

    def time(self, source: str) -> int:
        own, any_ = self.listening.get(source), self.listening.get(ANY_SOURCE)
        return max(own.last_us if own else 0, any_.last_us if any_ else 0, self.trusted_us - GONE_US)

    def awake(self, source: str, start_us: int, length_us: int) -> int:
        known = self.listening.get(source)
        return start_us + length_us if known is None else known.awake(start_us, length_us)

    def dump(self) -> Kept:
        return {name: (at.first_us, at.last_us, at.blind) for name, at in self.listening.items()}

    def restore(self, kept: Kept, trusted_us: int) -> None:
        self.trusted_us = max(self.trusted_us, trusted_us)
        for name, (first, last, blind) in kept.items():
            self.listening[name] = Listening(first, last, [(a, b) for a, b in blind])
            self.now_us = max(self.now_us, last)

"""Time as data: up to when a source's Ticks say that nothing else came, and when nobody listened to it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.model.observation import Tick

BLIND_US = 15_000_000  # three Ticks are missing: nobody listened
GONE_US = 3_600_000_000  # a source that has no Tick for so long, while others have, is spoken for by these
NEVER_US = 1 << 62
EVERYBODY = "*"  # no source is called so
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


class Clock:
    """Up to when it is known that nothing else came from a source, and when somebody has listened to it for so long."""

    def __init__(self) -> None:
        self.listening: dict[str, Listening] = {}
        self.now_us = 0
        self.everybody: Listening | None = None
        """All sources' Ticks whose clock was trusted, taken together."""
        self.trusted_us = 0
        """As `now_us`, by Ticks whose clock was trusted: no other one gives anything up."""

    def tick(self, tick: Tick) -> bool:
        """True when deadlines may have moved. A Tick of an ingest that missed something says nothing: nobody listened."""
        if not tick.healthy:
            return False
        known = self.listening.get(tick.source)
        moved = self._hear_everybody(tick)
        self.now_us = max(self.now_us, tick.at_us)
        if tick.clock_trusted:
            self.trusted_us = max(self.trusted_us, tick.at_us)
        if known is None:
            self.listening[tick.source] = Listening(tick.at_us, tick.at_us, [])
            return moved
        gap = tick.at_us - known.last_us > BLIND_US
        return known.add(tick.at_us) or gap or moved

    def _hear_everybody(self, tick: Tick) -> bool:
        if not tick.clock_trusted or tick.source == ANY_SOURCE:
            return False
        if self.everybody is None:
            self.everybody = Listening(tick.at_us, tick.at_us, [])
            return False
        before_us = self.everybody.last_us
        gone = any(before_us <= known.last_us + GONE_US < tick.at_us for known in self.listening.values())
        return self.everybody.add(tick.at_us) or tick.at_us - before_us > BLIND_US or gone

    def time(self, source: str) -> int:
        own, any_ = self.listening.get(source), self.listening.get(ANY_SOURCE)
        return max(own.last_us if own else 0, any_.last_us if any_ else 0, self._spoken_for(own))

    def _spoken_for(self, own: Listening | None) -> int:
        """Up to when the others' Ticks count for a source that has had none for long."""
        others_us = 0 if self.everybody is None else self.everybody.last_us
        if own is None:
            return others_us - GONE_US
        return others_us if others_us - own.last_us > GONE_US else 0

    def awake(self, source: str, start_us: int, length_us: int) -> int:
        """When somebody has listened for so long since `start_us`."""
        known, end = self.listening.get(source), start_us + length_us
        if known is None or (known.last_us >= end and (not known.blind or known.blind[-1][1] <= start_us)):
            return end
        for a, b in self._blind(known, start_us):
            if a >= end:
                break
            end += max(0, b - max(a, start_us))
        return end

    def _blind(self, known: Listening, start_us: int) -> Iterator[tuple[int, int]]:
        """When nobody listened, in order, from about then on. A source that has had no Tick for long is spoken for by the others after a while:
        the same whether it comes back or not."""
        first = max(0, bisect.bisect_right(known.blind, (start_us, start_us)) - 1)
        for a, b in _from(known.blind, first):
            yield a, min(b, a + GONE_US)
            yield from self._nobody(a + GONE_US, b)
        if self._spoken_for(known):
            yield known.last_us, known.last_us + GONE_US
            yield from self._nobody(known.last_us + GONE_US, NEVER_US)

    def _nobody(self, from_us: int, until_us: int) -> Iterator[tuple[int, int]]:
        """When no source at all had a Tick."""
        blind = [] if self.everybody is None or from_us >= until_us else self.everybody.blind
        for a, b in _from(blind, max(0, bisect.bisect_right(blind, (from_us, from_us)) - 1)):
            if a >= until_us:
                break
            if b > from_us:
                yield max(a, from_us), min(b, until_us)

    def dump(self) -> Kept:
        everybody = {} if self.everybody is None else {EVERYBODY: self.everybody}
        return {name: (at.first_us, at.last_us, at.blind) for name, at in (self.listening | everybody).items()}

    def restore(self, kept: Kept, trusted_us: int) -> None:
        self.trusted_us = max(self.trusted_us, trusted_us)
        for name, (first, last, blind) in kept.items():
            heard = Listening(first, last, [(a, b) for a, b in blind])
            if name == EVERYBODY:
                self.everybody = heard
                continue
            self.listening[name] = heard
            self.now_us = max(self.now_us, last)


def _from(stretches: list[tuple[int, int]], place: int) -> Iterator[tuple[int, int]]:
    """From this place on; what stands before is not looked at."""
    return map(stretches.__getitem__, range(place, len(stretches)))

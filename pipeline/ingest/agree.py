"""Do the devices agree with our clock? After a power cut a dead clock battery must not reject the whole fleet as "from the future".

Only devices whose own clock runs vote: between two reports theirs and ours went on alike. A backlog does not (its instants rush past), so
a network cut that ends is no fault of our clock. Our clock is suspect while at least `LEAST` devices vote, and more than half of them
say the same other time. It is trusted again when they agree with it; while too few vote, the last judgement stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median_low

SECOND_US = 1_000_000
LEAST = 3
OFF_US = 300 * SECOND_US  # as far as normalise lets a device's clock run ahead
ALIKE_US = 60 * SECOND_US  # devices that say the same time
EVERY_US = 10 * SECOND_US  # one report of a device is looked at so often
WITHIN_US = 300 * SECOND_US  # a vote counts so long
LONGEST_US = 120 * SECOND_US  # farther apart two reports say nothing about how a clock runs
SLACK_US = 5 * SECOND_US
MOST_DEVICES = 20_000


@dataclass(slots=True)
class Agreement:
    """Knows no clock. `ours_us` is our clock as it stands when a message comes, which may jump."""

    trusted: bool = True
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)  # ours, theirs
    _votes: dict[str, tuple[int, int]] = field(default_factory=dict)  # ours, theirs minus ours
    _judged_us: int = 0

    def due(self, device: str, ours_us: int) -> bool:
        """Is its next report worth reading?"""
        last = self._last.get(device)
        return last is None or not last[0] <= ours_us < last[0] + EVERY_US

    def hear(self, device: str, ours_us: int, theirs_us: int) -> None:
        """A report: when it came, and the newest instant that it speaks of."""
        last = self._last.get(device)
        if len(self._last) >= MOST_DEVICES and last is None:
            self._last.clear()
            self._votes.clear()
        self._last[device] = ours_us, theirs_us
        if last is None:
            return
        went, goes = ours_us - last[0], theirs_us - last[1]
        if 0 < went <= LONGEST_US and goes > 0 and abs(goes - went) <= SLACK_US:
            self._votes[device] = ours_us, theirs_us - ours_us
        else:
            self._votes.pop(device, None)
        self._judge(ours_us)

    def _judge(self, ours_us: int) -> None:
        for device in [d for d, (at, _) in self._votes.items() if not ours_us - WITHIN_US <= at <= ours_us]:
            del self._votes[device]
        if len(self._votes) < LEAST:
            return
        offsets = [offset for _, offset in self._votes.values()]
        middle = median_low(offsets)
        alike = sum(abs(offset - middle) <= ALIKE_US for offset in offsets)
        if abs(middle) <= OFF_US:
            self.trusted = True
        elif 2 * alike > len(offsets):
            self.trusted = False

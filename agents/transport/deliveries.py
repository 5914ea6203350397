"""What has been delivered and not yet acknowledged, for each partition. Only what lies before the first of these may
be committed.

Faust 0.15.3 keeps acknowledged offsets instead, and commits over a message that is still being processed, that a
stream skipped, or that a `noack()` agent has let go of (issues 527, 606; pull request 707 is open).
"""

from __future__ import annotations

from collections.abc import Iterable

from faust.types import TP


class Deliveries:
    def __init__(self) -> None:
        self._open: dict[TP, dict[int, None]] = {}
        self._next: dict[TP, int] = {}
        self.sealed = False

    def seal(self) -> None:
        """From now on nothing counts as processed: agents are being cancelled, and Faust would acknowledge what they
        held."""
        self.sealed = True

    def delivered(self, tp: TP, offset: int) -> None:
        self._open.setdefault(tp, {})[offset] = None
        self._next[tp] = offset + 1

    def acknowledged(self, tp: TP, offset: int) -> bool:
        """Whether that was news."""
        if self.sealed:
            return False
        waiting = self._open.get(tp)
        if waiting is None or offset not in waiting:
            return False
        del waiting[offset]
        return True

    def forget(self, tps: Iterable[TP]) -> None:
        """They will be delivered anew, here or elsewhere."""
        for tp in list(tps):
            self._open.pop(tp, None)
            self._next.pop(tp, None)

    def partitions(self) -> list[TP]:
        return list(self._next)

    def committable(self, tp: TP) -> int | None:
        """The offset from which on the partition would have to be read again."""
        waiting = self._open.get(tp)
        return next(iter(waiting)) if waiting else self._next.get(tp)

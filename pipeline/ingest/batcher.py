"""When to send: at once at quiet times, else when enough waits or it has waited long enough.

A record costs every stage behind it the same, whatever is in it. So a cell's next record is at least `SPACING_S` behind its last one:
at 500 fixes a second that halves the CPU of the whole flow, and at night it delays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.model.wire import RawItem

MOST_ITEMS = 1000
MOST_BYTES = 512 * 1024
LONGEST_S = 0.020
SPACING_S = 0.010


@dataclass(slots=True)
class Waiting:
    """Items of one cell."""

    items: list[RawItem] = field(default_factory=list)
    size: int = 0
    since_s: float = 0.0
    spaced_s: float = 0.0  # not before, unless it is full

    @property
    def due_s(self) -> float:
        return max(self.spaced_s, self.since_s + LONGEST_S)


@dataclass(slots=True)
class Batcher:
    """Knows no clock: `now_s` is any clock that does not run backwards."""

    cells: dict[str, Waiting] = field(default_factory=dict)
    sent_s: dict[str, float] = field(default_factory=dict)

    def add(self, cell: str, items: Iterable[RawItem], now_s: float) -> None:
        waiting = self.cells.get(cell)
        if waiting is None:
            spaced_s = self.sent_s.get(cell, now_s - SPACING_S) + SPACING_S
            waiting = self.cells[cell] = Waiting(since_s=now_s, spaced_s=spaced_s)
        for item in items:
            waiting.items.append(item)
            waiting.size += len(item.payload) + len(item.topic) + 64

    def take(self, now_s: float, idle: bool) -> list[tuple[str, list[RawItem]]]:
        """Records to send now. `idle`: nothing is on its way."""
        out: list[tuple[str, list[RawItem]]] = []
        for cell, waiting in list(self.cells.items()):
            full = len(waiting.items) >= MOST_ITEMS or waiting.size >= MOST_BYTES
            if full or now_s >= (waiting.spaced_s if idle else waiting.due_s):
                del self.cells[cell]
                self.sent_s[cell] = now_s
                out += [(cell, part) for part in _cut(waiting.items)]
        return out

    def oldest(self) -> Iterable[int]:
        """The id of the first item of every cell that waits."""
        return [waiting.items[0].id for waiting in self.cells.values()]

    def due_s(self, idle: bool) -> float | None:
        """When the next one is due if nothing else happens; None: nothing waits."""
        return min((w.spaced_s if idle else w.due_s for w in self.cells.values()), default=None)


def _cut(items: list[RawItem]) -> Iterable[list[RawItem]]:
    part: list[RawItem] = []
    size = 0
    for item in items:
        length = len(item.payload) + len(item.topic) + 64
        if part and (len(part) >= MOST_ITEMS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    if part:
        yield part

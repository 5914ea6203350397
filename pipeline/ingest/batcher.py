"""When to send: at once while nothing is on its way, else when enough waits or it has waited long enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.model.wire import RawItem

MOST_ITEMS = 1000
MOST_BYTES = 512 * 1024
LONGEST_S = 0.020


@dataclass(slots=True)
class Waiting:
    """Items of one cell."""

    items: list[RawItem] = field(default_factory=list)
    size: int = 0
    since_s: float = 0.0


@dataclass(slots=True)
class Batcher:
    """Knows no clock: `now_s` is any clock that does not run backwards."""

    cells: dict[str, Waiting] = field(default_factory=dict)

    def add(self, cell: str, items: Iterable[RawItem], now_s: float) -> None:
        waiting = self.cells.setdefault(cell, Waiting(since_s=now_s))
        for item in items:
            waiting.items.append(item)
            waiting.size += len(item.payload) + len(item.topic) + 64

    def take(self, now_s: float, idle: bool) -> list[tuple[str, list[RawItem]]]:
        """Records to send now. `idle`: nothing is on its way."""
        out: list[tuple[str, list[RawItem]]] = []
        for cell, waiting in list(self.cells.items()):
            full = len(waiting.items) >= MOST_ITEMS or waiting.size >= MOST_BYTES
            if idle or full or now_s - waiting.since_s >= LONGEST_S:
                del self.cells[cell]
                out += [(cell, part) for part in _cut(waiting.items)]
        return out

    def oldest(self) -> Iterable[int]:
        """The id of the first item of every cell that waits."""
        return [waiting.items[0].id for waiting in self.cells.values()]

    @property
    def due_s(self) -> float | None:
        """When the longest waiting one has waited enough; None: nothing waits."""
        return min((w.since_s + LONGEST_S for w in self.cells.values()), default=None)


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

"""What was taken from the topics and not yet written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.model.observation import Tick
from pipeline.model.wire import ObservationBatch
from pipeline.record.points import GONE, Lines, Points


@dataclass(slots=True)
class Pending:
    """Lines by bucket. What changes (an episode's point) is kept once, as it stood last."""

    many: Lines = field(default_factory=dict)
    once: dict[str, dict[str, str]] = field(default_factory=dict)
    """Bucket -> series and time -> line."""
    events: list[Any] = field(default_factory=list)
    newest_us: int = 0
    rows: int = 0

    def add(self, batch: ObservationBatch, points: Points) -> None:
        if len(batch.fixes):
            self.newest_us = max(self.newest_us, int(batch.fixes.received_at_us[-1]))
        for placed in batch.others:
            at_us = placed.what.at_us if isinstance(placed.what, Tick) else placed.what.received_at_us
            self.newest_us = max(self.newest_us, at_us)
        self.rows += points.observations(batch, self.many)

    def put(self, bucket: str, line: str) -> None:
        """A line that takes the place of an older one of the same point. Fields that the new one leaves out stay."""
        head, rest = _split(line)
        same = self.once.setdefault(bucket, {})
        values, _, at = rest.rpartition(" ")
        key = f"{head} {at}"
        older = same.pop(key, None)
        if older is None:
            self.rows += 1
        elif values == GONE:  # only a mark: the rest of the point stays
            values = (
                _split(older)[1]
                .rpartition(" ")[0]
                .replace("open=true", "open=false")
                .replace("gone=false", "gone=true")
            )
        same[key] = f"{head} {values} {at}"

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        for bucket in sorted({*self.many, *self.once}):
            yield bucket, [*dict.fromkeys(self.many.get(bucket, ())), *self.once.get(bucket, {}).values()]


def _split(line: str) -> tuple[str, str]:
    """Measurement with tags, and the rest: the first space that no backslash escapes divides them."""
    at = line.find(" ")
    while at > 0 and line[at - 1] == "\\":
        at = line.find(" ", at + 1)
    return line[:at], line[at + 1 :]

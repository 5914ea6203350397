"""The topics and how they are cut. Key = cell; partition = blake2b(cell) mod N, the same N for all that carry cells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    by_cell: bool  # N partitions by cell; else one partition
    retention_s: int | None  # None: for ever
    compacted: bool = False


RAW = TopicSpec("rahdar.raw", True, 35 * DAY_S)
OBSERVATIONS = TopicSpec("rahdar.observations", True, 2 * DAY_S)
REJECTS = TopicSpec("rahdar.rejects", True, 35 * DAY_S)
EPISODES = TopicSpec("rahdar.episodes", True, 400 * DAY_S)
SNAPSHOTS = TopicSpec("rahdar.snapshots", True, None, compacted=True)
ALERTS = TopicSpec("rahdar.alerts", False, 400 * DAY_S)
COMMANDS = TopicSpec("rahdar.commands", False, 400 * DAY_S)
PLANS = TopicSpec("rahdar.plans", False, None, compacted=True)

TICK_KEY = b"_tick"
"""Of a record of Ticks in raw and observations; others have their cell's."""

ALL = (RAW, OBSERVATIONS, REJECTS, EPISODES, SNAPSHOTS, ALERTS, COMMANDS, PLANS)


@dataclass(frozen=True, slots=True)
class Cells:
    """Those of one partition of n, of whatever plan: the next one may have others."""

    partition: int
    n: int

    def __contains__(self, cell: object) -> bool:
        return isinstance(cell, str) and partition_of(cell, self.n) == self.partition


def partition_of(cell: str, n: int) -> int:
    """Stable for ever: the partition in which a cell's records are."""
    return int.from_bytes(hashlib.blake2b(cell.encode(), digest_size=8).digest(), "big") % n

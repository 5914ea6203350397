"""Keyframes: a vehicle's state at some instants, to play forward from; and the merging of late fixes into its history."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detect.form import ROW

Array = npt.NDArray[Any]
EVERY_FIXES = 256
NONE_US = -(1 << 62)
AHEAD_US = 180_000_000  # a device's clock may be ahead by two minutes, and a record waits a little
SLACK_US = 7_200_000_000  # what an ingest kept back so long is as late as its own stamps say, and no later


def key_of(f: Any) -> tuple[int, int, int, int]:
    """The total order: seen_at, device, sequence, body."""
    return int(f["seen"]), int(f["device"]), int(f["seq"]), int(f["body"])


def merge(late: Array, history: Array) -> tuple[Array, int]:
    """Both in total order, each (seen_at, device, sequence) once, with the smaller body; and how many bodies disagreed."""
    together = np.concatenate([history, late], dtype=history.dtype)  # named: finding it costs more than joining
    order = np.lexsort((together["body"], together["seq"], together["device"], together["seen"]))
    together = together[order]
    if len(together) < 2:
        return together, 0
    again = np.ones(len(together), bool)
    again[0] = False
    for name in ("seen", "device", "seq"):
        again[1:] &= together[name][1:] == together[name][:-1]
    conflicts = int(np.count_nonzero(again[1:] & (together["body"][1:] != together["body"][:-1])))
    return together[~again], conflicts


def behind(history: Array, seen_us: int, state: bytes) -> int:
    """How many of these fixes a keyframe contains."""
    row = np.frombuffer(state, ROW, 1)[0]
    key = int(row["seen"]), int(row["device"]), int(row["seq"]), int(row["body"])
    i = int(np.searchsorted(history["seen"], seen_us, side="left"))
    while i < len(history) and key_of(history[i]) <= key:
        i += 1
    return i


class Keyframes:
    """By slot, in the order of time. A keyframe stands behind every fix that was seen at or before its instant."""

    def __init__(self) -> None:
        self._at: dict[int, list[int]] = {}
        self._state: dict[int, list[bytes]] = {}
        self._due: Array = np.full(16, EVERY_FIXES, np.int64)

    def due(self, slots: int) -> Array:
        """The count of fixes at which each slot wants its next keyframe; of so many slots at least."""
        self._room(slots - 1)
        return self._due

    def _room(self, slot: int) -> None:
        while slot >= len(self._due):
            self._due = np.concatenate([self._due, np.full(len(self._due), EVERY_FIXES, np.int64)])

    def older(self, seen: Array, before_us: int) -> list[int]:
        """Slots whose newest keyframe is of an instant before that, and which have been seen since it. `seen`: by slot, when last."""
        newest = np.array([at[-1] if (at := self._at.get(slot)) else NONE_US for slot in range(len(seen))], np.int64)
        found: list[int] = np.flatnonzero((newest < before_us) & (seen > newest)).tolist()
        return found

    def add(self, slot: int, seen_us: int, state: bytes, count: int, oldest_us: int | None) -> None:
        """`oldest_us`: what is older may go, but for one."""
        self._room(slot)
        self._due[slot] = count + EVERY_FIXES
        at, states = self._at.setdefault(slot, []), self._state.setdefault(slot, [])
        if at and at[-1] >= seen_us:
            return
        at.append(seen_us)
        states.append(state)
        if oldest_us is not None:
            gone = max(0, bisect_right(at, oldest_us) - 1)
            del at[:gone], states[:gone]

    def latest_before(self, slot: int, seen_us: int) -> tuple[int | None, bytes | None]:
        """The newest keyframe of an instant before `seen_us`."""
        at = self._at.get(slot, [])
        i = bisect_left(at, seen_us) - 1
        return (at[i], self._state[slot][i]) if i >= 0 else (None, None)

    def before(self, slot: int, seen_us: int) -> int:
        """History is needed from here to judge a fix seen then; 0: from the beginning."""
        at, _ = self.latest_before(slot, seen_us)
        return 0 if at is None else at

    def drop_after(self, slot: int, seen_us: int) -> None:
        at = self._at.get(slot, [])
        i = bisect_left(at, seen_us)
        if at:
            del at[i:], self._state[slot][i:]
        self._room(slot)
        self._due[slot] = 0

    def base(self, slot: int) -> tuple[int, bytes] | None:
        """The oldest one."""
        at = self._at.get(slot)
        return (at[0], self._state[slot][0]) if at else None

    def restore(self, slot: int, frames: list[tuple[int, bytes]], count: int) -> None:
        """Begin with these, the oldest first."""
        self._room(slot)
        self._due[slot] = count + EVERY_FIXES
        self._at[slot] = [at for at, _ in frames]
        self._state[slot] = [state for _, state in frames]

"""The state of many vehicles: rows, and the fixes that were admitted, in chains of small chunks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.detect.ahead import LEAD, look_back
from pipeline.detect.compiled import bare, boxed, compiled
from pipeline.detect.form import FIX, HELD, LEG, NEVER, PAIR, ROW

Array = npt.NDArray[Any]
CHUNK = 32
NOT_DUE = np.int64(1 << 62)
CHAIN = np.dtype([("head", "i4"), ("tail", "i4"), ("in_tail", "i4"), ("count", "i4")], align=True)
KEY = np.dtype(
    [("stamp", "i8"), ("dirty", "i8"), ("seen", "i8"), ("device", "i8"), ("seq", "i8"), ("body", "u8")], align=True
)


class State(NamedTuple):
    """What the compiled code is handed of the vehicles, in one piece."""

    rows: Array
    pairs: Array
    legs: Array
    keys: Array
    dirty: Array
    chains: Array
    pool: Array
    links: Array
    free: Array
    tally: Array
    found: Array


class Record(NamedTuple):
    """What a record is read into, and what is said of it. `by_place`: what `Names` says by the places of names in the plan; `names`: the same
    of the record's names; `due`: at which count of fixes each slot wants a keyframe."""

    series: Array
    by_place: Array
    names: Array
    fixes: Array
    use: Array
    out: Array
    due: Array


class World(NamedTuple):
    """All that a record is judged by. `plan`: of `tables.Static`."""

    plan: Any
    vehicles: State
    record: Record


def _cleared(of: np.dtype[Any], *held: str) -> Array:
    """A state of this form before the first fix. `held`: where in it a `HELD` is."""
    state = np.zeros((), of)
    inner: Any = state
    for name in held:
        inner = inner[name]
    inner["on"], inner["since"], inner["began"], inner["decided"], inner["severity"] = 0, NEVER, NEVER, NEVER, 3
    for name in ("lat", "lon", "along", "peak", "told"):
        inner[name] = np.nan
    return state


NEW_ROW, NEW_LEG = _cleared(ROW, "stop", "held"), _cleared(LEG, "held")
NEW_LEG["segment"] = -1
NEW_HELD = NEW_LEG["held"]


def new_legs(n: int) -> Array:
    """Of movements on which nothing has happened yet: shape (n,)."""
    return np.full(n, NEW_LEG)


def _bytes(rows: Array) -> Array:
    """The same memory: structured rows are written field by field, which takes ten times as long."""
    return rows.view(np.uint8)


def _twice(old: Array) -> Array:
    """Twice as long. What is not used yet is not written, so that it takes no memory."""
    new = np.zeros((2 * len(old), *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    return new


class Vehicles:
    """Rows, pairs, legs and history of the vehicles that one engine has seen. Slots are given in the order of their coming."""

    def __init__(self, legs: int, pairs: int = 4, capacity: int = 16) -> None:
        self.count = 0
        self.rows: Array = np.zeros(capacity, ROW)
        self.pairs: Array = np.zeros((capacity, pairs), PAIR)
        self.legs: Array = np.zeros((capacity, legs), LEG)
        self.keys: Array = np.zeros(capacity, KEY)
        self._new_row, self._new_legs = _bytes(NEW_ROW.reshape(1)), _bytes(new_legs(legs))
        self.revisions: list[int] = []
        self.dirty: Array = np.zeros(capacity, bool)
        self.known_from: Array = np.zeros(capacity, np.int64)
        """History is whole for fixes seen after this."""
        self.chains: Array = np.zeros(capacity, CHAIN)
        self.pool: Array = np.zeros((64, CHUNK), FIX)
        self.links: Array = np.arange(1, 65, dtype=np.int32)
        self.links[-1] = -1
        self.free: Array = np.array([0, 64], np.int64)  # first free chunk, how many are free
        self.limit_us = 0
        self._tally: Array = np.zeros(8, np.int64)
        self._found: Array = np.zeros(16, np.int64)
        self.box: Any = None
        """Of the `World` that they are in; None: one of its arrays has been replaced since it was made."""

    def boxed(self, static: Any, record: Record) -> Any:
        """A box of `World`, kept as `box`."""
        state = State(
            self.rows, self.pairs, self.legs, self.keys, self.dirty, self.chains, self.pool, self.links, self.free,
            self._tally, self._found,
        )  # fmt: skip
        self.box = boxed(World(static, state, record))
        return self.box

    def add(self, vehicle: int) -> int:
        slot = self.count
        if slot == len(self.rows):
            for name in ("rows", "pairs", "legs", "keys", "dirty", "known_from", "chains"):
                setattr(self, name, _twice(getattr(self, name)))
            self.box = None
        self.count += 1
        self._start(slot, vehicle)
        self.chains[slot] = (-1, -1, 0, 0)
        self.revisions.append(0)
        return slot

    def clear(self, slot: int) -> None:
        """As it was before its first fix."""
        self._start(slot, self.rows[slot]["vehicle"])

    def _start(self, slot: int, vehicle: int) -> None:
        _bytes(self.rows[slot : slot + 1])[:] = self._new_row
        self.rows[slot]["vehicle"] = vehicle
        _bytes(self.legs[slot])[:] = self._new_legs

    def more_pairs(self) -> None:
        self.pairs = np.concatenate([self.pairs, np.zeros_like(self.pairs)], axis=1)
        self.box = None

    # ---- a vehicle's row as bytes: what keyframes and checkpoints hold --------------------------------------------

    def pack(self, slot: int) -> bytes:
        row = self.rows[slot]
        pairs = self.pairs[slot, : row["pairs"]]
        return b"".join((row.tobytes(), self.legs[slot].tobytes(), pairs.tobytes()))

    def unpack(self, slot: int, data: bytes) -> None:
        row, legs = self.rows[slot], self.legs.shape[1]
        vehicle = row["vehicle"]
        _bytes(self.rows[slot : slot + 1])[:] = np.frombuffer(data, np.uint8, ROW.itemsize)
        row["vehicle"] = vehicle
        _bytes(self.legs[slot])[:] = np.frombuffer(data, np.uint8, legs * LEG.itemsize, ROW.itemsize)
        n = int(row["pairs"])
        while n > self.pairs.shape[1]:
            self.more_pairs()
        if n:
            self.pairs[slot, :n] = np.frombuffer(data, PAIR, n, ROW.itemsize + legs * LEG.itemsize)

    # ---- history ----------------------------------------------------------------------------------------------------

    def make_room(self, fixes: int) -> None:
        """At least one free chunk for each of so many fixes: no chain can need more."""
        while self.free[1] < fixes:
            n = len(self.pool)
            self.pool = _twice(self.pool)
            links = np.arange(n + 1, 2 * n + 1, dtype=np.int32)
            links[-1] = self.free[0] if self.free[1] else -1
            self.links = np.concatenate([self.links, links])
            self.free[0] = n
            self.free[1] += n
            self.box = None

    def make_room_to_admit(self, fixes: int) -> None:
        self.make_room(fixes)
        if len(self._found) < fixes:
            self._found = np.zeros(2 * fixes, np.int64)
            self.box = None

    def admitted(self, due: int) -> tuple[list[int], list[int]]:
        """Of the last `admit`, which returned `due`: the slots whose keyframes are, and how many fixes were of each use."""
        return self._found[:due].tolist() if due else [], self._tally.tolist()

    def remember(self, fixes: Array, use: Array) -> None:
        self.make_room(len(fixes))
        _remember(self.pool, self.links, self.free, self.chains, fixes, use)

    def history(self, slot: int) -> Array:
        """Its admitted fixes that are in memory, in total order."""
        out = np.zeros(int(self.chains["count"][slot]), FIX)
        _gather(self.pool, self.links, self.chains, slot, out)
        return out

    def replace_history(self, slot: int, fixes: Array) -> None:
        _release(self.links, self.free, self.chains, slot)
        self.remember(fixes, np.ones(len(fixes), np.uint8))

    def forget(self, before_us: int) -> None:
        """Let whole chunks of older fixes go; they can be read back from the topic."""
        _forget(self.pool, self.links, self.free, self.chains, self.known_from, self.count, before_us)


@bare
def copy_fix(to: Any, f: Any) -> None:
    """Field by field: a record as a whole is copied byte by byte."""
    to.slot = f.slot
    to.device = f.device
    to.rank = f.rank
    to.flags = f.flags
    to.seen = f.seen
    to.received = f.received
    to.seq = f.seq
    to.body = f.body
    to.x = f.x
    to.y = f.y
    to.lat = f.lat
    to.lon = f.lon
    to.acc = f.acc
    to.speed = f.speed


@bare
def _remember(pool: Any, links: Any, free: Any, chains: Any, fixes: Any, use: Any) -> None:
    for i in range(-LEAD, len(fixes)):
        look_back(pool, chains, fixes, i)
        if i < 0 or use[i] != 1:
            continue
        c = chains[fixes[i].slot]
        if c.tail < 0 or c.in_tail == pool.shape[1]:
            chunk = free[0]
            free[0] = links[chunk]
            free[1] -= 1
            links[chunk] = -1
            if c.tail < 0:
                c.head = chunk
            else:
                links[c.tail] = chunk
            c.tail = chunk
            c.in_tail = 0
        copy_fix(pool[c.tail, c.in_tail], fixes[i])
        c.in_tail += 1
        c.count += 1


@bare
def admit(v: Any, due: Any, fixes: Any, use: Any) -> int:
    """Remember what the scan has used. `v`: a `State` with room for it; `due`: at which count of fixes each slot wants a keyframe. Returns
    how many slots have come to that."""
    v.tally[:] = 0
    n = 0
    _remember(v.pool, v.links, v.free, v.chains, fixes, use)
    for i in range(len(fixes)):
        v.tally[use[i]] += 1
        if use[i] == 1:
            slot = fixes[i].slot
            v.dirty[slot] = True
            if v.rows[slot].n >= due[slot]:
                due[slot] = NOT_DUE  # once; the keyframe says when it is due again
                v.found[n] = slot
                n += 1
    return n


@compiled
def _gather(pool: Any, links: Any, chains: Any, slot: int, out: Any) -> None:
    chunk = chains[slot].head
    n = 0
    while chunk >= 0:
        for k in range(pool.shape[1]):
            if n == len(out):
                return
            out[n] = pool[chunk, k]
            n += 1
        chunk = links[chunk]


@compiled
def _release(links: Any, free: Any, chains: Any, slot: int) -> None:
    c = chains[slot]
    chunk = c.head
    while chunk >= 0:
        following = links[chunk]
        links[chunk] = free[0] if free[1] > 0 else -1
        free[0] = chunk
        free[1] += 1
        chunk = following
    c.head = -1
    c.tail = -1
    c.in_tail = 0
    c.count = 0


@compiled
def _forget(pool: Any, links: Any, free: Any, chains: Any, known_from: Any, slots: int, before_us: int) -> None:
    for slot in range(slots):
        c = chains[slot]
        while c.head >= 0 and c.head != c.tail:
            newest = pool[c.head, pool.shape[1] - 1].seen
            if newest >= before_us:
                break
            chunk = c.head
            c.head = links[chunk]
            links[chunk] = free[0] if free[1] > 0 else -1
            free[0] = chunk
            free[1] += 1
            c.count -= pool.shape[1]
            known_from[slot] = newest + 1  # of that instant more may be gone than what a keyframe of it contains


HELD_SIZE = HELD.itemsize

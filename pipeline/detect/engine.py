"""The engine of one partition: observations in, changes out. The same fixes give the same ledger, in whatever order they come.

In order, a record costs one scan. A vehicle with a fix out of order is taken back: from the keyframe before that fix its history is
told twice, without the new fixes and with them, and the difference between the two accounts is what is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detect.arrive import (
    DUPLICATE,
    IN_ORDER,
    KEPT_OUT,
    OUT_OF_ORDER,
    STRANGER,
    frame,
    prepare,
    use_of,
)
from pipeline.detect.clocks import Clocks
from pipeline.detect.convoys import Convoys
from pipeline.detect.form import FIX, OUT
from pipeline.detect.judge import Judge
from pipeline.detect.places import Names, look_up
from pipeline.detect.rewind import EVERY_FIXES, Keyframes, behind, merge
from pipeline.detect.scan import DONE, OUT_FULL, forward, take
from pipeline.detect.sensors import Sensors
from pipeline.detect.silence import Silence
from pipeline.detect.state import Vehicles
from pipeline.detect.tables import Tables, build_tables
from pipeline.detect.tell import (
    Account,
    Said,
    account,
    fold,
    kind_of,
    overlap,
    press_episode,
    said_of,
    same,
    still_open,
)
from pipeline.model.episode import Change
from pipeline.model.observation import Press
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan, names_of

Array = npt.NDArray[Any]
ALARMING = ("sos", "duress")
PRESSES_KEPT = 10_000
FEW_NAMES = 4  # looked up as quickly as their places
NO_PLACES: Array = np.frombuffer(b"", np.int32)
Begun = tuple[int, int, int, int]  # what scan.forward returns


class NeedHistoryError(Exception):
    """A fix is older than what is in memory. Nothing was changed: `load_history` with what was seen after `from_us`, then feed again."""

    def __init__(self, from_us: int) -> None:
        super().__init__(f"history from {from_us} us is needed")
        self.from_us = from_us


class Engine:
    """`horizon_us` None: history is kept for ever, as a run over files wants it. `counts`: duplicates, conflicts, late, rewinds,
    kept_out, strangers. `cells`: those of the partition, None: all; what is about us is told in one of them, and a convoy is judged in its own."""

    def __init__(
        self,
        plan: CompiledPlan,
        horizon_us: int | None = None,
        tables: Tables | None = None,
        cells: frozenset[str] | None = None,
    ) -> None:
        self.tables = tables or build_tables(plan)
        self.plan = plan
        self.horizon_us = horizon_us
        self.vehicles = Vehicles(self.tables.most_legs)
        self.keyframes = Keyframes()
        self.counts: Counter[str] = Counter()
        self._new_presses = False
        self.presses: dict[str, int] = {}
        self.received_us = 0
        self.convoys = Convoys(plan, self.tables, horizon_us, cells)
        self.judges: tuple[Judge, ...] = (
            Silence(plan, self.tables, horizon_us),
            self.convoys,
            Sensors(plan, horizon_us),
            Clocks(plan, cells, horizon_us),
        )
        self._names = Names(self.tables, self._slot)
        self._slots: dict[str, int] = {}
        self._by_place: Array = np.full(
            len(names_of(plan)) + 1, -1, np.int64
        )  # the last one: place -1, no name of the plan
        self._series = frame(plan.projection)
        self._stamp = 0
        self._out: Array = np.zeros(256, OUT)
        self._fixes: Array = np.zeros(64, FIX)  # of the record in hand: nobody keeps them
        self._use: Array = np.zeros(64, np.uint8)
        self._places: Array = np.zeros(64, np.int64)  # what `Names` says of its names

    @property
    def dirty(self) -> bool:
        """Has anything changed that a checkpoint has to hold?"""
        return (
            self._new_presses
            or any(j.dirty for j in self.judges)
            or bool(self.vehicles.dirty[: self.vehicles.count].any())
        )

    def take_dirty(self) -> list[int]:
        """The slots that changed since the last call, in order. Whoever asks has to keep them."""
        dirty = self.vehicles.dirty[: self.vehicles.count]
        found: list[int] = np.flatnonzero(dirty).tolist()
        dirty[:] = False
        self._new_presses = False
        return found

    def slot_of(self, vehicle: str) -> int | None:
        return self._slots.get(vehicle)

    def _slot(self, vehicle: str) -> int:
        slot = self._slots.get(vehicle)
        if slot is None:
            slot = self._slots[vehicle] = self.vehicles.add(self.tables.vehicle_place[vehicle])
        return slot

    def add_vehicle(self, vehicle: str) -> int:
        """Its slot, given now when it has none. Raises KeyError when the plan does not know it."""
        return self._slot(vehicle)

    def vehicle_of(self, slot: int) -> str:
        return self.tables.vehicle_ids[int(self.vehicles.rows["vehicle"][slot])]

    def _places_of(self, batch: ObservationBatch) -> Array:
        """Of the record's names, in this plan; none: they have to be looked up."""
        few = len(batch.fixes.names) < FEW_NAMES
        return NO_PLACES if batch.places is None or few or batch.plan_hash != self.plan.hash else batch.places

    def _packed(self, batch: ObservationBatch) -> Array:
        """What `Names` says of the record's names, shape (names,); by their places in the plan where the record has them."""
        names, places = batch.fixes.names, self._places_of(batch)
        if not len(places):
            return self._packed_by_name(names)
        packed: Array = np.empty(len(names), np.int64)
        unknown = look_up(self._by_place, places, packed)
        if unknown < 0:
            return self._packed_by_name(names)
        if unknown:
            for i in np.flatnonzero(packed < 0):
                packed[i] = self._names[names[i]]
                if places[i] >= 0:
                    self._by_place[places[i]] = packed[i]
        return packed

    def _packed_by_name(self, names: tuple[str, ...]) -> Array:
        return np.fromiter(map(self._names.__getitem__, names), np.int64, len(names))

    # ---- feeding ------------------------------------------------------------------------------------------------------

    def feed(self, batch: ObservationBatch) -> list[Change]:
        """One record. Raises NeedHistoryError before anything was changed."""
        if batch.copy:
            return self._copied(batch)
        fixes = use = None
        late = 0
        begun: Begun | None = None
        if len(batch.fixes):
            fixes, use, late, begun = self._take(batch)
            if late:
                self._require_history(fixes[use == OUT_OF_ORDER])
        changes = self._presses(batch)
        if fixes is not None and use is not None:
            self._forward(fixes, use, changes, begun)
            if late:
                for slot in np.unique(fixes["slot"][use == OUT_OF_ORDER]):
                    changes += self._rewind(int(slot), fixes[(use == OUT_OF_ORDER) & (fixes["slot"] == slot)])
        for judge in self.judges:
            if judge.on:
                judge.take(batch, fixes, use)
                changes += judge.changes()
        return changes

    def _take(self, batch: ObservationBatch) -> tuple[Array, Array, int, Begun | None]:
        """Its fixes as rows, what is to be done with each, how many came out of order, and, when none did, what the scan said: it has begun."""
        n, names, block = len(batch.fixes), len(batch.fixes.names), batch.fixes.joined()
        if len(self._use) < n:
            self._fixes, self._use = np.zeros(2 * n, FIX), np.zeros(2 * n, np.uint8)
        if len(self._places) < names:
            self._places = np.zeros(2 * names, np.int64)
        fixes, use = self._fixes[:n], self._use[:n]
        by_place, places = self._by_place, self._places_of(batch)
        if not len(places):
            by_place = self._packed_by_name(batch.fixes.names)
        self._stamp += 1
        while True:
            self.vehicles.make_room_to_admit(n)
            late, begun = take(
                self._world, self._stamp, by_place, places, self._places, block, self._series, fixes, use, self._out,
                self.keyframes.due(self.vehicles.count),
            )  # fmt: skip
            if late >= 0:
                return fixes, use, late, None if late else begun
            by_place, places = self._packed(batch), NO_PLACES  # a vehicle that is new gets its row

    @property
    def _world(self) -> Any:
        return self.vehicles.world(self.tables.static)

    def _copied(self, batch: ObservationBatch) -> list[Change]:
        """Of vehicles whose home is another cell: where members of a group are is all that it says here."""
        if not self.convoys.on:
            return []
        fixes = use = None
        if len(batch.fixes):
            fixes = prepare(batch.fixes, self._packed(batch), self._series)
            use = use_of(fixes)
        self.convoys.take(batch, fixes, use)
        return self.convoys.changes()

    def _presses(self, batch: ObservationBatch) -> list[Change]:
        changes = []
        for placed in batch.others:
            press = placed.what
            if not isinstance(press, Press) or press.what not in ALARMING:
                continue
            episode = press_episode(press)
            if episode.id in self.presses:
                self.counts["duplicates"] += 1
                continue
            self.presses[episode.id] = press.received_at_us
            if len(self.presses) > PRESSES_KEPT:
                del self.presses[next(iter(self.presses))]
            self._new_presses = True
            told = Account(episode, "live", press.received_at_us, press.seen_at_us)
            changes.append(told.change("begin", 1, batch.cell, self.plan.hash))
        return changes

    def _forward(self, fixes: Array, use: Array, changes: list[Change], begun: Begun | None = None) -> None:
        self.received_us = max(self.received_us, fixes["received"].item(-1))
        if begun is None:
            self.vehicles.make_room_to_admit(len(fixes))
        parts, frames = self._scanned(fixes, use, admits=True, begun=begun)
        for part in parts:
            received, seen = fixes["received"], fixes["seen"]
            for said in map(Said._make, part.tolist()):
                changes.append(self._change(said, kind_of(said), received.item(said.fix), seen.item(said.fix)))
        due, skipped = self.vehicles.admitted(frames)
        for slot in due:
            self._keyframe(slot)
        if skipped[IN_ORDER] < len(fixes):
            self.counts["duplicates"] += skipped[DUPLICATE]
            self.counts["kept_out"] += skipped[KEPT_OUT]
            self.counts["strangers"] += skipped[STRANGER]

    def _change(self, said: Said, kind: Any, received_us: int, seen_us: int, was: tuple[str, ...] = ()) -> Change:
        v, slot = self.vehicles, said.slot
        vehicle = v.rows["vehicle"].item(slot)
        told = account(self.tables, vehicle, said, received_us, seen_us)
        revision = v.revisions.item(slot) + 1
        v.revisions[slot] = revision
        cell = self.plan.vehicles[self.tables.vehicle_ids[vehicle]].cell
        return told.change(kind, revision, cell, self.plan.hash, was)

    def _scan(self, fixes: Array, use: Array) -> list[Any]:
        """Records of form.OUT, each its own copy."""
        return [said for part in self._scanned(fixes, use, admits=False)[0] for said in part]

    def _scanned(self, fixes: Array, use: Array, admits: bool, begun: Begun | None = None) -> tuple[list[Array], int]:
        """What is said, and how many keyframes are due. `admits`: the fixes are remembered; there has to be room for them. `begun`: what
        the scan's first call has returned."""
        v = self.vehicles
        told: list[Array] = []
        due = self.keyframes.due(v.count)
        start = 0
        while True:
            start, n, why, frames = begun or forward(self._world, fixes, use, start, self._out, admits, due)
            begun = None
            if n:
                told.append(self._out[:n].copy())
            if why == DONE:
                return told, frames
            if why == OUT_FULL and n == 0:
                self._out = np.zeros(2 * len(self._out), OUT)
            elif why != OUT_FULL:
                v.more_pairs()

    # ---- out of order ---------------------------------------------------------------------------------------------------

    def _require_history(self, late: Array) -> None:
        """What happened since the keyframe from which each vehicle will be taken back has to be in memory."""
        missing = []
        for slot in np.unique(late["slot"]):
            first = int(late["seen"][late["slot"] == slot].min())
            begin = self.keyframes.before(int(slot), first)
            if begin < self.vehicles.known_from[slot]:
                missing.append(begin)
        if missing:
            raise NeedHistoryError(min(missing))

    def load_history(self, batches: Iterable[ObservationBatch], from_us: int) -> None:
        """Every record since then, again: what each vehicle's state already contains becomes its history. Changes nothing else."""
        parts = []
        for batch in batches:
            if len(batch.fixes) and not batch.copy:
                fixes = prepare(batch.fixes, self._packed(batch), self._series)
                parts.append(fixes[use_of(fixes) == IN_ORDER])
        if parts:
            loaded = np.concatenate(parts)
            for slot in np.unique(loaded["slot"]):
                mine = loaded[loaded["slot"] == slot]
                known = int(self.vehicles.known_from[slot])
                older = mine[(mine["seen"] <= known) & (mine["seen"] >= from_us)]
                whole, _ = merge(older, self.vehicles.history(int(slot)))
                self.vehicles.replace_history(int(slot), whole)
        for slot in range(self.vehicles.count):
            self.vehicles.known_from[slot] = min(int(self.vehicles.known_from[slot]), from_us - 1)

    def _rewind(self, slot: int, late: Array) -> list[Change]:
        v = self.vehicles
        history = v.history(slot)
        first = int(late["seen"].min())
        frame_key, packed = self.keyframes.latest_before(slot, first)
        cut = 0 if packed is None or frame_key is None else behind(history, frame_key, packed)
        tail = history[cut:]
        merged, conflicts = merge(late, tail)
        duplicates = len(late) + len(tail) - len(merged)
        self.counts["conflicts"] += conflicts
        self.counts["duplicates"] += duplicates
        self.counts["late"] += len(late) - duplicates
        if len(merged) == len(tail) and merged["body"].tobytes() == tail["body"].tobytes():
            return []
        self.counts["rewinds"] += 1
        vehicle = int(v.rows["vehicle"][slot])
        first_leg = int(self.tables.static.vehicles["legs"][vehicle][0])

        def begin() -> list[Any]:
            if packed is None:
                v.clear(slot)
            else:
                v.unpack(slot, packed)
            return still_open(v.rows, v.pairs, v.legs, slot, first_leg)

        before = fold([*begin(), *self._scan(tail, np.ones(len(tail), np.uint8))])
        self.keyframes.drop_after(slot, first)
        opened = begin()
        told: list[Any] = []
        for start in range(0, len(merged), EVERY_FIXES):
            piece = merged[start : start + EVERY_FIXES]
            for said in self._scan(piece, np.ones(len(piece), np.uint8)):
                said["fix"] += start
                told.append(said)
            if len(piece) == EVERY_FIXES:
                self._keyframe(slot)
        after = fold([*opened, *told])
        v.replace_history(slot, np.concatenate([history[:cut], merged]))
        v.dirty[slot] = True
        newest = late[np.argmax(late["received"])]
        return self._difference(slot, before, after, merged, newest)

    def _difference(
        self, slot: int, before: dict[Any, Any], after: dict[Any, Any], merged: Array, newest: Any
    ) -> list[Change]:
        changes: list[Change] = []
        gone = {key: said for key, said in before.items() if key not in after}
        for key in sorted(after, key=lambda k: (k[2], k[0], k[1])):
            said = after[key]
            old = before.get(key)
            decider = newest if old is not None or said["fix"] < 0 else merged[said["fix"]]
            # people waited since the fix that made the difference came in, whichever fix the episode is dated by
            decider = decider if decider["received"] >= newest["received"] else _received_as(decider, newest)
            if old is None:
                replaced = [k for k, o in gone.items() if k[:2] == key[:2] and overlap(o, said)]
                was = tuple(self._id(slot, gone.pop(k)) for k in sorted(replaced, key=lambda k: k[2]))
                if was:
                    changes.append(self._changed(said, "amend", decider, was))
                    continue
                begun = said.copy()
                begun["ended"] = 0
                changes.append(self._changed(begun, "begin", decider))
                if said["ended"]:
                    changes.append(self._changed(said, "end", decider))
            elif not same(old, said):
                kind = "end" if said["ended"] and not old["ended"] else "amend"
                changes.append(self._changed(said, kind, decider))
        for key in sorted(gone, key=lambda k: (k[2], k[0], k[1])):
            changes.append(self._changed(gone[key], "retract", newest))
        return changes

    def _changed(self, said: Any, kind: Any, f: Any, was: tuple[str, ...] = ()) -> Change:
        """`said`: a record of form.OUT, `f`: the fix that decided."""
        return self._change(said_of(said), kind, int(f["received"]), int(f["seen"]), was)

    def _id(self, slot: int, said: Any) -> str:
        return account(self.tables, int(self.vehicles.rows["vehicle"][slot]), said_of(said), 0, 0).episode.id

    def _keyframe(self, slot: int) -> None:
        v = self.vehicles
        oldest = None if self.horizon_us is None else self.received_us - self.horizon_us
        self.keyframes.add(slot, int(v.rows["seen"][slot]), v.pack(slot), int(v.rows["n"][slot]), oldest)

    # ---- housekeeping -----------------------------------------------------------------------------------------------------

    def forget(self, hot_us: int) -> None:
        """Keep this much history in memory; older fixes are read back when they are needed."""
        if self.received_us:
            self.vehicles.forget(self.received_us - hot_us)


def _received_as(f: Any, newest: Any) -> Any:
    copy = f.copy()
    copy["received"] = newest["received"]
    return copy

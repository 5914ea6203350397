"""The engine of one partition: observations in, changes out. The same fixes give the same ledger, in whatever order they come.

In order, a record costs one scan. A vehicle with a fix out of order is taken back: from the keyframe before that fix its history is
told twice, without the new fixes and with them, and the difference between the two accounts is what is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

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
from pipeline.detect.rewind import EVERY_FIXES, SLACK_US, Keyframes, behind, merge
from pipeline.detect.scan import DONE, NO_ROOM, OUT_FULL, forward, take
from pipeline.detect.sensors import Sensors
from pipeline.detect.silence import Silence
from pipeline.detect.state import Record, Vehicles
from pipeline.detect.tables import Tables, build_tables
from pipeline.detect.tell import (
    Account,
    Said,
    account,
    all_said,
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
from pipeline.plan.model import CompiledPlan, Vehicle, names_of

Array = npt.NDArray[Any]
ALARMING = ("sos", "duress")
PRESSES_KEPT = 10_000
NO_PLACES: Array = np.frombuffer(b"", np.int32)
Begun = tuple[int, int, int, int]  # what scan.forward returns


class Pressed(NamedTuple):
    """What was told of an alarm by hand. Two may press in one instant, and be heard in any order: the smaller of them counts."""

    received_us: int
    revision: int = 1
    device: str = ""
    seq: int = 0
    body: int = 0


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
        cells: Container[str] | None = None,
    ) -> None:
        self.tables = tables or build_tables(plan)
        self.plan = plan
        self.horizon_us = horizon_us
        self.vehicles = Vehicles(self.tables.most_legs)
        self.keyframes = Keyframes()
        self.counts: Counter[str] = Counter()
        self._new_presses = False
        self.presses: dict[str, Pressed] = {}
        self.received_us = 0
        self.convoys = Convoys(plan, self.tables, horizon_us, cells)
        self.judges: tuple[Judge, ...] = (
            Silence(plan, self.tables, horizon_us, cells),
            self.convoys,
            Sensors(plan, horizon_us),
            Clocks(plan, cells, horizon_us),
        )
        self._names = Names(self.tables, self._slot)
        self._slots: dict[str, int] = {}
        self._whose: list[tuple[int, Vehicle]] = []
        """By slot: its vehicle's place in the plan, and the vehicle."""
        self._stamp = 0
        # of the record in hand: nobody keeps it
        self._record = Record(
            series=frame(plan.projection),
            by_place=np.full(len(names_of(plan)) + 1, -1, np.int64),  # the last one: place -1, no name of the plan
            names=np.zeros(64, np.int64),
            fixes=np.zeros(64, FIX),
            use=np.zeros(64, np.uint8),
            out=np.zeros(256, OUT),
            due=self.keyframes.due(1),
        )
        self._views: tuple[Array, Array] = self._record.fixes, self._record.use

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
            place = self.tables.vehicle_place[vehicle]
            slot = self._slots[vehicle] = self.vehicles.add(place)
            self._whose.append((place, self.plan.vehicles[vehicle]))
        return slot

    def add_vehicle(self, vehicle: str) -> int:
        """Its slot, given now when it has none. Raises KeyError when the plan does not know it."""
        return self._slot(vehicle)

    def vehicle_of(self, slot: int) -> str:
        return self._whose[slot][1].id

    def _places_of(self, batch: ObservationBatch) -> Array:
        """Of the record's names, in this plan; none: they have to be looked up."""
        return NO_PLACES if batch.places is None or batch.plan_hash != self.plan.hash else batch.places

    def _packed(self, batch: ObservationBatch) -> Array:
        """What `Names` says of the record's names, shape (names,); by their places in the plan where the record has them."""
        names, places = batch.fixes.names, self._places_of(batch)
        if not len(places):
            return self._packed_by_name(names)
        packed: Array = np.empty(len(names), np.int64)
        unknown = look_up(self._record.by_place, places, packed)
        if unknown < 0:
            return self._packed_by_name(names)
        if unknown:
            for i in np.flatnonzero(packed < 0):
                packed[i] = self._names[names[i]]
                if places[i] >= 0:
                    self._record.by_place[places[i]] = packed[i]
        return packed

    def _packed_by_name(self, names: tuple[str, ...]) -> Array:
        return np.fromiter(map(self._names.__getitem__, names), np.int64, len(names))

    def _box(self) -> Any:
        """A box of `World`, made when there is none that holds."""
        v = self.vehicles
        if v.box is None:
            self._record = self._record._replace(due=self.keyframes.due(len(v.rows)))
            v.boxed(self.tables.static, self._record)
        return v.box

    def _hold(self, fixes: int, names: int) -> None:
        """Room for a record of so many."""
        had = self._record
        if len(had.fixes) < fixes:
            self._record = self._record._replace(fixes=np.zeros(2 * fixes, FIX), use=np.zeros(2 * fixes, np.uint8))
        if len(had.names) < names:
            self._record = self._record._replace(names=np.zeros(2 * names, np.int64))
        if self._record is not had:
            self.vehicles.box = None
        self._views = self._record.fixes[:fixes], self._record.use[:fixes]

    # ---- feeding ------------------------------------------------------------------------------------------------------

    def feed(self, batch: ObservationBatch) -> list[Change]:
        """One record. Raises NeedHistoryError before anything was changed."""
        if batch.copy:
            return self._copied(batch)
        fixes = use = None
        late = 0
        begun: Begun | None = None
        more = False
        if n := len(batch.fixes):
            late, more, begun = self._take(batch, n)
            fixes, use = self._views
            if late:
                self._require_history(fixes[use == OUT_OF_ORDER])
        changes = self._presses(batch) if batch.others else []
        if more and fixes is not None and use is not None:
            self._forward(fixes, use, changes, begun)
            if late:
                for slot in np.unique(fixes["slot"][use == OUT_OF_ORDER]):
                    changes += self._rewind(int(slot), fixes[(use == OUT_OF_ORDER) & (fixes["slot"] == slot)])
        for judge in self.judges:
            if judge.on:
                judge.take(batch, fixes, use)
                changes += judge.changes()
        return changes

    def _take(self, batch: ObservationBatch, n: int) -> tuple[int, bool, Begun | None]:
        """Its n fixes become `_views`: as rows, and what is to be done with each. How many came out of order; is there more to do; and, when
        none did, what the scan said: it has begun."""
        names, block = batch.fixes.names, batch.fixes.joined()
        if n != len(self._views[0]) or len(names) > len(self._record.names):
            self._hold(n, len(names))
        places = self._places_of(batch)
        if not len(places):
            self._record.names[: len(names)] = self._packed_by_name(names)
        self._stamp += 1
        while True:
            box = self.vehicles.box
            late, more, received_us, begun = take(
                self._box() if box is None else box, self._stamp, block, n, places, len(names)
            )
            if late == 0:
                if received_us > self.received_us:
                    self.received_us = received_us
                return late, more, begun
            if late > 0:
                return late, more, None
            if late == NO_ROOM:
                self.vehicles.make_room_to_admit(n)
            else:  # a vehicle that is new gets its row
                self._record.names[: len(names)] = self._packed(batch)
                places = NO_PLACES

    def _copied(self, batch: ObservationBatch) -> list[Change]:
        """Of vehicles whose home is another cell: where members of a group are is all that it says here."""
        if not self.convoys.on:
            return []
        fixes = use = None
        if len(batch.fixes):
            fixes = prepare(batch.fixes, self._packed(batch), self._record.series)
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
            known = self.presses.get(episode.id)
            if known is not None and known[2:] <= (press.device, press.seq, press.body):
                self.counts["duplicates"] += 1
                continue
            revision = 1 if known is None else known.revision + 1
            self.presses[episode.id] = Pressed(press.received_at_us, revision, press.device, press.seq, press.body)
            if len(self.presses) > PRESSES_KEPT:
                del self.presses[next(iter(self.presses))]
            self._new_presses = True
            told = Account(episode, "live", press.received_at_us, press.seen_at_us)
            changes.append(told.change("begin" if known is None else "amend", revision, batch.cell, self.plan.hash))
        return changes

    def _forward(self, fixes: Array, use: Array, changes: list[Change], begun: Begun | None = None) -> None:
        if begun is None:
            self.received_us = max(self.received_us, fixes["received"].item(-1))
            self.vehicles.make_room_to_admit(len(fixes))
        parts, frames = self._scanned(fixes, use, admits=True, begun=begun)
        for part in parts:
            received, seen = fixes["received"], fixes["seen"]
            for said in all_said(part):
                changes.append(self._change(said, kind_of(said), received.item(said.fix), seen.item(said.fix)))
        due, skipped = self.vehicles.admitted(frames)
        for slot in due:
            self._keyframe(slot)
        if skipped[IN_ORDER] < len(fixes):
            self.counts["duplicates"] += skipped[DUPLICATE]
            self.counts["kept_out"] += skipped[KEPT_OUT]
            self.counts["strangers"] += skipped[STRANGER]

    def _change(self, said: Said, kind: Any, received_us: int, seen_us: int, was: tuple[str, ...] = ()) -> Change:
        slot, revisions = said.slot, self.vehicles.revisions
        place, vehicle = self._whose[slot]
        revisions[slot] += 1
        told = account(self.tables, place, said, received_us, seen_us)
        return told.change(kind, revisions[slot], vehicle.cell, self.plan.hash, was)

    def _scan(self, fixes: Array, use: Array) -> list[Any]:
        """Records of form.OUT, each its own copy."""
        return [said for part in self._scanned(fixes, use, admits=False)[0] for said in part]

    def _scanned(self, fixes: Array, use: Array, admits: bool, begun: Begun | None = None) -> tuple[list[Array], int]:
        """What is said, and how many keyframes are due. `admits`: the fixes are remembered; there has to be room for them. `begun`: what
        the scan's first call has returned."""
        v = self.vehicles
        told: list[Array] = []
        start = 0
        while True:
            start, n, why, frames = begun or forward(self._box(), fixes, use, start, admits)
            begun = None
            if n:
                told.append(self._record.out[:n].copy())
            if why == DONE:
                return told, frames
            if why == OUT_FULL and n == 0:
                self._record = self._record._replace(out=np.zeros(2 * len(self._record.out), OUT))
                v.box = None
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
                fixes = prepare(batch.fixes, self._packed(batch), self._record.series)
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
        first_leg = int(self.tables.static.vehicles["legs"][self._whose[slot][0]][0])

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
        return account(self.tables, self._whose[slot][0], said_of(said), 0, 0).episode.id

    def _keyframe(self, slot: int) -> None:
        v = self.vehicles
        oldest = None if self.horizon_us is None else self.received_us - self.horizon_us - SLACK_US
        self.keyframes.add(slot, int(v.rows["seen"][slot]), v.pack(slot), int(v.rows["n"][slot]), oldest)

    # ---- housekeeping -----------------------------------------------------------------------------------------------------

    def forget(self, hot_us: int) -> None:
        """Keep this much history in memory; older fixes are read back when they are needed."""
        if self.received_us:
            self._keyframes_of_sparse()
            self.vehicles.forget(self.received_us - hot_us)

    def _keyframes_of_sparse(self) -> None:
        """Who sends seldom has a keyframe by time: what it would be taken back to is in the topic no more when it is counted by fixes alone."""
        if self.horizon_us is None:
            return
        seen = self.vehicles.rows["seen"][: self.vehicles.count]
        for slot in self.keyframes.older(seen, self.received_us - self.horizon_us // 4):
            if self.vehicles.rows["n"][slot]:
                self._keyframe(slot)


def _received_as(f: Any, newest: Any) -> Any:
    copy = f.copy()
    copy["received"] = newest["received"]
    return copy

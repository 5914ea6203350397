"""The engine of one version of the plan, for the stretch of time in which it is in force.

A vehicle enters with the state that the version before left it in, and only fixes that were seen within the stretch are scanned here.
The rules beside the scan hear more than that: what they tell is cut to the stretch afterwards.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.detect.arrive import (
    DEVICE_BITS,
    OUT_OF_ORDER,
    RANK_BITS,
    STRANGER,
    prepare,
    project,
    triage,
    use_of,
)
from pipeline.detect.engine import Engine, NeedHistoryError
from pipeline.detect.form import FIX
from pipeline.detect.judge import Judge
from pipeline.detect.layers import LOOK_AHEAD_US
from pipeline.detect.rewind import EVERY_FIXES, behind
from pipeline.detect.tables import Tables
from pipeline.detect.tell import account, fold, said_of, still_open
from pipeline.model.episode import Change
from pipeline.model.observation import Other, Tick
from pipeline.model.wire import NO_FIXES, ObservationBatch
from pipeline.plan.model import CompiledPlan

Array = npt.NDArray[Any]


def instant_of(what: Other) -> int:
    """When it was seen; of a Tick, the instant that it speaks of."""
    return what.at_us if isinstance(what, Tick) else what.seen_at_us


def part_of(batch: ObservationBatch, chosen: Array) -> ObservationBatch:
    """The same record with these of its fixes and nothing else."""
    if chosen.all():
        return replace(batch, others=())
    return replace(batch, fixes=batch.fixes.part(chosen), others=())


def since(batch: ObservationBatch, from_us: int) -> ObservationBatch:
    """What of a record was seen since then."""
    others = tuple(placed for placed in batch.others if instant_of(placed.what) >= from_us)
    chosen = batch.fixes.seen_at_us >= from_us
    fixes = batch.fixes.part(chosen) if chosen.any() else NO_FIXES
    return replace(batch, fixes=fixes, others=others)


def newest_of(batch: ObservationBatch) -> int:
    """The last instant that it speaks of; 0: of none."""
    newest_us = max((instant_of(placed.what) for placed in batch.others), default=0)
    return max(newest_us, int(batch.fixes.seen_at_us.max())) if len(batch.fixes) else newest_us


class Segment(Engine):
    def __init__(
        self,
        plan: CompiledPlan,
        horizon_us: int | None,
        tables: Tables | None,
        cells: Container[str] | None,
        from_us: int,
        until_us: int,
    ) -> None:
        super().__init__(plan, horizon_us, tables, cells)
        self.from_us, self.until_us = from_us, until_us
        self.bases: dict[str, bytes | None] = {}
        """With what state each vehicle came in."""
        self._gone_by: set[tuple[int, str, bool, bool]] = set()
        """That time has gone beyond these instants, by whose Ticks of which kind."""

    def within(self, seen: Array) -> Array:
        found: Array = (seen >= self.from_us) & (seen < self.until_us)
        return found

    # ---- fixes within the stretch ---------------------------------------------------------------------------------------

    def rows(self, batch: ObservationBatch) -> Array:
        """Its fixes, shape (n,), of `FIX`."""
        found: Array = prepare(batch.fixes, self._packed(batch), self._record.series)
        return found

    def look(self, fixes: Array) -> tuple[Array, int]:
        """What is to be done with each, and how many came out of order. Raises NeedHistoryError; changes nothing."""
        use = np.zeros(len(fixes), np.uint8)
        self._stamp += 1
        late = triage(self.vehicles.rows, self.vehicles.keys, self._stamp, fixes, use)
        if late:
            self._require_history(fixes[use == OUT_OF_ORDER])
        return use, late

    def _require_history(self, late: Array) -> None:
        """Nothing of this stretch is older than the stretch."""
        try:
            super()._require_history(late)
        except NeedHistoryError as need:
            from_us = max(need.from_us, self.from_us - 1)
            known = self.vehicles.known_from[np.unique(late["slot"])]
            if (known > from_us).any():
                raise NeedHistoryError(from_us) from None

    def scan_fixes(self, fixes: Array, use: Array, late: int) -> list[Change]:
        """What `look` said to do."""
        changes: list[Change] = []
        self._forward(fixes, use, changes)
        if late:
            for slot in np.unique(fixes["slot"][use == OUT_OF_ORDER]):
                changes += self._rewind(int(slot), fixes[(use == OUT_OF_ORDER) & (fixes["slot"] == slot)])
        return changes

    def up_to(self, batch: ObservationBatch, limit_us: int) -> ObservationBatch | None:
        """What of a record was seen up to then, and that time has gone on at least so far; None: nothing that was not said before. What stands
        beside it in the record is no matter."""
        others = []
        for placed in batch.others:
            what = placed.what
            if instant_of(what) > limit_us:
                if not isinstance(what, Tick):
                    continue
                passed = limit_us, what.source, what.healthy, what.clock_trusted
                if passed in self._gone_by:
                    continue
                self._gone_by.add(passed)
                placed = msgspec.structs.replace(placed, what=msgspec.structs.replace(what, at_us=limit_us))
            others.append(placed)
        chosen = batch.fixes.seen_at_us <= limit_us
        fixes = batch.fixes.part(chosen) if chosen.any() else NO_FIXES
        if not others and not len(fixes):
            return None
        return replace(batch, fixes=fixes, others=tuple(others))

    @property
    def hears_until_us(self) -> int:
        return self.until_us + LOOK_AHEAD_US

    def judge(self, batch: ObservationBatch, newest_us: int, whole: Array | None = None) -> list[Change]:
        """What the rules beside the scan say to a record. `newest_us`: the last instant that it speaks of; `whole`: all its fixes as rows, where
        that is known."""
        return [change for judge in self._taken(batch, newest_us, whole) for change in judge.changes()]

    def hear_again(self, batches: Iterable[ObservationBatch], from_us: int) -> list[Change]:
        """What the rules beside the scan say to what was read back, of which each part may have been heard before."""
        for batch in batches:
            part = since(batch, from_us)
            if not (len(part.fixes) or part.others):
                continue
            for _ in self._taken(part, newest_of(part), None):
                pass
        return [change for judge in self.judges if judge.on for change in judge.changes()]

    def _taken(self, batch: ObservationBatch, newest_us: int, whole: Array | None) -> Iterator[Judge]:
        """Each of them, when it has taken the record."""
        part = batch if newest_us <= self.hears_until_us else self.up_to(batch, self.hears_until_us)
        if part is None:
            return
        fixes = use = None
        if len(part.fixes):
            fixes = self.rows(part) if whole is None or part is not batch else whole
            use = use_of(fixes)
            if not (use != STRANGER).any() and not part.others:
                return
        for judge in (self.convoys,) if part.copy else self.judges:
            if judge.on:
                judge.take(part, fixes, use)
                yield judge

    def adopt(self, rows: Array, source: Segment, name: str) -> Array:
        """Fixes of one vehicle that another version has kept, as this one reads them."""
        rows = rows.copy()
        slot = self.slot_of(name)
        rows["slot"] = -1 if slot is None else slot
        mine, theirs = self.tables.device_place, source.tables.device_place
        if mine != theirs:
            place = rows["device"].copy()
            for device, (was, _) in theirs.items():
                packed = self._names[device]
                rows["device"][place == was] = (packed >> RANK_BITS) & ((1 << DEVICE_BITS) - 1)
                rows["rank"][place == was] = packed & ((1 << RANK_BITS) - 1)
            for device, (now, rank) in mine.items():
                if device not in theirs:
                    was = (source._names[device] >> RANK_BITS) & ((1 << DEVICE_BITS) - 1)
                    rows["device"][place == was], rows["rank"][place == was] = now, rank
        if self.plan.projection != source.plan.projection:
            tv = np.empty(10)
            for row in rows:
                row["x"], row["y"] = project(self._record.series, tv, row["lat"], row["lon"])
        return rows

    # ---- coming in, and what one goes out with --------------------------------------------------------------------------

    def state(self, vehicle: str) -> bytes | None:
        """As its newest fix left it, or as it came in; None: it was never here."""
        slot = self.slot_of(vehicle)
        if slot is None or not self.vehicles.rows["n"][slot]:
            return None
        return self.vehicles.pack(slot)

    def open(self, vehicle: str) -> list[Change]:
        """What was told of it and is not over."""
        slot = self.slot_of(vehicle)
        if slot is None:
            return []
        f = self._as_fix(slot)
        return [self._told(slot, said, f) for said in self._still_open(slot)]

    def anything_open(self, vehicle: str) -> bool:
        slot = self.slot_of(vehicle)
        return slot is not None and bool(self._still_open(slot))

    def all_open(self) -> list[str]:
        """Who has anything that was told and is not over."""
        v, n = self.vehicles, self.vehicles.count
        used = np.arange(v.pairs.shape[1]) < v.rows["pairs"][:n, None]
        on = (v.rows["stop"]["held"]["on"][:n] != 0) | (v.legs["held"]["on"][:n] != 0).any(axis=1)
        on |= ((v.pairs["held"]["on"][:n] != 0) & used).any(axis=1)
        return [self.vehicle_of(slot) for slot in np.flatnonzero(on).tolist()]

    def _still_open(self, slot: int) -> list[Any]:
        v = self.vehicles
        return still_open(v.rows, v.pairs, v.legs, slot, self._first_leg(slot))

    def _first_leg(self, slot: int) -> int:
        return int(self.tables.static.vehicles["legs"][self._whose[slot][0]][0])

    def _told(self, slot: int, said: Any, f: Any) -> Change:
        place, vehicle = self._whose[slot]
        told = account(self.tables, place, said_of(said), int(f["received"]), int(f["seen"]))
        return told.change("amend", 0, vehicle.cell, self.plan.hash)

    def removed(self, vehicle: str, ended: list[Any], at_us: int) -> list[Change]:
        """The last word on episodes whose rule is in force no longer: records of this version."""
        if vehicle not in self.tables.vehicle_place:
            return []
        out = []
        for said in ended:
            told = account(self.tables, self.tables.vehicle_place[vehicle], said_of(said), at_us, at_us)
            change = told.change("end", 0, self.plan.vehicles[vehicle].cell, self.plan.hash)
            evidence = {**change.episode.evidence, "ended_by": "PLAN_REMOVED"}
            out.append(_with_evidence(change, evidence))
        return out

    def _as_fix(self, slot: int) -> Any:
        f = np.zeros((), FIX)
        f["slot"] = slot
        f["seen"] = f["received"] = max(int(self.vehicles.rows["seen"][slot]), self.from_us)
        return f

    def enter(self, vehicle: str, state: bytes | None, received_us: int) -> list[Change]:
        """It comes in with this state, or came in with this one and not with what was thought. Raises NeedHistoryError."""
        known = vehicle in self.bases
        if known and self.bases[vehicle] == state:
            return []
        slot = self.add_vehicle(vehicle)
        v = self.vehicles
        self.require_whole(vehicle)
        history = v.history(slot)
        before = fold(self._play(slot, self.bases.get(vehicle), history)) if known or len(history) else {}
        self.bases[vehicle] = state
        self.keyframes.restore(slot, [] if state is None else [(self.from_us - 1, state)], 0)
        after = fold(self._play(slot, state, history, keep=True))
        v.known_from[slot] = self.from_us - 1
        v.replace_history(slot, history)
        v.dirty[slot] = True
        cause = self._as_fix(slot)
        cause["received"] = received_us
        return self._difference(slot, before, after, history, cause)

    def require_whole(self, vehicle: str) -> None:
        """All that was seen of it within the stretch has to be in memory. Raises NeedHistoryError."""
        slot = self.slot_of(vehicle)
        if slot is not None and self.vehicles.known_from[slot] > self.from_us - 1:
            raise NeedHistoryError(self.from_us - 1)

    def _play(self, slot: int, state: bytes | None, history: Array, keep: bool = False) -> list[Any]:
        v = self.vehicles
        if state is None:
            v.clear(slot)
        else:
            v.unpack(slot, state)
        told = self._still_open(slot)
        for start in range(0, len(history), EVERY_FIXES):
            piece = history[start : start + EVERY_FIXES]
            for said in self._scan(piece, np.ones(len(piece), np.uint8)):
                said["fix"] += start
                told.append(said)
            if keep and len(piece) == EVERY_FIXES:
                self._keyframe(slot)
        return told

    # ---- another end ----------------------------------------------------------------------------------------------------

    def require_from(self, at_us: int) -> None:
        """All that was seen since then has to be in memory, to be judged again. Raises NeedHistoryError."""
        v = self.vehicles
        missing = []
        for slot in np.flatnonzero(v.rows["seen"][: v.count] >= at_us):
            begin = max(self.keyframes.before(int(slot), at_us), self.from_us - 1)
            if begin < v.known_from[slot]:
                missing.append(begin)
        if missing:
            raise NeedHistoryError(min(missing))

    def cut(self, at_us: int) -> tuple[list[Array], list[Change]]:
        """End already then: the fixes that are taken out, of each vehicle, and what is told otherwise without them."""
        v = self.vehicles
        taken, changes = [], []
        for slot in np.flatnonzero(v.rows["seen"][: v.count] >= at_us).tolist():
            history = v.history(slot)
            first = int(np.searchsorted(history["seen"], at_us, side="left"))
            if first == len(history):
                continue
            rest = history[first:]
            taken.append(rest)
            changes += self._without(slot, history[:first], rest, at_us)
        self.until_us = at_us
        return taken, changes

    def _without(self, slot: int, kept: Array, gone: Array, at_us: int) -> list[Change]:
        v = self.vehicles
        at, packed = self.keyframes.latest_before(slot, at_us)
        if at is None or packed is None:
            tail, packed = kept, self.bases.get(self.vehicle_of(slot))
        else:
            tail = kept[behind(kept, at, packed) :]
        before = fold(self._play(slot, packed, np.concatenate([tail, gone], dtype=FIX)))
        self.keyframes.drop_after(slot, at_us)
        after = fold(self._play(slot, packed, tail))
        v.replace_history(slot, kept)
        v.dirty[slot] = True
        newest = gone[int(np.argmax(gone["received"]))]
        return self._difference(slot, before, after, tail, newest)


def _with_evidence(change: Change, evidence: dict[str, Any]) -> Change:
    return msgspec.structs.replace(change, episode=msgspec.structs.replace(change.episode, evidence=evidence))

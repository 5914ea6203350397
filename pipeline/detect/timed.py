"""The engine of one partition under a plan that changes: observations and orders in, changes out.

While there is one version of the plan it is that version's engine and nothing else. With more, each fix goes to the version that was in
force when it was seen, a vehicle takes its state along from one to the next, and what all versions tell is laid into one account
(`layers`); what is published is the difference to what was told before. An order that comes in late takes back what was seen since
it is in force, and gives it to whom it belongs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.detect.arrive import IN_ORDER, use_of
from pipeline.detect.beside import CONVOY_US, hand_over, owners, told_beside, wanted_since
from pipeline.detect.carry import Carrier
from pipeline.detect.engine import NeedHistoryError
from pipeline.detect.form import FIX
from pipeline.detect.judge import differences
from pipeline.detect.layers import Key, Layer, episodes, is_scanned, judged, key_of, scanned
from pipeline.detect.rewind import AHEAD_US
from pipeline.detect.segment import Segment, newest_of, part_of
from pipeline.detect.tables import Tables, build_tables
from pipeline.model.episode import Change, Episode
from pipeline.model.observation import Order, Tick
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan
from pipeline.plan.timeline import EVER_US, Timeline

Array = npt.NDArray[Any]
TABLES_KEPT = 32
LET_GO_US = 7_200_000_000  # beyond the horizon: what was open at a version's end is known by then


class Timed:
    """`segments[i]` is of `timeline.versions[i]`; None while nothing has been seen in it, or no longer kept."""

    def __init__(
        self,
        plan: CompiledPlan,
        horizon_us: int | None = None,
        tables: Tables | None = None,
        cells: Container[str] | None = None,
        known: dict[str, Tables] | None = None,
    ) -> None:
        """`known`: tables by the hash of their plan, which several partitions may share."""
        self.timeline = Timeline(plan)
        self.horizon_us = horizon_us
        self.cells = cells
        self.first = Segment(plan, horizon_us, tables, cells, 0, EVER_US)
        self.segments: list[Segment | None] = [self.first]
        self.layers: list[Layer] = [Layer(0, EVER_US)]
        self.told: dict[Key, dict[str, Change]] = {}
        self.now_us = 0
        """Up to when Ticks and orders say that time has passed."""
        self.counts: Counter[str] = self.first.counts
        self.presses = self.first.presses
        self.whole_next = False
        self.revision = 0
        self._tables = {} if known is None else known
        self._tables[plan.hash] = self.first.tables
        self._carriers: dict[int, Carrier] = {}
        self._again: dict[str, list[tuple[Segment, Array]]] = {}
        """By vehicle, while another timeline is taken: what is to be judged again."""
        self._heirs: list[Segment] = []
        """Engines of versions that are in force no longer: they know what was heard, where no earlier one is left."""
        self._heard: set[Key] = set()
        """What the rules beside the scan said when a version's engine was made."""
        self._changed: set[Key] = set()
        """What no checkpoint has yet."""
        self._owed: list[Change] = []
        self._back: list[ObservationBatch] | None = None
        """What was read back that nobody has kept: of vehicles that no version has known until now, and what the rules beside the scan want to
        hear once more. Empty: it was asked for, None: nobody asked."""
        self._back_us = EVER_US
        """Since when they want that."""
        self._gone = 0
        """So many versions were let go: nothing admitted can be of them."""
        self._passed = 0
        """Up to this version everybody has gone on."""

    # ---- what it has in common with the engine of one plan -----------------------------------------------------------------

    @property
    def simple(self) -> bool:
        return len(self.segments) == 1

    @property
    def live(self) -> list[Segment]:
        return [s for s in self.segments if s is not None]

    @property
    def received_us(self) -> int:
        return max(s.received_us for s in self.live)

    @property
    def dirty(self) -> bool:
        return self.whole_next or bool(self._changed) or any(s.dirty for s in self.live)

    def forget(self, hot_us: int) -> None:
        """Keep this much history in memory; older fixes are read back when they are needed."""
        for segment in self.live:
            segment.forget(hot_us)
        if self.horizon_us is not None and not self.simple:
            self._let_go(max(self.now_us, self.received_us) - self.horizon_us - LET_GO_US)
            self._forget(max(self.now_us, self.received_us) - 2 * self.horizon_us)

    def load_history(self, batches: Iterable[ObservationBatch], from_us: int) -> None:
        kept = list(batches)
        if self._back == []:
            self._back = kept
        for segment in self.live:
            if self.simple:
                segment.load_history(kept, from_us)
                return
            if segment.until_us > from_us:
                own = [part_of(b, segment.within(b.fixes.seen_at_us)) for b in kept if len(b.fixes) and not b.copy]
                segment.load_history(own, max(from_us, segment.from_us))

    # ---- feeding ------------------------------------------------------------------------------------------------------------

    def feed(self, batch: ObservationBatch, plans: Mapping[str, CompiledPlan] | None = None) -> list[Change]:
        """One record. Raises NeedHistoryError, or UnknownPlanError of a switch to a plan that is not in `plans`: give what is missing, and
        feed it again."""
        orders = [o.what for o in batch.others if isinstance(o.what, Order) and self._admitted(o.what)]
        new = [order for order in orders if not self.timeline.has(order)]
        if not new:
            return self._with_owed(batch)
        later = self.timeline.with_orders(new, plans)
        if later.same_versions(self.timeline):
            self.timeline = later  # refused, or as it is: nothing is judged otherwise
            return self._with_owed(batch)
        from_us = min(order.effective_from_us for order in new)
        for segment in self.live:
            segment.require_from(max(from_us, segment.from_us))
        self._require(batch, later)
        first = sum(version.from_us < from_us for version in later.versions)
        last = later.place(max(self._reached_us, self._time_of(batch)))
        self._require_convoys(later, range(first, last + 1), from_us)
        strange = self._strange(later, from_us)
        self._require_back(later, first, last, strange.values())
        self._owed += self._retime(later, from_us, batch, strange)
        self._back = None
        return self._with_owed(batch)

    @property
    def _reached_us(self) -> int:
        """Nothing that came in was seen later."""
        return max(self.now_us, self.received_us) + AHEAD_US

    def _require_back(self, timeline: Timeline, first: int, last: int, strange: Iterable[int] = ()) -> None:
        """What nobody has kept of the time of these versions, which are to be made, has to be read back. Raises NeedHistoryError."""
        wanted: list[int] = []
        for place in range(max(first, 1), last + 1):
            if timeline is not self.timeline or self.segments[place] is None:
                before, after = timeline.versions[place - 1 : place + 1]
                wanted += wanted_since(before.plan, after, self.horizon_us, self.cells, self._reached_us)
        if timeline is not self.timeline and first:
            kept = self.segments[first - 1]
            if kept is not None and kept.hears_until_us < self._reached_us:
                wanted.append(kept.hears_until_us)
        self._back_us = min(wanted, default=EVER_US)
        missing = [*wanted, *strange]
        if missing and self._back is None:
            self._back = []
            raise NeedHistoryError(min(missing))

    def _strange(self, later: Timeline, from_us: int) -> dict[str, int]:
        """Vehicles that are known in a stretch of the new timeline and were not in the old one's, and since when: a wrong plan has been put right.
        Nobody has kept what was seen of them."""
        found: dict[str, int] = {}
        reached_us = self._reached_us
        for place in range(later.place(from_us), later.place(reached_us) + 1):
            for was in range(self.timeline.place(from_us), self.timeline.place(reached_us) + 1):
                new, old = later.versions[place], self.timeline.versions[was]
                since = max(new.from_us, old.from_us, from_us)
                until = min(later.until_us(place), self.timeline.until_us(was), reached_us)
                if since < until and new.plan.vehicles is not old.plan.vehicles:
                    for name in new.plan.vehicles.keys() - old.plan.vehicles.keys():
                        found[name] = min(since, found.get(name, since))
        return found

    def _with_owed(self, batch: ObservationBatch) -> list[Change]:
        """The new timeline stands even when history is missing for the rest: what it changed is told with the second try."""
        if self.simple:
            self._hear_time(batch)
            changes = self.first.feed(batch)
        else:
            changes = self._feed(batch)
            self._share_received()
        owed, self._owed = self._owed, []
        return owed + changes

    def _share_received(self) -> None:
        """When the newest fix was received is known of the partition, whichever version has it: a checkpoint says one time for all, and what is
        told by it is the same after a restart."""
        newest = self.received_us
        for segment in self.live:
            segment.received_us = newest

    def _admitted(self, order: Order) -> bool:
        """Not older than the horizon when it came: such a one waits until the day is settled."""
        if self.horizon_us is None or order.received_at_us - order.effective_from_us <= self.horizon_us:
            return True
        self.counts["orders_beyond_horizon"] += 1
        return False

    def _hear_time(self, batch: ObservationBatch) -> None:
        for placed in batch.others:
            if isinstance(placed.what, Tick):
                self.now_us = max(self.now_us, placed.what.at_us)
            elif isinstance(placed.what, Order):
                self.now_us = max(self.now_us, placed.what.received_at_us)

    def _feed(self, batch: ObservationBatch) -> list[Change]:
        parts = self._require(batch, self.timeline)
        self._hear_time(batch)
        # should history be missing further on, what was told until then is told with the second try
        self._owed += self.live[-1]._presses(batch)
        touched = self._heard
        names: dict[str, int] = {}
        whole: dict[int, Array] = {}
        for place, part, known in parts:
            segment = self._segment(place)
            fixes = segment.rows(part) if known is None else known
            if len(fixes) == len(batch.fixes):
                whole[place] = fixes
            for name in self._vehicles(part):
                touched |= self._bring(name, place, segment)
                names[name] = min(place, names.get(name, place))
            use, late = segment.look(fixes)
            touched |= self._hear(place, segment.scan_fixes(fixes, use, late))
        self._segment(self.timeline.place(self.now_us))
        for name, place in names.items():
            touched |= self._go_on(name, place)
        touched |= self._pass_time()
        touched |= self._judge(batch, whole)
        self._back = None
        return self._publish(touched)

    @staticmethod
    def _vehicles(batch: ObservationBatch) -> list[str]:
        return [batch.fixes.names[i] for i in np.unique(batch.fixes.vehicle).tolist()]

    def _require(self, batch: ObservationBatch, timeline: Timeline) -> list[tuple[int, ObservationBatch, Array | None]]:
        """The versions in which its fixes were seen, which of them, and as rows where there is an engine. Raises NeedHistoryError."""
        parts: list[tuple[int, ObservationBatch, Array | None]] = []
        if timeline is self.timeline:
            self._require_of_new(batch)
        if not len(batch.fixes) or batch.copy:
            return parts
        places = timeline.places(batch.fixes.seen_at_us)
        same = timeline is self.timeline
        for place in np.unique(places).tolist():
            chosen = places == place
            if place < self._gone:
                self.counts["kept_out"] += int(np.count_nonzero(chosen))
                continue
            part = part_of(batch, chosen)
            segment = self.segments[place] if same else None
            fixes = None
            if segment is not None:
                fixes = segment.rows(part)
                segment.look(fixes)
            parts.append((place, part, fixes))
            # it will come into the versions behind with another state, even where nobody has been in this one yet
            for name in self._vehicles(part) if same else ():
                for later in self.segments[place + 1 :]:
                    if later is not None:
                        later.require_whole(name)
        return parts

    def _require_of_new(self, batch: ObservationBatch) -> None:
        """What versions want to know that this record brings. Raises NeedHistoryError."""
        last = self.timeline.place(max(self.now_us, self._time_of(batch)))
        places = [place for place in range(self._passed + 1, last + 1) if self.segments[place] is None]
        if places:
            self._require_convoys(self.timeline, places, self.timeline.versions[places[0]].from_us)
            self._require_back(self.timeline, places[0], last)

    @staticmethod
    def _time_of(batch: ObservationBatch) -> int:
        """So far a record brings time: versions that begin by then are made."""
        said = [p.what for p in batch.others]
        at_us = [w.at_us if isinstance(w, Tick) else w.received_at_us for w in said if isinstance(w, Tick | Order)]
        if len(batch.fixes) and not batch.copy:
            at_us.append(int(batch.fixes.seen_at_us.max()))
        return max(at_us, default=0)

    def _require_convoys(self, timeline: Timeline, places: Iterable[int], from_us: int) -> None:
        """Versions that are made want to know where members of their convoys were just before. Raises NeedHistoryError."""
        members: set[str] = set()
        for place in places:
            before, after = (timeline.versions[max(p, 0)].plan for p in (place - 1, place))
            members |= owners(after, before, {v for convoy in after.convoys.values() for v in convoy.members})
        missing = []
        for segment in self.live:
            wanted = max(from_us - CONVOY_US, segment.from_us - 1)
            slots = [segment.slot_of(v) for v in members]
            if any(slot is not None and segment.vehicles.known_from[slot] > wanted for slot in slots):
                missing.append(wanted)
        if missing:
            raise NeedHistoryError(min(missing))

    # ---- versions -------------------------------------------------------------------------------------------------------------

    def _segment(self, place: int) -> Segment:
        """Made when something is seen in it, or its time has come."""
        segment = self.segments[place]
        if segment is None:
            segment = self._made(place)
            earlier = [s for s in self.segments[:place] if s is not None]
            before = (earlier or self._heirs or self.live)[-1]
            segment.received_us = max(s.received_us for s in (before, *self.live))
            self.segments[place] = segment
            hand_over(before, segment, self._history)
            self._heard |= self.layers[place].hear(told_beside(segment))
            self._heard |= self._hear(place, segment.hear_again(self._back or (), self._back_us))
            self.whole_next = True
        return segment

    def _history(self, name: str) -> Iterator[tuple[Segment, Array]]:
        """What is in memory of a vehicle's fixes, and in which version's terms."""
        for segment in self.live:
            if (slot := segment.slot_of(name)) is not None:
                yield segment, segment.vehicles.history(slot)
        yield from self._again.get(name, ())

    def _made(self, place: int) -> Segment:
        version = self.timeline.versions[place]
        until_us = self.timeline.until_us(place)
        tables = self.tables_of(version.plan)
        segment = Segment(version.plan, self.horizon_us, tables, self.cells, version.from_us, until_us)
        segment.counts, segment.presses = self.counts, self.presses
        return segment

    def tables_of(self, plan: CompiledPlan) -> Tables:
        tables = self._tables.get(plan.hash)
        if tables is None:
            like = next((t for t in self._tables.values() if t.plan.areas is plan.areas), None)
            tables = self._tables[plan.hash] = build_tables(plan, like)
            if len(self._tables) > TABLES_KEPT:
                del self._tables[next(iter(self._tables))]
        return tables

    def _carrier(self, place: int) -> Carrier:
        """Into this version from the one before."""
        carrier = self._carriers.get(place)
        if carrier is None:
            old, new = (self.tables_of(self.timeline.versions[p].plan) for p in (place - 1, place))
            carrier = self._carriers[place] = Carrier(old, new, self.timeline.versions[place].from_us)
        return carrier

    def _state(self, name: str, place: int) -> bytes | None:
        """With which it leaves this version."""
        segment = self.segments[place] if place >= 0 else None
        return None if segment is None else segment.state(name)

    def _bring(self, name: str, place: int, segment: Segment) -> set[Key]:
        """Let it come into a version in which it has not been yet, out of the last one in which it was."""
        if name in segment.bases or place == 0 or name not in segment.tables.vehicle_place:
            return set()
        touched: set[Key] = set()
        last = next((p for p in range(place - 1, -1, -1) if self._state(name, p) is not None), None)
        if last is None:
            segment.bases[name] = None
            return set()
        for p in range(last + 1, place + 1):
            touched |= self._carry(name, p)
        return touched

    def _carry(self, name: str, place: int) -> set[Key]:
        """Into this version with the state in which it leaves the one before."""
        segment, layer = self._segment(place), self.layers[place]
        state = self._state(name, place - 1)
        carried: bytes | None = None
        ended: list[Any] = []
        if state is not None:
            carried, ended = self._carrier(place).carry(name, state)
        before = self.segments[place - 1]
        gone = before.removed(name, ended, segment.from_us) if before is not None else []
        touched = layer.remove(name, gone)
        if name not in segment.tables.vehicle_place:
            return touched
        return touched | layer.hear(segment.enter(name, carried, self.received_us))

    def _go_on(self, name: str, place: int) -> set[Key]:
        """What happened to it in this version changes with what it came into the later ones."""
        touched: set[Key] = set()
        reached = self.timeline.place(self.now_us)
        known = [
            p
            for p, s in enumerate(self.segments)
            if (s is not None and name in s.bases) or name in self.layers[p].removed
        ]
        for p in range(place + 1, max([reached, *known]) + 1):
            before = self.segments[p - 1]
            if p > max(known, default=0) and not (before is not None and before.anything_open(name)):
                break
            touched |= self._carry(name, p)
        return touched

    def _pass_time(self) -> set[Key]:
        """What is open and not over goes into the versions whose time has come."""
        reached = self.timeline.place(self.now_us)
        touched: set[Key] = set()
        for place in range(self._passed + 1, reached + 1):
            before, segment = self.segments[place - 1], self._segment(place)
            for name in before.all_open() if before is not None else ():
                if name not in segment.bases:
                    touched |= self._carry(name, place)
            # what the version said before its time (a clock ran ahead, or it was made early) counts from now on
            known = {*self.layers[place - 1].told, *self.layers[place].told}
            touched |= {key for key in known if not is_scanned(key[0])}
        self._passed = reached
        return touched

    # ---- the rules beside the scan ------------------------------------------------------------------------------------------

    def _judge(self, batch: ObservationBatch, whole: Mapping[int, Array]) -> set[Key]:
        """`whole`: by version, all its fixes as rows, where that is known."""
        touched: set[Key] = set()
        newest_us = newest_of(batch)
        for place, segment in enumerate(self.segments):
            if segment is not None:
                touched |= self._hear(place, segment.judge(batch, newest_us, whole.get(place)))
        return touched

    # ---- telling --------------------------------------------------------------------------------------------------------------

    def _hear(self, place: int, changes: list[Change]) -> set[Key]:
        """What a version's engine says. The first one may speak of what it told before anybody kept account of it."""
        layer = self.layers[place]
        if self.segments[place] is self.first:
            for change in changes:
                told = self.told.setdefault(key_of(change.episode), {})
                # one that replaces others has an id of its own, which nobody was told
                own = [] if change.kind == "begin" or change.was_ids else [change.episode.id]
                for i in (*own, *change.was_ids):
                    if i not in told and not any(i in x.told.get(key_of(change.episode), {}) for x in self.layers):
                        told[i] = _unknown(change, i)
                layer.hear([change])
        return layer.hear(changes)

    def _compose(self, key: Key) -> dict[str, Change]:
        return scanned(self.layers, key) if is_scanned(key[0]) else judged(self.layers, key, self.now_us)

    def _publish(self, touched: set[Key]) -> list[Change]:
        changes: list[Change] = []
        touched |= self._heard
        self._heard = set()
        self._changed |= touched
        for key in sorted(touched):
            before, after = self.told.get(key, {}), self._compose(key)
            for kind, episode, was in differences(episodes(before), episodes(after)):
                changes.append(self._change(kind, episode, was, after.get(episode.id) or before[episode.id]))
            for i, change in after.items():
                old = before.get(i)
                if old is not None and old.episode == change.episode and old.mode != change.mode:
                    changes.append(self._change("amend", change.episode, (), change))
            if after:
                self.told[key] = after
            else:
                self.told.pop(key, None)
        return changes

    def _change(self, kind: Any, episode: Episode, was: tuple[str, ...], source: Change) -> Change:
        self.revision += 1
        return msgspec.structs.replace(
            source, kind=kind, episode=episode, was_ids=was, revision=(1 << 32) + self.revision
        )

    def _forget(self, before_us: int) -> None:
        """Episodes that were over by then: the whole account says so, and not a version that saw only their beginning."""
        ahead = {key for layer in self.layers if layer.from_us > self.now_us for key in layer.told}
        for key in sorted({key for layer in self.layers for key in layer.about()} | set(self.told)):
            if key in ahead:
                continue  # it counts when the version's time comes
            after = self._compose(key)
            over = {
                i for i, c in after.items() if c.episode.ended_at_us is not None and c.episode.ended_at_us < before_us
            }
            until_us = min([before_us, *(c.episode.began_at_us for i, c in after.items() if i not in over)])
            gone = [x.forget(key, over if is_scanned(key[0]) else x.over_by(key, until_us)) for x in self.layers]
            if not any(gone):
                continue
            kept = {i: c for i, c in self.told.get(key, {}).items() if i not in over and i in after}
            self._changed.add(key)
            if kept:
                self.told[key] = kept
            else:
                self.told.pop(key, None)

    def _let_go(self, before_us: int) -> None:
        """Of versions that nothing admitted can be of any more: whoever is still there goes on into the next one."""
        for place, segment in enumerate(self.segments[:-1]):
            if segment is None:
                continue
            if segment.until_us >= before_us or place + 1 > self._passed:
                return
            following = self._segment(place + 1)
            for slot in range(segment.vehicles.count):
                if segment.vehicle_of(slot) not in following.bases:
                    self._carry(segment.vehicle_of(slot), place + 1)
            self.segments[place] = None
            self._gone = place + 1
            self.whole_next = True

    # ---- keeping --------------------------------------------------------------------------------------------------------------

    def part(self, from_us: int) -> Segment:
        """The engine of the version that is in force from then on, for a checkpoint to fill."""
        place = next(i for i, layer in enumerate(self.layers) if layer.from_us == from_us)
        segment = self.segments[place]
        if segment is None:
            segment = self.segments[place] = self._made(place)
        return segment

    def restore_orders(
        self, orders: list[Order], plans: Mapping[str, CompiledPlan], now_us: int, revision: int
    ) -> None:
        """As it was when these were known. Raises UnknownPlanError."""
        self.now_us, self.revision = now_us, revision
        if not orders:
            return
        self.timeline = self.timeline.with_orders(orders, plans)
        versions = self.timeline.versions
        self.layers = [Layer(v.from_us, self.timeline.until_us(i)) for i, v in enumerate(versions)]
        self.first.until_us = self.timeline.until_us(0)
        self.segments = [self.first, *([None] * (len(versions) - 1))]
        self._passed = self.timeline.place(now_us)

    def restore_accounts(self, accounts: Iterable[Any], removed: Mapping[str, list[tuple[int, list[Change]]]]) -> None:
        if self.simple:
            return
        layers = {layer.from_us: layer for layer in self.layers}
        for account in accounts:
            if account.told:
                self.told[account.key] = {c.episode.id: c for c in account.told}
            for from_us, mine in account.layers:
                if from_us in layers:
                    layers[from_us].told[account.key] = {c.episode.id: c for c in mine}
        for vehicle, parts in removed.items():
            for from_us, mine in parts:
                if from_us in layers:
                    layers[from_us].removed[vehicle] = {c.episode.id: c for c in mine}
        if self.horizon_us is None:
            return
        over_us = max(self.now_us, self.received_us) - self.horizon_us - LET_GO_US
        while self._gone + 1 < len(self.segments) and self.layers[self._gone].until_us < over_us:
            segment = self.segments[self._gone]
            if segment is not None and segment.vehicles.count:
                break
            self.segments[self._gone] = None
            self._gone += 1
        if not self.live:  # there is always one to go on from
            self.segments[self._gone] = self._made(self._gone)

    def take_accounts(self, whole: bool) -> tuple[list[Any], dict[str, list[tuple[int, list[Change]]]]]:
        """(key, told, layers) of what has changed since the last call, and what ended when versions came into force, by vehicle."""
        if self.simple and not self.told:
            self._changed.clear()
            return [], {}
        keys = {key for layer in self.layers for key in layer.told} | set(self.told) if whole else self._changed
        accounts = []
        for key in sorted(keys):
            parts = [(x.from_us, list(x.told[key].values())) for x in self.layers if key in x.told]
            accounts.append((key, list(self.told.get(key, {}).values()), parts))
        vehicles = {key[1] for key in keys if is_scanned(key[0])}
        removed = {
            v: [
                (x.from_us, list(x.removed.get(v, {}).values()))
                for x in self.layers
                if whole is False or v in x.removed
            ]
            for v in sorted(vehicles)
            if not whole or any(v in x.removed for x in self.layers)
        }
        self._changed = set()
        return accounts, removed

    # ---- another timeline -------------------------------------------------------------------------------------------------------

    def _retime(
        self, timeline: Timeline, from_us: int, batch: ObservationBatch, strange: Mapping[str, int]
    ) -> list[Change]:
        """Whatever was seen since then is judged again, by what is now in force. `strange`: who was unknown since when."""
        touched: set[Key] = set()
        if self.simple:
            touched |= self._begin_account()
        again: list[tuple[Segment, Array]] = []
        stale = False
        kept: list[Segment | None] = []
        layers: list[Layer] = []
        for segment, layer in zip(self.segments, self.layers, strict=True):
            if layer.from_us >= from_us:
                touched |= layer.about()
                if segment is not None:
                    again += [(segment, segment.vehicles.history(slot)) for slot in range(segment.vehicles.count)]
                continue
            stale = segment is not None and segment.hears_until_us < self._reached_us
            if segment is not None and layer.until_us > from_us:
                taken, changes = segment.cut(from_us)
                touched |= self._hear(len(kept), changes)
                again += [(segment, fixes) for fixes in taken]
            if layer.until_us > from_us:
                layer.until_us = from_us
                touched |= {key for key in layer.told if not is_scanned(key[0])}
            kept.append(segment)
            layers.append(layer)
        self._heirs = [s for s in self.segments if s is not None and s not in kept]
        had = self.received_us
        self.timeline = timeline
        self._carriers.clear()
        self.layers = layers
        self.segments = [*kept, *([None] * (len(timeline.versions) - len(kept)))]
        for place in range(len(layers), len(timeline.versions)):
            self.layers.append(Layer(timeline.versions[place].from_us, timeline.until_us(place)))
        if kept:
            self.layers[len(kept) - 1].until_us = timeline.until_us(len(kept) - 1)
            last = self.segments[len(kept) - 1]
            if last is not None:
                last.until_us = timeline.until_us(len(kept) - 1)
                last.received_us = had
                if stale:
                    touched |= self._hear(len(kept) - 1, last.hear_again(self._back or (), self._back_us))
        self._hear_time(batch)
        touched |= self._give_again(again, strange)
        for place in range(len(kept), timeline.place(self.now_us) + 1):
            self._segment(place)
        self._heirs, self._again = [], {}
        self._passed = self._gone
        self.whole_next = True
        changes = self._publish(touched)
        if self.simple:
            self._end_account()
        return changes

    def _end_account(self) -> None:
        """One version is left, whose engine tells by itself from here on: what was kept of it would grow old."""
        self.told.clear()
        self.layers[0] = Layer(self.layers[0].from_us, self.layers[0].until_us)

    def _begin_account(self) -> set[Key]:
        """What the one engine has told and is not over, and what the rules beside the scan hold."""
        segment = self.first
        known = [c for slot in range(segment.vehicles.count) for c in segment.open(segment.vehicle_of(slot))]
        known += told_beside(segment)
        touched = self.layers[0].hear(known)
        for key in touched:
            self.told[key] = dict(self.layers[0].told[key])
        return touched

    def _read_again(self, strange: Mapping[str, int]) -> Iterator[tuple[str, Segment, Array]]:
        """Of what was read back, the fixes of these vehicles since those instants, each by the version that knows it."""
        for batch in self._back or ():
            if not len(batch.fixes) or batch.copy:
                continue
            since = np.array([strange.get(name, EVER_US) for name in batch.fixes.names], np.int64)
            chosen = batch.fixes.seen_at_us >= since[batch.fixes.vehicle]
            places = self.timeline.places(batch.fixes.seen_at_us)
            for place in np.unique(places[chosen]).tolist():
                segment = self._segment(place)
                rows = segment.rows(part_of(batch, chosen & (places == place)))
                rows = rows[use_of(rows) == IN_ORDER]
                for slot in np.unique(rows["slot"]).tolist():
                    yield segment.vehicle_of(slot), segment, rows[rows["slot"] == slot]

    def _give_again(self, again: list[tuple[Segment, Array]], strange: Mapping[str, int]) -> set[Key]:
        """Fixes that were judged by another plan, a vehicle at a time, to those that were in force."""
        touched: set[Key] = set()
        by_name = self._again
        for source, fixes in again:
            if len(fixes):
                by_name.setdefault(source.vehicle_of(int(fixes["slot"][0])), []).append((source, fixes))
        for name, source, fixes in self._read_again(strange):
            by_name.setdefault(name, []).append((source, fixes))
        for name, parts in sorted(by_name.items()):
            seen = np.concatenate([f["seen"] for _, f in parts])
            for place in np.unique(self.timeline.places(seen)).tolist():
                segment = self._segment(place)
                if name not in segment.tables.vehicle_place:
                    continue
                touched |= self._bring(name, place, segment)
                segment.add_vehicle(name)
                mine = [segment.adopt(f[self._within(f, place)], source, name) for source, f in parts]
                rows = np.concatenate(mine, dtype=FIX) if len(mine) > 1 else mine[0]
                rows = rows[np.lexsort((rows["body"], rows["seq"], rows["device"], rows["seen"]))]
                use, late = segment.look(rows)
                touched |= self._hear(place, segment.scan_fixes(rows, use, late))
        return touched

    def _within(self, fixes: Array, place: int) -> Array:
        version = self.timeline.versions[place]
        found: Array = (fixes["seen"] >= version.from_us) & (fixes["seen"] < self.timeline.until_us(place))
        return found


def _unknown(change: Change, i: str) -> Change:
    """Told in words that are not known any more: whatever is told of it now is news."""
    episode = msgspec.structs.replace(change.episode, id=i, evidence={"unknown": True})
    return msgspec.structs.replace(change, episode=episode)

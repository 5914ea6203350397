"""Checkpoints of one partition's engine on a compacted topic: blocks of rows that changed, then a manifest that lists what counts.

Keys are (epoch, checkpoint, block), so nothing is overwritten: a manifest is valid when every block that it lists is there. Later blocks
win over earlier ones; when they have grown to more than a whole state, a whole state is written. What no manifest lists any more is
given up (tombstoned) only after the next manifest is durable.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from pipeline.detect.carry import BEFORE_ALL
from pipeline.detect.engine import Engine, Pressed
from pipeline.detect.form import LEG, PAIR, ROW
from pipeline.detect.rewind import AHEAD_US
from pipeline.detect.segment import Segment
from pipeline.detect.silence import HEARD
from pipeline.detect.tables import Tables
from pipeline.detect.timed import Timed
from pipeline.detect.translate import Layout, layout_of, translate
from pipeline.model.episode import Change
from pipeline.model.observation import Order
from pipeline.plan.model import CompiledPlan

VERSION = 2
ACCOUNTS_IN_BLOCK = 200
BLOCK_BYTES = 512 * 1024 - 4096
MOST_BLOCKS = 48
MARK_US = 300_000_000
MOST_AHEAD_US = 86_400_000_000
LAYOUT_BLOCK = 1 << 20
_KEY = struct.Struct(">cQQI")  # kind, epoch, checkpoint, block
EPOCH_KEY = b"epoch"
FORM = f"{ROW}{PAIR}{LEG}{HEARD}{VERSION}"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One vehicle: its state, and the oldest keyframe from which it can be taken back."""

    vehicle: str
    revision: int
    state: bytes
    base_us: int
    base: bytes | None
    from_us: int = 0  # of the version of the plan whose engine has it
    came: bytes | None = None  # and with what state it came in there


class Account(msgspec.Struct, frozen=True, array_like=True):
    """What was told of one rule, subject and object, and what each version says of it. `removed`: of a vehicle."""

    key: tuple[str, str, str]
    told: list[Change]
    layers: list[tuple[int, list[Change]]]


class Block(msgspec.Struct, frozen=True, array_like=True):
    entries: list[Entry]
    presses: list[tuple[str, int]]  # (id, received_at)
    judged: dict[str, bytes] = {}
    accounts: list[Account] = []
    removed: dict[str, list[tuple[int, list[Change]]]] = {}
    pressed: dict[str, tuple[int, str, int, int]] = {}  # of `presses`: revision, device, sequence, body


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    version: int
    form: str
    plan_hash: str
    layout: bytes  # the key of what the places in the states mean
    next_input: int
    received_us: int
    blocks: list[bytes]  # keys, oldest first
    marks: list[tuple[int, int]]  # (instant, offset): what stands before the offset is no newer than that
    orders: list[Order] = []  # what has been ordered since the plan of `plan_hash`
    now_us: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What has to be written, in this order: blocks, then the manifest; then the tombstones."""

    blocks: list[tuple[bytes, bytes]]
    manifest: tuple[bytes, bytes]
    tombstones: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode_block = msgspec.msgpack.Decoder(Block).decode
_decode_layout = msgspec.msgpack.Decoder(Layout).decode
_decode_manifest = msgspec.msgpack.Decoder(Manifest).decode


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass
class Recovery:
    """Reads the snapshots of a partition, then writes them. Feed it every record in the order of the log.

    A new owner's first checkpoint is a whole state under its own epoch, to be written before it does anything else: a zombie can give
    up only what its own epoch or an older one wrote.
    """

    partition: int
    newest_epoch: int = 0
    newest_owner: bytes = b""  # who was the first to claim it
    _blocks: dict[bytes, bytes] = field(default_factory=dict)
    _manifests: dict[bytes, bytes] = field(default_factory=dict)
    _listed: list[bytes] = field(default_factory=list)
    _listed_bytes: int = 0
    _whole_bytes: int = 0
    _garbage: list[bytes] = field(default_factory=list)
    _number: int = 0
    _presses_known: dict[str, Pressed] = field(default_factory=dict)
    _marks: list[tuple[int, int]] = field(default_factory=list)
    _newest_us: int = 0
    _layout: bytes = b""
    _whole_next: bool = False

    # ---- reading ------------------------------------------------------------------------------------------------------

    def see(self, key: bytes, value: bytes | None) -> None:
        """A record of the topic. What an owner older than the newest marker wrote after it does not count."""
        if key == EPOCH_KEY:
            if value is not None and (claimed := self.claimed(value))[0] > self.newest_epoch:
                self.newest_epoch, self.newest_owner = claimed
            return
        try:
            kind, epoch, _, _ = _KEY.unpack(key)
        except struct.error:
            return
        kept = self._manifests if kind == b"m" else self._blocks
        if value is None:
            kept.pop(key, None)
        elif epoch >= self.newest_epoch:
            kept[key] = value
        else:
            self._garbage.append(key)

    @staticmethod
    def marker(partition: int, epoch: int, owner: bytes = b"") -> tuple[bytes, bytes]:
        """A new owner's first record: whatever older epochs write behind it is void. Two may claim one epoch, when a sleeper wakes at that
        moment: it is the first one's, and `owner` tells them apart."""
        return EPOCH_KEY, epoch.to_bytes(8, "big") + owner

    @staticmethod
    def claimed(marker: bytes) -> tuple[int, bytes]:
        """(epoch, owner) of a marker's value."""
        return int.from_bytes(marker[:8], "big"), marker[8:]

    def newest(self) -> Manifest | None:
        """The newest checkpoint that is whole."""
        for key in sorted(self._manifests, reverse=True):
            try:
                manifest = _decode_manifest(self._manifests[key])
            except (msgspec.MsgspecError, RecursionError):
                continue
            known = manifest.version == VERSION and manifest.form == _digest(FORM)
            if known and all(block in self._blocks for block in [manifest.layout, *manifest.blocks]):
                return manifest
        return None

    def restore(self, engine: Engine | Timed, epoch: int, plans: Mapping[str, CompiledPlan] | None = None) -> int:
        """Bring a fresh engine to the newest valid checkpoint; returns the input offset from which to replay (0: from the beginning).

        Raises UnknownPlanError before anything was read: `plans` has to hold what has been switched to."""
        valid = self.newest()
        same_plan = valid is not None and valid.plan_hash == _base_plan(engine).hash
        if valid is not None and valid.orders and (not same_plan or not isinstance(engine, Timed)):
            valid = None  # orders change a plan that is not at hand: they are read again, with all else
        if valid is not None and isinstance(engine, Timed):
            engine.restore_orders(valid.orders, plans or {}, valid.now_us, valid.revision)
        self.newest_epoch = max(self.newest_epoch, epoch)
        start = 0
        if valid is not None:
            self._listed = list(valid.blocks)
            self._marks = list(valid.marks)
            self._newest_us = max((at + MARK_US for at, _ in valid.marks), default=0)  # no mark has been due since
            self._read(engine, valid, same_plan)
            start = valid.next_input
            self._whole_next = True
        listed = {self._layout, *self._listed}
        self._garbage += [k for k in self._blocks if k not in listed] + list(self._manifests)
        self._blocks.clear()
        self._manifests.clear()
        self._whole_bytes = self._listed_bytes
        return start

    def _read(self, engine: Engine | Timed, valid: Manifest, same_plan: bool) -> None:
        entries: dict[tuple[str, int], Entry] = {}
        accounts: dict[tuple[str, str, str], Account] = {}
        removed: dict[str, list[tuple[int, list[Change]]]] = {}
        for block_key in valid.blocks:
            block = _decode_block(self._blocks[block_key])
            self._listed_bytes += len(self._blocks[block_key])
            entries.update(((entry.vehicle, entry.from_us), entry) for entry in block.entries)
            accounts.update((account.key, account) for account in block.accounts)
            removed.update(block.removed)
            engine.presses.update((i, Pressed(at, *block.pressed.get(i, ()))) for i, at in block.presses)
            for name, kept in block.judged.items():
                rule, _, at = name.partition("@")
                for judge in _part(engine, int(at or 0)).judges:
                    if judge.on and judge.name == rule:
                        judge.restore(kept)
        self._presses_known = dict(engine.presses)
        layout = None if same_plan else _decode_layout(self._blocks[valid.layout])
        for entry in entries.values():
            _restore(_part(engine, entry.from_us), entry, layout)
        for _, part in _parts(engine):
            part.received_us = valid.received_us
        if isinstance(engine, Timed):
            engine.restore_accounts(accounts.values(), removed)

    # ---- writing ------------------------------------------------------------------------------------------------------

    def mark(self, received_us: int, offset: int, seen_us: int) -> None:
        """The newest of this offset's record was received and seen then: remembered every few minutes, so that history can be found in the
        topic. Devices are ahead of us while our clock is behind; one that is a day ahead is wrong, and would hide everything else."""
        ahead = seen_us if seen_us - received_us <= MOST_AHEAD_US else 0
        self._newest_us = max(self._newest_us, received_us, ahead)
        if not self._marks or self._newest_us - self._marks[-1][0] >= MARK_US:
            self._marks.append((self._newest_us, offset + 1))

    def history_from(self, seen_us: int) -> int:
        """An offset at or before every record that may hold a fix seen after this instant."""
        early = seen_us - AHEAD_US
        i = bisect_right(self._marks, (early, 0)) - 1
        return self._marks[i][1] if i >= 0 else 0

    def checkpoint(self, engine: Engine | Timed, next_input: int, epoch: int) -> Checkpoint:
        """What to write so that the state up to `next_input` survives. Takes over the engine's changes: write all of it, or end."""
        self._number += 1
        whole = (
            self._whole_next
            or len(self._listed) >= MOST_BLOCKS
            or self._listed_bytes > 2 * self._whole_bytes + BLOCK_BYTES
        )
        if isinstance(engine, Timed) and engine.whole_next:
            whole, engine.whole_next = True, False
        entries = []
        for from_us, part in _parts(engine):
            changed = part.take_dirty()
            slots = range(part.vehicles.count) if whole else changed
            entries += [_entry(part, slot, from_us) for slot in slots if _came(part, slot, from_us)]
        presses = {i: p for i, p in engine.presses.items() if whole or self._presses_known.get(i) != p}
        self._presses_known = dict(engine.presses)
        judged = {
            f"{judge.name}@{from_us}" if from_us else judge.name: judge.dump(whole)
            for from_us, part in _parts(engine)
            for judge in part.judges
            if judge.on
        }
        blocks = self._cut(entries, presses, judged, epoch)
        accounts, removed = engine.take_accounts(whole) if isinstance(engine, Timed) else ([], {})
        for at in range(0, len(accounts) if accounts else bool(removed), ACCOUNTS_IN_BLOCK):
            some = [Account(*account) for account in accounts[at : at + ACCOUNTS_IN_BLOCK]]
            block = Block([], [], {}, some, {} if at else removed)
            blocks.append((_KEY.pack(b"b", epoch, self._number, len(blocks)), _encode(block)))
        layout: list[tuple[bytes, bytes]] = []
        if not self._layout:
            self._layout = _KEY.pack(b"b", epoch, self._number, LAYOUT_BLOCK)
            layout = [(self._layout, _encode(layout_of(_tables(engine))))]
        gone: list[bytes] = []
        self._whole_next = False
        if whole:
            gone, self._listed, self._listed_bytes = self._listed, [], 0
        self._listed += [key for key, _ in blocks]
        size = sum(len(value) for _, value in blocks)
        self._listed_bytes += size
        if whole:
            self._whole_bytes = size
        oldest = 0 if engine.horizon_us is None else engine.received_us - 2 * engine.horizon_us
        while len(self._marks) > 1 and self._marks[1][0] < oldest:
            del self._marks[0]
        manifest = Manifest(
            VERSION,
            _digest(FORM),
            _base_plan(engine).hash,
            self._layout,
            next_input,
            engine.received_us,
            list(self._listed),
            list(self._marks),
            *((list(engine.timeline.orders), engine.now_us, engine.revision) if isinstance(engine, Timed) else ()),
        )
        key = _KEY.pack(b"m", epoch, self._number, 0)
        tombstones, self._garbage = self._garbage + gone, [key]
        return Checkpoint(layout + blocks, (key, _encode(manifest)), tombstones)

    def _cut(
        self, entries: list[Entry], presses: dict[str, Pressed], judged: dict[str, bytes], epoch: int
    ) -> list[tuple[bytes, bytes]]:
        blocks: list[tuple[bytes, bytes]] = []
        waiting: list[Entry] = []
        size = 0

        def flush() -> None:
            nonlocal size
            key = _KEY.pack(b"b", epoch, self._number, len(blocks))
            told, beside = ({}, {}) if blocks else (presses, judged)  # these stand in the first
            received = [(i, p.received_us) for i, p in told.items()]
            block = Block(list(waiting), received, beside, pressed={i: p[1:] for i, p in told.items()})
            blocks.append((key, _encode(block)))
            waiting.clear()
            size = 0

        for entry in entries:
            length = len(entry.state) + len(entry.base or b"") + len(entry.vehicle) + 32
            if waiting and size + length > BLOCK_BYTES:
                flush()
            waiting.append(entry)
            size += length
        if waiting or presses or judged:
            flush()
        return blocks


def _parts(engine: Engine | Timed) -> list[tuple[int, Engine]]:
    """The engines of its versions, with the instant from which each is in force."""
    return [(s.from_us, s) for s in engine.live] if isinstance(engine, Timed) else [(0, engine)]


def _part(engine: Engine | Timed, from_us: int) -> Engine:
    return engine.part(from_us) if isinstance(engine, Timed) else engine


def _tables(engine: Engine | Timed) -> Tables:
    return engine.tables_of(engine.timeline.base) if isinstance(engine, Timed) else engine.tables


def _base_plan(engine: Engine | Timed) -> CompiledPlan:
    return engine.timeline.base if isinstance(engine, Timed) else engine.plan


def _came(engine: Engine, slot: int, from_us: int) -> bool:
    """Has it come into this version yet? One that was only named in a record has not: it is still to be brought from the one before."""
    return not from_us or not isinstance(engine, Segment) or engine.vehicle_of(slot) in engine.bases


def _entry(engine: Engine, slot: int, from_us: int = 0) -> Entry:
    base = engine.keyframes.base(slot)
    vehicle = engine.vehicle_of(slot)
    return Entry(
        vehicle,
        engine.vehicles.revisions[slot],
        engine.vehicles.pack(slot),
        base[0] if base else 0,
        base[1] if base else None,
        from_us,
        engine.bases.get(vehicle) if isinstance(engine, Segment) else None,
    )


def _restore(engine: Engine, entry: Entry, layout: Layout | None) -> None:
    if entry.vehicle not in engine.tables.vehicle_place:
        return
    state, base = entry.state, entry.base
    if layout is not None:
        state = translate(engine.tables, entry.vehicle, layout, state)
        base = None if base is None else translate(engine.tables, entry.vehicle, layout, base)
    slot = engine.add_vehicle(entry.vehicle)
    v = engine.vehicles
    v.unpack(slot, state)
    v.revisions[slot] = entry.revision
    v.known_from[slot] = v.rows["seen"][slot]
    seen = int(v.rows["seen"][slot])
    if entry.from_us and isinstance(engine, Segment):
        engine.bases[entry.vehicle] = entry.came
        if int(v.rows["device"][slot]) == BEFORE_ALL or not v.rows["n"][slot]:
            v.known_from[slot] = entry.from_us - 1  # no fix of its own yet: that is its whole history
    if not v.rows["n"][slot]:
        return
    frames = [] if base is None or entry.base_us >= seen else [(entry.base_us, base)]
    engine.keyframes.restore(slot, [*frames, (seen, state)], int(v.rows["n"][slot]))


def state_bytes(engine: Engine) -> int:
    """What the rows of an engine's vehicles take in memory, histories not counted."""
    v = engine.vehicles
    used: Any = v.rows["pairs"][: v.count]
    return int(v.count * (ROW.itemsize + v.legs.shape[1] * LEG.itemsize) + np.sum(used) * PAIR.itemsize)

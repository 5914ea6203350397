"""The records on the topics: versioned, many observations each, decoded in one call.

`raw` carries the bytes exactly as they came. `observations` is columnar: one contiguous array per field of a fix,
so that detect hands them to the compiled scan without touching a row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.model.observation import Fix, Other, Tick

RAW_VERSION = 1
OBSERVATIONS_VERSION = 1


class WireError(ValueError):
    """A record that is not of this form. The caller keeps the bytes and says why."""


class RawItem(msgspec.Struct, frozen=True, array_like=True):
    """One message as the broker accepted it. `id` is its place in the spool of its source and never repeats there."""

    id: int
    login: str
    topic: str
    payload: bytes
    received_at_us: int
    retained: bool = False
    clock_trusted: bool = True


class RawBatch(msgspec.Struct, frozen=True, array_like=True):
    """A record of `rahdar.raw`: items in the order of their arrival, then Ticks, which come behind them."""

    version: int
    source: str
    plan_hash: str
    items: list[RawItem]
    ticks: list[Tick]


class Reject(msgspec.Struct, frozen=True, array_like=True):
    """A record of `rahdar.rejects`: the bytes, and why they were not taken. Replayable."""

    version: int
    source: str
    reason: str
    detail: str
    item: RawItem


_raw_encoder = msgspec.msgpack.Encoder()
_raw_decoder = msgspec.msgpack.Decoder(RawBatch)
_reject_decoder = msgspec.msgpack.Decoder(Reject)


def encode_raw(batch: RawBatch) -> bytes:
    return _raw_encoder.encode(batch)


def decode_raw(data: bytes) -> RawBatch:
    try:
        batch = _raw_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise WireError(f"not a raw record: {error}") from error
    if batch.version != RAW_VERSION:
        raise WireError(f"raw record of version {batch.version}; this program reads {RAW_VERSION}")
    return batch


def encode_reject(reject: Reject) -> bytes:
    return _raw_encoder.encode(reject)


def decode_reject(data: bytes) -> Reject:
    try:
        return _reject_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise WireError(f"not a reject record: {error}") from error


COLUMNS: tuple[tuple[str, str], ...] = (
    ("vehicle", "<i4"),  # index into names
    ("device", "<i4"),  # index into names
    ("seen_at_us", "<i8"),
    ("received_at_us", "<i8"),
    ("lat", "<f8"),
    ("lon", "<f8"),
    ("seq", "<i8"),
    ("body", "<u8"),
    ("speed_mps", "<f4"),  # NaN: not said
    ("course_deg", "<f4"),
    ("accuracy_m", "<f4"),
    ("altitude_m", "<f4"),
    ("flags", "<i4"),
)


ROW_BYTES = sum(np.dtype(dtype).itemsize for _, dtype in COLUMNS)


def _places_of_columns() -> dict[str, tuple[np.dtype[Any], int]]:
    """Of each column: how it is written, and how many bytes of a row stand before it."""
    found, before = {}, 0
    for name, dtype in COLUMNS:
        found[name] = np.dtype(dtype), before
        before += found[name][0].itemsize
    return found


_PLACES = _places_of_columns()


@dataclass(frozen=True, slots=True)
class Fixes:
    """n fixes as columns, each of shape (n,). `vehicle` and `device` index `names`. `block`: the columns as bytes, one behind the other,
    as they stand in a record; None when they did not come from one."""

    names: tuple[str, ...]
    vehicle: npt.NDArray[np.int32]
    device: npt.NDArray[np.int32]
    seen_at_us: npt.NDArray[np.int64]
    received_at_us: npt.NDArray[np.int64]
    lat: npt.NDArray[np.float64]
    lon: npt.NDArray[np.float64]
    seq: npt.NDArray[np.int64]
    body: npt.NDArray[np.uint64]
    speed_mps: npt.NDArray[np.float32]
    course_deg: npt.NDArray[np.float32]
    accuracy_m: npt.NDArray[np.float32]
    altitude_m: npt.NDArray[np.float32]
    flags: npt.NDArray[np.int32]
    block: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of_block(cls, names: tuple[str, ...], block: npt.NDArray[np.uint8]) -> Fixes:
        """Views of it, each made when it is asked for: whoever judges a record of a few fixes needs the bytes alone."""
        fixes = object.__new__(cls)
        object.__setattr__(fixes, "names", names)
        object.__setattr__(fixes, "block", block)
        return fixes

    if not TYPE_CHECKING:  # it has no other attributes than those above

        def __getattr__(self, name: str) -> Any:
            """A column of `of_block` that nobody has asked for yet."""
            if name not in _PLACES or self.block is None:
                raise AttributeError(name)
            dtype, before = _PLACES[name]
            n = len(self)
            column = np.frombuffer(self.block, dtype, n, n * before) if n else np.empty(0, dtype)
            object.__setattr__(self, name, column)
            return column

    def __len__(self) -> int:
        return len(self.seen_at_us) if self.block is None else len(self.block) // ROW_BYTES

    def part(self, chosen: Any) -> Fixes:
        """Those of its fixes that an index, a slice or a mask chooses."""
        return Fixes(self.names, **{name: getattr(self, name)[chosen] for name, _ in COLUMNS})

    def joined(self) -> npt.NDArray[np.uint8]:
        """The columns as bytes, one behind the other; read-only."""
        if self.block is not None:
            return self.block
        parts = [np.ascontiguousarray(getattr(self, name), dtype).tobytes() for name, dtype in COLUMNS]
        return np.frombuffer(b"".join(parts), np.uint8)

    def row(self, i: int) -> Fix:
        def maybe(value: np.float32) -> float | None:
            return None if np.isnan(value) else float(value)

        return Fix(
            vehicle=self.names[self.vehicle[i]],
            device=self.names[self.device[i]],
            seen_at_us=int(self.seen_at_us[i]),
            received_at_us=int(self.received_at_us[i]),
            lat=float(self.lat[i]),
            lon=float(self.lon[i]),
            speed_mps=maybe(self.speed_mps[i]),
            course_deg=maybe(self.course_deg[i]),
            accuracy_m=maybe(self.accuracy_m[i]),
            altitude_m=maybe(self.altitude_m[i]),
            seq=int(self.seq[i]),
            body=int(self.body[i]),
            flags=int(self.flags[i]),
        )

    def rows(self) -> list[Fix]:
        return [self.row(i) for i in range(len(self))]


def columns(fixes: Sequence[Fix]) -> Fixes:
    """Turn rows into columns, keeping their order."""
    names: dict[str, int] = {}

    def code(name: str) -> int:
        return names.setdefault(name, len(names))

    nan = float("nan")

    def said(value: float | None) -> float:
        return nan if value is None else value

    lists: dict[str, list[int] | list[float]] = {
        "vehicle": [code(f.vehicle) for f in fixes],
        "device": [code(f.device) for f in fixes],
        "seen_at_us": [f.seen_at_us for f in fixes],
        "received_at_us": [f.received_at_us for f in fixes],
        "lat": [f.lat for f in fixes],
        "lon": [f.lon for f in fixes],
        "seq": [f.seq for f in fixes],
        "body": [f.body for f in fixes],
        "speed_mps": [said(f.speed_mps) for f in fixes],
        "course_deg": [said(f.course_deg) for f in fixes],
        "accuracy_m": [said(f.accuracy_m) for f in fixes],
        "altitude_m": [said(f.altitude_m) for f in fixes],
        "flags": [f.flags for f in fixes],
    }
    return Fixes(names=tuple(names), **{name: np.array(lists[name], dtype) for name, dtype in COLUMNS})


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """An observation that is no fix, and how many fixes of its record stand before it."""

    after: int
    what: Other


class _Head(msgspec.Struct, frozen=True, array_like=True):
    cell: str
    plan_hash: str
    names: list[str]
    n: int
    others: list[Placed]
    source: str = ""
    places: bytes = b""
    copy: bool = False


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """A record of `rahdar.observations`: the unit of processing. Its order is fixes, with `others` placed between them.

    `source`: which ingest took them, whose Ticks therefore say how long nothing came. `places`: of `fixes.names` in the sorted names of
    the plan of `plan_hash`, -1 for others; who has that plan need not look names up. None: not said. `copy`: it stands in its subjects'
    home cells as well, and is here only for rules about several of them: nobody else counts or keeps it.
    """

    fixes: Fixes
    others: tuple[Placed, ...] = ()
    cell: str = ""
    plan_hash: str = ""
    source: str = ""
    places: npt.NDArray[np.int32] | None = None
    copy: bool = False


NO_FIXES = columns([])
NO_BYTES = np.frombuffer(b"", np.uint8)
_MAGIC = b"RO"
_PLACE = np.dtype("<i4")
_PREFIX = struct.Struct("<2sBxI")  # magic, version, length of the head
_head_encoder = msgspec.msgpack.Encoder()
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode_observations(batch: ObservationBatch) -> bytes:
    fixes = batch.fixes
    places = b"" if batch.places is None else batch.places.astype("<i4").tobytes()
    head = _head_encoder.encode(
        _Head(
            batch.cell,
            batch.plan_hash,
            list(fixes.names),
            len(fixes),
            list(batch.others),
            batch.source,
            places,
            batch.copy,
        )
    )
    return b"".join((_PREFIX.pack(_MAGIC, OBSERVATIONS_VERSION, len(head)), head, fixes.joined().data))


def decode_observations(data: bytes) -> ObservationBatch:
    """Columns are views of `data`: no copy, read-only. Raises WireError when the record is not whole."""
    try:
        magic, version, head_length = _PREFIX.unpack_from(data)
        if magic != _MAGIC or version != OBSERVATIONS_VERSION:
            raise WireError(
                f"observations record {magic!r} version {version}; this program reads {OBSERVATIONS_VERSION}"
            )
        offset = _PREFIX.size + head_length
        head = _head_decoder.decode(data[_PREFIX.size : offset])
    except (struct.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not an observations record: {error}") from error
    if head.n < 0 or len(data) - offset != head.n * ROW_BYTES:
        raise WireError(f"observations record of {head.n} fixes with {len(data) - offset} bytes for them")
    block = np.frombuffer(data, np.uint8, -1, offset) if head.n else NO_BYTES
    fixes = Fixes.of_block(tuple(head.names), block)
    places = np.frombuffer(head.places, _PLACE) if len(head.places) == 4 * len(head.names) > 0 else None
    return ObservationBatch(fixes, tuple(head.others), head.cell, head.plan_hash, head.source, places, head.copy)


@dataclass(slots=True)
class BatchBuilder:
    """Collects observations in order into one record."""

    cell: str = ""
    plan_hash: str = ""
    source: str = ""
    places: Mapping[str, int] | None = None
    copy: bool = False
    fixes: list[Fix] = field(default_factory=list)
    others: list[Placed] = field(default_factory=list)

    def add(self, observation: Fix | Other) -> None:
        if isinstance(observation, Fix):
            self.fixes.append(observation)
        else:
            self.others.append(Placed(len(self.fixes), observation))

    def extend(self, observations: Iterable[Fix | Other]) -> None:
        for observation in observations:
            self.add(observation)

    def __len__(self) -> int:
        return len(self.fixes) + len(self.others)

    def build(self) -> ObservationBatch:
        fixes = columns(self.fixes)
        places = None
        if self.places is not None and fixes.names:
            places = np.array([self.places.get(name, -1) for name in fixes.names], np.int32)
            places.setflags(write=False)  # as those that a record comes with
        return ObservationBatch(fixes, tuple(self.others), self.cell, self.plan_hash, self.source, places, self.copy)

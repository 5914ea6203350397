"""What comes in: columns of a record become fixes in metres, and those that are out of order are told apart from the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import bare, compiled
from pipeline.detect.form import FIX
from pipeline.geo.projection import Projection
from pipeline.model.observation import KEPT_OUT_OF_RULES, Flag
from pipeline.model.wire import Fixes

DEVICE_BITS, RANK_BITS = 28, 4
TERMS = 10  # of a series in one variable
SKIPPED = int(KEPT_OUT_OF_RULES | Flag.BEYOND_HORIZON)
UNUSED, IN_ORDER, OUT_OF_ORDER, KEPT_OUT, DUPLICATE, STRANGER = 0, 1, 2, 3, 4, 5


def pack_name(slot: int, device: int, rank: int) -> int:
    """`slot` -1: not a vehicle."""
    return (slot + 1) << (DEVICE_BITS + RANK_BITS) | device << RANK_BITS | rank


def frame(projection: Projection) -> Any:
    """The projection as one array: centre, half spans, then the two series."""
    p = projection
    head = np.array([p.lat0, p.lon0, p.half_lat, p.half_lon])
    pairs = np.stack([p.coefficients_x, p.coefficients_y], axis=-1)
    assert pairs.shape == (TERMS, TERMS, 2)
    return np.concatenate([head, pairs.ravel()])


@bare
def project(series: Any, tv: Any, lat: float, lon: float) -> tuple[float, float]:
    """Metres: two Chebyshev series of degree 9, as `Projection.to_xy` evaluates them. `tv`: room for the powers, shape (10,)."""
    u = (lat - series[0]) / series[2]
    v = (lon - series[1]) / series[3]
    tv[0] = 1.0
    tv[1] = v
    for j in range(2, TERMS):
        tv[j] = 2.0 * v * tv[j - 1] - tv[j - 2]
    x = 0.0
    y = 0.0
    t = 1.0
    following = u
    k = 4
    for _ in range(TERMS):
        sx = 0.0
        sy = 0.0
        for j in range(TERMS):
            sx += series[k] * tv[j]
            sy += series[k + 1] * tv[j]
            k += 2
        x += t * sx
        y += t * sy
        t, following = following, 2.0 * u * following - t
    return x, y


def prepare(columns: Fixes, packed: Any, series: Any) -> Any:
    """Fixes as rows, shape (n,), in the record's order."""
    out = np.empty(len(columns), FIX)
    read(columns.joined(), packed, series, out)
    return out


def use_of(fixes: Any) -> Any:
    """What to do with each fix where order does not matter: shape (n,), IN_ORDER, KEPT_OUT or STRANGER."""
    use = np.full(len(fixes), IN_ORDER, np.uint8)
    use[fixes["flags"] & SKIPPED != 0] = KEPT_OUT
    use[fixes["slot"] < 0] = STRANGER
    return use


@compiled
def read(block: Any, packed: Any, series: Any, out: Any) -> None:
    """`block`: the columns of wire.COLUMNS, one behind the other."""
    n = len(out)
    vehicle = block[: 4 * n].view(np.int32)
    device = block[4 * n : 8 * n].view(np.int32)
    seen = block[8 * n : 16 * n].view(np.int64)
    received = block[16 * n : 24 * n].view(np.int64)
    lat = block[24 * n : 32 * n].view(np.float64)
    lon = block[32 * n : 40 * n].view(np.float64)
    seq = block[40 * n : 48 * n].view(np.int64)
    body = block[48 * n : 56 * n].view(np.uint64)
    speed = block[56 * n : 60 * n].view(np.float32)
    accuracy = block[64 * n : 68 * n].view(np.float32)
    flags = block[72 * n : 76 * n].view(np.int32)
    tv = np.empty(10)
    for i in range(n):
        f = out[i]
        f.slot = np.int32((packed[vehicle[i]] >> 32) - 1)
        d = packed[device[i]]
        f.device = np.int32((d >> 4) & 0xFFFFFFF)
        f.rank = np.int32(d & 0xF)
        f.flags = flags[i]
        f.seen = seen[i]
        f.received = received[i]
        f.seq = seq[i]
        f.body = body[i]
        f.lat = lat[i]
        f.lon = lon[i]
        f.acc = accuracy[i]
        f.speed = speed[i]
        x, y = project(series, tv, lat[i], lon[i])
        f.x = x
        f.y = y


@bare
def order(a_seen: int, a_device: int, a_seq: int, b_seen: int, b_device: int, b_seq: int) -> int:
    """-1, 0 or 1: the total order, but for the body."""
    if a_seen != b_seen:
        return -1 if a_seen < b_seen else 1
    if a_device != b_device:
        return -1 if a_device < b_device else 1
    if a_seq != b_seq:
        return -1 if a_seq < b_seq else 1
    return 0


@bare
def triage(rows: Any, keys: Any, stamp: int, fixes: Any, use: Any) -> int:
    """Fill `use`. A vehicle with one fix out of order is out of order with all of this record. Returns how many fixes are."""
    for i in range(len(fixes)):
        f = fixes[i]
        if f.slot < 0:
            use[i] = STRANGER
            continue
        if f.flags & SKIPPED:
            use[i] = KEPT_OUT
            continue
        use[i] = IN_ORDER
        k = keys[f.slot]
        if k.stamp != stamp:
            row = rows[f.slot]
            k.stamp = stamp
            if row.n == 0:
                k.seen = f.seen - 1
                k.device = 0
                k.seq = 0
                k.body = 0
            else:
                k.seen = row.seen
                k.device = row.device
                k.seq = row.seq
                k.body = row.body
        c = order(f.seen, f.device, f.seq, k.seen, k.device, k.seq)
        if c > 0:
            k.seen = f.seen
            k.device = f.device
            k.seq = f.seq
            k.body = f.body
        elif c == 0 and f.body == k.body:
            use[i] = DUPLICATE
        else:
            k.dirty = stamp
    late = 0
    for i in range(len(fixes)):
        if use[i] == IN_ORDER and keys[fixes[i].slot].dirty == stamp:
            use[i] = OUT_OF_ORDER
            late += 1
    return late

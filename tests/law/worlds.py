"""Seeded worlds on that ground: what the devices of some cells say, and when it comes in. The same for the same seed."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.model.observation import Fix, Other, Tick
from pipeline.model.times import format_us
from pipeline.model.wire import RAW_VERSION, BatchBuilder, ObservationBatch, RawBatch, RawItem
from pipeline.normalise.normalise import Normaliser
from pipeline.normalise.orders import ORDER_LOGIN, ORDER_TOPIC
from tests.law.ground import ALL, CAMP, LAKE, ROAD, place, the_plan

SECOND = 1_000_000
START_US = 1_764_000_000_000_000
SOURCES = ("north", "south")  # two that take what devices send; each has Ticks of its own
TICK_S = 10
ORDERED_CELLS = 6
SPEED_MPS = 8.0
_EAST = np.array([point[0] for point in ROAD])
_NORTH = np.array([point[1] for point in ROAD])
_ALONG = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(_EAST), np.diff(_NORTH)))])


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a world is: which cells speak, for how long, how often a device reports. `ground`: the cells of the plan."""

    cells: tuple[int, ...]
    seconds: int
    every_s: int = 10
    ground: tuple[int, ...] = ALL


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message of a device, as it came in."""

    at_us: int
    cell: int
    login: str
    payload: bytes

    @property
    def source(self) -> str:
        return SOURCES[self.cell % len(SOURCES)]


@dataclass(slots=True)
class _Says:
    """What one device says: (second, body) in the order in which it saw it."""

    cell: int
    login: str
    said: list[tuple[float, dict[str, Any]]] = field(default_factory=list)


def _fix(cell: int, at_s: float, seq: int, east_m: float, north_m: float, speed_mps: float) -> dict[str, Any]:
    lat, lon = place(cell, east_m, north_m)
    return {
        "kind": "fix", "seq": seq, "seen_at": format_us(START_US + round(at_s * SECOND)), "lat": round(lat, 7),
        "lon": round(lon, 7), "speed_mps": round(speed_mps, 1), "accuracy_m": 5,
    }  # fmt: skip


def _convoy(cell: int, shape: Shape, dice: random.Random) -> Iterator[_Says]:
    """Three in a row along the road. One stays behind for a while, one leaves the road, and sometimes its phone knows better."""
    start_m = dice.uniform(500, 1500)
    laggard, stray = dice.choice(("p1", "e2")), dice.choice(("e1", "p1", "e2"))
    halt_s = dice.uniform(0.1, 0.5) * shape.seconds
    halted_s = dice.uniform(60, 0.4 * shape.seconds)
    off_s = dice.uniform(0.1, 0.7) * shape.seconds
    for number, name in enumerate(("e1", "p1", "e2")):
        device = _Says(cell, f"{name}-{cell}")
        phone = _Says(cell, f"{name}-phone-{cell}")
        phase = dice.uniform(0, shape.every_s)
        for seq in range(int(shape.seconds / shape.every_s)):
            at_s = phase + seq * shape.every_s
            moved_s, speed = at_s, SPEED_MPS
            if name == laggard and at_s > halt_s:
                speed = 0.0 if at_s < halt_s + halted_s else 2 * SPEED_MPS
                moved_s = halt_s + 2 * max(0.0, at_s - halt_s - halted_s)
                if moved_s > at_s:
                    moved_s, speed = at_s, SPEED_MPS
            along = start_m - 120.0 * number + SPEED_MPS * moved_s + dice.gauss(0, 3)
            east, north = float(np.interp(along, _ALONG, _EAST)), float(np.interp(along, _ALONG, _NORTH))
            if name == stray and off_s < at_s < off_s + 80:
                north -= dice.uniform(150, 500)
            body = _fix(cell, at_s, seq, east + dice.gauss(0, 3), north + dice.gauss(0, 3), speed)
            device.said.append((at_s, body))
            if name == "p1" and dice.random() < 0.4:
                phone.said.append((at_s + 1, _fix(cell, at_s + 1, seq, east + dice.gauss(0, 25), north, speed)))
        yield device
        if phone.said:
            yield phone


def _patrol(cell: int, shape: Shape, dice: random.Random) -> Iterator[_Says]:
    """Between lake, camp and road, now and then standing."""
    device = _Says(cell, f"w1-{cell}")
    east, north = 400.0, -400.0
    aims = [LAKE[:2], CAMP[:2], (400.0, -300.0), (1400.0, -600.0)]
    aim = aims[0]
    phase = dice.uniform(0, shape.every_s)
    for seq in range(int(shape.seconds / shape.every_s)):
        if dice.random() < 0.12:
            aim = dice.choice(aims)
        away = float(np.hypot(aim[0] - east, aim[1] - north))
        part = min(1.0, 12.0 * shape.every_s / max(1.0, away))
        speed = 12.0 if part < 1 else 0.0
        east, north = east + part * (aim[0] - east), north + part * (aim[1] - north)
        at_s = phase + seq * shape.every_s
        device.said.append((at_s, _fix(cell, at_s, seq, east + dice.gauss(0, 3), north + dice.gauss(0, 3), speed)))
    if device.said:
        yield device


def _site(cell: int, shape: Shape, dice: random.Random) -> Iterator[_Says]:
    """A door and a movement sensor, each in fits and starts, and a lid that somebody opens."""
    for name, what, words in (("gate", "door", ("closed", "open")), ("pir", "motion", ("clear", "detected"))):
        device = _Says(cell, f"{name}-d-{cell}")
        at_s, on, seq = dice.uniform(0, 30), False, 0
        while at_s < shape.seconds:
            on = not on if dice.random() < 0.8 else on
            kind, value = (what, words[on])
            if name == "gate" and dice.random() < 0.15:
                kind, value = "tamper", dice.choice(("clear", "detected"))
            body = {"kind": "reading", "sensor": f"{name}-{cell}", "what": kind, "value": value, "seq": seq}
            device.said.append((at_s, body | {"seen_at": format_us(START_US + round(at_s * SECOND))}))
            seq += 1
            at_s += dice.choice((4, 10, 25, 70))
        yield device


def _presses(cell: int, shape: Shape, dice: random.Random) -> Iterator[_Says]:
    for _ in range(dice.choice((0, 1, 1, 2))):
        name, at_s = dice.choice(("e1", "p1", "e2", "w1")), dice.uniform(0, shape.seconds)
        seen_at = format_us(START_US + round(at_s * SECOND))
        what = dice.choice(("sos", "sos", "duress"))
        body = {"kind": "press", "subject": f"{name}-{cell}", "what": what, "seen_at": seen_at}
        yield _Says(cell, f"{name}-{cell}", [(at_s, body)])


def apart(here: bytes, there: bytes) -> list[str]:
    """Where two ledgers differ, a line of words each; none: they do not."""
    ours, theirs = set(here.decode().splitlines()), set(there.decode().splitlines())
    return [
        *(f"too much: {line}" for line in sorted(ours - theirs)),
        *(f"missing: {line}" for line in sorted(theirs - ours)),
    ]


def _orders(shape: Shape, switch_to: str, dice: random.Random) -> Iterator[tuple[float, _Says, bytes]]:
    """What the control room does to the movements of the first cells, at two instants, and a switch of the plan at a third. Some orders are
    given before they are in force, some late."""
    room = _Says(-1, ORDER_LOGIN)
    given: list[tuple[float, str, dict[str, Any]]] = []
    for cell in shape.cells[:ORDERED_CELLS]:
        movement, route = f"m-{cell}", f"n-{cell}"
        again = {"id": f"{movement}-b", "name": "x", "convoy": f"k-{cell}", "route": route, "always": True}
        diverted = {"movement": movement, "route": route, "from_km": 0.3, "to_km": dice.choice((2.5, 5.0))}
        if dice.random() < 0.6:
            given += [(0.3, "cancel", {"movement": movement}), (0.55, "create", {"movement": again})]
        else:
            given.append((dice.choice((0.3, 0.55)), "divert", diverted))
    if switch_to:
        given.append((0.75, "plan", {"hash": switch_to}))
    for number, (part, what, fields) in enumerate(given):
        from_s = part * shape.seconds
        body = {"kind": "order", "what": what, "fields": fields | {"number": f"{number}"}}
        body["effective_from"] = format_us(START_US + round(from_s * SECOND))
        yield max(0.0, from_s + dice.choice((-20, 0.5, 30, 90))), room, json.dumps(body).encode()


def _delivered(
    says: _Says, shape: Shape, dark: tuple[float, float], dice: random.Random
) -> Iterator[tuple[float, _Says, bytes]]:
    """Over a bad network: while it is down a device keeps what it sees, and sends it newest first; some of it comes twice. `dark`: when it
    is down for the whole cell. Seconds, and the message."""
    downs: list[tuple[float, float]] = [dark]
    at_s = dice.uniform(0, shape.seconds)
    while at_s < shape.seconds:
        downs.append((at_s, at_s + dice.choice((15, 60, 100, 200))))
        at_s = downs[-1][1] + dice.uniform(50, shape.seconds)
    kept: dict[float, list[dict[str, Any]]] = {}
    for seen_s, body in says.said:
        up = next((end for start, end in downs if start <= seen_s < end), None)
        if up is not None:
            kept.setdefault(up, []).append(body)
            continue
        yield seen_s + dice.choice((0.3, 1.0, 2.5)), says, json.dumps(body).encode()
        if dice.random() < 0.06:
            yield seen_s + dice.uniform(1, 120), says, json.dumps(body).encode()
    for up, bodies in kept.items():
        if dice.random() < 0.2 and bodies[0]["kind"] == "fix":
            yield up, says, json.dumps(bodies[::-1]).encode()
            continue
        for n, body in enumerate(bodies[::-1]):
            yield up + 0.4 * n, says, json.dumps(body).encode()


@dataclass(frozen=True)
class World:
    """What came in, in its order, and the Ticks."""

    shape: Shape
    messages: tuple[Arrived, ...]
    ticks: tuple[Tick, ...]

    def raw(self) -> Iterator[tuple[int, RawBatch]]:
        """(cell, record), one message in each; Ticks and orders are for every partition: cell -1."""
        plan_hash = the_plan(self.shape.ground).hash
        number = 0
        coming: list[tuple[int, int, Any]] = [(m.at_us, 0, m) for m in self.messages]
        coming += [(tick.at_us, 1, tick) for tick in self.ticks]
        for _, _, what in sorted(coming, key=lambda c: c[:2]):
            if isinstance(what, Arrived):
                number += 1
                yield what.cell, RawBatch(RAW_VERSION, what.source, plan_hash, [_item(number, what)], [])
            else:
                yield -1, RawBatch(RAW_VERSION, what.source, plan_hash, [], [what])

    @functools.cached_property
    def observations(self) -> list[Said]:
        """What normalise makes of it, one at a time, in that order."""
        normaliser, out = Normaliser(the_plan(self.shape.ground)), []
        for _, record in self.raw():
            result = normaliser.record(record)
            assert not result.rejects, result.rejects[0]
            for cell, batch in result.batches.items():
                what: list[Fix | Other] = [*batch.fixes.rows(), *(placed.what for placed in batch.others)]
                out += [Said(cell, record.source, one) for one in what]
        return out


def _item(number: int, m: Arrived) -> RawItem:
    topic = ORDER_TOPIC if m.login == ORDER_LOGIN else f"v1/0/{m.login}/native"
    return RawItem(number, m.login, topic, m.payload, m.at_us)


@dataclass(frozen=True, slots=True)
class Said:
    """An observation, with what its record says of it."""

    cell: str
    source: str
    what: Fix | Other


def world(seed: int, shape: Shape, ordered: bool = False, switch_to: str = "") -> World:
    """`ordered`: with movement orders, and a switch to the plan of that hash."""
    coming: list[tuple[float, _Says, bytes]] = []
    for cell in shape.cells:
        dice = random.Random(f"{seed} {cell}")
        dark_s = dice.uniform(0, shape.seconds)
        dark = (dark_s, dark_s + dice.choice((0, 60, 110, 150)))
        for kind in (_convoy, _patrol, _site, _presses):
            for says in kind(cell, shape, dice):
                coming += _delivered(says, shape, dark, dice)
    if ordered:
        coming += _orders(shape, switch_to, random.Random(f"{seed} orders"))
    coming.sort(key=lambda c: c[0])
    messages, last_us = [], 0
    for at_s, says, payload in coming:
        last_us = max(last_us + 1000, START_US + round(at_s * SECOND))  # a stamp never runs backwards
        messages.append(Arrived(last_us, says.cell, says.login, payload))
    heard = {m.source for m in messages}
    until_s = (last_us - START_US) // SECOND + 2 * TICK_S
    dice = random.Random(seed)
    doubtful = {source: dice.uniform(-200, shape.seconds) for source in SOURCES}  # for a minute and a half
    ticks = [
        Tick(
            source=source,
            at_us=START_US + at_s * SECOND + 500 * n,
            clock_trusted=not doubtful[source] <= at_s < doubtful[source] + 90,
        )
        for at_s in range(0, until_s, TICK_S)
        for n, source in enumerate(SOURCES)
        if source in heard
    ]
    return World(shape, tuple(messages), tuple(ticks))


def all_cells(seconds: int = 600) -> Shape:
    return Shape(ALL, seconds)


def records(said: Sequence[Said], dice: random.Random, most: int) -> list[ObservationBatch]:
    """Of one cell and source each, of up to so many observations, in about this order."""
    plan_hash = the_plan().hash
    waiting: dict[tuple[str, str], BatchBuilder] = {}
    out = []
    for one in said:
        key = one.cell, one.source
        builder = waiting.setdefault(key, BatchBuilder(one.cell, plan_hash, one.source))
        builder.add(one.what)
        if len(builder) >= most or dice.random() < 1 / most:
            out.append(waiting.pop(key).build())
    return out + [builder.build() for builder in waiting.values()]


__all__ = ["SOURCES", "Arrived", "Said", "Shape", "World", "all_cells", "records", "world"]

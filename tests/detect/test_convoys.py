"""`convoy.separated` and `escort.missing`: against their oracle in any order and any records, across checkpoints, and the cases that people
care for."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest
import shapely

from pipeline.detect.engine import Engine
from pipeline.model.episode import Change, Ledger
from pipeline.model.observation import Fix, Tick
from pipeline.model.wire import ObservationBatch, Placed, columns
from pipeline.plan.model import Area, CompiledPlan, Convoy
from tests.detect.plans import SECOND, T0, fix, plan, setting

LIMIT, REACH, REJOIN, LASTING_S, STALE_S = 500.0, 800.0, 0.8, 60, 120
RULES = {
    "convoy.separated": setting(
        "convoy.separated", min_duration_us=LASTING_S * 1e6, rejoin_factor=REJOIN, stale_after_us=STALE_S * 1e6
    ),
    "escort.missing": setting(
        "escort.missing", max_distance_m=REACH, min_duration_us=LASTING_S * 1e6, rejoin_factor=REJOIN, stale_after_us=STALE_S * 1e6
    ),
}  # fmt: skip
MEMBERS = ("e1", "c1", "c2", "e2")
HALF, ACCURACY = 100.0, 5.0
HALT = (6000.0, 7000.0, 50.0, 600.0)  # an area beside the road: west, east, south, north
LONG = 60_000.0
Row = tuple[str, str, float, float | None]


@dataclass(frozen=True)
class Seen:
    """A fix of a member's device: metres along a straight road, and beside it."""

    at_s: float
    vehicle: str
    x: float
    y: float = 0.0
    device: int = 0
    seq: int = 0
    body: int = 1

    @cached_property
    def fix(self) -> Fix:
        return fix(self.at_s, self.x, self.y, self.vehicle, ACCURACY, device=self.device, seq=self.seq, body=self.body)


def world(
    line: Any = ((0.0, 0.0), (LONG, 0.0)), starts_s: float = -1e6, ends_s: float = 1e6, members: Sequence[str] = MEMBERS
) -> CompiledPlan:
    halt = Area(
        "halt",
        "r",
        {"en": "Halt"},
        "safe_stop",
        shapely.box(HALT[0], HALT[2], HALT[1], HALT[3]),
        shapely.box(0, 0, 1, 1),
    )
    base = plan([halt], line=line, vehicles=members, rules=RULES, half_m=HALF, devices=2, stops=["halt"])
    convoy = Convoy(
        "k", "r", {"en": "K"}, tuple(members), tuple(v for v in members if v[0] == "c"),
        tuple(v for v in members if v[0] == "e"), LIMIT,
    )  # fmt: skip
    (moving,) = base.movements
    window = {"starts_us": T0 + int(starts_s * SECOND), "ends_us": T0 + int(ends_s * SECOND)}
    return replace(base, convoys={"k": convoy}, movements=(replace(moving, convoy="k", **window),))


def records(what: Sequence[Seen], size: int = 3) -> list[ObservationBatch]:
    return [
        ObservationBatch(columns([s.fix for s in what[i : i + size]]), (), "c", "test", "a")
        for i in range(0, len(what), size)
    ]  # fmt: skip


def tick(at_s: float) -> ObservationBatch:
    return ObservationBatch(columns([]), (Placed(0, Tick(source="a", at_us=T0 + int(at_s * SECOND))),), "", "test", "a")


def said(plan: CompiledPlan, batches: Sequence[ObservationBatch]) -> tuple[list[Change], Ledger]:
    engine, folded, told = Engine(plan), Ledger(), []
    for record in batches:
        changes = [c for c in engine.feed(record) if c.episode.rule in RULES]
        told += changes
        folded.apply(changes)
    return told, folded


def rows(folded: Ledger) -> list[Row]:
    return sorted(
        (e.rule, e.object, (e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND)
        for e in folded.sorted()
        if e.rule in RULES
    )  # fmt: skip


def ledger(plan: CompiledPlan, what: Sequence[Seen], size: int = 3) -> list[Row]:
    return rows(said(plan, records(what, size))[1])


# ---- the oracle: instant by instant, with everything known beforehand ------------------------------------------------------


def counted(what: Sequence[Seen], vehicle: str) -> list[Seen]:
    """The first of every device in every five seconds; a phone only while its tracker was silent for a minute."""
    kept: dict[tuple[int, int], Seen] = {}
    for s in sorted(what, key=lambda s: (s.at_s, s.device, s.seq, s.body)):
        if s.vehicle == vehicle:
            kept.setdefault((s.device, int(s.at_s // 5)), s)
    out: list[Seen] = []
    tracker = -math.inf
    for s in sorted(kept.values(), key=lambda s: (s.at_s, s.device, s.seq, s.body)):
        if s.device == 0:
            tracker = s.at_s
        elif s.at_s - tracker <= 60:
            continue
        out.append(s)
    return out


def how(s: Seen) -> str:
    if abs(s.y) <= HALF + ACCURACY:
        return "halt" if s.x <= 1 or s.x >= LONG - 1 else "road"
    inside = HALT[0] < s.x < HALT[1] and HALT[2] < s.y < HALT[3]
    return "halt" if inside else "off"


def leap(a: Seen, b: Seen) -> bool:
    way = math.hypot(a.x - b.x, a.y - b.y) if "off" in (how(a), how(b)) else abs(a.x - b.x)
    return way - 2 * ACCURACY > 70 * (b.at_s - a.at_s)


def place(fixes: Sequence[Seen], at_s: float) -> tuple[str, float, float] | None:
    first = bisect_left(fixes, at_s, key=lambda s: s.at_s)
    for n in range(first, min(first + 3, len(fixes))):
        a, b = fixes[n - 1] if n else None, fixes[n]
        if b.at_s == at_s and not (n + 1 < len(fixes) and fixes[n + 1].at_s == at_s):
            return None if a and leap(a, b) else (how(b), b.x, b.y)
        if a and a.at_s < at_s < b.at_s:
            if b.at_s - a.at_s > STALE_S or leap(a, b):
                return None
            part = (at_s - a.at_s) / (b.at_s - a.at_s)
            worst = next(h for h in ("off", "halt", "road") if h in (how(a), how(b)))
            return worst, a.x + (b.x - a.x) * part, a.y + (b.y - a.y) * part
    return None


def gap(front: Sequence[Seen], follower: Sequence[Seen], at_s: float) -> str:
    a, b = place(front, at_s), place(follower, at_s)
    if a is None or b is None or "off" in (a[0], b[0]):
        return "unknown"
    d = abs(a[1] - b[1])
    if d - 2 * ACCURACY > LIMIT:
        return "far" if (a[0], b[0]) == ("road", "road") else "unknown"
    return "together" if d <= REJOIN * LIMIT else "within" if d <= LIMIT else "unknown"


def escorted(principal: Sequence[Seen], escorts: Sequence[Sequence[Seen]], at_s: float) -> str:
    p = place(principal, at_s)
    if p is None or p[0] == "off":
        return "unknown"
    found = []
    for fixes in escorts:
        e = place(fixes, at_s)
        if e is None:
            found.append("unknown")
        elif e[0] == "off":
            found.append("far" if math.hypot(e[1] - p[1], e[2] - p[2]) - 2 * ACCURACY > REACH else "unknown")
        else:
            d = abs(e[1] - p[1])
            found.append(
                "far" if d - 2 * ACCURACY > REACH else "together" if d <= REJOIN * REACH else "within" if d <= REACH else "unknown"
            )  # fmt: skip
    for best in ("together", "within", "unknown"):
        if best in found:
            return best
    return "far" if p[0] == "road" else "unknown"


def stretches(verdicts: dict[int, str]) -> list[tuple[float, float | None]]:
    out: list[tuple[float, float | None]] = []
    since = on = None
    known = 0
    for at_s, verdict in sorted(verdicts.items()):
        if verdict == "unknown":
            continue
        if verdict == "far" and on is None:
            if since is None or at_s - known > STALE_S:
                since = at_s
            if at_s - since >= LASTING_S:
                on = since
        elif verdict == "together" and on is not None:
            out.append((on, at_s))
            on = None
        if verdict != "far":
            since = None
        known = at_s
    return [*out, (on, None)] if on is not None else out


def oracle(what: Sequence[Seen], starts_s: float = -1e6, ends_s: float = 1e6) -> list[Row]:
    mine = {v: counted([s for s in what if starts_s - STALE_S <= s.at_s <= ends_s + STALE_S], v) for v in MEMBERS}
    last = {v: fixes[-1].at_s if fixes else -math.inf for v, fixes in mine.items()}
    now = max((s.at_s for s in what), default=0.0)
    out: list[Row] = []

    def judged(upto: float, verdict: Callable[[int], str]) -> list[tuple[float, float | None]]:
        if upto == -math.inf:
            return []
        instants = range(0, int(min(upto, ends_s - 1e-6)) + 1, 5)
        found = stretches({t: verdict(t) for t in instants if t >= starts_s})
        return [(a, ends_s if b is None and now >= ends_s else b) for a, b in found]

    for ahead, follower in itertools.pairwise(MEMBERS):
        for a, b in judged(
            min(last[ahead], last[follower]), lambda t, x=ahead, y=follower: gap(mine[x], mine[y], t)  # type: ignore[misc]
        ):  # fmt: skip
            out.append(("convoy.separated", follower, a, b))
    escorts = [v for v in MEMBERS if v[0] == "e"]
    for p in [v for v in MEMBERS if v[0] == "c"]:
        newest = max(last[v] for v in [p, *escorts])
        upto = min([last[p], *(last[e] for e in escorts if last[e] + STALE_S >= newest)])
        for a, b in judged(upto, lambda t, p=p: escorted(mine[p], [mine[e] for e in escorts], t)):  # type: ignore[misc]
            out.append(("escort.missing", p, a, b))
    return sorted(out)


# ---- worlds ------------------------------------------------------------------------------------------------------------------


def invented(seed: int, until_s: int = 2400) -> list[Seen]:
    """A convoy that stretches and closes up, with trackers that fall silent, detours, halts, second devices and wild fixes."""
    rng = random.Random(seed)
    what: list[Seen] = []
    for n, vehicle in enumerate(MEMBERS):
        at, behind, wanted = rng.randint(0, 30), 150.0 * n, 150.0 * n
        silent_until, off_until, stays = 0.0, 0.0, 0.0
        every = rng.choice((2, 5, 10, 10, 30, 60))
        while at < until_s:
            if rng.random() < 0.01 * every / 10:
                wanted = 150.0 * n + rng.choice((0.0, 0.0, 400.0, 700.0, 900.0, 2000.0))
            if rng.random() < 0.003 * every:
                silent_until = at + rng.choice((60, 110, 130, 400))
            if rng.random() < 0.002 * every:
                off_until, stays = at + rng.choice((60, 200)), rng.choice((150.0, 300.0))
            behind += max(-8.0 * every, min(8.0 * every, wanted - behind))
            x = 3000.0 + 10.0 * at - behind + rng.uniform(-3, 3)  # never on an edge: a checkpoint keeps centimetres
            if rng.random() < 0.01:
                x += rng.choice((-1.0, 1.0)) * 3000.0
            y = stays if at < off_until else rng.uniform(-20, 20)
            if at >= silent_until:
                what.append(Seen(float(at), vehicle, x, y, seq=at))
            if rng.random() < 0.3:
                what.append(
                    Seen(at + rng.choice((0.0, 0.5, 3.0)), vehicle, x + rng.uniform(-5, 300), y, device=1, seq=at)
                )
            at += every
    return what


def shuffled(items: Sequence[Seen], seed: int) -> list[Seen]:
    copy = list(items)
    random.Random(seed).shuffle(copy)
    return copy


WINDOWS = [(-1e6, 1e6), (203.0, 1901.0)]


@pytest.mark.parametrize("seed", range(24))
def test_the_ledger_is_the_oracles_in_any_order(seed: int) -> None:
    what = invented(seed)
    starts_s, ends_s = WINDOWS[seed % 2]
    road = world(starts_s=starts_s, ends_s=ends_s)
    expected = oracle(what, starts_s, ends_s)
    assert ledger(road, sorted(what, key=lambda s: s.at_s), 7) == expected
    assert ledger(road, shuffled(what, seed), 1 + seed % 5) == expected
    assert ledger(road, shuffled(what, seed + 1), 1000) == expected
    assert ledger(road, [*shuffled(what, seed + 1), *shuffled(what, seed + 2)], 11) == expected, "twice is once"


def test_the_worlds_ask_for_something() -> None:
    found = [row for seed in range(24) for row in oracle(invented(seed), *WINDOWS[seed % 2])]
    assert sum(rule == "convoy.separated" for rule, *_ in found) >= 40
    assert sum(rule == "escort.missing" for rule, *_ in found) >= 10
    assert sum(ended is not None for *_, ended in found) >= 40

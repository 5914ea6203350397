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

import msgspec
import numpy as np
import pytest
import shapely

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.convoys import Convoys
from pipeline.detect.engine import Engine, NeedHistoryError
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
LONG = 42_000.0
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


def invented(seed: int, until_s: int = 2400, pace: float = 10.0, members: Sequence[str] = MEMBERS) -> list[Seen]:
    """A convoy that stretches and closes up, with trackers that fall silent, detours, halts, second devices and wild fixes."""
    rng = random.Random(seed)
    what: list[Seen] = []
    for n, vehicle in enumerate(members):
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
            x = 3000.0 + pace * at - behind + rng.uniform(-3, 3)  # never on an edge: a checkpoint keeps centimetres
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


# ---- restarts, and what is kept ---------------------------------------------------------------------------------------------


def delivered(what: Sequence[Seen], seed: int, longest_s: float, every: float = 0.02) -> list[tuple[float, Seen]]:
    """(received, fix) in the order of receipt: most at once, some late, and some twice."""
    rng = random.Random(seed)
    out = [(s.at_s + (rng.uniform(0, longest_s) if rng.random() < every else rng.uniform(0, 2)), s) for s in what]
    out += [(at + rng.uniform(0, 30), s) for at, s in out if rng.random() < 0.05]
    return sorted(out, key=lambda o: o[0])


def received(what: Sequence[tuple[float, Seen]], size: int = 5) -> list[ObservationBatch]:
    fixes = [msgspec.structs.replace(s.fix, received_at_us=T0 + round(at * SECOND)) for at, s in what]
    return [
        ObservationBatch(columns(fixes[i : i + size]), (), "c", "test", "a") for i in range(0, len(fixes), size)
    ]  # fmt: skip


def restarted(road: CompiledPlan, batches: Sequence[ObservationBatch], seed: int, horizon_us: int | None) -> Ledger:
    rng = random.Random(seed)
    engine, recovery, folded, topic = Engine(road, horizon_us), Recovery(0), Ledger(), {}
    epoch, position, at = 1, 0, 0
    said: dict[int, list[Change]] = {}
    while at < len(batches):
        try:
            changes = engine.feed(batches[at])
        except NeedHistoryError as need:
            engine.load_history(batches[:at], need.from_us)
            changes = engine.feed(batches[at])
        assert said.setdefault(at, changes) == changes, "a replay did not repeat itself"
        folded.apply(changes)
        at += 1
        if rng.random() < 0.03:
            written = recovery.checkpoint(engine, at, epoch)
            topic.update([*written.blocks, written.manifest])
            for gone in written.tombstones:
                topic.pop(gone, None)
            position = at
        if topic and rng.random() < 0.01:
            recovery, engine, epoch = Recovery(0), Engine(road, horizon_us), epoch + 1
            for key, value in topic.items():
                recovery.see(key, value)
            assert recovery.restore(engine, epoch) == position
            at = position
    return folded


@pytest.mark.parametrize("seed", range(6))
def test_a_restart_from_any_checkpoint_changes_nothing(seed: int) -> None:
    what = invented(seed, 1200)
    order = [(s.at_s, s) for s in shuffled(what, seed)]
    assert rows(restarted(world(), received(order, 4), seed, None)) == oracle(what)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_older_than_the_horizon_is_given_up_and_not_missed(seed: int) -> None:
    """Two and a half hours with a horizon of ten minutes: the same ledger, through restarts, and no more is kept than is needed."""
    what = invented(seed, 9000, pace=4.0)
    batches = received(delivered(what, seed, 550), 9)
    expected = oracle(what)
    assert rows(restarted(world(), batches, seed, None)) == expected
    engine, folded = Engine(world(), 600 * SECOND), Ledger()
    for record in batches:
        folded.apply(engine.feed(record))
    assert rows(folded) == expected
    assert rows(restarted(world(), batches, seed, 600 * SECOND)) == expected
    (judge,) = (j for j in engine.judges if isinstance(j, Convoys))
    oldest = min(int(m.points[:, 0]["seen"].min()) for m in judge.marches.values())
    assert T0 + 6000 * SECOND < oldest < T0 + 7200 * SECOND, "the horizon and half an hour behind the newest"


# ---- what people care for ---------------------------------------------------------------------------------------------------


def marching(
    gaps_m: Callable[[float], Sequence[float]], until_s: int = 900, every: int = 10, speed: float = 70 / 3.6
) -> list[Seen]:
    """Each member so far behind the first at an instant, all on the road."""
    return [
        Seen(float(at), vehicle, 3000.0 + speed * at - behind, seq=at)
        for at in range(0, until_s + 1, every)
        for vehicle, behind in zip(MEMBERS, gaps_m(at), strict=True)
    ]  # fmt: skip


def test_behind_one_who_is_silent_for_good_nothing_piles_up() -> None:
    """The points of the others were kept from his last fix on: he might have been seen again a moment later."""
    road, hours = world(members=("e1", "c1", "c2")), 9
    what = [
        Seen(t, vehicle, x - (1500 if t > 8 * 3600 and vehicle == "c2" else 0), seq=t)
        for t in range(0, hours * 3600, 10)
        for vehicle, x in (("e1", 9000.0), ("c1", 8900.0), ("c2", 8800.0))
        if vehicle != "c1" or t < 1800 or t > 8.5 * 3600
    ]
    kept, trimmed = Engine(road), Engine(road, horizon_us=1800 * SECOND)
    for record in records(what, 30):
        assert kept.feed(record) == trimmed.feed(record)
        if record.fixes.seen_at_us[-1] > T0 + 4 * 3600 * SECOND:
            (marching,) = trimmed.convoys.marches.values()
            assert marching.counts.max() < (1800 + 1800 + 600 + 600 + 600) / 5
    assert kept.convoys.marches["m1"].counts.max() > 2000
    told = [e for e in trimmed.convoys.held() if e.episode.rule == "convoy.separated"]
    assert [e.episode.object for e in told] == ["c2"]


def test_a_gap_is_dated_by_when_it_was_seen() -> None:
    """c2 and e2 fall back 550 m at 300 s and close up at 600 s: told once it has lasted a minute, and over at 400 m."""
    what = marching(lambda t: (0, 150, 850, 1000) if 300 <= t < 600 else (0, 150, 300, 450), speed=10.0)
    changes, _ = said(world(), records(what, 4))
    assert [(c.kind, c.episode.object) for c in changes] == [("begin", "c2"), ("end", "c2")]
    begun, ended = (c.episode for c in changes)
    assert (begun.began_at_us, ended.ended_at_us) == (T0 + 300 * SECOND, T0 + 600 * SECOND)
    assert (begun.subject, begun.evidence["ahead"], begun.evidence["movement"], begun.evidence["limit_m"]) == (
        "k",
        "c1",
        "m1",
        500,
    )
    assert begun.evidence["road_km"] == pytest.approx((3000 + 300 * 10 - 850) / 1000, abs=0.06)
    assert ended.peak == pytest.approx(700, abs=1)


@pytest.mark.parametrize(
    ("gap_m", "lasts_s", "told"), [(509, 200, 0), (511, 200, 1), (620, 55, 0), (620, 60, 1), (620, 65, 1)]
)
def test_beyond_the_limit_and_accuracy_for_long_enough(gap_m: float, lasts_s: int, told: int) -> None:
    behind = lambda t: (0, 100, 100 + (gap_m if 100 <= t <= 100 + lasts_s else 380), 0)  # noqa: E731
    found = ledger(world(members=("e1", "c1", "c2")), [s for s in marching(behind, every=5) if s.vehicle != "e2"])
    assert [row[0] for row in found] == ["convoy.separated"] * told


@pytest.mark.parametrize("who", MEMBERS)
def test_one_who_reports_a_minute_later_than_the_others_makes_no_gap_and_no_amendment(who: str) -> None:
    """At 70 km/h that is 1,170 m. Again with a convoy that does come apart: told once, and never otherwise."""
    for stretched in (False, True):
        what = marching(lambda t, s=stretched: (0, 150, 1000, 1150) if s and 300 <= t < 600 else (0, 150, 300, 450))  # type: ignore[misc]
        order = sorted(what, key=lambda s: (s.at_s + 60 * (s.vehicle == who), s.vehicle))
        changes, folded = said(world(), records(order, 4))
        assert [c.kind for c in changes] == (["begin", "end"] if stretched else [])
        assert rows(folded) == ledger(world(), what)


def hairpins(legs: int, length_m: float, apart_m: float) -> np.ndarray[Any, Any]:
    corners = [(x, apart_m * i) for i in range(legs) for x in ((0.0, length_m) if i % 2 == 0 else (length_m, 0.0))]
    return np.array([(-3000.0, 0.0), *corners, (corners[-1][0] + 3000.0, corners[-1][1])])


def test_a_chord_of_300_m_over_4_km_of_hairpins_is_a_gap() -> None:
    """Legs of 925 m, 75 m apart: the front is four legs above the follower, and they see each other."""
    line = hairpins(6, 925.0, 75.0)
    road = world(line=line)
    route = road.routes["n1"]
    along = lambda s: [float(np.interp(s, route.chainage_m, line[:, k])) for k in (0, 1)]  # noqa: E731
    rng = random.Random(1)
    what = []
    for at in range(0, 400, 10):
        for vehicle, s in (
            ("e1", 3000 + 4000 + 2.0 * at),
            ("c1", 3000 + 2.0 * at),
            ("c2", 2900 + 2.0 * at),
            ("e2", 2800 + 2.0 * at),
        ):
            x, y = along(s)
            what.append(Seen(float(at), vehicle, x + rng.gauss(0, 5), y + rng.gauss(0, 5), seq=at))
    at_300 = {s.vehicle: s for s in what if s.at_s == 0}
    assert math.hypot(at_300["e1"].x - at_300["c1"].x, at_300["e1"].y - at_300["c1"].y) < 320
    assert [row for row in ledger(road, what) if row[0] == "convoy.separated"] == [
        ("convoy.separated", "c1", 0.0, None)
    ]


@pytest.mark.parametrize("sigma_m", [5.0, 10.0])
def test_a_closed_up_convoy_in_hairpins_is_not_apart(sigma_m: float) -> None:
    """Legs 60 m apart: a fix that falls to the next leg is a leap of some hundred metres, and no gap."""
    line = hairpins(9, 400.0, 60.0)
    road = world(line=line)
    along = lambda s: [float(np.interp(s, road.routes["n1"].chainage_m, line[:, k])) for k in (0, 1)]  # noqa: E731
    for seed in range(5):
        rng = random.Random(seed)
        what = []
        for at in range(0, 600, 10):
            for n, vehicle in enumerate(MEMBERS):
                x, y = along(2500 + 8.0 * at - 100 * n)
                what.append(Seen(float(at), vehicle, x + rng.gauss(0, sigma_m), y + rng.gauss(0, sigma_m), seq=at))
        assert ledger(road, what) == []


def test_a_stale_member_is_neither_apart_nor_together() -> None:
    """Its tracker falls silent at 300 s while the others draw away: nothing is told. Silent while it was apart: that stays."""
    away = marching(lambda t: (0, 150, 300, 450))
    assert ledger(world(), [s for s in away if s.vehicle != "c2" or s.at_s <= 300]) == []
    apart = marching(lambda t: (0, 150, 1000, 1150) if 100 <= t < 500 else (0, 150, 300, 450))
    silent = [s for s in apart if s.vehicle != "c2" or not 250 < s.at_s < 700]
    assert ledger(world(), silent) == [("convoy.separated", "c2", 100.0, 700.0)]
    never_again = [s for s in apart if s.vehicle != "c2" or s.at_s <= 250]
    assert ledger(world(), never_again) == [("convoy.separated", "c2", 100.0, None)]


def test_time_that_nobody_saw_is_no_time_apart() -> None:
    """Apart for 20 s, unknown for five minutes, apart for 20 s: nobody knows that it lasted a minute."""
    apart = marching(lambda t: (0, 150, 1000, 1150) if t >= 100 else (0, 150, 300, 450), until_s=440)
    assert ledger(world(), [s for s in apart if s.vehicle != "c2" or not 120 < s.at_s < 420]) == []


def test_who_turned_off_the_road_is_not_known_by_it() -> None:
    off = [
        replace(s, y=400.0) if s.vehicle == "c2" and s.at_s >= 200 else s
        for s in marching(lambda t: (0, 150, 1000 if t >= 200 else 300, 450))
    ]
    assert ledger(world(), off) == []


def test_a_principal_is_missed_by_the_nearest_of_its_escorts() -> None:
    """Both escorts beyond 800 m: missing. One of them stale: nobody knows. One of them near: together."""
    left = lambda t: (0, 1200, 1300, 2600) if 200 <= t < 600 else (0, 150, 300, 450)  # noqa: E731
    escorts = lambda what: [row for row in ledger(world(), what) if row[0] == "escort.missing"]  # noqa: E731
    missing = marching(left, every=30, speed=10.0)
    assert escorts(missing) == [("escort.missing", "c1", 200.0, 590.0), ("escort.missing", "c2", 200.0, 590.0)]
    assert escorts([s for s in missing if s.vehicle != "e2" or s.at_s < 100]) == []
    near = lambda t: (0, 1200, 1300, 1900) if 200 <= t < 600 else (0, 150, 300, 450)  # noqa: E731
    assert escorts(marching(near, every=30, speed=10.0)) == []


def test_an_escort_off_the_road_may_be_known_to_be_far_and_never_to_be_near() -> None:
    escorts = lambda y, x: [  # noqa: E731
        row
        for row in ledger(
            world(members=("e1", "c1")),
            [
                replace(s, y=y, x=s.x - x) if s.vehicle == "e1" and s.at_s >= 200 else s
                for s in marching(lambda t: (0, 100, 0, 0))
                if s.vehicle in ("e1", "c1")
            ],
        )
        if row[0] == "escort.missing"
    ]
    assert escorts(300.0, 0.0) == []
    assert [row[:2] for row in escorts(1500.0, 0.0)] == [("escort.missing", "c1")]


def test_who_waits_in_a_yard_of_the_movement_is_not_left_behind() -> None:
    """c2 is in the halt, 300 m beside the road, while c1 drives on; and one that was apart is together there."""
    yard = [
        Seen(
            float(at),
            v,
            6500.0 if v in ("c2", "e2") else 6500.0 + 15.0 * at,
            300.0 if v in ("c2", "e2") else 0.0,
            seq=at,
        )
        for at in range(0, 600, 10)
        for v in MEMBERS
    ]
    assert [row for row in ledger(world(), yard) if row[:2] == ("convoy.separated", "c2")] == []
    met = [
        Seen(float(at), v, min(6500.0, start + 15.0 * at), 300.0 if start + 15.0 * at >= 6500.0 else 0.0, seq=at)
        for at in range(0, 600, 10)
        for v, start in (("e1", 5000.0), ("c1", 4000.0), ("c2", 3900.0), ("e2", 3800.0))
    ]
    ((_, who, began, ended),) = (row for row in ledger(world(), met) if row[0] == "convoy.separated")
    assert (who, began) == ("c1", 0.0)
    assert ended is not None and 130 <= ended <= 175


def test_a_gap_is_over_with_its_movement_and_none_is_before() -> None:
    apart = marching(lambda t: (0, 150, 1000, 1150))
    during = world(starts_s=203, ends_s=598)
    assert ledger(during, apart) == [("convoy.separated", "c2", 205.0, 598.0)]
    batches = [*records([s for s in apart if s.at_s <= 590]), tick(600)]
    assert rows(said(during, batches[:-1])[1]) == [("convoy.separated", "c2", 205.0, None)]
    assert rows(said(during, batches)[1]) == [("convoy.separated", "c2", 205.0, 598.0)]


def test_a_backlog_amends_what_it_changes_and_no_more() -> None:
    """c2 was silent from 300 s on; its backlog, newest first, says that it was back at 400 s and apart again at 500 s."""
    what = marching(lambda t: (0, 150, 300, 450) if t < 100 or 400 <= t < 500 else (0, 150, 1000, 1150), until_s=800)
    prompt = [s for s in what if s.vehicle != "c2" or s.at_s <= 250]
    backlog = [s for s in reversed(what) if s.vehicle == "c2" and s.at_s > 250]
    _, folded = said(world(), records(prompt))
    assert rows(folded) == [("convoy.separated", "c2", 100.0, None)]
    for size in (1, 7, 100):
        changes, folded = said(world(), [*records(prompt, 4), *records(backlog, size)])
        assert rows(folded) == ledger(world(), what)
        assert len(rows(folded)) == 2
    assert [c.kind for c in changes] == ["begin", "end", "begin"]


def test_without_the_rules_nothing_is_kept() -> None:
    engine = Engine(replace(world(), regions=plan().regions))
    for record in records(marching(lambda t: (0, 150, 1000, 1150))):
        engine.feed(record)
    (judge,) = (j for j in engine.judges if isinstance(j, Convoys))
    assert not judge.on and not judge.dirty

"""Movements that are handed over: each side judged by its region, whoever reports first, in one partition or in several."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.detect.engine import Engine
from pipeline.geo.routes import chainage
from pipeline.model.episode import Change, Ledger
from pipeline.model.wire import ObservationBatch, columns
from pipeline.plan.model import CompiledPlan, Convoy, Leg, Movement, Region, Route, Vehicle
from tests.detect.plans import FOREVER, RULES, SECOND, T0, feed, fix, setting
from tests.detect.test_convoys import (
    ACCURACY,
    HALF,
    LONG,
    STALE_S,
    Row,
    Seen,
    counted,
    how,
    invented,
    place,
    received,
    records,
    restarted,
    rows,
    said,
    shuffled,
    world,
)

BORDER = 21_000.0
MEMBERS = ("ea1", "eb1", "c1", "c2", "ea2", "eb2")
GAP_M, REJOIN = 500.0, 0.8
REACH_M = {"a": 800.0, "b": 1100.0}
LASTING_S = {"a": 60, "b": 30}


def convoy_rules(region: str) -> dict[str, object]:
    common = {"rejoin_factor": REJOIN, "stale_after_us": STALE_S * 1e6, "min_duration_us": LASTING_S[region] * 1e6}
    found = {
        "convoy.separated": setting("convoy.separated", **common),
        "escort.missing": setting("escort.missing", max_distance_m=REACH_M[region], **common),
    }
    return {name: replace(s, mode="shadow", severity="low") if region == "b" else s for name, s in found.items()}


def deviation(region: str) -> dict[str, object]:
    s = RULES["route.deviation"]
    if region == "b":
        params = {"min_duration_us": 30e6, "high_at_m": 2000.0, "critical_at_m": 3000.0}
        s = replace(s, severity="low", mode="shadow", params=params)
    return {"route.deviation": s}


def two(
    members: Sequence[str] = MEMBERS, cells: tuple[str, str] = ("ca", "cb"), rules: object = convoy_rules
) -> CompiledPlan:
    """One straight road in two drawings: n-a up to the border, and n-b, which is drawn towards it and counts its kilometres so."""
    base = world(members=members)
    regions = {
        r: Region(r, {"en": r}, "Asia/Karachi", (cell,), rules(r), True, (72.5, 34.5, 73.5, 35.5))  # type: ignore[operator]
        for r, cell in zip("ab", cells, strict=True)
    }
    routes = {}
    for name, region, xs in (("n-a", "a", (0.0, BORDER)), ("n-b", "b", (LONG, BORDER))):
        xy = np.array([(x, 0.0) for x in xs])
        routes[name] = Route(name, region, {"en": name}, name.upper(), xy, chainage(xy), xy, 100.0, 1, HALF, 70.0)
    fleet: dict[str, Vehicle] = {}
    for v in members:
        region = "b" if "b" in v else "a"
        cell = dict(zip("ab", cells, strict=True))[region]
        fleet[v] = replace(
            base.vehicles[v],
            region=region,
            cell=cell,
            cells_served=cells,
            role=("principal" if v[0] == "c" else "escort"),
        )
    on = {r: tuple(v for v in members if v[0] == "e" and r in v) for r in "ab"}
    legs = (
        Leg("n-a", 0.0, BORDER, "a", cells[0], on["a"]),
        Leg("n-b", LONG - BORDER, 0.0, "b", cells[1], on["b"]),
    )
    principals = tuple(v for v in members if v[0] == "c")
    convoy = Convoy("k", "a", {"en": "K"}, tuple(members), principals, (*on["a"], *on["b"]), GAP_M, cells[0])
    moving = Movement(
        "m1", "a", {"en": "M"}, tuple(members), "k", "n-a", T0 - 10**12, FOREVER, 0.0, BORDER, frozenset({"halt"}), legs
    )  # fmt: skip
    areas = tuple(replace(area, region="a") for area in base.areas)
    return replace(
        base, regions=regions, routes=routes, vehicles=fleet, convoys={"k": convoy}, movements=(moving,), areas=areas, cells=cells
    )  # fmt: skip


# ---- the oracle: instant by instant, with everything known beforehand ------------------------------------------------------


def region_at(x: float) -> str:
    return "a" if x < BORDER else "b"


def verdict(distance_m: float, limit_m: float) -> str:
    if distance_m - 2 * ACCURACY > limit_m:
        return "far"
    return "together" if distance_m <= REJOIN * limit_m else "within" if distance_m <= limit_m else "unknown"


def look(p: tuple[str, float, float], others: Sequence[Sequence[Seen]], at_s: float, limit_m: float, gap: bool) -> str:
    found = []
    for fixes in others:
        e = place(fixes, at_s)
        if e is None or (gap and e[0] == "off"):
            found.append("unknown")
        elif e[0] == "off":
            found.append("far" if verdict(math.hypot(e[1] - p[1], e[2] - p[2]), limit_m) == "far" else "unknown")
        else:
            v = verdict(abs(e[1] - p[1]), limit_m)
            found.append("unknown" if gap and v == "far" and "halt" in (e[0], p[0]) else v)
    best = next((b for b in ("together", "within", "unknown") if b in found), "far")
    return "unknown" if best == "far" and p[0] != "road" else best


def oracle(what: Sequence[Seen]) -> list[Row]:
    mine = {v: counted(what, v) for v in MEMBERS}
    last = {v: fixes[-1].at_s if fixes else -math.inf for v, fixes in mine.items()}
    on = {r: [v for v in MEMBERS if v[0] == "e" and r in v] for r in "ab"}
    relations: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    for r in "ab":
        marching = [v for v in MEMBERS if v[0] == "c" or v in on[r]]
        for ahead, follower in itertools.pairwise(marching):
            relations.setdefault(("convoy.separated", follower, (ahead,)), set()).add(r)
        for p in marching:
            if p[0] == "c":
                relations.setdefault(("escort.missing", p, tuple(on[r])), set()).add(r)
    out: list[Row] = []
    for (rule, who, others), where in relations.items():
        gap = rule == "convoy.separated"
        if gap:
            upto = min(last[who], last[others[0]])
            if mine[who] and how(mine[who][-1]) != "off" and region_at(mine[who][-1].x) not in where:
                upto = last[who]
        else:
            newest = max(last[v] for v in (who, *others))
            upto = min([last[who], *(last[e] for e in others if last[e] + STALE_S >= newest)])
        since = began = None
        home, known = "", 0.0
        for at_s in range(0, int(upto) + 1 if upto > -math.inf else 0, 5):
            p = place(mine[who], at_s)
            if p is None or p[0] == "off":
                continue
            here = region_at(p[1])
            e = place(mine[others[0]], at_s) if gap else None
            if here not in where or (e is not None and e[0] != "off" and region_at(e[1]) not in where):
                v = "over"
            else:
                r = home if began is not None or (since is not None and at_s - known <= STALE_S) else here
                v = look(p, [mine[o] for o in others], at_s, GAP_M if gap else REACH_M[r], gap)
            if v == "unknown":
                continue
            if v == "far" and began is None:
                if since is None or at_s - known > STALE_S:
                    since, home = at_s, here
                if at_s - since >= LASTING_S[home]:
                    began = since
            elif v in ("together", "over") and began is not None:
                out.append((rule, who, float(began), float(at_s)))
                began = None
            if v != "far":
                since = None
            known = at_s
        if began is not None:
            out.append((rule, who, float(began), None))
    return sorted(out, key=str)


def mixed(seed: int) -> list[Seen]:
    """Through the border at about 1,800 s, in an order of march where each region's escorts stand beside the other's."""
    return invented(seed, members=MEMBERS)


def ledger(the_plan: CompiledPlan, what: Sequence[Seen], size: int = 3) -> list[Row]:
    """With records that have no cell, as of a file."""
    batches = [replace(b, cell="") for b in records(what, size)]
    return sorted(rows(said(the_plan, batches)[1]), key=str)


@pytest.mark.parametrize("seed", range(16))
def test_the_ledger_is_the_oracles_in_any_order(seed: int) -> None:
    what = mixed(seed)
    expected = oracle(what)
    assert ledger(two(), sorted(what, key=lambda s: s.at_s), 7) == expected
    assert ledger(two(), shuffled(what, seed), 1 + seed % 5) == expected
    assert ledger(two(), [*shuffled(what, seed + 1), *shuffled(what, seed + 2)], 1000) == expected, "twice is once"


def test_the_worlds_ask_for_something() -> None:
    found = [row for seed in range(16) for row in oracle(mixed(seed))]
    before = [row for row in found if row[2] < 1700]
    after = [row for row in found if row[2] > 2000]
    assert len(before) >= 40 and len(after) >= 10
    assert any(rule == "escort.missing" for rule, *_ in after)
    assert any(row[2] < 1800 and row[3] and row[3] > 1800 for row in found), "one is open while it is handed over"


# ---- several partitions ------------------------------------------------------------------------------------------------------


def split(
    the_plan: CompiledPlan, batches: Sequence[ObservationBatch], where: dict[str, int]
) -> dict[int, list[ObservationBatch]]:
    """What normalise makes of these records: everybody at home, and copies where they are named."""
    from pipeline.plan.copies import copies

    to = copies(the_plan)
    found: dict[int, list[ObservationBatch]] = {p: [] for p in set(where.values())}
    for batch in batches:
        for cell in the_plan.cells:
            home = [f for f in batch.fixes.rows() if the_plan.vehicles[f.vehicle].cell == cell]
            guests = [f for f in batch.fixes.rows() if cell in to.get(f.vehicle, ())]
            if home:
                found[where[cell]].append(ObservationBatch(columns(home), (), cell, "test", "a"))
            if guests:
                found[where[cell]].append(ObservationBatch(columns(guests), (), cell, "test", "a", copy=True))
    return found


def together(changes: Sequence[Sequence[Change]]) -> Ledger:
    folded = Ledger()
    for of_partition in changes:
        folded.apply(of_partition)
    return folded


def judged(the_plan: CompiledPlan, batches: Sequence[ObservationBatch], where: dict[str, int]) -> list[list[Change]]:
    out = []
    for _, mine in sorted(split(the_plan, batches, where).items()):
        engine = Engine(the_plan)
        out.append([change for record in mine for change in engine.feed(record)])
    return out


@pytest.mark.parametrize("seed", range(4))
def test_one_partition_or_two_the_ledger_is_the_same(seed: int) -> None:
    what = mixed(seed)
    both = {**deviation("a"), **convoy_rules("a")}, {**deviation("b"), **convoy_rules("b")}
    the_plan = two(rules=lambda r: both["ab".index(r)])
    whole = Ledger()
    engine = Engine(the_plan)
    for batch in records(what, 50):
        whole.apply(engine.feed(replace(batch, cell="")))
    assert any(e.rule == "route.deviation" for e in whole.sorted()) and rows(whole)
    for where in ({"ca": 0, "cb": 1}, {"ca": 0, "cb": 0}):
        for order in (what, shuffled(what, seed)):
            changes = judged(the_plan, records(order, 7), where)
            assert together(changes).lines() == whole.lines()
            ids = [{c.episode.id for c in of} for of in changes]
            assert len(ids) == 1 or not ids[0] & ids[1], "nobody else tells it as well"


def test_the_convoy_is_judged_in_its_own_cell_and_by_nobody_else() -> None:
    what = mixed(1)
    first, second = judged(two(), records(what, 20), {"ca": 0, "cb": 1})
    assert {c.episode.subject for c in first} == {"k"} and {c.cell for c in first} == {"ca"}
    assert second == []


def test_a_copy_feeds_no_rule_of_its_vehicle_and_counts_nowhere() -> None:
    """eb1 leaves the road where only a copy says so."""
    the_plan = two(rules=deviation)
    engine = Engine(the_plan)
    left = [fix(float(t), 30_000.0 + 10 * t, 0.0 if t < 60 else 900.0, "eb1", 5.0) for t in range(0, 300, 10)]
    told = engine.feed(ObservationBatch(columns(left), (), "ca", "test", "a", copy=True))
    assert told == [] and not engine.counts and not engine.dirty
    assert engine.feed(ObservationBatch(columns(left), (), "cb", "test", "a")), "at home it is told"


@pytest.mark.parametrize("seed", range(3))
def test_copies_survive_restarts_and_the_horizon(seed: int) -> None:
    """The partition that judges the convoy is restarted from its checkpoints; what it holds of guests is only there."""
    what = invented(seed, 3600, pace=8.0, members=MEMBERS)
    expected = sorted(oracle(what), key=str)
    batches = split(two(), received([(s.at_s, s) for s in sorted(what, key=lambda s: s.at_s)], 9), {"ca": 0, "cb": 1})[
        0
    ]
    for horizon_us in (None, 600 * SECOND):
        assert sorted(rows(restarted(two(), batches, seed, horizon_us)), key=str) == expected


# ---- what people care for ----------------------------------------------------------------------------------------------------


def evidence(changes: Sequence[Change], kind: str = "begin") -> list[tuple[str, str, float, str, str]]:
    return [
        (c.episode.object, c.episode.evidence["region"], c.episode.evidence["road_km"], c.episode.severity, c.mode)
        for c in changes
        if c.kind == kind
    ]


def test_a_deviation_goes_by_the_region_that_leads_where_it_began() -> None:
    """c1 (of a) leaves the road for 40 s on either side of the border: told after 10 s in a, after 30 s in b; the road's own kilometre."""
    the_plan = two(("c1",), rules=deviation)
    way = lambda t: 18_000.0 + 20.0 * t  # noqa: E731  # over the border at 150 s
    off = lambda t: 900.0 if 50 <= t < 90 or 250 <= t < 290 else 0.0  # noqa: E731
    fixes = [fix(float(t), way(t), off(t), "c1") for t in range(0, 400, 10)]
    engine = Engine(the_plan)
    changes = [c for f in fixes for c in engine.feed(ObservationBatch(columns([f]), (), "ca", "test", "a"))]
    assert evidence(changes) == [("n-a", "a", 119.0, "high", "live"), ("n-b", "b", 119.0, "low", "shadow")]
    assert [(c.decided_at_us - T0) // SECOND for c in changes if c.kind == "begin"] == [60, 280]
    assert feed(Engine(the_plan), fixes, 3).lines() == feed(Engine(the_plan), fixes[::-1], 7).lines()


def test_a_deviation_across_the_border_stays_with_whom_it_began() -> None:
    """It leaves the road 500 m before the border and is back 700 m behind it: one episode, of a, on a's road."""
    the_plan = two(("c1",), rules=deviation)
    fixes = [
        fix(float(t), 20_000.0 + 20.0 * t, 900.0 if 25 <= t < 85 else 0.0, "c1") for t in range(0, 150, 5)
    ]  # fmt: skip
    engine = Engine(the_plan)
    changes = [c for f in fixes for c in engine.feed(ObservationBatch(columns([f]), (), "ca", "test", "a"))]
    assert [c.kind for c in changes] == ["begin", "end"]
    assert evidence(changes) == [("n-a", "a", 120.5, "high", "live")]


def test_a_gap_across_the_border_is_along_the_way() -> None:
    """c2 is 700 m behind c1 all the time, and the border between them: one episode, from before it to its end."""
    what = [
        Seen(float(t), v, 19_000.0 + 10.0 * t - behind, seq=t)
        for t in range(0, 600, 10)
        for v, behind in (("ea1", 0.0), ("eb1", 10.0), ("c1", 100.0), ("c2", 800.0 if t < 400 else 300.0), ("ea2", 850.0), ("eb2", 860.0))
    ]  # fmt: skip
    _, folded = said(two(), [replace(b, cell="ca") for b in records(what, 6)])
    gaps = [e for e in folded.sorted() if e.rule == "convoy.separated" and e.object == "c2"]
    assert [((e.began_at_us - T0) // SECOND, (e.ended_at_us or 0) - T0) for e in gaps] == [(0, 400 * SECOND)]
    assert gaps[0].evidence["region"] == "a" and gaps[0].evidence["route"] == "n-a"


def test_escorts_take_over_at_the_border() -> None:
    """b's escorts wait at the border, a's turn back there: nobody is missed. b's do not come: missed from the border on, by b's rule."""

    def story(b_comes: bool) -> list[Seen]:
        out = []
        for t in range(0, 1200, 10):
            front = 18_000.0 + 10.0 * t
            for v, behind in (("ea1", 0.0), ("c1", 100.0), ("c2", 200.0), ("ea2", 300.0)):
                x = front - behind
                if v[0] == "e" and x > BORDER:
                    x = 2 * BORDER - x
                out.append(Seen(float(t), v, x, seq=t))
            for v, behind in (("eb1", 0.0), ("eb2", 250.0)):
                x = max(BORDER + 50.0 - behind, front - behind) if b_comes else 35_000.0
                out.append(Seen(float(t), v, x, seq=t))
        return out

    changes, folded = said(two(), [replace(b, cell="ca") for b in records(story(True), 6)])
    assert folded.sorted() == []
    changes, folded = said(two(), [replace(b, cell="ca") for b in records(story(False), 6)])
    missed = [c for c in changes if c.episode.rule == "escort.missing" and c.kind == "begin"]
    assert {c.episode.object for c in missed} == {"c1", "c2"}
    assert {c.episode.evidence["region"] for c in missed} == {"b"} and {c.mode for c in missed} == {"shadow"}
    assert all(310 <= (c.episode.began_at_us - T0) / SECOND <= 330 for c in missed)
    assert {c.episode.evidence["escorts"] for c in missed} == {"eb1,eb2"}


def test_a_gap_to_an_escort_that_is_relieved_is_over_at_the_border() -> None:
    """c1 has fallen 900 m behind ea1, which passes the border at 200 s: from there on others escort."""
    what = [
        Seen(float(t), v, 19_000.0 + 10.0 * t - behind, seq=t)
        for t in range(0, 500, 10)
        for v, behind in (("ea1", 0.0), ("eb1", 800.0), ("c1", 900.0), ("c2", 950.0), ("ea2", 1000.0), ("eb2", 1050.0))
        if v != "ea1" or t < 250
    ]  # fmt: skip
    _, folded = said(two(), [replace(b, cell="ca") for b in records(what, 6)])
    ((began, ended),) = (
        ((e.began_at_us - T0) / SECOND, (e.ended_at_us or 0) - T0)
        for e in folded.sorted()
        if e.rule == "convoy.separated" and e.object == "c1"
    )
    assert began == 0 and ended / SECOND == pytest.approx(202, abs=3)

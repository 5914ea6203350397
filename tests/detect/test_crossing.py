"""Areas that were crossed between two fixes, where nobody saw the vehicle and still it went through; and visits that fixes saw for less
than the dwell, though they lasted it."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.detect.engine import Engine
from pipeline.detect.tables import build_tables
from pipeline.model.episode import Episode, Ledger
from pipeline.model.observation import Fix
from pipeline.model.times import format_us
from pipeline.plan.model import Schedule
from tests.detect.oracle import Oracle
from tests.detect.plans import SECOND, T0, area, feed, fix, plan, rows, square, watch
from tests.detect.test_law import HORIZON_US, Log, late, records
from tests.detect.test_oracle import agree

WEEK_S = (T0 // SECOND + 5 * 3600 + 3 * 86_400) % 604_800  # where in the local week the drives begin


def lake(*rules: Any, half: float = 200.0) -> Any:
    return plan([area("lake", square(0, 0, half), *rules)])


def told(of: Any, *fixes: Fix) -> list[Episode]:
    return feed(Engine(of), fixes).sorted()


def through(y: float = 0.0, seconds: float = 60.0, half_m: float = 1000.0, **more: Any) -> list[Fix]:
    """From 1 km west of the middle to 1 km east of it, within a minute."""
    return [fix(0, -half_m, y, **more), fix(seconds, half_m, y, **more)]


def test_it_begins_and_ends_on_the_border_and_says_that_nobody_saw_it() -> None:
    (visit,) = told(lake(watch("area.forbidden")), *through())
    assert visit.ended_at_us is not None
    assert (visit.rule, visit.object, visit.severity, visit.peak) == ("area.forbidden", "lake", "high", None)
    assert (visit.began_at_us - T0) / SECOND == pytest.approx(24.0, abs=0.002)
    assert (visit.ended_at_us - T0) / SECOND == pytest.approx(36.0, abs=0.002)
    border = fix(0, -200, 0)
    assert visit.evidence["inferred"] == "crossing"
    assert visit.evidence["crossed_m"] == 400
    assert visit.evidence["decided_at"] == format_us(T0 + 60 * SECOND)
    assert visit.evidence["lat"] == pytest.approx(border.lat, abs=2e-5)
    assert visit.evidence["lon"] == pytest.approx(border.lon, abs=2e-5)


def test_a_visit_that_was_seen_is_not_inferred() -> None:
    (visit,) = told(lake(watch("area.entered", dwell_s=0)), fix(0, -1000, 0), fix(30, 0, 0), fix(60, 1000, 0))
    assert "inferred" not in visit.evidence
    assert (visit.began_at_us, visit.ended_at_us) == (T0 + 30 * SECOND, T0 + 60 * SECOND)


@pytest.mark.parametrize(("dwell_s", "count"), [(11.9, 1), (12.1, 0)])
def test_it_lasts_the_dwell(dwell_s: float, count: int) -> None:
    """400 m at 2 km a minute: 12 s."""
    assert len(told(lake(watch("area.entered", dwell_s=dwell_s)), *through())) == count


@pytest.mark.parametrize(("y", "accuracy", "enter", "count"), [
    (189.5, 5, 0, 1), (190.5, 5, 0, 0), (179.5, 10, 0, 1), (180.5, 10, 0, 0), (169.5, 5, 20, 1), (170.5, 5, 20, 0),
])  # fmt: skip
def test_halfway_it_is_inside_by_twice_the_accuracy_and_the_margin(
    y: float, accuracy: float, enter: float, count: int
) -> None:
    of = lake(watch("area.entered", enter=enter))
    assert len(told(of, *through(y, accuracy=accuracy))) == count
    poor, good = fix(0, -1000, y, accuracy=accuracy), fix(60, 1000, y, accuracy=1)
    assert len(told(of, poor, good)) == count, "the poorer of the two counts"


@pytest.mark.parametrize(("seconds", "half_m", "count"), [
    (120, 1000, 1), (120.001, 1000, 0),  # what may have happened meanwhile
    (100, 1499, 1), (100, 1501, 0),  # how far a road is straight
    (31, 1000, 1), (28, 1000, 0),  # who drives at 250 km/h
])  # fmt: skip
def test_a_straight_line_is_a_guess_that_has_limits(seconds: float, half_m: float, count: int) -> None:
    assert len(told(lake(watch("area.entered", dwell_s=0)), *through(0, seconds, half_m))) == count


@pytest.mark.parametrize(("crossing_s", "count"), [(0, 0), (59.9, 0), (60, 1)])
def test_the_plan_says_how_far_apart_two_fixes_may_be(crossing_s: float, count: int) -> None:
    assert len(told(lake(watch("area.entered", crossing_s=crossing_s)), *through())) == count


@pytest.mark.parametrize(("window", "count"), [((23, 25), 1), ((0, 23), 0), ((25, 60), 0)])
def test_the_schedule_applies_when_it_comes_in(window: tuple[int, int], count: int) -> None:
    schedule = Schedule(((WEEK_S + window[0], WEEK_S + window[1]),))
    assert len(told(lake(watch("area.forbidden", schedule=schedule)), *through())) == count


def test_it_concerns_the_roles_of_the_rule() -> None:
    assert len(told(lake(watch("area.forbidden", roles=frozenset({"escort"}))), *through())) == 1
    assert told(lake(watch("area.forbidden", roles=frozenset({"principal"}))), *through()) == []


def test_one_who_came_by_has_left_where_it_went_out() -> None:
    (gone,) = told(lake(watch("area.left")), *through())
    assert (gone.began_at_us - T0) / SECOND == pytest.approx(36.0, abs=0.002)
    assert gone.ended_at_us is None
    assert gone.evidence["inferred"] == "crossing"


def test_one_who_had_left_and_comes_by_was_back_for_a_while() -> None:
    engine = Engine(lake(watch("area.left")))
    ledger = feed(engine, [fix(0, 0, 0), fix(30, 1000, 0), fix(60, 1000, 0), fix(120, -1000, 0), fix(180, -1000, 0)])
    assert [row[3:] for row in rows(ledger)] == [
        (30.0, pytest.approx(84.0, abs=0.002)),
        (pytest.approx(96.0, abs=0.002), None),
    ]


def test_out_of_an_area_that_is_required_it_is_never_on_a_guess() -> None:
    """A road with a bend, and an area along it: the straight line cuts the corner."""
    bend = shapely.LineString([(0, 0), (600, 600), (1200, 0)]).buffer(150, cap_style="flat", join_style="mitre")
    of = plan([area("road", bend, watch("area.required", dwell_s=0))])
    assert told(of, fix(0, 100, 100), fix(60, 1100, 100)) == []


def test_an_end_that_lies_inside_is_no_passage() -> None:
    """In by 5 m, give or take 5: the next fix may say that it stays there."""
    assert told(lake(watch("area.entered", dwell_s=0)), fix(0, -1000, 0), fix(60, 195, 0)) == []


def test_of_several_pieces_the_longest_is_told() -> None:
    comb = shapely.Polygon([(0, -300), (900, -300), (900, 300), (500, 300), (500, 0), (300, 0), (300, 300), (0, 300)])
    of = plan([area("comb", comb, watch("area.entered"))])
    (visit,) = told(of, fix(0, -500, 100), fix(100, 1500, 100))
    assert visit.evidence["crossed_m"] == 400
    assert (visit.began_at_us - T0) / SECOND == pytest.approx(50.0, abs=0.002)


def test_many_areas_on_one_way() -> None:
    """More than any buffer was made for, and far beyond the reach of the fix."""
    many = [
        area(
            f"a{k}",
            shapely.box(40 * k, -300, 40 * k + 35, 300),
            watch("area.entered", dwell_s=0),
            watch("area.left", dwell_s=0),
        )
        for k in range(60)
    ]
    ledger = feed(Engine(plan(many)), [fix(0, -200, 0, accuracy=2), fix(100, 2600, 0, accuracy=2)])
    assert Counter(e.rule for e in ledger.sorted()) == {"area.entered": 60, "area.left": 60}


# ---- seen, but not for long enough


def visit_of(x: float = 0.0, **more: Any) -> list[Fix]:
    """1200 m in a minute at an even speed, and one fix on the way."""
    return [fix(0, -600, 0, **more), fix(30 + x / 20, x, 0, **more), fix(60, 600, 0, **more)]


@pytest.mark.parametrize("x", [-150, 0, 189])
def test_one_fix_inside_is_a_visit_from_border_to_border(x: float) -> None:
    drive = visit_of(x)
    (visit,) = told(lake(watch("area.forbidden", dwell_s=15)), *drive)
    assert visit.ended_at_us is not None
    assert (visit.rule, visit.severity, visit.peak) == ("area.forbidden", "high", None)
    assert (visit.began_at_us - T0) / SECOND == pytest.approx(20.0, abs=0.002)
    assert (visit.ended_at_us - T0) / SECOND == pytest.approx(40.0, abs=0.002)
    assert (visit.evidence["inferred"], visit.evidence["crossed_m"]) == ("border", 400)
    assert visit.evidence["decided_at"] == format_us(T0 + 60 * SECOND)
    assert visit.evidence["lat"] == pytest.approx(drive[1].lat, abs=1e-6), "where it was seen"
    assert visit.evidence["lon"] == pytest.approx(drive[1].lon, abs=1e-6)


def test_two_fixes_inside_for_less_than_the_dwell() -> None:
    drive = [fix(0, -600, 0), fix(24, -120, 0), fix(36, 120, 0), fix(60, 600, 0)]
    (visit,) = told(lake(watch("area.entered", dwell_s=15)), *drive)
    assert (visit.evidence["inferred"], visit.evidence["crossed_m"]) == ("border", 160)


@pytest.mark.parametrize(("dwell_s", "count"), [(19.9, 1), (20.1, 0)])
def test_a_short_visit_lasts_the_dwell_from_border_to_border(dwell_s: float, count: int) -> None:
    assert len(told(lake(watch("area.entered", dwell_s=dwell_s)), *visit_of())) == count


def test_a_visit_that_was_seen_for_the_dwell_begins_at_its_first_fix() -> None:
    """It is told at once, by what a fix saw, and nothing about it has to be guessed."""
    drive = [fix(t, -600 + 20 * t, 0) for t in range(0, 61, 5)]
    (visit,) = told(lake(watch("area.entered", dwell_s=10)), *drive)
    assert ((visit.began_at_us - T0) / SECOND, (visit.ended_at_us or 0) - T0) == (25.0, 45 * SECOND)
    assert "inferred" not in visit.evidence


def test_it_waits_for_a_fix_that_is_outside_for_sure() -> None:
    """By the border nobody knows: it went out where the way to there meets the border, once it is known that it went."""
    engine, ledger = Engine(lake(watch("area.forbidden", dwell_s=15))), Ledger()
    drive = [fix(0, -600, 0), fix(30, 0, 0), fix(41, 220, 0), fix(60, 600, 0)]
    assert [changes_of(engine, ledger, f) for f in drive] == [[], [], [], ["begin", "end"]]
    (visit,) = ledger.sorted()
    assert ((visit.ended_at_us or 0) - T0) / SECOND == pytest.approx(40.0, abs=0.002)


def test_going_in_and_out_by_the_border_is_no_visit() -> None:
    """At walking speed along it, twelve metres in and ten out: the exit margin is wider than that."""
    drive = [fix(30 * k, -188 if k % 2 else -210, 50 * k - 200, speed=2.0) for k in range(8)]
    assert told(lake(watch("area.entered", dwell_s=15)), *drive) == []


@pytest.mark.parametrize("speed", [0.0, None])
def test_a_stray_fix_of_one_who_is_parked_nearby_is_no_visit(speed: float | None) -> None:
    night = [fix(30 * k, -120 if k % 7 == 3 else -240, 0, speed=speed) for k in range(100)]
    assert told(lake(watch("area.entered", dwell_s=15)), *night) == []


@pytest.mark.parametrize(("accuracy", "count"), [(5, 1), (24, 1), (26, 0), (60, 0)])
def test_the_inner_fix_is_inside_by_twice_the_poorer_accuracy(accuracy: float, count: int) -> None:
    """50 m in, for 12 s; the ways there and from there add 2.5 s each, while the fix that begins them is good enough."""
    drive = [fix(0, -350, 0, accuracy=accuracy), fix(10, -150, 0), fix(22, -150, 0), fix(32, -350, 0)]
    assert len(told(lake(watch("area.entered", dwell_s=16)), *drive)) == count


@pytest.mark.parametrize(("crossing_s", "count"), [(0, 0), (29, 0), (30, 1)])
def test_the_plan_limits_the_ways_of_a_short_visit_too(crossing_s: float, count: int) -> None:
    assert len(told(lake(watch("area.entered", dwell_s=15, crossing_s=crossing_s)), *visit_of())) == count


@pytest.mark.parametrize(("window", "began"), [((19, 25), None), ((0, 19), None), ((19, 90), 20.0), ((25, 90), 30.0)])
def test_the_schedule_of_a_short_visit(window: tuple[int, int], began: float | None) -> None:
    """In force on the border, or it begins at the fix; in force at the fix, or it does not begin."""
    schedule = Schedule(((WEEK_S + window[0], WEEK_S + window[1]),))
    episodes = told(lake(watch("area.forbidden", schedule=schedule)), *visit_of())
    expected = [] if began is None else [pytest.approx(began, abs=0.002)]
    assert [(e.began_at_us - T0) / SECOND for e in episodes] == expected


def test_one_who_was_away_for_a_moment_had_left() -> None:
    drive = [fix(0, 0, 0), fix(30, 600, 0), fix(60, 0, 0)]
    (gone,) = told(lake(watch("area.left", dwell_s=15)), *drive)
    assert (gone.began_at_us - T0) / SECOND == pytest.approx(10.0, abs=0.002)
    assert ((gone.ended_at_us or 0) - T0) / SECOND == pytest.approx(50.0, abs=0.002)
    assert (gone.evidence["inferred"], gone.evidence["crossed_m"]) == ("border", 800)
    assert told(lake(watch("area.left", dwell_s=41)), *drive) == []


def test_an_area_that_is_required_is_left_by_what_fixes_saw() -> None:
    assert told(lake(watch("area.required", dwell_s=15)), fix(0, 0, 0), fix(30, 600, 0), fix(60, 0, 0)) == []


def test_a_late_fix_takes_back_a_short_visit() -> None:
    """It was seen inside, but it had hardly come in."""
    engine, ledger = Engine(lake(watch("area.forbidden", dwell_s=15))), Ledger()
    assert [changes_of(engine, ledger, f) for f in visit_of()] == [[], [], ["begin", "end"]]
    assert changes_of(engine, ledger, fix(26, -260, 0)) == ["retract"]
    assert ledger.sorted() == []


# ---- the law


def changes_of(engine: Engine, ledger: Ledger, f: Fix) -> list[str]:
    (record,) = records([f], 1)
    changes = engine.feed(record)
    ledger.apply(changes)
    return [c.kind for c in changes]


def test_a_late_fix_takes_back_what_was_guessed() -> None:
    """It went around the lake after all."""
    engine, ledger = Engine(lake(watch("area.forbidden"))), Ledger()
    first, last = through()
    assert changes_of(engine, ledger, first) == []
    assert changes_of(engine, ledger, last) == ["begin", "end"]
    assert changes_of(engine, ledger, fix(30, 0, 900)) == ["retract"]
    assert ledger.sorted() == []


def test_a_late_fix_amends_what_was_guessed() -> None:
    """It was there, and it stayed for longer than an even speed says."""
    of = lake(watch("area.forbidden"))
    engine, ledger = Engine(of), Ledger()
    first, last = through()
    seen = [fix(20, 0, 0), fix(50, 100, 0)]
    for f in (first, last):
        changes_of(engine, ledger, f)
    assert changes_of(engine, ledger, seen[0]) == ["amend"], "no longer a passage, but a short visit"
    (visit,) = ledger.sorted()
    assert visit.evidence["inferred"] == "border"
    assert changes_of(engine, ledger, seen[1]) == ["amend"]
    (visit,) = ledger.sorted()
    assert (visit.began_at_us, visit.ended_at_us) == (T0 + 20 * SECOND, T0 + 60 * SECOND)
    assert "inferred" not in visit.evidence
    assert ledger.lines() == feed(Engine(of), [first, *seen, last]).lines()


PLAN = plan(
    [
        area("lake", square(900, 250, 160), watch("area.forbidden", dwell_s=5), watch("area.left", dwell_s=5)),
        area(
            "comb",
            shapely.Polygon(
                [(1500, -300), (2400, -280), (2400, 300), (2000, 310), (2010, 0), (1800, 0), (1800, 300), (1500, 300)]
            ),
            watch("area.entered", dwell_s=10, schedule=Schedule(((WEEK_S + 60, WEEK_S + 900),))),
            watch("area.left", schedule=Schedule(((WEEK_S + 200, WEEK_S + 900),))),
            watch("area.required"),
        ),
        area("inner", square(900, 250, 70), watch("area.entered", dwell_s=0, enter=5, leave=10, crossing_s=45)),
    ],
    devices=2,
)
TABLES = build_tables(PLAN)
PLACES = [(900.0, 250.0), (-300.0, 250.0), (900.0, 1500.0), (2700.0, 150.0), (1200.0, -900.0), (2200.0, 900.0)]


def sparse(seed: int, n: int = 60) -> list[Fix]:
    """From place to place, a report every 15 to 130 s: most areas lie between two of them."""
    rng = np.random.default_rng(seed)
    at, t, out = np.array([0.0, 0.0]), 0.0, []
    for k in range(n):
        aim = np.array(PLACES[rng.integers(len(PLACES))]) + rng.normal(0, 120, 2)
        step = aim - at
        at = at + step * min(1.0, 2500.0 / max(1.0, float(np.hypot(*step)))) * (1.0 if rng.random() < 0.6 else 0.5)
        t += float(rng.choice([15, 30, 45, 60, 90, 130]))
        out.append(
            fix(
                t, float(at[0]), float(at[1]), accuracy=None if rng.random() < 0.1 else float(rng.choice([3.0, 6.0, 25.0])),
                speed=float(rng.choice([0.0, 12.0])), device=int(rng.random() < 0.1), seq=k, body=int(rng.integers(1, 1 << 60)),
            )
        )  # fmt: skip
    return out


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30))
def test_both_tell_the_same_of_sparse_drives(seed: int) -> None:
    fixes = sparse(seed)
    ledger = feed(Engine(PLAN, tables=TABLES), fixes, 7)
    both = sorted((e.rule, e.object, e.began_at_us, e.ended_at_us, e.severity) for e in ledger.sorted())
    assert agree(both, Oracle(PLAN).run(fixes))


def test_the_drives_are_worth_something() -> None:
    """Of every rule and area many a crossing and a short visit is among them, or the comparison would compare nothing."""
    guessed: Counter[tuple[Any, ...]] = Counter()
    for seed in range(20):
        episodes = feed(Engine(PLAN, tables=TABLES), sparse(seed)).sorted()
        guessed += Counter((e.evidence["inferred"], e.rule, e.object) for e in episodes if "inferred" in e.evidence)
    assert set(guessed) == {
        ("crossing", "area.forbidden", "lake"), ("crossing", "area.left", "lake"), ("crossing", "area.entered", "comb"),
        ("crossing", "area.left", "comb"), ("crossing", "area.entered", "inner"),
        ("border", "area.forbidden", "lake"), ("border", "area.entered", "comb"), ("border", "area.left", "lake"),
    }  # fmt: skip  # without a dwell no visit is too short to be seen
    assert min(guessed.values()) >= 3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30), st.integers(1, 60))
def test_neither_order_nor_repetition_nor_records_change_a_byte(seed: int, batch: int) -> None:
    fixes = sparse(seed)
    dice = random.Random(seed)
    mixed = [*fixes, *dice.choices(fixes, k=12)]
    dice.shuffle(mixed)
    whole = feed(Engine(PLAN, tables=TABLES), fixes).lines()
    assert feed(Engine(PLAN, tables=TABLES), mixed, batch).lines() == whole
    assert feed(Engine(PLAN, tables=TABLES), fixes, batch).lines() == whole


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 30))
def test_dying_at_any_time_changes_nothing(seed: int) -> None:
    """Between any two fixes of a crossing too: the row holds the fix before."""
    dice = random.Random(seed)
    fixes = late(sparse(seed), seed)
    log = Log(records(fixes, dice.choice([1, 5])))
    owner = log.owner(HORIZON_US, PLAN)
    while owner.next < len(log.batches):
        owner.step()
        roll = dice.random()
        if roll < 0.3:
            owner.checkpoint()
        elif roll < 0.5:
            owner = log.owner(HORIZON_US, PLAN)
        elif roll < 0.6:
            owner.engine.forget(120 * SECOND)
    assert log.ledger() == feed(Engine(PLAN, tables=TABLES), fixes).lines()

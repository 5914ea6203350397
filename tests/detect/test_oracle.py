"""The compiled rules and the plain ones say the same of every drive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.detect.engine import Engine
from pipeline.detect.tables import build_tables
from pipeline.plan.model import Checkpoint, Schedule
from tests.detect.oracle import Oracle
from tests.detect.plans import SECOND, T0, area, feed, fix, plan, square, watch

BEND = [(0, 0), (1500, 0), (1500, 800), (0, 800), (-400, 2000)]
WEEK_S = (T0 // SECOND + 5 * 3600 + 3 * 86_400) % 604_800  # where in the local week the drives begin
NIGHT = Schedule(((WEEK_S + 100, WEEK_S + 400),))
PLAN = plan(
    [
        area("lake", square(700, 300, 150), watch("area.forbidden"), watch("area.left", dwell_s=0)),
        area(
            "camp",
            shapely.Polygon([(1300, 100), (1900, -50), (2000, 500), (1650, 250)]),
            watch("area.entered", dwell_s=20),
            watch("area.required", schedule=NIGHT),
        ),
        area("inner", square(700, 300, 60), watch("area.entered", dwell_s=0, enter=5, leave=10)),
        area("halt", square(250, 260, 100), stop_allowed=True),
    ],
    line=BEND,
    stops=["halt"],
    devices=2,
    checkpoints=(Checkpoint("gate", {"en": "Gate"}, 900.0, True, 60.0),),
)
TABLES = build_tables(PLAN)

leg = st.tuples(
    st.sampled_from(
        [(700, 300), (0, 0), (1500, 10), (1500, 800), (250, 250), (1700, 200), (700, 500), (900, 0), (3000, 300)]
    ),
    st.integers(1, 12),
    st.sampled_from([5, 5, 5, 10, 30, 90]),
)
drive = st.tuples(st.lists(leg, min_size=1, max_size=8), st.integers(0, 2**31), st.sampled_from([2.0, 8.0, 25.0]))


def fixes_of(legs: list[Any], seed: int, noise: float) -> list[Any]:
    rng = np.random.default_rng(seed)
    x, y, t = -50.0, 0.0, 0.0
    out = []
    for (to_x, to_y), steps, every in legs:
        stay = rng.random() < 0.3
        for k in range(1, steps + 1):
            part = 0 if stay else k / steps
            px, py = x + (to_x - x) * part, y + (to_y - y) * part
            t += every
            accuracy = None if rng.random() < 0.1 else float(np.float32(round(rng.uniform(1, 3 * noise), 1)))
            speed = None if rng.random() < 0.1 else (0.0 if stay else 9.0)
            out.append(
                fix(
                    t,
                    px + rng.normal(0, noise),
                    py + rng.normal(0, noise),
                    accuracy=accuracy,
                    speed=speed,
                    device=int(rng.random() < 0.2),
                )
            )
        if not stay:
            x, y = to_x, to_y
    return out


def agree(a: list[Any], b: list[Any]) -> bool:
    """The same, but for a millisecond: where a line meets a border is a float, and two libraries round it otherwise."""
    return len(a) == len(b) and all(
        x[:2] == y[:2] and x[4] == y[4] and all(near(x[k], y[k]) for k in (2, 3)) for x, y in zip(a, b, strict=True)
    )


def near(a: int | None, b: int | None) -> bool:
    return a == b if a is None or b is None else abs(a - b) <= 1000


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drive)
def test_both_tell_the_same(drawn: Any) -> None:
    fixes = fixes_of(*drawn)
    ledger = feed(Engine(PLAN, tables=TABLES), fixes, 7)
    told = sorted((e.rule, e.object, e.began_at_us, e.ended_at_us, e.severity) for e in ledger.sorted())
    assert agree(told, Oracle(PLAN).run(fixes))


def test_the_drives_are_worth_something() -> None:
    """Over some seeds every rule of the plan has told something: or the comparison would compare nothing."""
    legs = [
        ((700, 300), 8, 5),
        ((0, 0), 8, 5),
        ((700, 300), 9, 5),
        ((1700, 200), 9, 10),
        ((3000, 300), 9, 10),
        ((1500, 10), 12, 10),
    ]
    seen = set()
    for seed in range(40):
        seen |= {row[0] for row in Oracle(PLAN).run(fixes_of(legs, seed, 4.0))}
    assert seen == {
        "area.forbidden",
        "area.left",
        "area.entered",
        "area.required",
        "route.deviation",
        "stop.unscheduled",
    }


@pytest.mark.parametrize("seconds", [0, 19_999, 20_000, 99_999, 100_000, 604_799])
def test_schedules_are_read_as_the_plan_reads_them(seconds: int) -> None:
    from pipeline.detect.rules.areas import applies

    schedule = Schedule(((0, 20_000), (500_000, 10)))
    windows, offsets = np.array(schedule.windows), np.array([schedule.utc_offset_s] * 2)
    monday = 1_779_649_200 * SECOND  # 2026-05-25T00:00:00+05:00
    at = monday + seconds * SECOND
    assert applies(windows, offsets, 0, 2, at) == schedule.applies(at)

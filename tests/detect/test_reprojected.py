"""A plan with other bounds has other metres: what stood still under the one stands still under the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.detect.carry import Carrier
from pipeline.detect.engine import Engine
from pipeline.detect.form import ROW
from pipeline.detect.tables import build_tables
from pipeline.detect.timed import Timed
from pipeline.detect.translate import layout_of, points, translate
from pipeline.geo.projection import MAX_ERROR_M, Projection, fit
from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix
from pipeline.plan.model import CompiledPlan
from tests.detect.plans import PROJECTION, RULES, T0, feed, fix, plan, rows
from tests.detect.restarts import taken_over
from tests.detect.test_timeline import order, records

WIDER = fit(72.5, 34.5, 73.9, 35.9)  # its middle is 29 km away
A_LITTLE_WIDER = fit(72.5, 34.5, 73.50004, 35.50004)  # 3 m
STOPS = {"stop.unscheduled": RULES["stop.unscheduled"]}
ROAD = (0.0, 4000.0)


def with_bounds(projection: Projection, content: str) -> CompiledPlan:
    lon, lat = PROJECTION.to_lonlat(np.array(ROAD), np.zeros(2))
    return plan(line=np.column_stack(projection.to_xy(lat, lon)), rules=STOPS, projection=projection, content=content)


NARROW, WIDE, LITTLE, EDITED = (
    with_bounds(projection, content)
    for projection, content in (
        (PROJECTION, "narrow"),
        (WIDER, "wide"),
        (A_LITTLE_WIDER, "little"),
        (PROJECTION, "edited"),
    )
)
PLANS = {p.hash: p for p in (NARROW, WIDE, LITTLE, EDITED)}
ONE_STOP = [("stop.unscheduled", "v1", "", 0.0, 610.0)]


def standing(speed: float | None, until_s: int = 600, east_m: float = 2000.0) -> list[Fix]:
    """It drifts by some metres."""
    return [fix(t, east_m + t % 7, t % 5, speed=speed) for t in range(0, until_s, 10)]


def leaving() -> list[Fix]:
    return [fix(600 + t, 2000 + 10 * t, 0) for t in range(0, 60, 10)]


def row_of(fixes: list[Fix], world: CompiledPlan = NARROW) -> tuple[bytes, Any]:
    engine = Engine(world)
    feed(engine, fixes)
    state = engine.vehicles.pack(0)
    return state, as_row(state)


def as_row(state: bytes | None) -> Any:
    assert state is not None
    return np.frombuffer(state, ROW, 1)


def carried(fixes: list[Fix], old: CompiledPlan, new: CompiledPlan) -> Any:
    state, _ = row_of(fixes, old)
    return as_row(Carrier(build_tables(old), build_tables(new), T0).carry("v1", state)[0])


def apart_m(row: Any, projection: Projection, other: Any, others: Projection) -> list[float]:
    """How far each point of a row is from where another row has it."""
    found = []
    for (x, y, *_), (other_x, other_y, *_) in zip(points(row), points(other), strict=True):
        lon, lat = others.to_lonlat(other_x, other_y)
        there_x, there_y = projection.to_xy(lat, lon)
        found.append(float(np.hypot(x - there_x, y - there_y)[0]))
    return found


# ---- from one version to the next


@pytest.mark.parametrize("speed", [0.0, None])
@pytest.mark.parametrize(
    "switches", [("edited",), ("wide",), ("little",), ("wide", "narrow"), ("wide", "edited", "little")]
)
def test_a_stop_goes_on_under_a_plan_with_other_bounds(switches: tuple[str, ...], speed: float | None) -> None:
    orders = [order("plan", 300 + 50 * k, received_s=0, hash=name) for k, name in enumerate(switches)]
    engine, ledger = Timed(NARROW), Ledger()
    for record in records([*orders, *standing(speed), *leaving()], 10):
        ledger.apply(engine.feed(record, PLANS))
    assert rows(ledger) == ONE_STOP


@pytest.mark.parametrize("old, new", [(NARROW, WIDE), (WIDE, NARROW), (NARROW, LITTLE)])
def test_each_point_stays_where_it_is(old: CompiledPlan, new: CompiledPlan) -> None:
    """Its place, its stop, and where it may have gone since."""
    fixes = [*standing(0.0, 300), fix(300, 2300, 40)]
    _, before = row_of(fixes, old)
    after = carried(fixes, old, new)
    assert len(points(before)) == 3
    assert max(apart_m(after, new.projection, before, old.projection)) < 2 * MAX_ERROR_M


def test_the_mean_of_where_it_stands_keeps_its_weight() -> None:
    assert carried(standing(0.0), NARROW, WIDE)["still_weight"] == row_of(standing(0.0))[1]["still_weight"] > 1.0


def test_what_is_not_set_is_left_alone() -> None:
    after = carried(standing(0.0), NARROW, WIDE)
    assert len(points(after)) == 2
    assert (after["stop"]["away_x"], after["stop"]["away_y"]) == (0.0, 0.0)


def test_the_same_bounds_change_no_bit() -> None:
    fixes = [*standing(0.0, 300), fix(300, 2300, 40)]
    _, before = row_of(fixes)
    after = carried(fixes, NARROW, EDITED)
    for name in ("still_x", "still_y", "still_weight", "stop"):
        assert after[name].tobytes() == before[name].tobytes()


def test_beyond_the_bounds_a_point_is_where_its_fix_was() -> None:
    """The metres there are no projection's, only what its polynomials go on to."""
    far = [fix(t, 3_000_000.0, 0.0, speed=0.0) for t in range(0, 100, 10)]
    after = carried(far, NARROW, WIDE)
    for x, y, lat, lon in points(after):
        assert (x, y) == WIDER.to_xy(lat, lon)
    assert after["still_weight"] == 0.0


# ---- from a checkpoint of another plan


@pytest.mark.parametrize("speed", [0.0, None])
@pytest.mark.parametrize("world", [EDITED, WIDE, LITTLE], ids=["edited", "wide", "little"])
def test_a_stop_goes_on_from_a_checkpoint_of_a_plan_with_other_bounds(world: CompiledPlan, speed: float | None) -> None:
    engine, ledger = Engine(NARROW), Ledger()
    whole = records([*standing(speed), *leaving()], 10)
    for record in whole[:3]:
        ledger.apply(engine.feed(record))
    before, engine = engine, Engine(world)
    taken_over(before, engine, 3)
    for record in whole[3:]:
        ledger.apply(engine.feed(record))
    assert rows(ledger) == ONE_STOP


def translated(state: bytes, world: CompiledPlan) -> bytes:
    return translate(build_tables(world), "v1", layout_of(build_tables(NARROW)), state)


@pytest.mark.parametrize("speed", [0.0, None])
def test_from_a_checkpoint_of_the_same_bounds_no_bit_of_the_row_changes(speed: float | None) -> None:
    state, _ = row_of([*standing(speed, 300), fix(300, 2300, 40)])
    assert translated(state, EDITED)[: ROW.itemsize] == state[: ROW.itemsize]


def test_read_under_other_bounds_each_point_is_where_its_fix_was_and_the_mean_begins_anew() -> None:
    state, before = row_of(standing(0.0))
    after = as_row(translated(state, WIDE))
    assert max(apart_m(after, WIDER, before, PROJECTION)) < 10.0
    assert after["still_weight"] == 0.0


def test_a_vehicle_that_moves_shows_the_least_change_of_bounds() -> None:
    state, before = row_of(standing(None))
    after = as_row(translated(state, LITTLE))
    assert apart_m(before, A_LITTLE_WIDER, before, PROJECTION)[0] > 1.0
    assert max(apart_m(after, A_LITTLE_WIDER, before, PROJECTION)) < 2 * MAX_ERROR_M

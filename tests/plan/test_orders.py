"""Orders are checked whole, and make the next plan of the one that is in force; a timeline is a function of the set of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.order import read_order
from pipeline.model.observation import Order
from pipeline.model.times import parse_us
from pipeline.plan.faults import PlanError
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan, Movement
from pipeline.plan.orders import OrderError, apply_order
from pipeline.plan.timeline import Timeline, UnknownPlanError

NOON = parse_us("2026-11-23T07:00:00Z")
HOUR = 3_600_000_000
NIGHT = {
    "id": "night",
    "name": "Night",
    "vehicles": ["e-5", "e-6"],
    "route": "n-35",
    "starts": "2026-11-23 22:00",
    "ends": "2026-11-24 02:00",
    "from_km": 64,
    "to_km": 100,
}


@pytest.fixture(scope="module")
def hazara(root: Path) -> CompiledPlan:
    return load_plan(root / "plans" / "hazara")


def order(what: str, at_us: int = NOON, **fields: Any) -> Order:
    fields = {key.rstrip("_"): value for key, value in fields.items()}
    return Order(
        what=what,
        effective_from_us=at_us,
        seen_at_us=at_us,
        received_at_us=at_us,
        fields=fields,
        plan_hash=fields.get("hash", ""),
        body=len(repr(fields)),
    )


def movement(plan: CompiledPlan, name: str) -> Movement:
    return next(m for m in plan.movements if m.id == name)


@pytest.fixture(scope="module")
def free(hazara: CompiledPlan) -> CompiledPlan:
    """Without the movement that has the reserve on the road for ever, and with one for tonight."""
    return apply_order(apply_order(hazara, order("cancel", movement="reserve")), order("create", movement=NIGHT))


def test_what_is_created_is_what_the_files_would_say(free: CompiledPlan, hazara: CompiledPlan) -> None:
    night = movement(free, "night")
    assert (night.vehicles, night.route, night.region) == (("e-5", "e-6"), "n-35", "hazara")
    assert (night.starts_us, night.ends_us) == (parse_us("2026-11-23T17:00:00Z"), parse_us("2026-11-23T21:00:00Z"))
    assert free.areas is hazara.areas, "what an order does not name is the very same object"
    assert free.hash != hazara.hash


def test_a_delay_moves_the_window_and_of_who_is_under_way_only_its_end(free: CompiledPlan) -> None:
    before = movement(free, "night")
    later = movement(apply_order(free, order("delay", movement="night", delay="1 h 30 min")), "night")
    assert (later.starts_us, later.ends_us) == (before.starts_us + 1.5 * HOUR, before.ends_us + 1.5 * HOUR)
    under_way = order("delay", before.starts_us + HOUR, movement="night", delay="1 h")
    later = movement(apply_order(free, under_way), "night")
    assert (later.starts_us, later.ends_us) == (before.starts_us, before.ends_us + HOUR)


def test_a_swap_in_a_convoy_keeps_the_marching_order(free: CompiledPlan) -> None:
    after = apply_order(free, order("swap", movement="alpha-up", out="e-1", in_="e-9"))
    assert after.convoys["alpha"].members == ("e-9", "c-1", "c-2", "c-3", "e-2")
    assert after.convoys["alpha"].escorts == ("e-9", "e-2")
    assert movement(after, "alpha-up").vehicles == ("e-9", "c-1", "c-2", "c-3", "e-2")


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        (order("cancle", movement="night"), ["there is no such order"]),
        (order("cancel", movement="nigth"), ["there is no such movement"]),
        (order("cancel"), ["the key is missing"]),
        (order("cancel", movement="night", now=True), ["unknown key"]),
        (order("cancel", NOON + 24 * HOUR, movement="night"), ["the movement is over by then"]),
        (order("delay", movement="night"), ["how long is not said"]),
        (order("delay", movement="night", delay="90"), ["this is no duration"]),
        (order("delay", movement="alpha-up", delay="1 h"), ["it is always in force: nothing to delay"]),
        (order("divert", movement="night", route="n-36", to_km="x"), ["a number is needed", "there is no such route"]),
        (order("divert", movement="night", route="n-35", to_km=9000), ["n-35 has no such kilometre"]),
        (order("swap", movement="night", out="e-7", in_="e-8"), ["not on night"]),
        (order("swap", movement="night", out="e-5", in_="e-6"), ["on night already"]),
        (order("swap", movement="night", out="e-5", in_="c-1"), ["its role is principal, and e-5 is escort", "on alpha-up at the same time"]),
        (order("create", movement={**NIGHT, "id": "x"}), ["on night at the same time"]),
        (order("create", movement={**NIGHT, "vehicles": ["e-55"], "route": "m-1"}), ["there is such a movement already", "there is no such route", "there is no such vehicle"]),
        (order("create", movement={**NIGHT, "id": "x", "vehicles": ["e-9"], "ends": "2026-11-23 21:00"}), ["the movement ends before it starts"]),
        (order("create", movement={"id": "x"}), ["the key is missing"]),
        (order("create", movement={**NIGHT, "id": "x", "convoy": "alpha"}), ["a movement is of one convoy or of vehicles"]),
        (order("create", movement={**NIGHT, "vehicles": ["e-55"], "starts": "tonight"}), ["this is no instant", "there is no such vehicle"]),
    ],
)  # fmt: skip
def test_every_fault_is_named(free: CompiledPlan, given: Order, problems: list[str]) -> None:
    with pytest.raises(OrderError) as refused:
        apply_order(free, given)
    told = [fault.problem for fault in refused.value.faults]
    for problem in problems:
        assert problem in told, told
    assert all(fault.cure for fault in refused.value.faults)


def test_a_vehicle_may_be_sent_only_where_it_serves(root: Path) -> None:
    plan = load_plan(root / "plans")
    abroad = next(r for r in plan.routes.values() if r.region != "hazara")
    own = next(
        v
        for v in plan.vehicles.values()
        if v.region == "hazara" and not set(v.cells_served) & set(plan.regions[abroad.region].cells)
    )
    busy = [m for m in plan.movements if own.id in m.vehicles]
    for m in busy:
        plan = apply_order(plan, order("cancel", movement=m.id))
    given = {"id": "x", "name": "X", "vehicles": [own.id], "route": abroad.id, "always": True}
    with pytest.raises(OrderError, match="may not serve"):
        apply_order(plan, order("create", movement=given))


def test_the_timeline_is_a_function_of_the_set_of_orders(hazara: CompiledPlan) -> None:
    orders = [
        order("cancel", NOON, movement="reserve"),
        order("create", NOON + 1, movement=NIGHT),
        order("delay", NOON + 2, movement="night", delay="1 h"),
        order("cancel", NOON + 3, movement="night"),
    ]
    expected = [(v.from_us, v.plan.hash) for v in Timeline(hazara).with_orders(orders).versions]
    assert len(expected) == 5
    for mixed in itertools.permutations(orders):
        timeline = Timeline(hazara)
        for one in mixed:
            timeline = timeline.with_orders([one])
        assert [(v.from_us, v.plan.hash) for v in timeline.versions] == expected
        assert not timeline.refused


def test_an_order_that_does_not_fit_changes_nothing_and_says_why(hazara: CompiledPlan) -> None:
    timeline = Timeline(hazara).with_orders(
        [order("create", movement=NIGHT), order("cancel", NOON + 1, movement="night")]
    )
    assert [v.plan for v in timeline.versions] == [hazara]
    assert sorted(f.problem for faults in timeline.refused.values() for f in faults) == [
        "on reserve at the same time",
        "there is no such movement",
    ]


def test_orders_stay_in_force_over_a_switch_of_the_plan(hazara: CompiledPlan, root: Path) -> None:
    other = load_plan(root / "plans")
    orders = [order("cancel", movement="reserve"), order("plan", NOON + 1, hash=other.hash)]
    with pytest.raises(UnknownPlanError):
        Timeline(hazara).with_orders(orders)
    after = Timeline(hazara).with_orders(orders, {other.hash: other}).at(NOON + 1)
    assert set(after.regions) == set(other.regions)
    assert "reserve" not in {m.id for m in after.movements}


def test_a_file_of_an_order_is_read_as_a_plan_is(tmp_path: Path, hazara: CompiledPlan) -> None:
    file = tmp_path / "order.yaml"
    file.write_text("order: cancel\neffective_from: 2026-11-23 12:00\nmovement: reserve\n")
    line = read_order(file, hazara, NOON)
    assert line["effective_from"] == "2026-11-23T07:00:00.000000Z"
    assert line["fields"]["movement"] == "reserve" and len(line["fields"]["number"]) == 24
    for text, problem in (
        ("movement: reserve\n", "says no order"),
        ("order: [cancel\n", "not YAML"),
        ("order: cancel\neffective_from: soon\n", "no instant"),
        ("order: &a cancel\n", "anchors"),
    ):
        file.write_text(text)
        with pytest.raises(PlanError, match=problem):
            read_order(file, hazara, NOON)

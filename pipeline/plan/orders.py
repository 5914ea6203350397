"""Movement orders: create, delay, divert, swap a vehicle, cancel. Each makes the next plan of the one that is in force, or has faults.

An order is checked whole, as a plan is. What it does not name stays the very same object, so that who compares two plans sees at once
what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson

from pipeline.model.observation import Order
from pipeline.plan import schema
from pipeline.plan.faults import Fault, nearest, shown
from pipeline.plan.model import CompiledPlan, Convoy, Leg, Movement, Route, movements_of_vehicles
from pipeline.plan.read import _entry as read_entry  # the same sentences for the same faults
from pipeline.plan.times import ALWAYS_US, ZONES, duration_us, instant_us
from pipeline.plan.tree import Tree

SWITCH = "plan"
MOST_DELAY_US = 30 * 86_400_000_000
BESIDE = frozenset({"by", "reason", "number"})  # who gave it and why: on record, and no matter of the rules


class OrderError(Exception):
    """The order is refused. `faults` has all of them."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        count = len(self.faults)
        super().__init__("\n".join([f"the order has {count} fault{'s' if count != 1 else ''}", *map(str, self.faults)]))


class _Checked:
    """An order against a plan: what is wrong with it is collected."""

    def __init__(self, plan: CompiledPlan, order: Order, file: str) -> None:
        self.plan, self.order, self.file = plan, order, file
        self.fields: dict[str, Any] = order.fields
        self.faults: list[Fault] = []

    def fault(self, key: str, value: object, problem: str, cure: str) -> None:
        self.faults.append(Fault(self.file, key, shown(value) if value != "" else "", problem, cure))

    def keys(self, *known: str) -> None:
        for key in sorted(self.fields.keys() - BESIDE - set(known)):
            self.fault(key, "", "unknown key", nearest(key, [*known, *BESIDE]))

    def text(self, key: str) -> str | None:
        value = self.fields.get(key)
        if value is None:
            self.fault(key, "", "the key is missing", f"Add {key}:")
        elif not isinstance(value, str):
            self.fault(key, value, "a text is needed", "Put it in quotes")
        else:
            return value
        return None

    def movement(self) -> Movement | None:
        name = self.text("movement")
        if name is None:
            return None
        found = next((m for m in self.plan.movements if m.id == name), None)
        if found is None:
            known = [m.id for m in self.plan.movements]
            self.fault("movement", name, "there is no such movement", nearest(name, known, "Create it first"))
        elif found.ends_us <= self.order.effective_from_us:
            self.fault("movement", name, "the movement is over by then", "Create another one")
        else:
            return found
        return None

    def named(self, key: str, name: str, known: Iterable[str], what: str) -> bool:
        names = set(known)
        if name in names:
            return True
        self.fault(key, name, f"there is no such {what}", nearest(name, names, f"Name a {what} of the plan"))
        return False

    def number(self, key: str) -> float | None:
        value = self.fields.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e6 <= value <= 1e6:
            self.fault(key, value, "a number is needed", "Write kilometres of the road, digits only")
            return None
        return float(value)

    def instant(self, key: str, region: str) -> int | None:
        value = self.fields.get(key)
        if value is None:
            return None
        try:
            return instant_us(str(value), ZONES[self.plan.regions[region].timezone])
        except (ValueError, OverflowError):
            cure = 'Write it in the region\'s time, "2026-11-23 21:30", or with a zone, "2026-11-23T16:30:00Z"'
            self.fault(key, value, "this is no instant", cure)
            return None

    def along(self, key: str, route: Route, km: float | None, otherwise_m: float) -> float:
        if km is None:
            return otherwise_m
        length = float(route.chainage_m[-1])
        at = route.chainage_of_km(km)
        if not -1000.0 <= at <= length + 1000.0:
            ends = sorted((route.road_km(0.0), route.road_km(length)))
            self.fault(key, km, f"{route.id} has no such kilometre", f"Give {ends[0]:.1f} to {ends[1]:.1f}")
        return float(min(max(at, 0.0), length))

    def may_serve(self, key: str, vehicles: Iterable[str], region: str) -> None:
        """Every vehicle has to serve a cell of the region that is responsible there."""
        cells = self.plan.regions[region].cells
        for name in vehicles:
            vehicle = self.plan.vehicles[name]
            if not {vehicle.cell, *vehicle.cells_served} & set(cells):
                cure = f"Take one that serves {' or '.join(cells)}, or add it to its cells_served"
                self.fault(key, name, f"it may not serve {', '.join(cells)}, where that is", cure)

    def free(self, key: str, movement: Movement, vehicles: Iterable[str]) -> None:
        """Nobody is on two movements at a time."""
        from_us = max(movement.starts_us, self.order.effective_from_us)
        for other in self.plan.movements:
            if other.id == movement.id or other.starts_us >= movement.ends_us or other.ends_us <= from_us:
                continue
            taken = sorted(set(vehicles) & set(other.vehicles))
            if taken:
                problem = f"on {other.id} at the same time"
                self.fault(key, ", ".join(taken[:5]), problem, f"Cancel or delay {other.id}, or let one end first")


def _created(c: _Checked) -> CompiledPlan | None:
    c.keys("movement")
    data = c.fields.get("movement")
    item = read_entry(schema.MovementIn, Tree(c.file), (), "movement", data, c.faults)
    if item is None:
        return None
    told, plan = item.item, c.plan
    convoy: Convoy | None = None
    if any(m.id == told.id for m in plan.movements):
        c.fault("movement.id", told.id, "there is such a movement already", "Give it an id of its own")
    legs = told.all_legs
    on = [c.named("movement.route", _bare(leg.route), plan.routes, "route") for leg in legs]
    vehicles = tuple(_bare(v) for v in told.vehicles)
    if told.convoy is not None and c.named("movement.convoy", told.convoy, plan.convoys, "convoy"):
        convoy = plan.convoys[told.convoy]
        vehicles = convoy.members
    known = [c.named(f"movement.vehicles[{i + 1}]", v, plan.vehicles, "vehicle") for i, v in enumerate(vehicles)]
    areas = {area.id for area in plan.areas}
    stops = [_bare(a) for a in (told.origin, told.destination, *told.stops) if a is not None]
    for name in stops:
        c.named("movement.stops", name, areas, "area")
    roads = [plan.routes[_bare(leg.route)].region for leg, sound in zip(legs, on, strict=True) if sound]
    region = convoy.region if convoy else next(iter((*roads, *plan.regions)))
    starts, ends = ALWAYS_US
    if not told.always:
        times = _Checked(plan, _with_fields(c.order, {"starts": told.starts, "ends": told.ends}), c.file)
        read = [times.instant(key, region) for key in ("starts", "ends")]
        c.faults += times.faults
        if read[0] is not None and read[1] is not None:
            starts, ends = read[0], read[1]
    if ends <= starts:
        c.fault("movement.ends", told.ends, "the movement ends before it starts", "Look at the dates")
    if ends <= c.order.effective_from_us:
        c.fault("movement.ends", told.ends, "the movement is over before the order is in force", "Look at the dates")
    if not all((*on, *known)) or (told.convoy is not None and convoy is None):
        return None
    ways = [_leg(c, leg, convoy, vehicles) for leg in legs]
    route = plan.routes[ways[0].route]
    made = Movement(
        told.id, region, told.name.mapping(), vehicles, told.convoy, route.id, starts, ends, ways[0].from_chainage_m,
        ways[0].to_chainage_m, frozenset(stops), tuple(ways) if told.legs is not None else (),
    )  # fmt: skip
    c.free("movement.starts", made, vehicles)
    return replace(plan, movements=(*plan.movements, made))


def _bare(name: str) -> str:
    """Without the region before it: names are unique over all that is loaded."""
    return name.rpartition(":")[2]


def _leg(c: _Checked, leg: schema.LegIn, convoy: Convoy | None, vehicles: tuple[str, ...]) -> Leg:
    route = c.plan.routes[_bare(leg.route)]
    low = c.along("movement.from_km", route, leg.from_km, 0.0)
    high = c.along("movement.to_km", route, leg.to_km, float(route.chainage_m[-1]))
    if low == high:
        c.fault("movement.to_km", leg.to_km, "the movement has no length", "Give two kilometres that differ")
    region = leg.region or route.region
    if not c.named("movement.legs.region", region, c.plan.regions, "region"):
        region = route.region
    cell = leg.cell or c.plan.regions[region].cells[0]
    c.named("movement.legs.cell", cell, c.plan.regions[region].cells, "cell")
    c.may_serve("movement.vehicles", vehicles, region)
    escorts = tuple(_bare(e) for e in leg.escorts)
    for escort in escorts:
        c.named("movement.legs.escorts", escort, vehicles, "vehicle")
    if not escorts and convoy is not None:
        escorts = tuple(e for e in convoy.escorts if c.plan.vehicles[e].region == region)
    return Leg(route.id, low, high, region, cell, escorts)


def _with_fields(order: Order, fields: Mapping[str, Any]) -> Order:
    return Order(
        what=order.what, effective_from_us=order.effective_from_us, seen_at_us=order.seen_at_us,
        received_at_us=order.received_at_us, fields=dict(fields),
    )  # fmt: skip


def _delayed(c: _Checked) -> CompiledPlan | None:
    c.keys("movement", "delay", "starts", "ends")
    movement = c.movement()
    if movement is None:
        return None
    starts, ends = movement.starts_us, movement.ends_us
    if (starts, ends) == ALWAYS_US:
        c.fault("movement", movement.id, "it is always in force: nothing to delay", "Cancel it, and create one")
        return None
    delay = c.fields.get("delay")
    given = c.instant("starts", movement.region), c.instant("ends", movement.region)
    if (delay is None) == (given == (None, None)):
        c.fault("delay", "", "how long is not said", "Give delay, as in delay: 1 h 30 min, or starts and ends")
        return None
    if delay is not None:
        try:
            by = duration_us(delay)
        except ValueError as error:
            context = getattr(error, "context", None) or {}
            c.fault("delay", delay, str(context.get("problem", error)), str(context.get("cure", "")))
            return None
        if not 0 < by <= MOST_DELAY_US:
            c.fault("delay", delay, "out of range", "Give more than nothing, and at most 30 d")
        if starts > c.order.effective_from_us:
            starts += by  # who is under way already only arrives later
        ends += by
    starts = given[0] if given[0] is not None else starts
    ends = given[1] if given[1] is not None else ends
    if ends <= starts:
        c.fault("ends", "", "the movement would end before it starts", "Give both starts and ends")
    later = replace(movement, starts_us=starts, ends_us=ends)
    c.free("movement", later, movement.vehicles)
    return _with(c.plan, movement, later)


def _diverted(c: _Checked) -> CompiledPlan | None:
    c.keys("movement", "route", "from_km", "to_km", "origin", "destination", "stops")
    movement = c.movement()
    kilometres = c.number("from_km"), c.number("to_km")
    name = c.text("route")
    if name is None or not c.named("route", name, c.plan.routes, "route") or movement is None:
        return None
    route = c.plan.routes[name]
    low = c.along("from_km", route, kilometres[0], 0.0)
    high = c.along("to_km", route, kilometres[1], float(route.chainage_m[-1]))
    if low == high:
        c.fault("to_km", c.fields.get("to_km"), "the movement has no length", "Give two kilometres that differ")
    stops = movement.stop_areas
    told = c.fields.get("stops")
    if told is not None and not isinstance(told, list):
        c.fault("stops", told, "a list is needed", "Write [a, b]")
    elif told is not None or "origin" in c.fields or "destination" in c.fields:
        names = [*(told or ()), *(c.fields[k] for k in ("origin", "destination") if c.fields.get(k) is not None)]
        areas = {area.id for area in c.plan.areas}
        for stop in names:
            c.named("stops", str(stop), areas, "area")
        stops = frozenset(str(stop) for stop in names)
    c.may_serve("route", movement.vehicles, route.region)
    other = replace(movement, route=route.id, from_chainage_m=low, to_chainage_m=high, stop_areas=stops, legs=())
    return _with(c.plan, movement, other)


def _swapped(c: _Checked) -> CompiledPlan | None:
    """On this movement; of a convoy, on all its movements that are not over."""
    c.keys("movement", "out", "in")
    movement = c.movement()
    out, new = c.text("out"), c.text("in")
    if out is None or new is None:
        return None
    known = c.named("in", new, c.plan.vehicles, "vehicle")
    if movement is None:
        return None
    if out not in movement.vehicles:
        c.fault("out", out, f"not on {movement.id}", nearest(out, movement.vehicles))
        return None
    if not known:
        return None
    if new in movement.vehicles:
        c.fault("in", new, f"on {movement.id} already", "Name one that is not")
        return None
    roles = c.plan.vehicles[out].role if out in c.plan.vehicles else "", c.plan.vehicles[new].role
    if roles[0] != roles[1]:
        c.fault("in", new, f"its role is {roles[1]}, and {out} is {roles[0]}", f"Name another {roles[0]}")
    of = {movement.id}
    convoys = c.plan.convoys
    if movement.convoy is not None and movement.convoy in convoys:
        of |= {m.id for m in c.plan.movements if m.convoy == movement.convoy and m.ends_us > c.order.effective_from_us}

        def put(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(new if name == out else name for name in names)

        was = convoys[movement.convoy]
        if new in was.members:
            c.fault("in", new, f"in {was.id} already", "Name one that is not")
        now = replace(was, members=put(was.members), principals=put(was.principals), escorts=put(was.escorts))
        convoys = {**convoys, was.id: now}
    plan = c.plan
    for m in c.plan.movements:
        if m.id in of and out in m.vehicles and new not in m.vehicles:
            for leg in m.way:
                c.may_serve("in", [new], leg.region or c.plan.routes[leg.route].region)
            other = replace(m, vehicles=tuple(new if v == out else v for v in m.vehicles))
            c.free("in", other, [new])
            plan = _with(plan, m, other)
    return replace(plan, convoys=convoys)


def _cancelled(c: _Checked) -> CompiledPlan | None:
    c.keys("movement")
    movement = c.movement()
    if movement is None:
        return None
    return replace(c.plan, movements=tuple(m for m in c.plan.movements if m is not movement))


def _with(plan: CompiledPlan, old: Movement, new: Movement) -> CompiledPlan:
    return replace(plan, movements=tuple(new if m is old else m for m in plan.movements))


ORDERS: dict[str, Callable[[_Checked], CompiledPlan | None]] = {
    "create": _created,
    "delay": _delayed,
    "divert": _diverted,
    "swap": _swapped,
    "cancel": _cancelled,
}


def next_hash(plan_hash: str, order: Order) -> str:
    """Of the plan that an order makes of this one: whoever has both gives it the same name."""
    told = {"what": order.what, "from": order.effective_from_us, "fields": order.fields}
    digest = blake2b(plan_hash.encode(), digest_size=16)
    digest.update(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def apply_order(plan: CompiledPlan, order: Order, file: str = "order") -> CompiledPlan:
    """The plan that is in force from the order on. Raises OrderError with every fault."""
    handler = ORDERS.get(order.what)
    if handler is None:
        cure = nearest(order.what, [*ORDERS, SWITCH])
        raise OrderError([Fault(file, "order", shown(order.what), "there is no such order", cure)])
    checked = _Checked(plan, order, file)
    made = handler(checked)
    if checked.faults or made is None:
        raise OrderError(sorted(set(checked.faults), key=str))
    return replace(made, hash=next_hash(plan.hash, order))


def concerned(old: CompiledPlan, new: CompiledPlan) -> Iterator[str]:
    """Cells in which something is judged otherwise, sorted: of the vehicles whose movements differ."""
    cells = set()
    before, after = movements_of_vehicles(old), movements_of_vehicles(new)
    for vehicle in (*old.vehicles.values(), *new.vehicles.values()):
        if before.get(vehicle.id) != after.get(vehicle.id):
            cells.add(vehicle.cell)
    yield from sorted(cells)

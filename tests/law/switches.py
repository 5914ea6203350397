"""Plans that ask for other things: rules, sensors and limits that only one of them has, and a convoy one of whose members lives in another cell.
Switches between them and movement orders, drawn at random, come early, in time or late. By number, each the same every time.

The worlds of `worlds` are played here with what they lack: reports as rare as what may be expected, two fixes of one second, Ticks that jump.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix, Order, Tick
from pipeline.model.times import format_us
from pipeline.model.wire import BatchBuilder, ObservationBatch
from pipeline.plan.model import CompiledPlan, RuleSetting
from tests.law.ground import the_plan
from tests.law.owners import Partition
from tests.law.worlds import SECOND, START_US, Said, Shape, apart, world

CELLS = (0, 1)
SECONDS = 400
HORIZON_US = 6 * 3600 * SECOND
GUESTS = {f"e2-{n}": f"c-{1 - n}" for n in CELLS}
"""Who lives in the other cell."""


def _without(plan: CompiledPlan, *rules: str) -> CompiledPlan:
    region = plan.regions["trial"]
    left = {name: rule for name, rule in region.rules.items() if not name.startswith(rules)}
    return replace(plan, regions={"trial": replace(region, rules=left)})


def _with(plan: CompiledPlan, rule: str, **params: float) -> CompiledPlan:
    region = plan.regions["trial"]
    setting: RuleSetting = region.rules[rule]
    changed = replace(setting, params={**setting.params, **params})
    return replace(plan, regions={"trial": replace(region, rules={**region.rules, rule: changed})})


def _lacking(plan: CompiledPlan, sensor: str) -> CompiledPlan:
    left = {k: replace(s, agrees_with=None) for k, s in plan.sensors.items() if k != sensor}
    return replace(plan, sensors=left)


def _each(plan: CompiledPlan, rules: str | tuple[str, ...], **fields: Any) -> CompiledPlan:
    """With these rules set otherwise."""
    region = plan.regions["trial"]
    changed = {k: replace(rule, **fields) if k.startswith(rules) else rule for k, rule in region.rules.items()}
    return replace(plan, regions={"trial": replace(region, rules=changed)})


def _marching(plan: CompiledPlan, *names: str) -> CompiledPlan:
    """With these in each convoy, in this order."""
    convoys = {}
    for n in CELLS:
        convoy, members = plan.convoys[f"k-{n}"], tuple(f"{name}-{n}" for name in names)
        escorts = tuple(v for v in members if v not in convoy.principals)
        convoys[convoy.id] = replace(convoy, members=members, escorts=escorts)
    movements = (replace(m, vehicles=convoys[m.convoy or ""].members) for m in plan.movements)
    return replace(plan, convoys=convoys, movements=tuple(movements))


def _lacking_patrol(plan: CompiledPlan) -> CompiledPlan:
    return replace(plan, vehicles={k: v for k, v in plan.vehicles.items() if v.role != "patrol"})


def _phone(plan: CompiledPlan, to: str) -> CompiledPlan:
    """The principal's phone is another's, or nobody's."""
    vehicles = {k: replace(v, devices=v.devices[:1]) for k, v in plan.vehicles.items()}
    for n in CELLS if to else ():
        own = vehicles[f"{to}-{n}"]
        vehicles[own.id] = replace(own, devices=(*own.devices, f"p1-phone-{n}"))
    return replace(plan, vehicles=vehicles)


def _between(plan: CompiledPlan, starts_s: int, ends_s: int) -> CompiledPlan:
    window = {"starts_us": START_US + starts_s * SECOND, "ends_us": START_US + ends_s * SECOND}
    return replace(plan, movements=tuple(replace(m, **window) for m in plan.movements))


@functools.cache
def plans() -> dict[str, CompiledPlan]:
    """By name, which is its hash. "base" is where all begins."""
    loaded = the_plan(CELLS)
    base = replace(loaded, vehicles={k: replace(v, cell=GUESTS.get(k, v.cell)) for k, v in loaded.vehicles.items()})
    silent = {"expected_within_us": 35.0 * SECOND}
    made = {
        "base": base,
        "deaf": _without(base, "device.", "area.blackout"),
        "unguarded": _without(base, "sensor."),
        "no alarm": _without(base, "sensor.alarm", "clock."),
        "no tamper": _without(base, "sensor.tamper", "sensor.disagrees", "convoy."),
        "short": _with(base, "device.silent", **silent),
        "patient": _with(_with(base, "device.silent", expected_within_us=150.0 * SECOND), "area.blackout", silent_for_us=120.0 * SECOND),
        "dark": _with(base, "area.blackout", silent_for_us=31.0 * SECOND),
        "two dark": _with(base, "area.blackout", vehicles=2, near_m=400.0),
        "one eye": _lacking(base, "pir-0"),
        "one door": _lacking(base, "gate-1"),
        "no phone": _phone(base, ""),
        "phone": _phone(base, "w1"),
        "no patrol": _lacking_patrol(base),
        "short convoy": _marching(base, "e1", "p1"),
        "turned": _marching(base, "e2", "p1", "e1"),
        "longer": _marching(base, "e1", "p1", "e2", "w1"),
        "no convoy": replace(base, convoys={}, movements=()),
        "near": replace(base, convoys={k: replace(c, max_gap_m=90.0) for k, c in base.convoys.items()}),
        "early": _between(base, -100, 200),
        "middle": _between(base, 60, 300),
        "later": _between(base, 150, 380),
        "shadow": _each(base, "", mode="shadow"),
        "principals": _each(base, ("device", "convoy", "escort"), roles=frozenset({"principal"})),
        "grave": _each(base, "", severity="critical"),
        "confirmed": _with(_with(base, "sensor.alarm", confirm_n=1), "sensor.tamper", reset_for_us=60.0 * SECOND),
    }  # fmt: skip
    return {name: replace(plan, hash=name) for name, plan in made.items()}


def an_order(what: str, from_s: float, given_s: float, **fields: Any) -> Order:
    fields = {key.rstrip("_"): value for key, value in fields.items()}
    body = zlib.crc32(repr(sorted(fields.items())).encode())
    given_us = START_US + round(given_s * SECOND)
    return Order(
        what=what, effective_from_us=START_US + round(from_s * SECOND), seen_at_us=given_us, received_at_us=given_us,
        plan_hash=fields.get("hash", ""), fields=fields, body=body,
    )  # fmt: skip


def _orders(dice: random.Random) -> Iterator[Order]:
    for _ in range(dice.randint(1, 5)):
        from_s = dice.randrange(10, SECONDS * 2) / 2
        given_s = max(0.0, from_s + dice.choice((-60, -5, 20, 150)))
        n = dice.choice(CELLS)
        what = dice.choice(("plan", "plan", "plan", "cancel", "create", "divert", "swap"))
        if what == "plan":
            yield an_order("plan", from_s, given_s, hash=dice.choice(sorted(plans())))
        elif what == "cancel":
            yield an_order("cancel", from_s, given_s, movement=dice.choice((f"m-{n}", f"m-{n}-b")))
        elif what == "create":
            made: dict[str, Any] = {
                "id": f"m-{n}-b",
                "name": "x",
                "convoy": f"k-{n}",
                "route": f"n-{n}",
                "always": True,
            }
            if dice.random() < 0.4:
                starts_s = dice.randrange(SECONDS)
                del made["always"]
                made["starts"] = format_us(START_US + starts_s * SECOND)
                made["ends"] = format_us(START_US + (starts_s + dice.choice((60, 150))) * SECOND)
            yield an_order("create", from_s, given_s, movement=made)
        elif what == "swap":
            yield an_order("swap", from_s, given_s, movement=f"m-{n}", out=f"e1-{n}", in_=f"e2-{1 - n}")
        else:
            yield an_order("divert", from_s, given_s, movement=f"m-{n}", route=f"n-{n}", from_km=0.3, to_km=2.5)


@functools.cache
def _said(seed: int, every_s: int) -> list[Said]:
    return world(seed, Shape(CELLS, SECONDS, every_s, CELLS)).observations


def _twisted(said: Sequence[Said], dice: random.Random) -> list[Said]:
    """Some of what the worlds do not have."""
    out = list(said)
    if dice.random() < 0.5:  # Ticks of one source, or of both, are missing for a while
        from_us = START_US + dice.randrange(SECONDS) * SECOND
        until_us, whose = from_us + dice.choice((30, 90, 200)) * SECOND, dice.choice(("north", "south", ""))
        out = [
            one for one in out
            if not (isinstance(one.what, Tick) and from_us <= one.what.at_us < until_us and whose in ("", one.what.source))
        ]  # fmt: skip
    if dice.random() < 0.3:  # devices that know no parts of a second, some of which say everything twice
        whole = []
        for one in out:
            if isinstance(one.what, Fix):
                seen_us = one.what.seen_at_us // SECOND * SECOND
                whole.append(replace(one, what=_changed(one.what, seen_at_us=seen_us)))
                if dice.random() < 0.2:
                    whole.append(replace(one, what=_changed(one.what, seen_at_us=seen_us, seq=one.what.seq + 5000)))
            else:
                whole.append(one)
        out = whole
    return out


def _changed(fix: Fix, **fields: Any) -> Fix:

    changed: Fix = msgspec.structs.replace(fix, **fields)
    return changed


def a_records(said: Sequence[Said], cell: str, dice: random.Random, most: int) -> list[ObservationBatch]:
    """What the partition of one cell is given, in about this order: records of one cell and source; of its guests, copies."""
    waiting: dict[tuple[str, str, bool], BatchBuilder] = {}
    out = []
    for one in said:
        home = GUESTS.get(one.what.vehicle, one.cell) if isinstance(one.what, Fix) else one.cell
        copied = home != one.cell and one.cell == cell
        if home not in ("", cell) and not copied:
            continue
        builder = waiting.setdefault((home, one.source, copied), BatchBuilder(cell, "", one.source, copy=copied))
        builder.add(one.what)
        if len(builder) >= most or dice.random() < 1 / most:
            out.append(waiting.pop((home, one.source, copied)).build())
    return out + [builder.build() for builder in waiting.values()]


def _told(said: Sequence[Said], dice: random.Random, most: int, deaths: float = 0.0) -> Ledger:
    """By a partition for each cell, whose owners die with this chance at a record."""
    ledger = Ledger()
    for n in CELLS:
        batches = a_records(said, f"c-{n}", dice, most)
        part = Partition(frozenset({f"c-{n}"}), batches, HORIZON_US, plans()["base"], plans())
        while not part.over:
            part.step()
            if deaths and dice.random() < 0.03:
                part.checkpoint()
            if dice.random() < deaths:
                part.kill(dice)
            elif deaths and dice.random() < 0.02:
                part.engine.forget(dice.choice((30, 120)) * SECOND)
        part.fold(ledger)
    return ledger


def trial(number: int) -> list[str]:
    """Where the ledgers differ; none: the law held."""
    dice = random.Random(number)
    said = _twisted(_said(number % 12, dice.choice((5, 10, 10, 45))), dice)
    orders = [Said("", "", order) for order in _orders(dice)]
    ahead = _told([*orders, *said], dice, 1)
    what = dice.random()
    if what < 0.3:
        mixed = [*said, *dice.sample(orders, len(orders))]
    elif what < 0.6:
        mixed = sorted([*said, *orders], key=lambda one: _instant(one) + dice.choice((0, 0, 0, 5, 90)) * SECOND)
    else:
        mixed = [*said, *orders, *dice.choices(said, k=20)]
        dice.shuffle(mixed)
    found = _told(mixed, dice, dice.choice((1, 7, 60, 1000)), dice.choice((0.0, 0.01)))
    return apart(found.lines(), ahead.lines())


def _instant(one: Said) -> int:
    what = one.what
    return what.at_us if isinstance(what, Tick) else what.received_at_us


__all__ = ["a_records", "an_order", "plans", "trial"]

"""Plans that change: orders drawn at random, sound ones and ones that are refused until another has come, in any order of arrival among
the fixes of a day, in records of any size, some of it twice, and with owners that are killed. By number, each the same every time."""

from __future__ import annotations

import random

from pipeline.model.observation import Fix, Order, Other
from tests.detect.plans import SECOND
from tests.detect.test_law import day
from tests.detect.test_timeline import FLEET, PLANS, instant, order, records, restarted, told
from tests.law.worlds import apart

MOVEMENTS = ("m1", "m2", "m3")
WORLDS = 7
FIXES = 150
LASTS_S = 750


def drawn_order(dice: random.Random) -> Order:
    at_s = dice.randrange(20, LASTS_S * 2) / 2
    what = dice.choice(("cancel", "create", "swap", "divert", "plan", "create", "swap"))
    movement = dice.choice(MOVEMENTS)
    if what == "plan":
        return order("plan", at_s, hash=dice.choice(sorted(PLANS)))
    if what == "create":
        vehicles = dice.sample(FLEET, dice.randint(1, 3))
        made = {"id": movement, "name": "x", "vehicles": vehicles, "route": "n1"}
        return order("create", at_s, movement={**made, "always": True})
    if what == "swap":
        out, into = dice.sample(FLEET, 2)
        return order("swap", at_s, movement=movement, out=out, in_=into)
    if what == "divert":
        return order("divert", at_s, movement=movement, route="n1", from_km=0.5, to_km=dice.choice((1.5, 2.0)))
    return order("cancel", at_s, movement=movement)


def trial(number: int) -> list[str]:
    """Where the ledgers differ; none: the law held."""
    dice = random.Random(number)
    fixes: list[Fix] = day(number % WORLDS, FIXES)
    orders = [drawn_order(dice) for _ in range(dice.randint(1, 6))]
    what: list[Fix | Other] = sorted([*fixes, *orders], key=instant)
    whole = told(what)
    mixed = [*what, *dice.choices(what, k=20)]
    if dice.random() < 0.5:
        dice.shuffle(mixed)
    else:  # nearly in order, as it is on most days
        mixed.sort(key=lambda o: instant(o) + dice.choice((0, 0, 0, 5, 90)) * SECOND)
    size = dice.choice((1, 7, 60, 1000))
    if dice.random() < 0.5:
        found = told(mixed, size)
    else:
        found, _ = restarted(records(mixed, size), number)
    return apart(found.lines(), whole.lines())

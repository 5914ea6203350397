"""Hours under a horizon of minutes: whatever is given up on the way must not be needed again. By number, each the same every time.

What is told without a horizon, in order, is the truth.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pipeline.detect.clocks import Clocks
from pipeline.detect.convoys import Convoys
from pipeline.detect.sensors import Sensors
from pipeline.detect.silence import Silence
from pipeline.model.episode import Ledger
from pipeline.model.wire import BatchBuilder, ObservationBatch
from pipeline.plan.model import CompiledPlan
from tests.law.long_worlds import Said, world
from tests.law.owners import Partition
from tests.law.worlds import SECOND, apart

Coming = tuple[int, Said]


def _in_order(said: Sequence[Said]) -> list[Coming]:
    return [(one.at_us, one) for one in said]


def _put_off(said: Sequence[Said], dice: random.Random, most_us: int) -> list[Coming]:
    """Each by less than so much: every one by some, a few by much, or a source for ten minutes."""
    kind = dice.choice(("each", "few", "source"))
    lags: dict[tuple[str, int], int] = {}
    coming = []
    for one in said:
        lag_us = dice.randrange(most_us)
        if kind == "few" and dice.random() > 0.05:
            lag_us = 0
        elif kind == "source":
            lag_us = lags.setdefault((one.source, one.at_us // (600 * SECOND)), dice.choice((0, 0, lag_us)))
        coming.append((one.at_us + lag_us, one))
    return sorted(coming, key=lambda c: c[0])


def _records(coming: Sequence[Coming], dice: random.Random, most: int, wait_us: int) -> list[ObservationBatch]:
    """Of one source each, of up to so many observations; none waits longer than that."""
    waiting: dict[str, tuple[int, BatchBuilder]] = {}
    out = []
    for at_us, one in coming:
        for source in [source for source, (since_us, _) in waiting.items() if at_us - since_us > wait_us]:
            out.append(waiting.pop(source)[1].build())
        builder = waiting.setdefault(one.source, (at_us, BatchBuilder("c-0", "", one.source)))[1]
        builder.add(one.what)
        if len(builder) >= most or dice.random() < 1 / most:
            out.append(waiting.pop(one.source)[1].build())
    return out + [builder.build() for _, builder in waiting.values()]


def _partition(plan: CompiledPlan, horizon_us: int | None, batches: Sequence[ObservationBatch]) -> Partition:
    return Partition(frozenset({"c-0"}), batches, horizon_us, plan, {})


def _told(part: Partition, dice: random.Random, restarts: bool = False) -> Ledger:
    while not part.over:
        part.step()
        if restarts:
            if dice.random() < 0.02:
                part.checkpoint()
            if dice.random() < 0.02:
                part.kill(dice)
            if dice.random() < 0.05:
                part.engine.forget(dice.choice((0, 10, 60, 300, 900)) * SECOND)
    ledger = Ledger()
    part.fold(ledger)
    return ledger


def measure(part: Partition) -> dict[str, int]:
    """How much is held, of everything that grows with time unless it is given up."""
    engine = part.engine.first
    held: dict[str, int] = {
        "fixes": int(engine.vehicles.chains["count"].sum()),
        "keyframes": sum(map(len, engine.keyframes._at.values())),
        "presses": len(engine.presses),
        "told": sum(map(len, part.engine.told.values())),
    }
    for judge in engine.judges:
        if isinstance(judge, Silence):
            held["pauses"] = sum(map(len, judge._pauses.values()))
            held["silences"] = sum(len(told.episodes) for told in judge._told.values())
            held["blackouts"] = sum(len(told.episodes) for told in judge.blackout.told.values())
            held["absences"] = sum(len(a) for of in judge.blackout._absences.values() for a in of.values())
        elif isinstance(judge, Convoys):
            marches = judge.marches.values()
            held["points"] = sum(int(march.counts.sum()) for march in marches)
            held["frames"] = sum(int(march.framed.sum()) for march in marches)
            held["spans"] = sum(len(spans) for march in marches for spans in march.spans)
        elif isinstance(judge, Sensors):
            held["readings"] = sum(len(site.heard) for site in judge.sites.values())
            held["site frames"] = sum(len(site.frames) for site in judge.sites.values())
            held["alarms"] = sum(len(site.told.episodes) for site in judge.sites.values())
        elif isinstance(judge, Clocks):
            held["runs"] = sum(map(len, judge._runs.values()))
    return held


def sizes(number: int, hours: float, parts: int) -> list[dict[str, int]]:
    """What is held at the end of each of so many equal parts of a world, in order and with forget as the agents call it."""
    plan, made = world(number, hours)
    dice = random.Random(f"sizes {number}")
    part = _partition(
        plan, made.horizon_s * SECOND, _records(_in_order(made.said), dice, 20, made.horizon_s * SECOND // 12)
    )
    found = []
    for until in range(1, parts + 1):
        while part.next < len(part.batches) * until // parts:
            part.step()
            if part.next % 50 == 0:
                part.engine.forget(made.horizon_s * SECOND)
        found.append(measure(part))
    return found


def trial(number: int) -> list[str]:
    """Where the ledgers differ, and in which of the ways in which it came; none: the law held."""
    plan, made = world(number)
    dice = random.Random(f"coming {number}")
    horizon_us = made.horizon_s * SECOND
    wait_us, most_us = horizon_us * 8 // 100, horizon_us * 9 // 10
    in_order = _in_order(made.said)
    truth = _told(_partition(plan, None, _records(in_order, dice, 20, wait_us)), dice).lines()
    sizes = (1, 5, 40, 300)
    ways = (
        ("in order", in_order, 1, False),
        ("put off", _put_off(made.said, dice, most_us), dice.choice(sizes), False),
        ("restarted", _put_off(made.said, dice, most_us), dice.choice(sizes), True),
    )
    found = []
    for name, coming, most, restarts in ways:
        part = _partition(plan, horizon_us, _records(coming, dice, most, wait_us))
        try:
            found += [f"{name}: {line}" for line in apart(_told(part, dice, restarts).lines(), truth)]
        except AssertionError as error:  # a replay that did not repeat itself
            found.append(f"{name}: {error}")
    return found

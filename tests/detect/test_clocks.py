"""`clock.suspect`: the word of ingest's Ticks becomes one episode, in any order, in one partition of many."""

from __future__ import annotations

import random

import pytest

from pipeline.detect.clocks import HOLD_US
from pipeline.detect.engine import Engine
from pipeline.model.episode import Ledger
from pipeline.model.observation import Tick
from pipeline.model.wire import ObservationBatch, Placed, columns
from tests.detect.plans import SECOND, T0, plan, setting
from tests.detect.restarts import restarted

RULES = {"clock.suspect": setting("clock.suspect")}
HOLD_S = HOLD_US // SECOND
Ticked = tuple[int, str, bool]


def records(what: list[Ticked]) -> list[ObservationBatch]:
    return [
        ObservationBatch(
            columns([]),
            (Placed(0, Tick(source=source, at_us=T0 + at * SECOND, clock_trusted=trusted)),),
            "",
            "test",
            source,
        )
        for at, source, trusted in what
    ]


def told(folded: Ledger) -> list[tuple[str, float, float | None]]:
    return [
        (e.subject, (e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND)
        for e in folded.sorted()
    ]


def ledger(what: list[Ticked], cells: frozenset[str] | None = None) -> list[tuple[str, float, float | None]]:
    engine, folded = Engine(plan(rules=RULES), cells=cells), Ledger()
    for record in records(what):
        folded.apply(engine.feed(record))
    return told(folded)


def oracle(what: list[Ticked]) -> list[tuple[str, float, float | None]]:
    out = []
    for source in sorted({source for _, source, _ in what}):
        bad = sorted(at for at, name, trusted in what if name == source and not trusted)
        last = max(at for at, name, _ in what if name == source)
        for i, at in enumerate(bad):
            if i == 0 or at - bad[i - 1] > HOLD_S:
                first = at
            if i + 1 == len(bad) or bad[i + 1] - at > HOLD_S:
                end = at + HOLD_S
                out.append((source, float(first), float(end) if end <= last else None))
    return sorted(out, key=lambda e: (e[1], e[0]))


def invented(seed: int) -> list[Ticked]:
    rng = random.Random(seed)
    what: list[Ticked] = []
    for source in ("a", "b"):
        trusted = True
        for at in range(rng.randint(0, 4), 2000, 5):
            if rng.random() < (0.02 if trusted else 0.1):
                trusted = not trusted
            if rng.random() > 0.05:
                what.append((at, source, trusted))
    return what


@pytest.mark.parametrize("seed", range(30))
def test_the_ledger_is_the_oracles_in_any_order(seed: int) -> None:
    what = invented(seed)
    expected = oracle(what)
    assert expected
    assert ledger(sorted(what)) == expected
    random.Random(seed).shuffle(what)
    assert ledger(what) == expected
    assert ledger([*what, *what]) == expected
    folded, _ = restarted(lambda: Engine(plan(rules=RULES)), records(what), seed, again=0.6)
    assert told(folded) == expected


def test_one_partition_of_many_tells_it() -> None:
    what = [(0, "a", True), (5, "a", False), (10, "a", False)]
    assert ledger(what, frozenset({"c"})) == [("a", 5.0, None)]
    assert ledger(what, frozenset({"another"})) == []

"""Worlds of 24 cells in which every rule is live: order, records, repetition, crashes and the number of workers change no byte of the ledger."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterable, Sequence

import pytest

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.timed import Timed
from pipeline.model import topics
from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix, Order, Tick
from pipeline.model.wire import ObservationBatch
from pipeline.plan.rules import RULES as KNOWN
from tests.law.ground import CELLS, RULES, TABLES, the_plan, the_plans, the_tables
from tests.law.owners import Partition
from tests.law.worlds import Said, Shape, World, all_cells, apart, records, world

pytestmark = pytest.mark.timeout(900)  # whoever is first compiles the rules and plays the worlds

WORLDS = 3
SECONDS = (300, 300, 180)
ORDERED = 2  # in this one movements are cancelled, made and diverted, and the plan is switched
HORIZON_US = 6 * 3600 * 1_000_000
PERMUTATIONS, KILLS_OF_WORLD = 50, 10  # two worlds are killed in


def number_of(n: int) -> int:
    """The world of a trial. In one of ten the plan changes: each of its versions has engines of its own, and costs as much."""
    return ORDERED if n % 10 == ORDERED else n % ORDERED


@functools.cache
def the_world(number: int) -> World:
    ordered = number == ORDERED
    return world(number, all_cells(SECONDS[number]), ordered, the_plan(dry=True).hash if ordered else "")


def engine(cells: frozenset[str] | None = None) -> Timed:
    return Timed(the_plan(), HORIZON_US, the_tables(), cells, TABLES)


def told(batches: Iterable[ObservationBatch]) -> Ledger:
    one, ledger = engine(), Ledger()
    for batch in batches:
        ledger.apply(one.feed(batch, the_plans()))
    return ledger


@functools.cache
def undisturbed(number: int) -> Ledger:
    """As it came in, one observation in a record."""
    return told(records(the_world(number).observations, random.Random(0), 1))


def hash_of(ledger: Ledger) -> str:
    return hashlib.blake2b(ledger.lines()).hexdigest()


def differences(ledger: Ledger, number: int) -> list[str]:
    """Empty when both ledgers have the same hash."""
    expected = undisturbed(number)
    if hash_of(ledger) == hash_of(expected):
        return []
    return apart(ledger.lines(), expected.lines())


def test_every_rule_is_live_in_every_world() -> None:
    assert {name for name, spec in KNOWN.items() if spec.judged and "." in name} - RULES <= set(NOT_BY_DETECT)
    for number in range(WORLDS):
        ledger = undisturbed(number)
        assert {e.rule for e in ledger.sorted()} == RULES
        assert len({one.cell for one in the_world(number).observations if one.cell}) == CELLS >= 24


NOT_BY_DETECT = ("pipeline.stalled", "pipeline.notifier", "roster.unreachable")


def permuted(n: int) -> Ledger:
    """Any order whatever (all of it is within the horizon), records of any size, and in half of them a fifth of it twice."""
    dice, number = random.Random(n), number_of(n)
    said = list(the_world(number).observations)
    said += dice.choices(said, k=dice.choice((0, len(said) // 5)))
    dice.shuffle(said)
    most = dice.choice((50, 1000) if number == ORDERED else (2, 10, 10, 50, 50, 50, 1000, 1000))
    return told(records(said, dice, most))


@pytest.mark.slow
def test_fifty_permutations_change_no_byte() -> None:
    for n in range(PERMUTATIONS):
        assert differences(permuted(n), number_of(n)) == [], f"permutation {n}"


@pytest.mark.parametrize("most", [1, 7, 5000])
def test_a_backlog_newest_first_changes_no_byte(most: int) -> None:
    """What half of the vehicles saw comes in at the end, the newest first."""
    said = the_world(0).observations
    held = [one for one in said if isinstance(one.what, Fix) and topics.partition_of(one.what.vehicle, 2)]
    assert len(held) > len(said) // 4
    kept = {id(one) for one in held}
    at_once = [one for one in said if id(one) not in kept]
    assert differences(told(records([*at_once, *held[::-1]], random.Random(1), most)), 0) == []


def shared(
    said: Sequence[Said], partitions: int, dice: random.Random, most: int
) -> list[tuple[frozenset[str], list[ObservationBatch]]]:
    """The cells of each partition, and its records; Ticks are in all."""
    out = []
    for p in range(partitions):
        cells = frozenset(c for c in the_plan().cells if topics.partition_of(c, partitions) == p)
        mine = [one for one in said if isinstance(one.what, Tick | Order) or one.cell in cells]
        out.append((cells, records(mine, dice, most)))
    return out


@pytest.mark.parametrize("workers", [3, 24, 32])
def test_cells_over_many_workers_are_cells_over_one(workers: int) -> None:
    ledger = Ledger()
    for cells, batches in shared(the_world(1).observations, workers, random.Random(workers), 5):
        one = engine(cells)
        for batch in batches:
            ledger.apply(one.feed(batch, the_plans()))
    assert differences(ledger, 1) == []


def killed(n: int, workers: int) -> tuple[Ledger, int]:
    """A world through engines of which some die: between records, between checkpoints and within them; and whoever comes after may have
    forgotten all but the last minutes. The ledger, and how many died."""
    dice = random.Random(f"{n} {workers}")
    parts = [Partition(*share, HORIZON_US) for share in shared(the_world(number_of(n)).observations, workers, dice, 10)]
    chance = KILLS_OF_WORLD / sum(len(part.batches) for part in parts)
    kills = 0
    while (open_ := [part for part in parts if not part.over]) or kills < KILLS_OF_WORLD:
        part = dice.choice(open_ or parts)
        if open_:
            part.step()
        roll = dice.random()
        if roll < 0.02:
            part.checkpoint()
        elif kills < KILLS_OF_WORLD and (roll < 0.02 + 1.5 * chance or not open_):
            kills += 1
            part.kill(dice)
        elif roll > 0.99:
            part.engine.forget(dice.choice((30, 120)) * 1_000_000)
    ledger = Ledger()
    for part in parts:
        part.fold(ledger)
    return ledger, kills


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(1, 1), (ORDERED, 3)])
def test_twenty_kills_change_no_byte(number: int, workers: int) -> None:
    ledger, kills = killed(number, workers)
    assert differences(ledger, number_of(number)) == []
    assert kills == KILLS_OF_WORLD


def taken_for_dead(n: int) -> list[str]:
    """A small world through owners of which every other sleeps and is replaced: what is told too much or missing."""
    dice = random.Random(n)
    batches = records(world(n, Shape((n % CELLS,), 110)).observations, dice, 3)
    part, ledger = Partition(frozenset(the_plan().cells), batches, HORIZON_US), Ledger()
    while not part.over:
        part.step()
        roll = dice.random()
        if roll < 0.1:
            part.checkpoint()
        elif roll < 0.2:
            part.wake_late(dice)
    part.fold(ledger)
    expected = told(batches)
    return sorted(set(ledger.lines().decode().splitlines()) ^ set(expected.lines().decode().splitlines()))


def test_what_a_zombie_writes_counts_for_nothing() -> None:
    assert [taken_for_dead(n) for n in range(4)] == [[]] * 4


def test_it_would_count_if_epochs_were_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours: a reader of snapshots takes them whoever wrote them."""
    see = Recovery.see

    def trusting(self: Recovery, key: bytes, value: bytes | None) -> None:
        newest, self.newest_epoch = self.newest_epoch, 0
        see(self, key, value)
        self.newest_epoch = max(newest, self.newest_epoch)

    monkeypatch.setattr(Recovery, "see", trusting)
    assert any(taken_for_dead(n) for n in range(4))

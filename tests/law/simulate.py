"""One seed: a world, workers that run the real stages, and everything that can happen to them. `python -m tests.law.simulate SEED` runs it
again, step by step the same, and says what happened."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import hashlib
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import agents.detect
import pipeline.detect.checkpoint
from pipeline.detect.timed import Timed
from pipeline.model import topics
from pipeline.model.episode import Change, Ledger, decode_changes
from pipeline.model.wire import RAW_VERSION, RawBatch, encode_raw
from pipeline.normalise.normalise import Normaliser
from pipeline.settings import Settings
from tests.law.broker import SESSION_S, Broker, Weather
from tests.law.crew import Group, Worker, read, stages_on, tables_of
from tests.law.ground import ALL, the_plan
from tests.law.loop import SeededLoop, StuckError
from tests.law.worlds import Shape, World, apart, world

HORIZON_US = 6 * 3600 * 1_000_000
QUIET_WITHIN_S = 240.0
SEEDS_OF_WORLD = 40  # in a row; each is met with another kind of bad luck
MEDIUM_OF_WORLD = 8
GROUNDS = 4  # plans of one cell, and of two
MEDIUM_EVERY, WHOLE_EVERY, LARGE_EVERY = 20, 100, 5000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed has in store."""

    shape: Shape
    world_seed: int
    partitions: int
    workers: int
    lasts_s: float
    kills: int
    sleeps: int
    leaves: int
    upgrades: int
    weather: Weather
    together: int
    again: float
    hot_us: int
    forget_s: float


def plan_of(seed: int, dice: random.Random) -> Plan:
    """A cell and one or two workers, under a plan of no more; one in twenty two cells, every fifth of these under the whole plan and
    without `Remembered`; and one in five thousand all 24."""
    if seed % LARGE_EVERY == 0:
        world_seed, workers, together = seed // LARGE_EVERY % 5, 3, 20
        shape, partitions = Shape(ALL, 200), 8
    elif seed % MEDIUM_EVERY == 0:
        world_seed = seed // MEDIUM_EVERY // MEDIUM_OF_WORLD
        workers, together = dice.choice((2, 2, 3)), dice.choice((1, 4, 20))
        first = world_seed % GROUNDS
        cells = first, first + 7
        shape, partitions = Shape(cells, 240, ground=ALL if seed % WHOLE_EVERY == 0 else cells), 2
    else:
        world_seed, workers, together = seed // SEEDS_OF_WORLD, dice.choice((1, 2, 2)), dice.choice((2, 8, 30))
        cell = world_seed % GROUNDS
        shape, partitions = Shape((cell,), 90, ground=(cell,)), 1
    bad = dice.random() < 0.3
    return Plan(
        shape, world_seed, partitions, workers,
        lasts_s=dice.choice((3.0, 10.0, 25.0)),
        kills=dice.choice((0, 1, 1, 2, 4)),
        sleeps=dice.choice((0, 1, 2, 3)) if workers > 1 else 0,
        leaves=dice.choice((0, 0, 1)),
        upgrades=int(dice.random() < 0.1),
        weather=Weather(0.02, 0.005) if bad else Weather(),
        together=together,
        again=dice.choice((0.0, 0.05)),
        hot_us=dice.choice((60, 1800)) * 1_000_000,
        forget_s=dice.choice((1.0, 60.0)),
    )  # fmt: skip


@functools.cache
def settings_for(partitions: int) -> Settings:
    return Settings(log_url="log://memory", partitions=partitions)


@functools.lru_cache(maxsize=32)
def world_of(seed: int, shape: Shape) -> tuple[World, bytes, frozenset[object]]:
    """The world, what one engine that nobody disturbs makes of it, and its fixes."""
    of = world(seed, shape, ordered=seed % 2 == 1)
    plan = the_plan(shape.ground)
    normaliser, engine, ledger = Normaliser(plan), Timed(plan, HORIZON_US, tables_of(plan)), Ledger()
    fixes: set[object] = set()
    for _, record in of.raw():
        for batch in normaliser.record(record).batches.values():
            ledger.apply(engine.feed(batch))
            fixes.update((f.device, f.seen_at_us, f.seq) for f in batch.fixes.rows())
    return of, ledger.lines(), frozenset(fixes)


@dataclass
class Outcome:
    """`faults` empty: the law held."""

    seed: int
    faults: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    episodes: int = 0


def records_of(
    of: World, partitions: int, together: int, again: float, dice: random.Random
) -> Iterator[tuple[int, bytes]]:
    """(partition, raw record): as ingest would write it, up to so many messages in each, some records twice; a Tick of a source comes
    behind what that source took before."""
    waiting: dict[tuple[int, str], list[RawBatch]] = {}
    names = {cell: topics.partition_of(f"c-{cell}", partitions) for cell in of.shape.cells}
    sent: list[tuple[int, bytes]] = []

    def flush(partition: int, source: str) -> Iterator[tuple[int, bytes]]:
        mine = waiting.pop((partition, source), [])
        if mine:
            items = [item for record in mine for item in record.items]
            out = partition, encode_raw(RawBatch(RAW_VERSION, source, mine[0].plan_hash, items, []))
            sent.append(out)
            yield out
        if sent and dice.random() < again:
            yield dice.choice(sent)

    for cell, record in of.raw():
        if cell >= 0:
            mine = waiting.setdefault((names[cell], record.source), [])
            mine.append(record)
            if len(mine) >= together:
                yield from flush(names[cell], record.source)
            continue
        for partition in range(partitions):
            yield from flush(partition, record.source)
            yield partition, encode_raw(record)
    for key in list(waiting):
        yield from flush(*key)


class Simulation:
    def __init__(self, seed: int, loop: SeededLoop, dice: random.Random) -> None:
        self.outcome = Outcome(seed)
        self.plan = plan_of(seed, dice)
        self.dice = dice
        self.loop = loop
        self.world, self.expected, self.fixes = world_of(self.plan.world_seed, self.plan.shape)
        self.broker = Broker(dice, self.plan.weather)
        self.settings = settings_for(self.plan.partitions)
        self.workers: list[Worker] = []
        self.groups: tuple[Group, ...] = ()
        self._coming = 0

    # ---- those who come and go ----------------------------------------------------------------------------------------

    def hire(self) -> None:
        worker = Worker(self.broker, self.settings, the_plan(self.plan.shape.ground), self.groups)
        worker.when_dead = self._dead
        self.workers.append(worker)
        worker.start()

    def _later(self, seconds: float, call: object, *args: object) -> None:
        self.loop.call_later(seconds, call, *args, context=contextvars.Context())  # type: ignore[arg-type]

    def _dead(self, worker: Worker) -> None:
        """Its group hears of it late, and somebody starts it again."""
        self.outcome.happened["died"] += 1
        self.workers.remove(worker)
        self._coming += 1
        for group in self.groups:
            self._later(self.dice.choice((0.1, SESSION_S)), group.lost, worker)
        self._later(self.dice.uniform(0.1, 2.0), self._again)

    def _again(self) -> None:
        self._coming -= 1
        self.hire()

    def _kill(self) -> None:
        if awake := [w for w in self.workers if not w.asleep]:
            worker = self.dice.choice(awake)
            worker.doom = worker.steps + self.dice.choice((self.dice.randint(1, 20), self.dice.randint(1, 300)))

    def _sleep(self) -> None:
        awake = [w for w in self.workers if not w.asleep]
        if not awake:
            return
        worker = self.dice.choice([w for w in awake if w.detect.owned] or awake)
        self.outcome.happened["slept"] += 1
        worker.sleep()
        lasts_s = self.dice.choice((1.0, 7.0, 9.0, 60.0))
        if lasts_s > SESSION_S:
            for group in self.groups:
                self._later(SESSION_S, self._missed, group, worker)
        self._later(lasts_s, self._wake, worker)

    def _missed(self, group: Group, worker: Worker) -> None:
        if worker.alive and worker.asleep:
            group.lost(worker)

    def _wake(self, worker: Worker) -> None:
        if worker.alive:
            worker.wake()
            self._put_out(worker)

    def _put_out(self, worker: Worker) -> None:
        """Whoever is awake hears of it in a while."""
        self._later(self.dice.choice((0.05, 0.5, 3.0)), self._finds_out, worker)

    def _finds_out(self, worker: Worker) -> None:
        """It hears that others have its partitions: it ends itself, or lets them go and joins again."""
        if not worker.alive or not worker.put_out or worker.asleep:
            return
        self.outcome.happened["was a zombie"] += 1
        if self.dice.random() < 0.5:
            worker.die()
            return
        worker.put_out = False
        for group, consumer in zip(self.groups, worker.consumers, strict=True):
            if all(w is not worker for w, _ in group.members):
                worker.spawn(self._rejoin(worker, group, consumer))

    @staticmethod
    async def _rejoin(worker: Worker, group: Group, consumer: object) -> None:
        await worker.let_go(consumer, -1)  # type: ignore[arg-type]
        group.join(worker, consumer)  # type: ignore[arg-type]

    def _leave(self) -> None:
        """Told to stop: it finishes, then it goes, and another comes."""
        if awake := [w for w in self.workers if not w.asleep]:
            worker = self.dice.choice(awake)
            self.outcome.happened["left"] += 1
            worker.spawn(self._goodbye(worker))

    async def _goodbye(self, worker: Worker) -> None:
        for group, consumer in zip(self.groups, worker.consumers, strict=True):
            await worker.let_go(consumer, group.generation)
            group.lost(worker)
        worker.die()

    def _upgrade(self) -> None:
        """The next program keeps state in another form: what is in the checkpoints is of no use to it."""
        self.outcome.happened["upgraded"] += 1
        pipeline.detect.checkpoint.FORM += "+"

    # ---- the course of it ---------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        p = self.plan
        self.groups = tuple(
            Group(self.broker, topic.name, p.partitions, self.dice) for topic in (topics.RAW, topics.OBSERVATIONS)
        )
        for group in self.groups:
            group.when_lost = self._put_out
        for _ in range(p.workers):
            self.hire()
        troubles = [*[self._kill] * p.kills, *[self._sleep] * p.sleeps, *[self._leave] * p.leaves]
        troubles += [self._upgrade] * p.upgrades
        for trouble in troubles:
            self._later(self.dice.uniform(0.0, p.lasts_s), trouble)
        await self._feed()
        await self._quiet()
        self._check()
        return self.outcome

    async def _feed(self) -> None:
        p = self.plan
        coming = list(records_of(self.world, p.partitions, p.together, p.again, self.dice))
        at = 0
        while at < len(coming):
            some = self.dice.randint(1, max(1, len(coming) // 20))
            for partition, value in coming[at : at + some]:
                self.broker.append(topics.RAW.name, partition, (b"", value))
            at += some
            await asyncio.sleep(p.lasts_s * some / len(coming))

    async def _quiet(self) -> None:
        """Until every record was processed: what of raw is committed, and what of observations is in its owner's checkpoint. (What an
        owner that was put out had in its last checkpoint nobody commits before there is something new.)"""
        log, committed = self.broker.log, self.broker.committed
        until = self.loop.time() + QUIET_WITHIN_S
        self.broker.weather = Weather()
        for worker in self.workers:
            worker.doom = 0
        while self.loop.time() < until:
            await asyncio.sleep(1.0)
            if self._coming or not all(group.settled for group in self.groups):
                continue
            if any(w.asleep or w.put_out for w in self.workers):
                continue
            members = [[member for member, _ in group.members] for group in self.groups]
            if any(worker not in those for worker in self.workers for those in members):
                continue  # on its way back: what it claimed meanwhile counts until those who share it out again
            if all(
                committed[topics.RAW.name, p] == len(log[topics.RAW.name, p])
                and max(w.done_with(p) for w in self.workers) == len(log[topics.OBSERVATIONS.name, p])
                for p in range(self.plan.partitions)
            ):
                return
        self.outcome.faults.append(
            f"not everything was processed within {QUIET_WITHIN_S:.0f} s: "
            + str({key: (committed[key], len(records)) for key, records in log.items()})
        )

    def _check(self) -> None:
        out = self.outcome
        ledger, trusting, said = Ledger(), Ledger(), dict[tuple[int, int], list[Change]]()
        fixes: set[object] = set()
        for p in range(self.plan.partitions):
            for _, value in self.broker.log[topics.OBSERVATIONS.name, p]:
                batch = read(value or b"")
                fixes.update((f.device, f.seen_at_us, f.seq) for f in batch.fixes.rows())
            newest = 0
            for _, value in self.broker.log[topics.EPISODES.name, p]:
                record = decode_changes(value or b"")
                trusting.apply(record.changes)
                if record.epoch < newest:
                    out.happened["void"] += 1
                    continue
                newest = record.epoch
                ledger.apply(record.changes)
                before = said.setdefault((p, record.input_offset), record.changes)
                if before != record.changes:
                    out.faults.append(f"partition {p} offset {record.input_offset}: a replay did not repeat itself")
        if fixes != self.fixes:
            out.faults.append(f"{len(self.fixes - fixes)} fixes are lost, {len(fixes - self.fixes)} invented")
        out.faults += apart(ledger.lines(), self.expected)
        out.happened["saved by epochs"] += trusting.lines() != ledger.lines()
        out.episodes = len(ledger.episodes)
        out.steps = self.loop.steps


def simulate(seed: int) -> Outcome:
    """Run this seed; whatever goes wrong is in the outcome."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
    dice = random.Random(int.from_bytes(digest, "big"))
    random.seed(seed)  # the jitter of the stages
    loop = SeededLoop(dice)
    form, hot_us, forget_s = pipeline.detect.checkpoint.FORM, agents.detect.HOT_US, agents.detect.FORGET_S
    quiet = logging.getLogger("rahdar")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL + 1)
    asyncio.set_event_loop(loop)
    collecting = gc.isenabled()
    gc.disable()
    outcome = Outcome(seed)
    try:
        simulation = Simulation(seed, loop, dice)
        outcome = simulation.outcome
        agents.detect.HOT_US, agents.detect.FORGET_S = simulation.plan.hot_us, simulation.plan.forget_s
        with stages_on(simulation.broker, simulation.plan.shape.ground != ALL):
            try:
                loop.run_until_complete(simulation.run())
            finally:
                loop.bury()
    except StuckError as error:
        outcome.faults.append(str(error))
    finally:
        pipeline.detect.checkpoint.FORM = form
        agents.detect.HOT_US, agents.detect.FORGET_S = hot_us, forget_s
        asyncio.set_event_loop(None)
        loop.close()
        quiet.setLevel(level)
        if collecting:
            gc.enable()
    return outcome


def main() -> int:
    """0 when the law held for all the seeds that were named."""
    bad = 0
    for seed in map(int, sys.argv[1:]):
        dice = random.Random(int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "big"))
        outcome = simulate(seed)
        bad += bool(outcome.faults)
        print(f"seed {seed}: {plan_of(seed, dice)}")
        print(f"  {outcome.steps} steps, {outcome.episodes} episodes, {dict(outcome.happened)}")
        for fault in outcome.faults:
            print(f"  {fault}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Processes that run the real stages on the log in memory, and the groups that share partitions out among them."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import agents.detect
import agents.normalise
import agents.plans
import pipeline.detect.convoys
import pipeline.detect.timed
from agents.detect import DetectStage
from agents.normalise import NormaliseStage
from pipeline.detect.convoys import marches
from pipeline.detect.tables import Tables, build_tables
from pipeline.model.wire import RawBatch, decode_observations, decode_raw, encode_observations
from pipeline.normalise.normalise import Normalised, Normaliser
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings
from tests.law.broker import SESSION_S, Broker, Consumer, Hooks, Producer, Reading, Topic
from tests.law.loop import OWNER, SeededLoop

COMMIT_S = 1.0
CHECKPOINT_TIMER_S = 0.25  # as the stage's own


class Gone(BaseException):
    """`os._exit`: nothing of this process runs any further."""


class _Os:
    """What the stages use of `os`."""

    @staticmethod
    def _exit(_code: int) -> None:
        owner = OWNER.get()
        if isinstance(owner, Worker):
            owner.die()
        raise Gone


class FakeApp:
    """What the stages use of a Faust app. `consumers` by topic, for `seek`."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.consumers: dict[str, Consumer] = {}

    def topic(self, name: str, **_: Any) -> Topic:
        return Topic(self._producer, name)


class _DetectHooks:
    def __init__(self, stage: DetectStage) -> None:
        self._stage = stage

    async def assigned(self, tps: set[Any]) -> None:
        await self._stage.assigned(tps)

    async def revoked(self, tps: set[Any]) -> None:
        await self._stage.revoked(tps)


class _NormaliseHooks:
    def __init__(self, stage: NormaliseStage) -> None:
        self._stage = stage

    async def revoked(self, tps: set[Any]) -> None:
        await self._stage.settled(tps)

    async def assigned(self, tps: set[Any]) -> None:
        """It reads on from what is committed."""


class Worker:
    """`rahdar run normalise detect`, in one process. It dies at a step that was drawn, sleeps, or is told to stop."""

    def __init__(self, broker: Broker, settings: Settings, plan: CompiledPlan, groups: tuple[Group, ...]) -> None:
        self.broker = broker
        self.alive, self.asleep, self.put_out = True, False, False
        self.doom = 0
        self.steps = 0
        self._held: list[asyncio.Handle] = []
        self._settings, self._plan, self._groups = settings, plan, groups
        self.context = contextvars.copy_context()
        self.context.run(OWNER.set, self)
        self.producer = Producer(broker)
        self.consumers: list[Consumer] = []
        self.when_dead: Callable[[Worker], None] = lambda _: None
        self._loop = cast("SeededLoop", asyncio.get_running_loop())

    # ---- its life -----------------------------------------------------------------------------------------------------

    def may_run(self, step: asyncio.Handle) -> bool:
        if not self.alive:
            return False
        if self.asleep:
            self._held.append(step)
            return False
        self.steps += 1
        if self.steps == self.doom:
            self.die()
            return False
        return True

    def die(self) -> None:
        if self.alive:
            self.alive = False
            self._held.clear()
            self.producer.die()
            self.when_dead(self)

    def sleep(self) -> None:
        self.asleep = True

    def wake(self) -> None:
        self.asleep = False
        held, self._held = self._held, []
        for step in held:
            self._loop.wake(step)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        return self._loop.create_task(work, context=self.context)

    # ---- its work -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.context.run(self._start)

    def _start(self) -> None:
        app = FakeApp(self.producer)
        self.detect = detect = DetectStage(cast("Any", app), self._settings, self._plan)
        normalise = NormaliseStage(cast("Any", app), self._settings, self._plan)
        stages: tuple[tuple[NormaliseStage | DetectStage, Hooks], ...] = (
            (normalise, _NormaliseHooks(normalise)),
            (detect, _DetectHooks(detect)),
        )
        for group, (stage, hooks) in zip(self._groups, stages, strict=True):
            consumer = Consumer(self.broker, group.topic, hooks)
            app.consumers[group.topic] = consumer
            self.consumers.append(consumer)
            self.spawn(self._guarded(stage.process(cast("Any", consumer))))
            group.join(self, consumer)
        self.spawn(self._guarded(self._every(CHECKPOINT_TIMER_S, detect.checkpoint_when_due)))
        self.spawn(self._guarded(self._every(COMMIT_S, self._commit)))

    def done_with(self, partition: int) -> int:
        """Every record of observations before this one is in a durable checkpoint of the owner that this process is; -1: it is none."""
        owned = self.detect.owned.get(partition)
        if owned is None or owned.unacked or owned.writing.locked() or partition not in self.consumers[-1].position:
            return -1
        return owned.next_input

    async def _commit(self) -> None:
        for group, consumer in zip(self._groups, self.consumers, strict=True):
            consumer.commit(group.generation)

    @staticmethod
    async def _every(seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await call()

    async def _guarded(self, work: Awaitable[None]) -> None:
        """As the agents and timers around the stages: an exception ends the process."""
        try:
            await work
        except Exception:  # whatever it is
            self.die()

    async def let_go(self, consumer: Consumer, generation: int) -> None:
        await self._guarded(consumer.let_go(generation))

    async def take(self, consumer: Consumer, generation: int, partitions: list[int]) -> None:
        await self._guarded(consumer.take(generation, partitions))


class Group:
    """Who reads which partition of a topic. Every change takes all away and shares anew; who does not answer is put out."""

    def __init__(self, broker: Broker, topic: str, partitions: int, dice: random.Random) -> None:
        self.broker, self.topic, self.partitions, self._dice = broker, topic, partitions, dice
        self.generation = 0
        self.members: list[tuple[Worker, Consumer]] = []
        self._changed = asyncio.Event()
        self.when_lost: Callable[[Worker], None] = lambda _: None
        self.rebalances = 0
        self.task = asyncio.get_running_loop().create_task(self._coordinate(), context=contextvars.Context())

    def join(self, worker: Worker, consumer: Consumer) -> None:
        """Once: who heard twice that it was put out comes back twice, and is no two members."""
        if all(member is not worker for member, _ in self.members):
            self.members.append((worker, consumer))
        self._changed.set()

    def lost(self, worker: Worker) -> None:
        """It has not been heard of for too long."""
        before = len(self.members)
        self.members = [m for m in self.members if m[0] is not worker]
        if len(self.members) != before:
            worker.put_out = True
            self.when_lost(worker)
            self._changed.set()

    @property
    def settled(self) -> bool:
        return not self._changed.is_set()

    async def _coordinate(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._dice.choice((0.01, 0.1, 1.0)))
            self._changed.clear()
            await self._share()

    async def _share(self) -> None:
        self.rebalances += 1
        leaving = {worker.spawn(worker.let_go(consumer, self.generation)): worker for worker, consumer in self.members}
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=SESSION_S)
            for task in late:
                self.lost(leaving[task])
        self.generation += 1
        members = list(self.members)
        self._dice.shuffle(members)
        for number, (worker, consumer) in enumerate(members):
            mine = list(range(number, self.partitions, len(members)))
            worker.spawn(worker.take(consumer, self.generation, mine))


class Remembered:
    """What is a function of its argument alone, worked out once for the many seeds that share a world. The argument is kept along, so that
    its id stays its own."""

    MOST = 6000
    everyone: ClassVar[list[Remembered]] = []

    def __init__(self, work: Callable[[Any], Any], key: Callable[[Any], Any]) -> None:
        self._work, self._key = work, key
        self.known: dict[Any, tuple[Any, Any]] = {}
        self.everyone.append(self)

    def __call__(self, argument: Any) -> Any:
        key = self._key(argument)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = argument, self._work(argument)
        return found[1]

    @classmethod
    def tidy(cls) -> None:
        """All together, since what one keeps another has as its argument."""
        if any(len(one.known) > cls.MOST for one in cls.everyone):
            for one in cls.everyone:
                one.known.clear()


def _tables_like(plan: CompiledPlan, like: Tables | None = None) -> Tables:
    found: Tables = tables_of((plan, like))
    return found


def _build(of: CompiledPlan | tuple[CompiledPlan, Tables | None]) -> Tables:
    return build_tables(*of) if isinstance(of, tuple) else build_tables(of)


def _hash_of(of: CompiledPlan | tuple[CompiledPlan, Tables | None]) -> str:
    return of[0].hash if isinstance(of, tuple) else of.hash


_marches = Remembered(marches, _hash_of)
tables_of = Remembered(_build, _hash_of)
read_raw = Remembered(decode_raw, bytes)
written = Remembered(encode_observations, id)
read = Remembered(decode_observations, bytes)


@functools.cache
def _normalised(plan_hash: str, horizon_us: int) -> Remembered:
    """By the first normaliser of that plan: it keeps nothing of what it has seen."""
    normaliser = Normaliser(_plans[plan_hash], horizon_us)
    return Remembered(normaliser.record, id)


_plans: dict[str, CompiledPlan] = {}


class RememberingNormaliser(Normaliser):
    """Says of a record what was said of it before."""

    def record(self, raw: RawBatch) -> Normalised:
        _plans[self.plan.hash] = self.plan
        out: Normalised = _normalised(self.plan.hash, self.horizon_us)(raw)
        return out


async def put_at(app: FakeApp, topic: str, partition: int, offset: int) -> None:
    """As `seek`."""
    app.consumers[topic].position[partition] = offset


@contextmanager
def stages_on(broker: Broker, remembering: bool) -> Iterator[None]:
    """The stages read topics from outside of a group, seek, and leave: here with this log. `remembering`: what normalise makes of a record
    and how records are written and read is worked out once for all seeds of a world."""

    def read_topic(_url: str, topic: str, partition: int, start: int | None = None, end: int | None = None) -> Reading:
        return Reading(broker, topic, partition, start, end)

    own = {"read_topic": read_topic, "seek": put_at, "build_tables": tables_of, "warm_up": lambda *_: 0.0, "os": _Os}
    swapped: list[tuple[Any, str, Any]] = [(agents.detect, name, value) for name, value in own.items()]
    swapped += [
        (agents.normalise, "os", _Os),
        (agents.plans, "read_topic", read_topic),
        (agents.detect, "IDLE_CHECKPOINT_S", 3.0),  # only how long the end of a seed is waited for
        (pipeline.detect.convoys, "marches", _marches),
        (pipeline.detect.timed, "build_tables", _tables_like),
    ]
    if remembering:
        Remembered.tidy()
        swapped += [
            (agents.normalise, "Normaliser", RememberingNormaliser),
            (agents.normalise, "decode_raw", read_raw),
            (agents.normalise, "encode_observations", written),
            (agents.detect, "decode_observations", read),
        ]
    before = [(module, name, getattr(module, name)) for module, name, _ in swapped]
    for module, name, value in swapped:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


__all__ = ["Gone", "Group", "Worker", "put_at", "read", "stages_on", "tables_of"]

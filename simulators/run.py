"""Tell a story: as native lines at full speed, or live, as devices on MQTT."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.clock import Clock
from pipeline.model.times import parse_us
from pipeline.plan.model import CompiledPlan
from simulators.devices import SECOND_US, Message, Parcel, lines, messages
from simulators.faults import in_order
from simulators.publish import Publisher, endpoint
from simulators.scenarios import STORIES
from simulators.story import Story
from simulators.world import World

__all__ = ["catalogue", "endpoint", "mqtt_messages", "native_lines", "parcels", "play", "story_named"]

CHUNK_S = 20
FOR_EVER_S = 10 * 365 * 86_400


def story_named(name: str) -> Story:
    """Raises KeyError."""
    return STORIES[name]


def catalogue() -> list[tuple[str, str]]:
    return [(story.name, story.sentence) for story in STORIES.values()]


def whole_second(us: int) -> int:
    return -(-us // SECOND_US) * SECOND_US


def parcels(
    story: Story, plan: CompiledPlan, seed: int, start_us: int, seconds: int | None = None, vehicles: int | None = None
) -> Iterator[Parcel]:
    """What arrives, in that order, of the story's first `seconds` (all by default). The same for the same seed."""
    world = World(plan, seed)
    stream = in_order(_raw(story, world, start_us, story.seconds if seconds is None else seconds, vehicles))
    for number, fault in enumerate(story.faults):
        stream = fault(stream, world.rng("fault", str(number)))
    return stream


def _raw(story: Story, world: World, start_us: int, seconds: int, vehicles: int | None) -> Iterator[tuple[int, Parcel]]:
    devices = story.cast(world, vehicles).devices(world)
    for begin in range(0, seconds, CHUNK_S):
        chunk = [p for d in devices for p in d.parcels(start_us, begin, min(begin + CHUNK_S, seconds))]
        safe_us = start_us + begin * SECOND_US
        for parcel in sorted(chunk, key=lambda p: (p.at_us, p.device)):
            yield safe_us, parcel


def native_lines(
    story: Story,
    plan: CompiledPlan,
    seed: int = 1,
    start_us: int | None = None,
    seconds: int | None = None,
    vehicles: int | None = None,
) -> Iterator[bytes]:
    """The story as `rahdar detect` reads it: a JSON object a line, `received_at` being when it arrived."""
    begin_us = parse_us(story.at) if start_us is None else whole_second(start_us)
    for parcel in parcels(story, plan, seed, begin_us, seconds, vehicles):
        yield from lines(parcel)


def mqtt_messages(
    story: Story,
    plan: CompiledPlan,
    seed: int,
    start_us: int,
    seconds: int | None = None,
    vehicles: int | None = None,
) -> Iterator[Message]:
    """The story as MQTT messages in order of their instants; without `seconds` it goes on after its end."""
    limit_s = FOR_EVER_S if seconds is None else seconds
    for parcel in parcels(story, plan, seed, whole_second(start_us), limit_s, vehicles):
        yield from messages(parcel)


async def play(
    story: Story,
    plan: CompiledPlan,
    seed: int,
    mqtt_url: str,
    credentials: Mapping[str, str],
    clock: Clock,
    stop: asyncio.Event,
    *,
    start_us: int | None = None,
    seconds: int | None = None,
    vehicles: int | None = None,
    ca_file: Path | None = None,
    publisher: Publisher | None = None,
) -> Publisher:
    """Live, from the clock's now: the story, the calm after it, until `stop`. Returns the publisher with its counts."""
    publisher = publisher or Publisher(mqtt_url, credentials, clock, ca_file=ca_file)
    begin_us = whole_second(clock.now_us() if start_us is None else start_us)
    await publisher.run(mqtt_messages(story, plan, seed, begin_us, seconds, vehicles), stop)
    return publisher

"""Kill -9 any process at any time: nothing accepted is lost, no alert is lost, none doubled, the ledger is the same."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.local import LocalStack
from agents.transport import LogStore
from agents.transport.address import log_directory
from pipeline.clock import WallClock
from simulators.devices import Message
from simulators.publish import Publisher
from simulators.run import mqtt_messages, story_named
from tests.stack.ledgers import Told, ledger_of, of_fixes, payloads, read_everything, recorded_positions
from tests.stack.running import running

KILLS = int(os.environ.get("RAHDAR_KILLS", "20"))
EVERY_S = 2.0
LONGEST_S = 2.8  # with what it takes until a victim runs again: the load goes on to the last kill
PARTITIONS = 32
SPEED = 4.0


@pytest.fixture
def stack(tmp_path: Path, root: Path) -> Iterator[LocalStack]:
    stack = LocalStack(tmp_path / "system", root / "plans" / "hazara", extra={"RAHDAR_LOG_LEVEL": "ERROR"})
    with running(stack, 0.1):
        yield stack


async def drained(stack: LocalStack, published: list[Message], within_s: float = 90.0) -> Told:
    """Wait until everything published has gone through every stage, as far as its ledgers tell."""
    held = LogStore.acquire(log_directory(stack.log_url))
    wanted = Counter((m.login, m.payload) for m in published)
    positions = stack.directory / "record.sqlite"
    try:
        told = Told()
        deadline = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < deadline:
            told = await read_everything(stack.log_url, PARTITIONS)
            if not wanted - payloads(told.raw):
                opened = {e.alert.id for e in told.events if e.transition == "opened"}
                alerted = {c.episode.id for c in told.changes if c.mode == "live"} <= opened
                # the dear question last: it judges everything once more
                if (
                    alerted
                    and recorded_positions(positions) >= fixes_of(told)
                    and of_fixes(told.ledger) == of_fixes(ledger_of(stack.compiled, told))
                ):
                    return told
            await asyncio.sleep(0.5)
        return told
    finally:
        await held.release()


def fixes_of(told: Told) -> int:
    """Distinct fixes among the observations: a crash may write one twice, the record keeps it once."""
    distinct = {
        (f.vehicle, f.device, f.seen_at_us, f.seq, f.body)
        for batches in told.observations.values()
        for batch in batches
        for f in batch.fixes.rows()
    }
    return len(distinct)


@pytest.mark.slow
@pytest.mark.timeout(300 + 10 * KILLS)
async def test_kill_at_random(stack: LocalStack) -> None:
    """Any process, at random times, while devices go on publishing: at the end every ledger agrees with every other."""
    dice = random.Random(7)
    story = story_named("first-watch")
    clock = WallClock(SPEED)
    published = list(mqtt_messages(story, stack.compiled, 1, clock.now_us(), int(KILLS * LONGEST_S * SPEED)))
    publisher = Publisher(stack.mqtt_url, stack.credentials, clock)
    stop = asyncio.Event()
    publishing = asyncio.ensure_future(publisher.run(iter(published), stop))
    killed: Counter[str] = Counter()
    assert stack.supervisor is not None
    groups = sorted(stack.supervisor.pids)
    victims = [groups[n % len(groups)] for n in range(KILLS)]  # as many of each
    dice.shuffle(victims)
    for group in victims:
        await asyncio.sleep(EVERY_S * dice.uniform(0.6, 1.4))
        while True:
            try:
                os.kill(stack.supervisor.pids[group], signal.SIGKILL)
                break
            except ProcessLookupError:  # killed just before, and not yet started again: it gets its turn
                await asyncio.sleep(0.1)
        killed["+".join(group)] += 1
    await asyncio.wait_for(publishing, 120)
    assert publisher.acked == publisher.sent == len(published), publisher.errors

    assert killed.total() == KILLS
    told = await drained(stack, published)

    missing = Counter((m.login, m.payload) for m in published) - payloads(told.raw)
    assert not missing, f"{sum(missing.values())} accepted messages are not in raw; killed {dict(killed)}"
    assert of_fixes(told.ledger) == of_fixes(ledger_of(stack.compiled, told))
    assert {(e.rule, e.subject) for e in told.ledger.sorted()} >= {(e.rule, e.subject) for e in story.expected}

    opened = Counter(e.alert.id for e in told.events if e.transition == "opened" and e.alert.rule != "pipeline.stalled")
    live = {c.episode.id for c in told.changes if c.mode == "live"}
    by_seq = {e.seq: e for e in told.events}
    once = Counter(
        e.alert.id for e in by_seq.values() if e.transition == "opened" and e.alert.rule != "pipeline.stalled"
    )
    assert set(opened) == live, "an alert is lost, or one has no episode"
    assert set(once.values()) == {1}, "an alert was opened twice"
    assert recorded_positions(stack.directory / "record.sqlite") == fixes_of(told)
    print(
        f"killed {dict(killed)}; {publisher.acked} messages, {len(told.ledger.episodes)} episodes, {len(opened)} alerts"
    )

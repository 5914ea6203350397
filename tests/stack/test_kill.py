"""Kill -9 any process at any time: nothing accepted is lost, no alert is lost, none doubled, the ledger is the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agents.local import LocalStack, free_port
from agents.transport import LogStore
from agents.transport.address import log_directory
from pipeline.alert.policy import NOTIFIER
from pipeline.clock import WallClock
from pipeline.desk.operators import FILE_NAME
from pipeline.model.times import format_us
from pipeline.people.tokens import TokenStore
from simulators.devices import Message
from simulators.publish import Publisher
from simulators.run import mqtt_messages, story_named
from tests.notify.sending import faults
from tests.notify.servers import Hook, hook
from tests.stack.ledgers import Told, ledger_of, of_fixes, payloads, read_everything, recorded
from tests.stack.running import running
from tests.waiting import until

KILLS = int(os.environ.get("RAHDAR_KILLS", "20"))
EVERY_S = 2.0
LONGEST_S = 2.8  # with what it takes until a victim runs again: the load goes on to the last kill
PARTITIONS = 32
SPEED = 4.0
PATIENCE_S = 5
OURS = ("pipeline.stalled", NOTIFIER)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[LocalStack]:
    """One system for all of this, in the order in which it stands here. Every officer is told by a webhook first."""
    directory = tmp_path_factory.mktemp("kill")
    plan = directory / "plan"
    shutil.copytree(root / "plans" / "hazara", plan)
    for name, there, here in (
        ("roster.yaml", "{id: wall, kind: spool, address: wall}", "{id: sink, kind: webhook, address: sink}"),
        ("rules.yaml", "patience: 30 s", f"patience: {PATIENCE_S} s"),
    ):
        text = (plan / name).read_text()
        assert there in text
        (plan / name).write_text(text.replace(there, here))
    sink = f"http://127.0.0.1:{free_port()}/hook#secret"
    stack = LocalStack(directory / "system", plan, extra={"RAHDAR_LOG_LEVEL": "ERROR", "RAHDAR_ADDRESS_SINK": sink})
    with running(stack, 0.1):
        yield stack


@asynccontextmanager
async def officers(stack: LocalStack) -> AsyncIterator[Hook]:
    """What they hear, all of them."""
    async with hook(port=urlsplit(stack.extra["RAHDAR_ADDRESS_SINK"]).port) as sink:
        yield sink


def press_of(vehicle: str, at_us: int) -> Message:
    said = {"kind": "press", "subject": vehicle, "what": "sos", "seen_at": format_us(at_us)}
    login = f"{vehicle}-tracker"
    return Message(login=login, topic=f"v1/0/{login}/native", payload=json.dumps(said).encode(), at_us=at_us)


class Button:
    """A vehicle's tracker, connected, with an SOS button."""

    def __init__(self, stack: LocalStack, vehicle: str) -> None:
        self.vehicle, self.login = vehicle, f"{vehicle}-tracker"
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, self.login, protocol=paho.MQTTv311)
        client.username_pw_set(self.login, stack.credentials[self.login])
        for _ in range(300):  # ingest may have been killed by the last test
            with contextlib.suppress(ConnectionRefusedError):
                client.connect(stack.host, stack.mqtt_port)
                break
            time.sleep(0.1)
        client.loop_start()

    def press(self) -> None:
        """Returns when the broker has acknowledged it."""
        said = press_of(self.vehicle, WallClock().now_us())
        info = self._client.publish(said.topic, said.payload, 1)
        info.wait_for_publish(20)
        assert info.is_published()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def tellings(sink: Hook, vehicle: str) -> list[dict[str, Any]]:
    return [line for line in sink.heard if line["kind"] == "alert" and f"sos.pressed {vehicle}" in line["title"]]


async def pressed(stack: LocalStack, sink: Hook, vehicle: str, victim: tuple[str, ...] = ()) -> float:
    """Seconds from the press until an officer's sink has it. The victim is held before the press, so that it has done nothing of it, and
    killed when the press is acknowledged; ingest, which acknowledges, is killed with that."""
    assert stack.supervisor is not None
    button = await asyncio.to_thread(Button, stack, vehicle)
    pid = stack.supervisor.pids[victim] if victim else 0
    try:
        if victim and victim != ("ingest",):
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        await asyncio.to_thread(button.press)
        if victim:
            os.kill(pid, signal.SIGKILL)
        assert await until(lambda: tellings(sink, vehicle), 60), f"nobody is told that {vehicle} pressed"
        return time.monotonic() - began
    finally:
        await asyncio.to_thread(button.close)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_press_is_at_the_officers_sink_within_15_s_whoever_dies_on_the_way(stack: LocalStack) -> None:
    victims = [(), ("normalise", "detect"), ("alert", "record"), ("notify",), ("ingest",)]
    vehicles = ["c-6", "c-7", "c-8", "c-9", "c-10"]
    async with officers(stack) as sink:
        took = [await pressed(stack, sink, *pair) for pair in zip(vehicles, victims, strict=True)]
        wanted = {tellings(sink, vehicle)[0]["alert"] for vehicle in vehicles}
        assert len(wanted) == len(vehicles)
        assert faults(sink.heard, wanted) == []
    print("; ".join(f"{'+'.join(v) or 'nobody'} killed: {s:.2f} s" for v, s in zip(victims, took, strict=True)))
    assert max(took[1:]) < 15, took


async def shown(web: httpx.AsyncClient, since_us: int, cleared: bool, within_s: float) -> None:
    """Returns when the desk has the one alert about the notifier that was opened since then, and it is so."""
    async with asyncio.timeout(within_s):
        while True:
            alerts = (await web.get("/api/snapshot")).json()["alerts"]
            found = [a["cleared_at_us"] for a in alerts if a["rule"] == NOTIFIER and a["opened_at_us"] >= since_us]
            if [at_us is not None for at_us in found] == [cleared]:
                return
            await asyncio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_notifier_that_is_dead_is_told_at_the_desk_and_then_tells_once(stack: LocalStack) -> None:
    tokens = TokenStore(stack.directory / "var" / FILE_NAME)
    token = tokens.make("test", "viewer", 1, "test")
    tokens.close()
    assert stack.supervisor is not None
    async with officers(stack) as sink, httpx.AsyncClient(base_url=stack.desk_url, headers={"Authorization": f"Bearer {token}"}) as web:  # fmt: skip
        dead = stack.supervisor.pids["notify",]
        os.kill(dead, signal.SIGKILL)
        assert await until(lambda: stack.supervisor is not None and stack.supervisor.pids["notify",] != dead)
        hangs = stack.supervisor.pids["notify",]  # the next one does not get to its work either
        os.kill(hangs, signal.SIGSTOP)
        try:
            button = await asyncio.to_thread(Button, stack, "c-11")
            began, since_us = time.monotonic(), WallClock().now_us()
            await asyncio.to_thread(button.press)
            await asyncio.to_thread(button.close)
            await shown(web, since_us, cleared=False, within_s=PATIENCE_S + 15)
            raised_s = time.monotonic() - began
            assert raised_s >= PATIENCE_S and tellings(sink, "c-11") == []
        finally:
            os.kill(hangs, signal.SIGCONT)
        assert await until(lambda: tellings(sink, "c-11"), 15)
        told_s = time.monotonic() - began - raised_s
        await shown(web, since_us, cleared=True, within_s=15)
        assert [line["repeat"] for line in tellings(sink, "c-11")] == [False], "told once"
        assert not [line for line in sink.heard if NOTIFIER in line["title"]], "no message can tell of it"
    print(f"notify dead: at the desk after {raised_s:.1f} s of {PATIENCE_S}; told {told_s:.1f} s after it came back")


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
                    and recorded(positions)[0] >= fixes_of(told)
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
    """Any process, at random times, while devices go on publishing: at the end every ledger agrees with every other, the officers' too."""
    async with officers(stack) as sink:
        await kill_at_random(stack, sink)


async def kill_at_random(stack: LocalStack, sink: Hook) -> None:
    dice = random.Random(7)
    story = story_named("first-watch")
    clock = WallClock(SPEED)
    began_us = WallClock().now_us()
    seconds = int(KILLS * LONGEST_S * SPEED)
    presses = [press_of(f"c-{6 + n}", clock.now_us() + n * seconds * 200_000) for n in range(5)]
    story_lines = mqtt_messages(story, stack.compiled, 1, clock.now_us(), seconds)
    published = sorted([*story_lines, *presses], key=lambda m: m.at_us)
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

    opened = Counter(e.alert.id for e in told.events if e.transition == "opened" and e.alert.rule not in OURS)
    live = {c.episode.id for c in told.changes if c.mode == "live"}
    by_seq = {e.seq: e for e in told.events}
    once = Counter(e.alert.id for e in by_seq.values() if e.transition == "opened" and e.alert.rule not in OURS)
    assert set(opened) == live, "an alert is lost, or one has no episode"
    assert set(once.values()) == {1}, "an alert was opened twice"
    assert recorded(stack.directory / "record.sqlite")[0] == fixes_of(told)
    pressed_ids = {e.id for e in told.ledger.episodes.values() if e.rule == "sos.pressed" and e.began_at_us >= began_us}
    assert len(pressed_ids) == len(presses)
    # notify may have been the last to be killed
    assert await until(lambda: pressed_ids <= {line["alert"] for line in sink.heard}, 60)
    assert faults(sink.heard, pressed_ids) == []
    repeats = sum(line["repeat"] for line in sink.heard)
    print(
        f"killed {dict(killed)}; {publisher.acked} messages, {len(told.ledger.episodes)} episodes, {len(opened)} alerts, "
        f"{len(sink.heard)} tellings, {repeats} of them repeats"
    )

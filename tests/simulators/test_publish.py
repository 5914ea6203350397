"""The publisher against a real broker: everything arrives, also when the broker goes away in between."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.clock import WallClock
from simulators.devices import SECOND_US, Message
from simulators.publish import Publisher, endpoint
from tests.simulators.forgetful_broker import ForgetfulBroker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a plain amqtt broker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "tests.simulators.plain_broker", str(free)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield free
        process.kill()


class Listener:
    """Everything that reaches a subscriber, counted by payload."""

    def __init__(self, port: int, wanted: int) -> None:
        self.seen: Counter[bytes] = Counter()
        self.enough = threading.Event()
        self._wanted = wanted
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener")
        self._client.on_connect = lambda client, *_: client.subscribe("v1/#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self._saw(message.payload)
        self._client.connect("127.0.0.1", port)

    def _saw(self, payload: bytes) -> None:
        self.seen[payload] += 1
        if len(self.seen) >= self._wanted:
            self.enough.set()

    def __enter__(self) -> Listener:
        self._client.loop_start()
        assert self._subscribed.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _messages(devices: int, each: int, start_us: int = 0) -> list[Message]:
    return [
        Message(start_us + n * SECOND_US // 100, f"d{d}", f"v1/0/d{d}/native", f"{d}-{n}".encode())
        for n in range(each)
        for d in range(devices)
    ]


async def test_forty_devices_deliver_everything(port: int) -> None:
    with Listener(port, wanted=400) as listener:
        publisher = Publisher(f"mqtt://127.0.0.1:{port}", {f"d{d}": "secret" for d in range(40)})
        await publisher.run(iter(_messages(40, 10)), asyncio.Event())
        assert publisher.sent == publisher.acked == 400
        assert publisher.errors == {}
        assert await asyncio.to_thread(listener.enough.wait, 30)
        assert set(listener.seen) == {m.payload for m in _messages(40, 10)}


async def test_what_a_lost_broker_did_not_acknowledge_is_sent_again() -> None:
    broker = ForgetfulBroker()
    await broker.start()
    publisher = Publisher(f"mqtt://127.0.0.1:{broker.port}", {f"d{d}": "secret" for d in range(3)})

    async def stream() -> AsyncIterator[Message]:
        for number, message in enumerate(_messages(3, 20)):
            if number == 30:
                broker.acknowledge = False
            if number == 45:
                await broker.unacknowledged.wait()
                await broker.die()
                broker.acknowledge = True
                await broker.start()
            yield message

    await publisher.run(stream(), asyncio.Event())
    assert publisher.sent == publisher.acked == 60
    arrived = [payload for payload, _ in broker.received]
    assert set(arrived) == {m.payload for m in _messages(3, 20)}
    assert any(again for _, again in broker.received)
    for device in b"012":  # what each device sent first arrived first
        own = list(dict.fromkeys(p for p in arrived if p[0] == device))
        assert own == sorted(own, key=lambda p: int(p.split(b"-")[1]))
    await broker.die()


async def test_a_broker_that_is_not_there_yet_is_waited_for() -> None:
    broker = ForgetfulBroker()
    await broker.start()
    await broker.die()
    publisher = Publisher(f"mqtt://127.0.0.1:{broker.port}", {"d0": "secret"})
    run = asyncio.create_task(publisher.run(iter(_messages(1, 5)), asyncio.Event()))
    await publisher.met_error.wait()
    await broker.start()
    await run
    assert publisher.acked == 5
    assert publisher.errors == {}
    await broker.die()


async def test_a_clock_paces_the_messages_and_its_speed_counts(port: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    publisher = Publisher(f"mqtt://127.0.0.1:{port}", {"d0": "secret"}, WallClock(speed=10.0, epoch_us=0))
    await publisher.run(iter(_messages(1, 500)), asyncio.Event())  # five seconds of the story
    took = loop.time() - began
    assert took > 0.45
    assert publisher.acked == 500


async def test_stop_ends_it_although_the_story_goes_on(port: int) -> None:
    stop = asyncio.Event()
    publisher = Publisher(f"mqtt://127.0.0.1:{port}", {"d0": "secret"}, WallClock(epoch_us=0))

    def endless():
        yield from _messages(1, 3)
        stop.set()
        yield Message(10**15, "d0", "v1/0/d0/native", b"never")

    await publisher.run(endless(), stop)
    assert publisher.sent == 3


async def test_a_login_without_a_password_is_counted_and_not_sent() -> None:
    publisher = Publisher("mqtt://127.0.0.1:1", {})
    await publisher.run(iter(_messages(2, 1)), asyncio.Event())
    assert (publisher.sent, publisher.unknown) == (0, 2)
    assert set(publisher.errors) == {"d0", "d1"}


@pytest.mark.parametrize("url", ["", "http://x", "mqtt://", "127.0.0.1:1883"])
def test_a_url_that_is_no_broker_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="give mqtt://"):
        endpoint(url)

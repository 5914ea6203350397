"""The downlink through the real embedded broker: a vehicle hears it, can trust it, and its receipt is the telling."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import paho.mqtt.client as paho
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from paho.mqtt.enums import CallbackAPIVersion

from agents.local import free_port
from pipeline.clock import WallClock
from pipeline.ingest.acl import NOTIFY, may_publish, may_send_down, may_subscribe, mosquitto_acl
from pipeline.ingest.broker import EmbeddedBroker
from pipeline.ingest.credentials import Verifier, read_credentials, write_machine_credentials
from pipeline.ingest.spool import Spool
from pipeline.notify.channels.downlink import Broker, DownlinkChannel, read_key
from pipeline.notify.outcome import Accepted, Passing, Permanent
from tests.notify.test_channels import LETTER
from tests.waiting import until

PASSWORDS = {"e-1": "one-one-one-one-one", "e-2": "two-two-two-two-two", NOTIFY: "not-not-not-not-not"}


class Road:
    """The broker, and the notifier on it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port, self.clock = directory, free_port(), WallClock()
        write_machine_credentials(directory / "passwords", PASSWORDS)
        self.spool = Spool(directory / "spool", self.clock)
        self.reports: list[tuple[str, bool, str]] = []
        self.vehicles: list[paho.Client] = []

    async def start(self) -> None:
        verifier = Verifier(read_credentials(self.directory / "passwords"))
        self.broker = EmbeddedBroker("127.0.0.1", self.port, self.spool, verifier)
        await self.broker.start()
        self.channel = DownlinkChannel(
            Broker("127.0.0.1", self.port, PASSWORDS[NOTIFY]), read_key(self.directory / "down.pem"), lambda _: "0",
            self.clock.now_us, lambda *r: self.reports.append(r),
        )  # fmt: skip
        assert await until(lambda: self.channel.ready)

    def letter(self, for_s: float = 600.0) -> Any:
        now_us = self.clock.now_us()
        return replace(LETTER, lat=35.1, lon=73.0, at_us=now_us, expires_us=now_us + round(for_s * 1e6))

    async def vehicle(self, login: str) -> tuple[paho.Client, list[dict[str, Any]]]:
        heard: list[dict[str, Any]] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, login, protocol=paho.MQTTv311)
        client.username_pw_set(login, PASSWORDS[login])
        there: list[Any] = []
        client.on_connect = lambda c, *_: c.subscribe(f"v1/+/{login}/down", 1)
        client.on_subscribe = lambda *_: there.append(1)
        client.on_message = lambda _c, _u, m: heard.append(orjson.loads(m.payload))
        client.connect_async("127.0.0.1", self.port)
        client.loop_start()
        self.vehicles.append(client)
        assert await until(lambda: there)
        return client, heard

    async def stop(self) -> None:
        for client in self.vehicles:
            client.disconnect()
            client.loop_stop()
        await asyncio.to_thread(self.channel.close)
        await self.broker.shutdown()
        await self.spool.close()


@pytest.fixture
async def road(tmp_path: Path) -> AsyncIterator[Road]:
    made = Road(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_a_vehicle_hears_it_and_its_receipt_is_the_telling(road: Road) -> None:
    vehicle, heard = await road.vehicle("e-1")
    _, other = await road.vehicle("e-2")
    letter = road.letter()
    outcome = await road.channel.send("e-1", letter)
    assert isinstance(outcome, Accepted) and road.reports == []
    assert await until(lambda: heard)
    assert heard[0]["id"] == letter.id and heard[0]["expires_at"] > heard[0]["at"] and other == []
    vehicle.publish("v1/0/e-1/receipt", orjson.dumps({"id": letter.id}), 1)
    assert await until(lambda: road.reports == [(outcome.receipt, True, "shown in the vehicle")])


async def test_it_is_signed_by_us(road: Road) -> None:
    _, heard = await road.vehicle("e-1")
    await road.channel.send("e-1", road.letter())
    assert await until(lambda: heard)
    said = dict(heard[0])
    signature = base64.b64decode(said.pop("sig"))
    key = serialization.load_pem_public_key((road.directory / "down.pub").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signature, orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
    with pytest.raises(InvalidSignature):
        key.verify(signature, orjson.dumps({**said, "text": "all clear"}, option=orjson.OPT_SORT_KEYS))


async def test_another_vehicles_receipt_is_not_its_own(road: Road) -> None:
    stranger, _ = await road.vehicle("e-2")
    outcome = await road.channel.send("e-1", road.letter())
    assert isinstance(outcome, Accepted)
    stranger.publish("v1/0/e-2/receipt", orjson.dumps({"id": LETTER.id}), 1)
    stranger.publish("v1/0/e-2/receipt", b"[" * 900, 1)
    assert await until(lambda: road.reports)
    assert [receipt for receipt, *_ in road.reports] == [f"down e-2 {LETTER.id}"] != [outcome.receipt]


async def test_what_has_expired_is_not_sent(road: Road) -> None:
    _, heard = await road.vehicle("e-1")
    assert isinstance(await road.channel.send("e-1", road.letter(-1)), Permanent)
    assert heard == []


async def test_a_broker_that_is_away_comes_back(road: Road) -> None:
    await road.broker.shutdown()
    assert await until(lambda: not road.channel.ready)
    assert isinstance(await road.channel.send("e-1", road.letter()), Passing)
    verifier = Verifier(read_credentials(road.directory / "passwords"))
    road.broker = EmbeddedBroker("127.0.0.1", road.port, road.spool, verifier)
    await road.broker.start()
    assert await until(lambda: road.channel.ready, 20)
    assert isinstance(await road.channel.send("e-1", road.letter()), Accepted)


def test_only_the_notifier_writes_down_and_it_writes_nothing_else() -> None:
    assert may_send_down(NOTIFY, "v1/0/e-1/down") and may_subscribe(NOTIFY, "v1/+/+/receipt")
    assert not may_send_down("e-1", "v1/0/e-1/down") and not may_send_down("e-1", "v1/0/e-2/down")
    for topic in ("v1/0/e-1/native", "v1/+/e-1/down", "v1/0/e-1/receipt", "#"):
        assert not may_send_down(NOTIFY, topic)
        assert not may_publish(NOTIFY, topic)
    for wanted in ("#", "v1/+/+/down", "v1/+/+/native", "v1/+/e-1/down"):
        assert not may_subscribe(NOTIFY, wanted)
    assert "topic read v1/+/+/receipt" in mosquitto_acl().splitlines()

"""The downlink through the real embedded broker, and through Mosquitto as it is deployed: a vehicle hears it, can trust it, and its receipt is the telling."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
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
from pipeline.notify.channels.spool import SpoolChannel
from pipeline.notify.outcome import Accepted, Passing, Permanent
from pipeline.plan.model import Convoy
from tests.alert.builders import episode
from tests.ingest.mosquitto import Device, Mosquitto
from tests.notify.builders import Stage, convoyed, manned, officer, roster, said
from tests.notify.sending import MovingClock, sending
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
            await asyncio.to_thread(client.disconnect)  # the broker sees it go
            await asyncio.to_thread(client.loop_stop)
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


async def test_through_mosquitto_escorts_hear_their_own_and_their_receipts_are_the_telling(
    stage: Callable[..., Stage], tmp_path: Path
) -> None:
    """Of duress the escort that pressed it hears nothing, its fellow does; whoever listens to more than its own topic hears no more."""
    people = roster(officers=[officer("amina", "spool"), officer("bilal", "spool")])
    convoy = Convoy("k", "r", {"en": "K"}, ("v1", "v2", "v3"), ("v3",), ("v1", "v2"), 500.0)
    s = stage(convoyed(manned(people, ["v1", "v2", "v3"]), convoy))
    duress = episode(0, 0, "critical", "v1", rule="sos.pressed", what="duress")
    press = episode(1, 1, "critical", "v1", rule="sos.pressed", what="sos")
    server = Mosquitto(tmp_path / "mqtt")
    pressed_it, fellow, curious = (Device(server, f"v{n}-d0", certificate=f"v{n}-d0") for n in (1, 2, 3))
    clock, reports = MovingClock(2), list[Any]()
    await asyncio.to_thread(server.start)
    try:
        for device in (pressed_it, fellow, curious):
            await asyncio.to_thread(device.come)
            assert device.let_in
            more = ["v1/+/+/down", "v1/+/v2-d0/down", "#"] if device is curious else []
            device.paho.subscribe([(topic, 1) for topic in (f"v1/+/{device.login}/down", *more)])
            assert await until(device.subscribed.is_set)
        broker = Broker("localhost", server.port, None, server.context(NOTIFY))
        key = read_key(tmp_path / "down.pem")
        channel = DownlinkChannel(broker, key, lambda _: "0", clock.now_us, lambda *r: reports.append(r))
        channels = {"downlink": channel, "spool": SpoolChannel(tmp_path / "notices")}
        async with sending(s.url, s.store.plan, {}, channels, clock) as sender:
            assert await until(lambda: channel.ready), server.log()
            s.opens(1, duress)
            sender.wake()
            assert await until(lambda: fellow.heard)
            s.opens(2, press)
            sender.wake()
            assert await until(lambda: pressed_it.heard and len(fellow.heard) == 2)
            assert alerts_in(pressed_it, "v1/0/v1-d0/down") == [press.id]
            assert alerts_in(fellow, "v1/0/v2-d0/down") == [duress.id, press.id]
            assert curious.heard == [], "nothing is for its own vehicle, and the rest is not for it"
            assert not s.rows(kind="downlink", state="sent"), "taken by the broker is not told"
            for device in (pressed_it, fellow):
                for _, body in device.heard:
                    receipt = orjson.dumps({"id": orjson.loads(body)["id"]})
                    await asyncio.to_thread(device.said, receipt, f"v1/0/{device.login}/receipt")
            assert await until(lambda: len(reports) == 3)
            for report in reports:
                sender.report(*report)
            assert await until(lambda: {r["state"] for r in s.rows(kind="downlink")} == {"sent"})
        await asyncio.to_thread(channel.close)
    finally:
        for device in (pressed_it, fellow, curious):
            await asyncio.to_thread(device.leave)
        await asyncio.to_thread(server.kill)
    assert said(s.time(3)).count(("told", "DOWNLINK")) == 3


def alerts_in(device: Device, topic: str) -> list[str]:
    """Of which alerts it heard, all of it on this topic."""
    assert {of for of, _ in device.heard} == {topic}
    return [orjson.loads(body)["alert"] for _, body in device.heard]


def test_only_the_notifier_writes_down_and_it_writes_nothing_else() -> None:
    assert may_send_down(NOTIFY, "v1/0/e-1/down") and may_subscribe(NOTIFY, "v1/+/+/receipt")
    assert not may_send_down("e-1", "v1/0/e-1/down") and not may_send_down("e-1", "v1/0/e-2/down")
    for topic in ("v1/0/e-1/native", "v1/+/e-1/down", "v1/0/e-1/receipt", "#"):
        assert not may_send_down(NOTIFY, topic)
        assert not may_publish(NOTIFY, topic)
    for wanted in ("#", "v1/+/+/down", "v1/+/+/native", "v1/+/e-1/down"):
        assert not may_subscribe(NOTIFY, wanted)
    assert "topic read v1/+/+/receipt" in mosquitto_acl().splitlines()

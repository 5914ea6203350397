"""The bridge and the deployed configuration against a real Mosquitto: what would lose data, and who would get in, with the defaults."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from agents.ingest import run_ingest
from agents.transport import declare_topics, read_topic
from pipeline.clock import WallClock
from pipeline.ingest.authority import AuthorityError
from pipeline.ingest.bridge import Bridge, parse_address
from pipeline.ingest.broker import Tls
from pipeline.ingest.credentials import mosquitto_hash
from pipeline.ingest.spool import Spool, SpoolFullError, records
from pipeline.model import topics
from pipeline.model.wire import RawBatch, decode_raw
from pipeline.settings import Settings
from tests import waiting
from tests.detect.plans import plan
from tests.ingest.mosquitto import PASSWORDS, Device, Mosquitto

TOPIC = "v1/0/v1/native"


class Edge:
    """A broker, and a bridge that comes and goes."""

    def __init__(self, directory: Path, broker: Mosquitto) -> None:
        self.directory = directory
        self.broker = broker
        self.devices: list[Device] = []
        self.bridge: Bridge | None = None
        self.spool: Spool | None = None

    async def up(self, query: str = "") -> Bridge:
        """The bridge, when it listens."""
        self.spool = Spool(self.directory / "spool", WallClock())
        tls = Tls(*(self.broker.directory / "issued" / "{shard}" / file for file in ("device.pem", "device.key")))
        address = parse_address(f"mqtts://localhost:{self.broker.port}{query}")
        self.bridge = Bridge(address, self.spool, self.directory / "bridge", tls, self.broker.directory / "ca.pem")
        await self.bridge.start()
        assert await until(lambda: self.listens()), self.broker.log()
        return self.bridge

    def listens(self) -> bool:
        return self.bridge is not None and all(session.ready for session in self.bridge.sessions)

    async def down(self) -> None:
        if self.bridge is not None and self.spool is not None:
            await self.bridge.shutdown()
            await self.spool.close()
            self.bridge = self.spool = None

    async def device(self, login: str = "v1", **more: Any) -> Device:
        if "password" not in more and "certificate" not in more:
            more["certificate"] = login
        made = Device(self.broker, login, **more)
        self.devices.append(made)
        return await asyncio.to_thread(made.come)

    def kept(self) -> list[bytes]:
        return [payload for _, _, payload in self.items()]

    def items(self) -> list[tuple[str, str, bytes]]:
        """What devices said."""
        return [found for found in self._spooled() if not found[1].startswith("$link/")]

    def links(self) -> list[tuple[str, bytes]]:
        """Who came and went."""
        return [(login, state) for login, topic, state in self._spooled() if topic.startswith("$link/")]

    def _spooled(self) -> list[tuple[str, str, bytes]]:
        paths = sorted((self.directory / "spool").glob("*.spool"))
        return [(i.login, i.topic, i.payload) for path in paths for i, _ in records(path.read_bytes())]


@contextlib.asynccontextmanager
async def edge_of(directory: Path, broker: Mosquitto) -> AsyncIterator[Edge]:
    edge = Edge(directory, broker)
    try:
        await asyncio.to_thread(broker.start)
        yield edge
    finally:
        for device in edge.devices:
            await asyncio.to_thread(device.leave)
        await edge.down()
        await asyncio.to_thread(broker.kill)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge_of(tmp_path, Mosquitto(tmp_path / "mqtt")) as made:
        yield made


until = functools.partial(waiting.until, within_s=20.0)


def bodies(n: int, start: int = 0) -> list[bytes]:
    return [b"%d" % k for k in range(start, start + n)]


async def say_all(device: Device, payloads: list[bytes], within_s: float = 60.0) -> None:
    """Published, and every one acknowledged."""
    mids = {device.say(payload) for payload in payloads}
    assert await until(lambda: mids <= device.acks.keys(), within_s=within_s)
    assert all(not device.acks[mid].is_failure for mid in mids)


# ---- what loses data with the defaults --------------------------------------------------------------------------------------


async def test_what_arrives_is_on_disk_under_its_login_and_only_then_acknowledged(edge: Edge) -> None:
    bridge = await edge.up()
    tracker, phone = await edge.device("v1"), await edge.device("v2", password=PASSWORDS["v2"])
    assert not (await asyncio.to_thread(tracker.said, b"1")).is_failure
    assert not (await asyncio.to_thread(phone.said, b"2", "owntracks/v2/phone")).is_failure
    assert await until(lambda: len(edge.kept()) == 2)
    assert sorted(edge.items()) == [("v1", TOPIC, b"1"), ("v2", "owntracks/v2/phone", b"2")]
    assert bridge.healthy()


async def test_row_6_while_the_bridge_is_away_nothing_acknowledged_is_dropped(tmp_path: Path) -> None:
    """Mosquitto's own limit is 1000 messages; beyond it, it acknowledges and drops. (Without fsync here: the number is the point.)"""
    quick = {
        "autosave_interval 1\n": "autosave_interval 1800\n",
        "autosave_on_changes true": "autosave_on_changes false",
    }
    async with edge_of(tmp_path, Mosquitto(tmp_path / "mqtt", replace=quick)) as edge:
        await edge.up()
        await edge.down()
        device = await edge.device()
        await say_all(device, bodies(3000))
        assert edge.kept() == []
        await edge.up()
        assert await until(lambda: len(edge.kept()) == 3000)
        assert edge.kept() == bodies(3000)


async def test_row_7_kill_9_of_the_broker_loses_at_most_what_it_acknowledged_last(edge: Edge) -> None:
    """With the defaults all 200 and the session are gone. It acknowledges a moment before it writes: the last one may be."""
    await edge.up()
    await edge.down()
    device = await edge.device()
    await say_all(device, bodies(200))
    edge.broker.kill()
    await asyncio.to_thread(edge.broker.start)
    bridge = await edge.up()
    assert await until(lambda: len(edge.kept()) >= 199)
    assert set(bodies(199)) <= set(edge.kept())
    assert bridge.counts["session_lost"] == 0


async def test_row_8_a_session_that_the_broker_lost_is_told_and_the_tick_is_not_healthy(edge: Edge) -> None:
    """Without a session the broker acknowledges and throws away: to MQTT 3.1.1 it does not even say so."""
    before = await edge.device("v1", protocol=paho.MQTTv5)
    reason = await asyncio.to_thread(before.said, b"to nobody")
    assert reason is not None and reason.value == 0x10  # no matching subscribers
    first = await edge.up()
    assert first.healthy() and first.counts["session_lost"] == 0  # there was none to lose
    await edge.down()
    edge.broker.kill()
    (edge.broker.directory / "mosquitto.db").unlink()
    await asyncio.to_thread(edge.broker.start)
    bridge = await edge.up()
    assert bridge.counts["session_lost"] == 2  # of both shards
    assert not bridge.healthy() and bridge.healthy()  # one Tick says so


@pytest.mark.parametrize("steps", ["reload", "restart", "restart reload", "reload restart reload"])
async def test_reading_its_files_again_while_the_bridge_is_away_loses_nothing(edge: Edge, steps: str) -> None:
    """A phone is revoked during an outage: Mosquitto 2.0.11 forgets, for whoever is away, what the ACL gives by name, acknowledges what
    is published, and keeps it for nobody; the session looks whole afterwards."""
    await edge.up()
    await edge.down()
    for step in steps.split():
        if step == "restart":
            edge.broker.kill(signal.SIGTERM)
            await asyncio.to_thread(edge.broker.start)
            assert (await edge.device("v2")).let_in  # a signal that comes while it starts would end it
        else:
            edge.broker.kill(signal.SIGHUP)
    device = await edge.device("v1")
    await asyncio.to_thread(device.said, b"1")
    edge.broker.kill(signal.SIGHUP)
    await asyncio.to_thread(device.said, b"2")
    await edge.up()
    assert await until(lambda: len(edge.kept()) >= 2)
    assert edge.kept() == [b"1", b"2"]


async def test_row_10_a_thread_that_died_is_noticed_though_paho_says_connected(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    bridge = await edge.up()
    connection = bridge.sessions[0].connection
    assert connection is not None

    def dies() -> None:
        raise ValueError("a bug in a callback")

    monkeypatch.setattr(connection.client, "_handle_publish", dies)
    device = await edge.device()
    await asyncio.to_thread(device.said, b"1")
    assert await until(lambda: edge.kept() == [b"1"])  # redelivered on a new connection
    assert bridge.counts["ended:its thread died"] == 1
    assert bridge.counts["connects"] == 3


async def test_row_10_a_message_that_our_own_code_stumbles_over_costs_itself_only(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = await edge.up()
    put = bridge.intake.put

    def stumbles(login: str, topic: str, payload: bytes) -> asyncio.Future[int]:
        if payload == b"bad":
            raise KeyError("a bug of ours")
        return put(login, topic, payload)

    monkeypatch.setattr(bridge.intake, "put", stumbles)
    device = await edge.device()
    for payload in (b"1", b"bad", b"2"):
        await asyncio.to_thread(device.said, payload)
    assert await until(lambda: edge.kept() == [b"1", b"2"])
    assert (bridge.counts["connects"], bridge.counts["ignored:malformed"]) == (2, 1)


async def test_row_11_an_acknowledgement_of_an_older_connection_is_never_sent_on_a_newer(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers begin anew with a new session: a late one would acknowledge messages that nobody has kept."""
    bridge = await edge.up()
    held: list[tuple[bytes, asyncio.Future[int]]] = []
    put = bridge.intake.put

    def holds(login: str, topic: str, payload: bytes) -> asyncio.Future[int]:
        held.append((payload, asyncio.get_running_loop().create_future()))
        return held[-1][1]

    monkeypatch.setattr(bridge.intake, "put", holds)
    device = await edge.device()
    for payload in bodies(5):
        await asyncio.to_thread(device.said, payload)
    assert await until(lambda: len(held) == 5)
    edge.broker.kill()
    (edge.broker.directory / "mosquitto.db").unlink()  # the session is lost
    await asyncio.to_thread(edge.broker.start)
    assert await until(lambda: bridge.counts["connects"] == 4 and edge.listens())
    second = await edge.device(client_id="again")
    for payload in bodies(5, 100):
        await asyncio.to_thread(second.said, payload)
    assert await until(lambda: len(held) == 10)
    for _, kept in held[:5]:
        kept.set_result(1)  # now the disk says that the old ones are kept
    await asyncio.sleep(0.3)
    monkeypatch.setattr(bridge.intake, "put", put)
    await edge.down()
    await edge.up()
    assert await until(lambda: len(edge.kept()) == 5)
    assert edge.kept() == bodies(5, 100)


async def test_no_more_is_taken_from_the_broker_than_the_disk_can_take(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ReceiveMaximum at first; Mosquitto 2.0.11 forgets it with the first acknowledgement, and then by not reading on."""
    monkeypatch.setattr("pipeline.ingest.bridge.WINDOW", 20)
    monkeypatch.setattr("pipeline.ingest.bridge.MOST_OWED", 30)
    bridge = await edge.up()
    held: list[asyncio.Future[int]] = []

    def holds(login: str, topic: str, payload: bytes) -> asyncio.Future[int]:
        held.append(asyncio.get_running_loop().create_future())
        return held[-1]

    monkeypatch.setattr(bridge.intake, "put", holds)
    device = await edge.device()
    await say_all(device, bodies(100))
    assert await until(lambda: len(held) == 20)
    await asyncio.sleep(0.3)
    assert len(held) == 20
    for done in range(100):
        assert await until(lambda n=done: len(held) > n)
        assert len(held) <= done + 30
        held[done].set_result(1)
    assert len(held) == 100
    assert bridge.counts["connects"] == 2


async def test_what_cannot_be_kept_is_not_acknowledged_and_comes_again(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = await edge.up()
    put = bridge.intake.put
    full = True

    def disk(login: str, topic: str, payload: bytes) -> asyncio.Future[int]:
        if not full:
            return put(login, topic, payload)
        refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        refused.set_exception(SpoolFullError("no space"))
        return refused

    monkeypatch.setattr(bridge.intake, "put", disk)
    device = await edge.device()
    await asyncio.to_thread(device.said, b"1")
    assert await until(lambda: bridge.counts["ended:disk"] >= 1)
    assert not bridge.healthy() and edge.kept() == []
    full = False
    assert await until(lambda: edge.kept() == [b"1"])


async def test_who_comes_and_who_goes_is_told_as_the_embedded_broker_tells_it(edge: Edge) -> None:
    await edge.up()
    leaves, dies = await edge.device("v1"), await edge.device("v2", password=PASSWORDS["v2"])
    assert await until(lambda: edge.links() == [("v1", b"online"), ("v2", b"online")]), edge.links()
    again = await edge.device("v2", password=PASSWORDS["v2"])  # takes the other's place: it is there all the time
    assert await until(dies.gone.is_set) and again.let_in
    stranger = await edge.device("v1", password="wrong")
    assert not stranger.let_in
    await asyncio.to_thread(leaves.leave)
    assert await until(lambda: len(edge.links()) > 2)
    assert edge.links()[2:] == [("v1", b"offline")]
    assert edge.kept() == []


def native(what: str, n: int = 0) -> bytes:
    return json.dumps(
        {"kind": what, "what": "sos", "seen_at": "2026-11-23T10:00:00Z", "lat": 35, "lon": 73, "seq": n}
    ).encode()


async def test_a_press_passes_its_own_devices_flood_and_what_is_lost_is_told(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = await edge.up()
    bridge.intake.per_s, bridge.intake.burst = 0.001, 20.0
    device, other = await edge.device("v1"), await edge.device("v2")
    await say_all(device, [native("fix", n) for n in range(200)])
    assert not (await asyncio.to_thread(device.said, native("press"))).is_failure
    assert await until(lambda: native("press") in edge.kept())
    assert len(edge.kept()) < 30, "the flood waits"
    assert bridge.healthy() and bridge.counts["rate_limited"] == 0, "and all of it is on disk"

    monkeypatch.setattr("pipeline.ingest.intake.LANE_BYTES", 0)
    await say_all(device, [native("fix", n) for n in range(200, 210)])
    assert await until(lambda: bridge.counts["rate_limited"] == 10)
    assert bridge.healthy(), "one device's loss makes nobody else wait"
    await asyncio.to_thread(device.said, native("press", 1))
    await asyncio.to_thread(other.said, native("fix"), "v1/0/v2/native")
    assert await until(
        lambda: {("v1", TOPIC, native("press", 1)), ("v2", "v1/0/v2/native", native("fix"))} <= set(edge.items())
    )


async def test_a_broker_that_is_away_is_waited_for(edge: Edge) -> None:
    bridge = await edge.up()
    edge.broker.kill()
    assert await until(lambda: not edge.listens())
    assert not bridge.healthy()
    await asyncio.to_thread(edge.broker.start)
    assert await until(edge.listens)
    device = await edge.device()
    await asyncio.to_thread(device.said, b"1")
    assert await until(lambda: edge.kept() == [b"1"])


async def test_the_stage_forwards_and_its_ticks_say_how_the_session_is(edge: Edge) -> None:
    """From a device's certificate to `rahdar.raw`, by settings alone."""
    issued = edge.broker.directory / "issued" / "{shard}"
    settings = Settings(
        log_url=f"log://{edge.directory}/log",
        mqtt_url=f"mqtts://localhost:{edge.broker.port}",
        mqtt_tls_cert_file=issued / "device.pem",
        mqtt_tls_key_file=issued / "device.key",
        mqtt_tls_ca_file=edge.broker.directory / "ca.pem",
        partitions=1,
        var=edge.directory / "var",
        tick_s=0.1,
        plan=edge.directory,
    )
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    stop = asyncio.Event()
    running = asyncio.ensure_future(run_ingest(settings, plan(), WallClock(), stop))

    async def raw() -> list[RawBatch]:
        return [decode_raw(value or b"") async for _, _, value in read_topic(settings.log_url, topics.RAW.name, 0)]

    async def seen(what: Callable[[list[RawBatch]], bool]) -> bool:
        async with asyncio.timeout(20):
            while not what(await raw()):  # noqa: ASYNC110  # a topic that is read from outside tells nobody
                await asyncio.sleep(0.05)
        return True

    def healthy(batches: list[RawBatch]) -> bool:
        return [tick.healthy for batch in batches for tick in batch.ticks][-1:] == [True]

    assert await seen(healthy)
    device = await edge.device()
    await asyncio.to_thread(device.said, b"1")
    assert await seen(
        lambda b: (
            [(i.login, i.topic, i.payload) for r in b for i in r.items if i.topic[0] != "$"] == [("v1", TOPIC, b"1")]
        )
    )
    edge.broker.kill()
    assert await seen(lambda batches: not healthy(batches))
    await asyncio.to_thread(edge.broker.start)
    assert await seen(healthy)
    stop.set()
    await running


async def test_each_shard_is_a_session_of_its_own(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "mqtt", shards=("0", "1", "owntracks"))
    async with edge_of(tmp_path, broker) as edge:
        bridge = await edge.up("?shards=0,owntracks")
        device = await edge.device()
        names = ["v1/0/v1/native", "v1/1/v1/native", "owntracks/v1/phone"]
        for topic in names:
            await asyncio.to_thread(device.said, b"x", topic)
        assert await until(lambda: len(edge.kept()) == 2)
        assert {topic for _, topic, _ in edge.items()} == {names[0], names[2]}
        assert bridge.counts["connects"] == 2


async def test_qos_0_retained_and_empty_are_counted_and_not_kept(edge: Edge) -> None:
    bridge = await edge.up()
    device = await edge.device()
    device.say(b"x", qos=0)
    device.say(b"")
    await asyncio.to_thread(device.said, b"kept")
    assert await until(lambda: edge.kept() == [b"kept"])
    assert (bridge.counts["ignored:qos0"], bridge.counts["ignored:empty"]) == (1, 1)
    retained = await edge.device("v2")
    await asyncio.to_thread(retained.gone.wait, 0)
    retained.say(b"x", "v1/0/v2/native", retain=True)
    assert await until(retained.gone.is_set)  # the broker refuses it
    assert edge.kept() == [b"kept"]


# ---- who gets in, and as whom -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    ["v1/0/v2/native", "v1/0/v1/down", "v1/0/v1/unheard", "owntracks/v2/phone", "$SYS/x", "a", "v1/0/v1/native/x/y"],
)
async def test_nobody_speaks_for_others(edge: Edge, topic: str) -> None:
    await edge.up()
    device = await edge.device()
    reason = await asyncio.to_thread(device.said, b"x", topic)
    assert reason is None or reason.is_failure
    other = await edge.device("v2")
    assert not (await asyncio.to_thread(other.said, b"good", "v1/0/v2/native")).is_failure
    assert await until(lambda: edge.kept() == [b"good"])


async def test_a_certificate_says_who_it_is_whatever_the_client_says(edge: Edge) -> None:
    """User name and client id are overridden: neither another's topics nor the bridge's session are to be had."""
    bridge = await edge.up()
    forged = await edge.device("v2", certificate="v1", client_id="0")
    assert forged.let_in
    reason = await asyncio.to_thread(forged.said, b"x", "v1/0/v2/native")
    assert reason is None or reason.is_failure
    honest = await edge.device("v2", certificate="v1", client_id="0")
    assert not (await asyncio.to_thread(honest.said, b"1")).is_failure
    assert await until(lambda: edge.kept() == [b"1"])
    assert bridge.counts["connects"] == 2


async def test_without_certificate_or_password_nobody_comes_in(edge: Edge) -> None:
    await edge.up()
    assert not (await edge.device("v1", certificate=None)).let_in
    assert not (await edge.device("v1", password="wrong")).let_in
    assert not (await edge.device("nobody", password=PASSWORDS["v1"])).let_in
    stranger = Mosquitto(edge.directory / "other")  # another authority, the same names
    context = edge.broker.context(None)
    context.load_cert_chain(*stranger.certificate("v1"))
    assert not (await edge.device("v1", certificate=None, context=context)).let_in


async def test_our_authority_signs_no_name_with_a_slash(edge: Edge) -> None:
    for name in ("v1/+", "a/native", "", "x" * 33, "v1#", "ÿ"):
        with pytest.raises(AuthorityError):
            edge.broker.devices.authority.issue(name)


async def test_a_name_with_a_slash_that_got_in_all_the_same_speaks_for_nobody(edge: Edge, tmp_path: Path) -> None:
    """Mosquitto's pattern takes it for a topic level more; the bridge knows no such topic."""
    bridge = await edge.up()
    other = await edge.device("v1")
    with (edge.broker.directory / "passwords").open("a") as file:
        file.write(f"v1/native:{mosquitto_hash('x' * 20)}\n")
    edge.broker.kill(signal.SIGHUP)
    slash = await edge.device("v1/native", password="x" * 20)
    if slash.let_in:
        for topic in ("v1/0/v1/native/native", "v1/0/v1/native/nmea", "v1/0/v1/native/native/sub"):
            await asyncio.to_thread(slash.said, b"forged", topic)
    await asyncio.to_thread(other.said, b"good")
    assert await until(lambda: b"good" in edge.kept())
    assert edge.kept() == [b"good"]
    assert bridge.counts["messages"] - bridge.counts["ignored:topic"] == 1


async def test_one_hears_what_is_meant_for_one_and_nothing_else(edge: Edge) -> None:
    await edge.up()
    mine = await edge.device("v1")
    for wanted in ("v1/+/v1/down", "v1/+/v2/down", "#", "v1/0/v2/native", "$SYS/#"):
        mine.subscribed.clear()
        mine.paho.subscribe(wanted, 1)
        assert await until(mine.subscribed.is_set)
    other = await edge.device("v2")
    await asyncio.to_thread(other.said, b"secret", "v1/0/v2/native")
    notifier = await edge.device("rahdar-notify")
    await asyncio.to_thread(notifier.said, b"for v2", "v1/0/v2/down")
    await asyncio.to_thread(notifier.said, b"for v1", "v1/0/v1/down")
    assert await until(lambda: len(mine.heard) > 0)
    assert set(mine.heard) == {("v1/0/v1/down", b"for v1")}


async def test_what_is_too_large_is_refused_at_the_broker(edge: Edge) -> None:
    bridge = await edge.up()
    device = await edge.device()
    reason = await asyncio.to_thread(device.said, b"x" * 70_000)
    assert reason is None or reason.is_failure
    assert bridge.counts["messages"] == 0


@pytest.mark.parametrize("kind", ["certificate", "password"])
async def test_a_lost_device_is_cut_off_on_its_open_connection_and_does_not_come_back(edge: Edge, kind: Any) -> None:
    await edge.up()
    secret = edge.broker.devices.enrol("lost", kind)
    edge.broker.kill(signal.SIGHUP)
    assert secret is not None
    how: dict[str, Any] = {"password": secret.password} if secret.password else {"certificate": "lost"}
    lost, other = await edge.device("lost", **how), await edge.device("v1")
    assert lost.let_in and not (await asyncio.to_thread(lost.said, b"mine", "v1/0/lost/native")).is_failure
    began = asyncio.get_running_loop().time()
    edge.broker.devices.revoke("lost")
    edge.broker.kill(signal.SIGHUP)

    async def cut_off() -> bool:
        reason = await asyncio.to_thread(lost.said, b"thief", "v1/0/lost/native")
        return reason is None or reason.is_failure

    while not await cut_off():
        assert asyncio.get_running_loop().time() - began < 10
    assert not (await edge.device("lost", **how)).let_in
    kept = len([body for body in edge.kept() if body == b"thief"])
    assert not (await asyncio.to_thread(other.said, b"good")).is_failure  # nobody else notices
    assert await until(lambda: b"good" in edge.kept())
    assert len([body for body in edge.kept() if body == b"thief"]) == kept
    assert asyncio.get_running_loop().time() - began < 10


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mqtts://", "no host"),
        ("mqtts://a:b@h", "password"),
        ("mqtts://a@h", "login"),
        ("mqtts://h?shards=a/b", "no shard"),
        ("mqtts://h?shrads=1", "unknown"),
        ("mqtts://h:99999", "RAHDAR_MQTT_URL"),
        ("http://h", "http"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_with_its_cause(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_address(url)


def test_an_address_says_where_and_which_shards() -> None:
    found = parse_address("mqtts://broker.example?shards=0,1")
    assert (found.host, found.port, found.tls, found.shards) == ("broker.example", 8883, True, ("0", "1"))
    assert parse_address("mqtt://[::1]:1999").shards == ("0", "owntracks")

"""The embedded broker with real clients: who comes in, what they may do, and what an acknowledgement means."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.local import free_port
from pipeline.clock import WallClock
from pipeline.ingest.authority import write_private
from pipeline.ingest.broker import EmbeddedBroker, Tls
from pipeline.ingest.credentials import Verifier, read_credentials, write_machine_credentials
from pipeline.ingest.devices import Devices
from pipeline.ingest.spool import Spool, records
from tests import waiting

PASSWORDS = {"v1": "one-one-one-one-one", "v2": "two-two-two-two-two"}


class Bench:
    """A broker, its spool, and clients in threads."""

    def __init__(self, directory: Path, tls: Tls | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        write_machine_credentials(directory / "passwords", PASSWORDS)
        self.spool = Spool(directory / "spool", WallClock())
        verifier = Verifier(read_credentials(directory / "passwords"), directory / "passwords")
        self.broker = EmbeddedBroker("127.0.0.1", self.port, self.spool, verifier, tls)
        self.clients: list[paho.Client] = []

    def kept(self) -> list[tuple[str, str, bytes]]:
        out = []
        for path in sorted((self.directory / "spool").glob("*.spool")):
            out += [(i.login, i.topic, i.payload) for i, _ in records(path.read_bytes())]
        return [row for row in out if not row[1].startswith("$link/")]

    def client(
        self, login: str | None = "v1", password: str | None = None, client_id: str = "c", **more: Any
    ) -> Client:
        return Client(self, login, password or PASSWORDS.get(login or "", "wrong"), client_id, **more)


class Client:
    """paho with events instead of callbacks."""

    def __init__(
        self,
        bench: Bench,
        login: str | None,
        password: str,
        client_id: str,
        clean: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        bench.clients.append(self.paho)
        if login is not None:
            self.paho.username_pw_set(login, password)
        if tls is not None:
            self.paho.tls_set_context(tls)
        self.reason: Any = None
        self.connected, self.gone, self.acked = threading.Event(), threading.Event(), threading.Event()
        self.acks: list[int] = []
        self.granted: list[Any] = []
        self.subscribed = threading.Event()
        self.heard: list[tuple[str, bytes]] = []

        def on_connect(_c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            self.reason = reason
            self.connected.set()

        def on_subscribe(_c: Any, _u: Any, _m: Any, codes: Any, _p: Any) -> None:
            self.granted = codes
            self.subscribed.set()

        def on_publish(_c: Any, _u: Any, mid: int, _r: Any, _p: Any) -> None:
            self.acks.append(mid)
            self.acked.set()

        self.paho.on_connect = on_connect
        self.paho.on_subscribe = on_subscribe
        self.paho.on_publish = on_publish
        self.paho.on_disconnect = lambda *_: self.gone.set()
        self.paho.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload))
        self._port = bench.port

    async def come(self) -> Client:
        def connect() -> None:
            with contextlib.suppress(OSError):
                self.paho.connect("127.0.0.1", self._port, keepalive=30)
                self.paho.loop_start()

        await asyncio.to_thread(connect)
        return self

    async def on(self, event: threading.Event, within_s: float = 5.0) -> bool:
        return await asyncio.to_thread(event.wait, within_s)

    def say(self, payload: bytes, topic: str = "v1/0/v1/native", qos: int = 1, retain: bool = False) -> int:
        return self.paho.publish(topic, payload, qos, retain).mid


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(Bench(tmp_path)) as found:
        yield found


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    await bench.broker.start()
    try:
        yield bench
    finally:
        for client in bench.clients:
            await asyncio.to_thread(client.disconnect)
            await asyncio.to_thread(client.loop_stop)
        await bench.broker.shutdown()
        await bench.spool.close()


until = functools.partial(waiting.until, within_s=5.0)


async def test_an_acknowledged_message_is_on_disk(bench: Bench) -> None:
    client = await bench.client().come()
    mids = [client.say(b"%d" % n) for n in range(200)]
    assert await until(lambda: len(client.acks) == 200)
    assert client.acks == mids
    assert bench.kept() == [("v1", "v1/0/v1/native", b"%d" % n) for n in range(200)]


@pytest.mark.parametrize(("login", "password"), [("v1", "wrong"), ("nobody", "x"), (None, ""), ("v1/../v2", "x")])
async def test_nobody_comes_in_without_being_somebody(bench: Bench, login: str | None, password: str) -> None:
    client = await bench.client(login, password).come()
    assert await client.on(client.gone)
    assert client.reason is None or client.reason.is_failure
    assert bench.broker.counts["refused"] == 1


@pytest.mark.parametrize(
    "topic",
    ["v1/0/v2/native", "v1/0/v1/down", "v1/0/v1/unheard", "owntracks/v2/phone", "$SYS/x", "a", "v1/0/v1/native/x/y"],
)
async def test_nobody_speaks_for_others(bench: Bench, topic: str) -> None:
    client = await bench.client().come()
    await client.on(client.connected)
    client.say(b"x", topic)
    assert await client.on(client.gone)
    assert client.acks == [] and bench.kept() == []


@pytest.mark.parametrize(
    "topic",
    ["owntracks/v1/phone", "owntracks/v1/phone/event", "v1/ab/v1/receipt", "v1/0/v1/nmea", "v1/0/v1/native/sub1"],
)
async def test_ones_own_topics_are_open(bench: Bench, topic: str) -> None:
    client = await bench.client().come()
    client.say(b"x", topic)
    assert await client.on(client.acked)
    assert bench.kept() == [("v1", topic, b"x")]


async def test_one_hears_what_is_meant_for_one_and_nothing_else(bench: Bench) -> None:
    mine = await bench.client("v1", client_id="a").come()
    await mine.on(mine.connected)
    for wanted, granted in [
        ("v1/+/v1/down", False),
        ("v1/+/v2/down", True),
        ("#", True),
        ("v1/0/v2/native", True),
        ("$SYS/#", True),
    ]:
        mine.subscribed.clear()
        mine.paho.subscribe(wanted, 1)
        assert await mine.on(mine.subscribed)
        assert mine.granted[0].is_failure is granted, wanted
    other = await bench.client("v2", client_id="b").come()
    other.say(b"secret", "v1/0/v2/native")
    assert await other.on(other.acked)
    await bench.broker.internal_message_broadcast("v1/0/v1/down", b"for v1", 1)
    assert await until(lambda: mine.heard == [("v1/0/v1/down", b"for v1")])


async def test_what_is_too_large_ends_the_connection(bench: Bench) -> None:
    client = await bench.client().come()
    client.say(b"x" * 65_537)
    assert await client.on(client.gone)
    assert bench.broker.counts["closed:oversized"] == 1
    assert bench.kept() == []
    with socket.create_connection(("127.0.0.1", bench.port)) as raw:  # 256 MB announced: nobody waits for them
        raw.sendall(b"\x10\xff\xff\xff\x7f" + b"x" * 1000)
        raw.settimeout(5)
        assert await asyncio.to_thread(raw.recv, 1) == b""


async def test_qos_0_and_retained_telemetry_are_counted_and_not_kept(bench: Bench) -> None:
    client = await bench.client().come()
    client.say(b"x", qos=0)
    client.say(b"x", retain=True)
    client.say(b"")
    last = client.say(b"kept")
    assert await until(lambda: last in client.acks)
    assert bench.kept() == [("v1", "v1/0/v1/native", b"kept")]
    counts = bench.broker.counts
    assert (counts["ignored:qos0"], counts["ignored:retained"], counts["ignored:empty"], counts["messages"]) == (
        1,
        1,
        1,
        4,
    )


async def test_a_disk_that_is_slow_withholds_the_acknowledgement_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 9 of what loses data: amqtt gives up a message whose PUBACK takes over 5 s, or whose sender goes."""
    held = threading.Event()
    write = bench.spool._write

    def slow(data: bytes) -> None:
        held.wait(20)
        write(data)

    client = await bench.client().come()
    assert await client.on(client.connected)
    monkeypatch.setattr(bench.spool, "_write", slow)
    client.say(b"slow")
    await asyncio.sleep(5.5)  # the time after which it would be lost is what this test is about
    assert client.acks == []
    client.paho.disconnect()
    assert await client.on(client.gone)
    held.set()
    assert await until(lambda: bench.kept() == [("v1", "v1/0/v1/native", b"slow")])


async def test_without_room_on_disk_there_is_no_acknowledgement(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await bench.client().come()
    assert await client.on(client.connected)

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(bench.spool, "_write", full)
        client.say(b"x")
        assert await client.on(client.gone)
        assert client.acks == []
    again = await bench.client(client_id="c2").come()
    again.say(b"x")
    assert await again.on(again.acked)
    assert bench.kept() == [("v1", "v1/0/v1/native", b"x")]


async def test_client_ids_are_kept_apart_by_login(bench: Bench) -> None:
    """Nobody takes over another one's session by its name; one's own is taken over."""
    one = await bench.client("v1", client_id="same").come()
    two = await bench.client("v2", client_id="same").come()
    one.say(b"1")
    two.say(b"2", "v1/0/v2/native")
    assert await one.on(one.acked) and await two.on(two.acked)
    again = await bench.client("v1", client_id="same").come()
    assert await one.on(one.gone)
    again.say(b"3")
    assert await again.on(again.acked)


async def test_a_last_will_is_a_message_and_links_are_told(bench: Bench) -> None:
    client = bench.client()
    client.paho.will_set("owntracks/v1/phone", b'{"_type":"lwt","tst":1}', 1)
    await client.come()
    assert await client.on(client.connected)
    sock = client.paho.socket()
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)
    assert await until(lambda: bench.kept() == [("v1", "owntracks/v1/phone", b'{"_type":"lwt","tst":1}')])

    def links() -> list[bytes]:
        paths = sorted((bench.directory / "spool").glob("*.spool"))
        return [i.payload for p in paths for i, _ in records(p.read_bytes()) if i.topic == "$link/v1"]

    assert await until(lambda: links() == [b"online", b"offline"])


async def test_an_sos_passes_its_own_devices_flood(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.broker.intake.per_s, bench.broker.intake.burst = 10.0, 50.0
    client = await bench.client().come()
    flood = [client.say(b'{"kind":"fix","vehicle":"v1","seq":%d}' % n) for n in range(500)]
    sos = b'{"kind":"press","subject":"v1","what":"sos"}'
    mid = client.say(sos)
    assert await until(lambda: mid in client.acks and len(client.acks) == len(flood) + 1)
    bodies = [payload for _, _, payload in bench.kept()]
    assert sos in bodies and len(bodies) < 200


async def test_a_lost_phone_is_cut_off_and_nobody_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingest.broker.REREAD_S", 0.05)
    lost, other = await bench.client("v1").come(), await bench.client("v2").come()
    assert await lost.on(lost.connected) and await other.on(other.connected)
    lines = (bench.directory / "passwords").read_text()
    (bench.directory / "passwords").write_text("a slip of the pen\n")  # changes nothing
    await asyncio.sleep(0.3)
    assert not lost.gone.is_set()
    write_private(bench.directory / "passwords", "".join(x for x in lines.splitlines(True) if not x.startswith("v1:")))
    assert await lost.on(lost.gone)
    assert bench.broker.counts["closed:revoked"] == 1
    again = await bench.client("v1", client_id="again").come()
    assert await again.on(again.gone)
    assert again.reason is None or again.reason.is_failure
    other.say(b"x", "v1/0/v2/native")
    assert await other.on(other.acked)


# ---- certificates -------------------------------------------------------------------------------------------------------


def certificate(
    directory: Path, name: str, issuer: tuple[x509.Certificate, Any] | None = None
) -> tuple[Path, Path, x509.Certificate, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=36_500))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    file = name.replace("/", "_")
    cert_path, key_path = directory / f"{file}.pem", directory / f"{file}.key"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path, made, key


async def test_with_a_ca_the_certificate_says_who_it_is(tmp_path: Path) -> None:
    ca_path, _, ca, ca_key = certificate(tmp_path, "ca")
    server_cert, server_key, _, _ = certificate(tmp_path, "server", (ca, ca_key))
    async with running(Bench(tmp_path, Tls(server_cert, server_key, ca_path))) as bench:

        def context(name: str | None) -> ssl.SSLContext:
            made = ssl.create_default_context(cafile=str(ca_path))
            made.check_hostname = False
            if name:
                cert, key, _, _ = certificate(tmp_path, name, (ca, ca_key))
                made.load_cert_chain(cert, key)
            return made

        forged = bench.client("v2", tls=context("v1"))  # the user name is overridden by the certificate
        await forged.come()
        forged.say(b"mine", "v1/0/v1/native")
        assert await forged.on(forged.acked)
        assert bench.kept() == [("v1", "v1/0/v1/native", b"mine")]
        for name in (None, "v1/+"):
            stranger = bench.client("v1", client_id="s", tls=context(name))
            await stranger.come()
            await stranger.on(stranger.gone, 2)
            assert stranger.reason is None or stranger.reason.is_failure


async def test_a_revoked_certificate_is_cut_off_and_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `rahdar device` makes is what the embedded broker reads."""
    monkeypatch.setattr("pipeline.ingest.broker.REREAD_S", 0.05)
    devices = Devices(tmp_path / "mqtt", WallClock())
    devices.setup(["localhost"])
    for login in ("v1", "v2"):
        devices.enrol(login, "certificate")
    d = devices.directory
    tls = Tls(d / "server.pem", d / "server.key", d / "ca.pem", d / "crl.pem")
    async with running(Bench(tmp_path, tls)) as bench:

        def context(login: str) -> ssl.SSLContext:
            made = ssl.create_default_context(cafile=str(d / "ca.pem"))
            made.check_hostname = False
            made.load_cert_chain(d / "issued" / login / "device.pem", d / "issued" / login / "device.key")
            return made

        lost, other = bench.client("v1", tls=context("v1")), bench.client("v2", tls=context("v2"))
        for client in (lost, other):
            await client.come()
            assert await client.on(client.connected)
        devices.revoke("v1")
        assert await lost.on(lost.gone)
        again = bench.client("v1", client_id="again", tls=context("v1"))
        await again.come()
        assert await again.on(again.gone)
        assert again.reason is None or again.reason.is_failure
        other.say(b"x", "v1/0/v2/native")
        assert await other.on(other.acked)

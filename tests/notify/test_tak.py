"""Cursor-on-Target to a server over TCP and TLS: where vehicles are, and alerts repeated until a person answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from pipeline.clock import SetClock, WallClock
from pipeline.ingest.authority import DEVICE_DAYS, SERVER_DAYS, Authority, utc, write_private
from pipeline.model.alert import Alert, AlertEvent
from pipeline.notify import tak as tak_module
from pipeline.notify.cot import Picture, Place, alert_event, position
from pipeline.notify.tak import Tak, parse_tak
from pipeline.tls import client_context
from tests.alert.builders import alert, at, sos
from tests.detect.plans import plan
from tests.notify.servers import Tcp
from tests.waiting import until

SOS = alert(sos(), lat=35.1, lon=73.0, text="SOS from v1 <b>\x00.")


def event(of: Alert, seq: int, transition: Any = "opened") -> AlertEvent:
    return AlertEvent(version=1, seq=seq, at_us=at(1), transition=transition, reason="", actor="policy", alert=of)


def read(text: str | bytes) -> ET.Element:
    return ET.fromstring(text)  # our own


def test_a_position_says_who_where_and_until_when() -> None:
    found = read(position(plan(), "v1", Place(35.1, 73.0, at(1), 12.0, 80.0, 8.0), at(1)))
    assert (found.get("uid"), found.get("type")) == ("rahdar.v1", "a-f-G-E-V")
    assert found.find("point").attrib["lat"] == "35.100000" and found.find("detail/track").get("speed") == "12.0"  # type: ignore[union-attr]
    assert (found.get("stale") or "") > (found.get("time") or "") > "2026"


def test_an_alert_is_an_emergency_and_then_its_end() -> None:
    begun = read(alert_event(plan(), SOS, at(1)) or b"")
    over = read(alert_event(plan(), SOS, at(2), cancel=True) or b"")
    assert begun.get("uid") == over.get("uid") and begun.get("type") == "b-a-o-tbl" and over.get("type") == "b-a-o-can"
    assert over.find("detail/emergency").get("cancel") == "true"  # type: ignore[union-attr]


def test_what_has_no_place_is_nothing() -> None:
    assert alert_event(plan(), alert(sos(), lat=None, lon=None), at(1)) is None


@pytest.mark.parametrize(
    ("state", "stands"),
    [({}, True), ({"acknowledged_at_us": 5}, False), ({"closed_at_us": 5}, False), ({"retracted": True}, False), ({"severity": "low"}, False), ({"evidence": {"what": "duress"}}, False)],
)  # fmt: skip
def test_which_alerts_are_shown(state: dict[str, Any], stands: bool) -> None:
    picture = Picture(plan())
    picture.hear(event(alert(sos(), lat=35.1, lon=73.0, **state), 1))
    assert bool(picture.standing(at(1))) is stands


def test_the_same_event_again_changes_nothing() -> None:
    picture = Picture(plan())
    picture.hear(event(SOS, 1))
    picture.hear(event(alert(sos(), lat=35.1, lon=73.0, acknowledged_at_us=5), 2, "acknowledged"))
    picture.hear(event(SOS, 1))
    assert picture.standing(at(1)) == []


@pytest.mark.parametrize("url", ["", "http://x:1", "tcp://x", "tcp://:8087", "x:8087"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="RAHDAR_TAK_URL"):
        parse_tak(url)


@asynccontextmanager
async def watching(
    server: Tcp, picture: Picture, tls: ssl.SSLContext | None = None, server_name: str | None = None
) -> AsyncIterator[Tak]:
    scheme = "tcp" if tls is None else "tls"
    tak = Tak(f"{scheme}://127.0.0.1:{server.port}", picture, SetClock(at(1)).now_us, tls, server_name)
    running = asyncio.ensure_future(tak.run())
    try:
        yield tak
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def kinds(server: Tcp) -> list[str]:
    return [read(e).get("type") or "" for e in server.events]


async def test_an_alert_is_repeated_until_somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tak_module, "NEWS_S", 0.02)
    monkeypatch.setattr(tak_module, "STANDING_S", 0.05)
    server, picture = Tcp(), Picture(plan())
    await server.start()
    async with watching(server, picture) as tak:
        picture.see("v1", Place(35.1, 73.0, at(1)))
        picture.hear(event(SOS, 1))
        tak.wake()
        assert await until(lambda: kinds(server).count("b-a-o-tbl") >= 3 and "a-f-G-E-V" in kinds(server))
        picture.hear(event(alert(sos(), lat=35.1, lon=73.0, acknowledged_at_us=5), 2, "acknowledged"))
        tak.wake()
        assert await until(lambda: "b-a-o-can" in kinds(server))
        count = kinds(server).count("b-a-o-tbl")
        picture.see("v1", Place(35.2, 73.0, at(2)))
        assert await until(lambda: kinds(server).count("a-f-G-E-V") >= 2)
        assert kinds(server).count("b-a-o-tbl") == count
    await server.stop()


async def test_a_server_that_was_killed_is_told_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tak_module, "NEWS_S", 0.02)
    monkeypatch.setattr(tak_module, "RETRY_S", (0.05, 0.1))
    server, picture = Tcp(), Picture(plan())
    await server.start()
    async with watching(server, picture) as tak:
        picture.see("v1", Place(35.1, 73.0, at(1)))
        picture.hear(event(SOS, 1))
        tak.wake()
        assert await until(lambda: "b-a-o-tbl" in kinds(server))
        await server.stop()
        assert await until(lambda: not tak.connected)
        server.raw = b""
        await server.start()
        assert await until(lambda: {"b-a-o-tbl", "a-f-G-E-V"} <= set(kinds(server)))
    await server.stop()


# ---- over TLS, as in the field: the server wants a certificate of ours -----------------------------------------------------

NOW = utc(WallClock().now_us())
LONG_AGO = NOW - timedelta(days=SERVER_DAYS + DEVICE_DAYS)


class Papers:
    """Two authorities, and what they have signed: ours, and a stranger's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ours, self.strange = directory / "ours", directory / "strange"
        for each in (self.ours, self.strange):
            each.mkdir()
            Authority(each, LONG_AGO).create()

    def client(self, by: Path, when: datetime = NOW, password: bytes | None = None) -> Path:
        """Certificate and key in one file."""
        issued = Authority(by, when).issue("rahdar")
        key = issued.key_pem
        if password is not None:
            read = serialization.load_pem_private_key(key, None)
            kind = serialization.BestAvailableEncryption(password)
            key = read.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kind)
        return self._kept("client.pem", issued.certificate_pem + key)

    def server(self, by: Path, when: datetime = NOW, host: str = "127.0.0.1") -> ssl.SSLContext:
        issued = Authority(by, when).issue_server([host])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ours / "ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._kept("server.pem", issued.certificate_pem + issued.key_pem))
        return context

    def _kept(self, name: str, content: bytes) -> Path:
        write_private(self.directory / name, content)
        return self.directory / name


class TlsServer(Tcp):
    """With OpenSSL's own sockets: asyncio's server says nothing when it refuses somebody."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> TlsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        """One after the other."""
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secure:
                while data := secure.recv(65_536):
                    self.raw += data


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


async def refused(listens: ssl.SSLContext, tls: ssl.SSLContext) -> str:
    """Why we are not connected. Nothing of ours got there."""
    picture = Picture(plan())
    picture.see("v1", Place(35.1, 73.0, at(1)))
    with TlsServer(listens) as server:
        async with watching(server, picture, tls) as tak:
            assert await until(lambda: tak.fault)
            assert not tak.connected
        assert server.raw == b""
    return tak.fault


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_has_ours_and_sees_everything(
    papers: Papers, version: ssl.TLSVersion
) -> None:
    picture = Picture(plan())
    listens = papers.server(papers.ours, host="tak.example")
    listens.maximum_version = version
    tls = client_context(papers.ours / "ca.pem", papers.client(papers.ours, password=b"atakatak"), None, "atakatak")
    picture.see("v1", Place(35.1, 73.0, at(1)))
    picture.hear(event(SOS, 1))
    with TlsServer(listens) as server:
        async with watching(server, picture, tls, "tak.example") as tak:
            assert await until(lambda: {"b-a-o-tbl", "a-f-G-E-V"} <= set(kinds(server)))
            assert tak.connected and tak.fault == ""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("ours", "why"),
    [("none", "RAHDAR_TAK_CERT_FILE"), ("expired", "has expired"), ("a stranger's", "does not know who signed our certificate")],
)  # fmt: skip
async def test_a_server_that_refuses_us_is_quoted(papers: Papers, version: ssl.TLSVersion, ours: str, why: str) -> None:
    listens = papers.server(papers.ours)
    listens.maximum_version = version
    certificate = {
        "none": lambda: None,
        "expired": lambda: papers.client(papers.ours, LONG_AGO),
        "a stranger's": lambda: papers.client(papers.strange),
    }[ours]()
    assert why in await refused(listens, client_context(papers.ours / "ca.pem", certificate))


@pytest.mark.parametrize(
    ("its", "why"),
    [
        ("a stranger's", "RAHDAR_TAK_CA_FILE does not have the authority"),
        ("expired", "it has expired"),
        ("another's", "RAHDAR_TAK_SERVER_NAME"),
    ],
)
async def test_a_server_that_is_not_ours_is_refused(papers: Papers, its: str, why: str) -> None:
    listens = {
        "a stranger's": lambda: papers.server(papers.strange),
        "expired": lambda: papers.server(papers.ours, LONG_AGO),
        "another's": lambda: papers.server(papers.ours, host="tak.example"),
    }[its]()
    assert why in await refused(listens, client_context(papers.ours / "ca.pem", papers.client(papers.ours)))


def test_an_encrypted_key_asks_nobody_at_the_terminal(papers: Papers) -> None:
    file = papers.client(papers.ours, password=b"atakatak")
    with pytest.raises(ValueError, match="encrypted"):
        client_context(None, file)
    with pytest.raises(ssl.SSLError):
        client_context(None, file, None, "wrong")


def test_certificates_are_not_for_a_connection_that_is_open_to_all(papers: Papers) -> None:
    tls = client_context(papers.ours / "ca.pem", papers.client(papers.ours))
    with pytest.raises(ValueError, match="give tls://"):
        Tak("tcp://127.0.0.1:8089", Picture(plan()), SetClock(at(1)).now_us, tls)

"""nginx as it is deployed, in front of the real desk, and of a server that stands where Grafana would: none can be had here."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pipeline.desk.server import DeskServer
from pipeline.desk.web import create_app
from pipeline.people.lockout import Lockout
from tests.deploy.nginx import Nginx
from tests.desk.conftest import PASSWORD, Desk

WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Stranger:
    """A server in Grafana's place: says what it was asked, and keeps a websocket open that returns what it is sent."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        if headers.get("upgrade") == "websocket":
            key = hashlib.sha1((headers["sec-websocket-key"] + WEBSOCKET).encode()).digest()
            accept = base64.b64encode(key).decode()
            writer.write(
                f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()
        else:
            body = json.dumps({"request": lines[0], "headers": headers}).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nServer: stranger\r\nX-Frame-Options: deny\r\nX-Content-Type-Options: nosniff\r\n"
                b"Connection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
        writer.close()


class Front:
    """The desk, the stranger, nginx, and a browser."""

    def __init__(self, desk: Desk, grafana: Stranger, nginx: Nginx) -> None:
        self.desk, self.grafana, self.nginx = desk, grafana, nginx
        self.web = httpx.AsyncClient(base_url=nginx.url, verify=nginx.context())

    async def enter(self) -> dict[str, str]:
        token = self.desk.s.sessions.make_link("amina", "operator", 60)
        assert (await self.web.post("/enter", data={"token": token})).status_code == 303
        csrf = (await self.web.get("/api/session")).json()["csrf"]
        return {"X-CSRF-Token": csrf, "Idempotency-Key": "key-00000001"}


@pytest.fixture
async def front(desk: Desk, tmp_path: Path) -> AsyncIterator[Front]:
    desk.s.secure = True  # as by RAHDAR_DESK_URL=https://...
    server = DeskServer(create_app(desk.s), desk.s, "http://127.0.0.1:0")
    grafana = Stranger()
    await grafana.start()
    nginx = Nginx(tmp_path / "nginx", await server.start(), grafana.port)
    await asyncio.to_thread(nginx.start)
    made = Front(desk, grafana, nginx)
    try:
        yield made
    finally:
        await made.web.aclose()
        await asyncio.to_thread(nginx.stop)
        await grafana.stop()
        await server.stop()


async def test_plain_http_leads_to_https_and_health_is_plain(front: Front) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{front.nginx.plain_port}") as web:
        sent = await web.get("/api/session?x=1")
        assert (sent.status_code, sent.headers["location"]) == (301, "https://127.0.0.1/api/session?x=1")
        assert (await web.get("/healthz")).status_code == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_tls_is_new_enough(front: Front, version: ssl.TLSVersion) -> None:
    context = front.nginx.context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    opening = asyncio.open_connection("127.0.0.1", front.nginx.port, ssl=context, server_hostname="localhost")
    if version == ssl.TLSVersion.TLSv1_1:
        with pytest.raises(ssl.SSLError):
            await opening
        return
    _, writer = await opening
    writer.close()


async def test_the_desk_through_it_log_in_and_act(front: Front) -> None:
    """The cookie is a secure one, the form's origin is taken for our own, and what a person does arrives."""
    front.desk.alert()
    front.desk.s.operators.put("amina", "operator", PASSWORD)
    form = {"name": "amina", "password": PASSWORD}
    foreign = await front.web.post("/login", data=form, headers={"Origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    entered = await front.web.post("/login", data=form, headers={"Origin": front.nginx.url})
    assert entered.status_code == 303
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("__Host-rahdar=")
    assert "Secure" in cookie
    csrf = (await front.web.get("/api/session")).json()["csrf"]
    headers = {"X-CSRF-Token": csrf, "Idempotency-Key": "key-00000001", "Origin": front.nginx.url}
    done = await front.web.post("/api/alerts/a1/acknowledge", json={}, headers=headers)
    assert done.status_code == 200, done.text
    assert [c.alert_id for c in front.desk.log.commands] == ["a1"]


@pytest.mark.parametrize("path", ["/login", "/api/session", "/static/icon.svg", "/nothing", "/grafana/d/x"])
async def test_every_answer_carries_each_header_once(front: Front, path: str) -> None:
    answer = await front.web.get(path)
    for name in ("strict-transport-security", "x-content-type-options", "referrer-policy", "x-frame-options"):
        assert len(answer.headers.get_list(name)) == 1, name
    assert answer.headers["server"] == "nginx"
    if not path.startswith("/grafana"):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_events_come_at_once_and_not_when_a_buffer_is_full(front: Front) -> None:
    await front.enter()
    async with front.web.stream("GET", "/api/events", timeout=10) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        async with asyncio.timeout(5):
            while "snapshot" not in await anext(lines):
                pass
        front.desk.alert("a7", seq=7)  # a few hundred bytes: any buffer would keep them
        async with asyncio.timeout(5):
            while '"a7"' not in await anext(lines):
                pass


async def test_a_large_body_is_refused_before_the_desk(front: Front) -> None:
    headers = await front.enter()
    sent = await front.web.post("/api/alerts/a1/note", content=b"x" * 300_000, headers=headers)
    assert sent.status_code == 413


async def test_the_desk_knows_the_real_address_whatever_the_client_says(front: Front) -> None:
    """Attempts from another address do not lock this one out, and nobody shakes off their own by a header."""
    front.desk.s.operators.put("amina", "operator", PASSWORD)
    other = httpx.AsyncHTTPTransport(verify=front.nginx.context(), local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=front.nginx.url, transport=other) as bad:
        for number in range(Lockout.FREE):
            lie = {"X-Forwarded-For": f"10.0.0.{number}"}
            assert (await bad.post("/login", data={"name": "amina", "password": "no"}, headers=lie)).status_code == 401
        locked = await bad.post("/login", data={"name": "amina", "password": PASSWORD})
        assert locked.status_code == 429
    assert (await front.web.post("/login", data={"name": "amina", "password": PASSWORD})).status_code == 303


async def test_guesses_are_slowed_down_before_they_are_hashed(front: Front) -> None:
    answers = [
        (await front.web.post("/login", data={"name": f"n{n}", "password": "no"}, headers={})).status_code
        for n in range(14)
    ]
    assert answers[:10] == [401] * 10
    assert answers[-1] == 429
    assert (await front.web.get("/login")).status_code == 200, "looking is not slowed down"


async def test_grafana_is_on_the_same_origin_and_never_sees_the_desks_session(front: Front) -> None:
    await front.enter()
    front.web.cookies.set("grafana_session", "g", domain="localhost.local", path="/grafana")
    seen = (await front.web.get("/grafana/d/rahdar-overview?kiosk", headers={"X-Forwarded-For": "6.6.6.6"})).json()
    assert seen["request"] == "GET /grafana/d/rahdar-overview?kiosk HTTP/1.1"
    assert seen["headers"]["host"] == f"localhost:{front.nginx.port}"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "https"
    for path in ("/grafana/", "/grafana/api/live/ws", "/grafana/d/x"):
        cookies = {"Cookie": "a=1; __Host-rahdar=secret; grafana_session=g"}
        seen = (await front.web.get(path, headers=cookies)).json()
        assert "secret" not in json.dumps(seen)
        assert seen["headers"]["cookie"] == "a=1; grafana_session=g"


async def test_a_dashboards_link_to_an_alert_comes_to_the_desk(front: Front) -> None:
    """Grafana puts its own path before a link that begins with a slash."""
    sent = await front.web.get("/grafana/?alert=a1-b2")
    assert (sent.status_code, sent.headers["location"]) == (302, "/?alert=a1-b2")


async def test_grafanas_websocket(front: Front) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", front.nginx.port, ssl=front.nginx.context(), server_hostname="localhost"
    )
    writer.write(
        b"GET /grafana/api/live/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        writer.write(b"ping over it")
        assert await reader.readexactly(12) == b"ping over it"
    writer.close()


async def test_grafana_away_is_its_own_misfortune(front: Front) -> None:
    await front.grafana.stop()
    assert (await front.web.get("/grafana/d/x")).status_code == 502
    assert (await front.web.get("/login")).status_code == 200


async def test_a_token_in_a_link_is_in_no_log(front: Front) -> None:
    token = front.desk.s.sessions.make_link("amina", "operator", 60)
    assert (await front.web.get("/enter", params={"token": token})).status_code == 200
    assert (await front.web.get("/login", params={"secret": "hidden-word"})).status_code == 200
    await asyncio.to_thread(front.nginx.stop)  # what it had to say is written
    said = front.nginx.log("access.log") + front.nginx.log("error.log") + front.nginx.log("output.txt")
    assert "/login" in said
    assert token not in said
    assert "hidden-word" not in said


async def test_tiles(front: Front) -> None:
    folder = front.nginx.directory / "srv" / "tiles" / "3" / "5"
    folder.mkdir(parents=True)
    (folder / "2.png").write_bytes(b"\x89PNG")
    there = await front.web.get("/tiles/3/5/2.png")
    assert (there.status_code, there.headers["content-type"]) == (200, "image/png")
    assert (await front.web.get("/tiles/3/5/9.png")).status_code == 204

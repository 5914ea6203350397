"""Real servers of each protocol on loopback, that say what they are told to say and remember what they heard."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from agents.local import free_port


@dataclass
class Hook:
    """HTTP. `answer`: a status; `None`: the connection is cut after the request was read; `hang`: it never answers."""

    answer: int | None = 200
    hang: bool = False
    heard: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    port: int = 0
    on_heard: Callable[[dict[str, Any]], None] | None = None
    _runner: web.AppRunner | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{tail:.*}", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        self.port = self.port or free_port()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        self._over.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        if request.content_type == "application/json":
            self.heard.append(await request.json())
            self.at_s.append(asyncio.get_running_loop().time())
            if self.on_heard is not None:
                self.on_heard(self.heard[-1])
        if self.hang:
            await self._over.wait()
        if self.answer is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response(status=500)
        return web.Response(status=self.answer, text="{}")


@asynccontextmanager
async def hook(**how: Any) -> AsyncIterator[Hook]:
    made = Hook(**how)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


class Mail:
    """SMTP. `answer` is what it says to the recipient, `after` to the message."""

    def __init__(self, answer: str = "250 ok", after: str = "250 taken") -> None:
        self.answer, self.after = answer, after
        self.heard: list[tuple[str, str]] = []  # subject, body
        self.port = free_port()
        self._controller: Any = None

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.after.startswith("250"):
            found: Any = email.message_from_bytes(bytes(envelope.content or b""), policy=email.policy.default)
            self.heard.append((found["Subject"], found.get_body(("plain", "html")).get_content()))
        return self.after

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    @property
    def address(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=rahdar@example.org&to=amina@example.org&mode=insecure"


class Tcp:
    """A TAK server: it keeps every event that it is sent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.raw = b""
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self, tls: Any = None) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port, ssl=tls)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while data := await reader.read(65_536):
                self.raw += data
        except ConnectionError:
            return

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()
            await self._server.wait_closed()
            self._server = None

    @property
    def events(self) -> list[str]:
        return [
            part
            for part in self.raw.decode().split('<?xml version="1.0" encoding="UTF-8"?>')
            if part.endswith("</event>\n")
        ]

"""uvicorn inside somebody else's event loop: it takes no signals and ends with the feed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from pipeline.desk.services import Services

TICK_S = 1.0
"""As often as the Date of its answers changes."""


class _Quiet(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._over = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has its own: stages stop in order."""
        yield

    async def main_loop(self) -> None:
        """Uvicorn's would look ten times a second whether it should stop."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._over.wait()

    def end(self) -> None:
        self.should_exit = True
        self._over.set()


class DeskServer:
    """Listens where the desk's URL says. `start` returns when it does; port 0 takes a free one."""

    def __init__(self, app: FastAPI, services: Services, url: str) -> None:
        at = urlsplit(url)
        self._services = services
        config = uvicorn.Config(
            app,
            host=at.hostname or "127.0.0.1",
            port=(443 if at.scheme == "https" else 80) if at.port is None else at.port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            limit_concurrency=400,
            h11_max_incomplete_event_size=32 * 1024,
            ws="none",
        )
        self._server = _Quiet(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """The port. Raises OSError when it is taken."""
        self._task = asyncio.ensure_future(self._server.serve())
        while not self._server.started:
            if self._task.done():
                raise OSError(f"cannot listen on {self._server.config.host}:{self._server.config.port}")
            await asyncio.sleep(0.01)
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._services.feed.close()
        self._server.end()
        if self._task is not None:
            with contextlib.suppress(SystemExit):
                await self._task

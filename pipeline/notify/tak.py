"""The connection to a TAK server, TCP or TLS: `tcp://HOST:8087`, `tls://HOST:8089` with a client certificate. It is tried for ever.

What it was told before it went away it is told again: the whole picture is small, and a server that restarts knows nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from pipeline.notify.cot import Picture

log = logging.getLogger("rahdar.notify.tak")

NEWS_S = 1.0
STANDING_S = 10.0
RETRY_S = (0.5, 15.0)
DRAIN_S = 10.0


def parse_tak(url: str) -> tuple[str, int, bool]:
    """Host, port, TLS. Raises ValueError that names the setting."""
    parts = urlsplit(url)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
        raise ValueError(f"RAHDAR_TAK_URL is {url!r}; give tcp://HOST:PORT or tls://HOST:PORT")
    return parts.hostname, parts.port, parts.scheme == "tls"


class Tak:
    def __init__(
        self, url: str, picture: Picture, now_us: Callable[[], int], tls: ssl.SSLContext | None = None
    ) -> None:
        """Raises ValueError."""
        self.host, self.port, secure = parse_tak(url)
        self._tls = (tls or ssl.create_default_context()) if secure else None
        self._picture, self._now_us = picture, now_us
        self._woken = asyncio.Event()
        self.connected = False

    def wake(self) -> None:
        """An alert has changed: it does not wait for the next round."""
        self._woken.set()

    async def run(self) -> None:
        pause = RETRY_S[0]
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self._tls)
            except (OSError, ssl.SSLError) as error:
                log.warning("TAK server %s:%d: %s", self.host, self.port, error)
            else:
                self.connected, pause = True, RETRY_S[0]
                log.info("TAK server %s:%d: connected", self.host, self.port)
                await self._serve(reader, writer)
                self.connected = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, RETRY_S[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the connection ends. What the server sends (other people's positions) is read and dropped."""
        ended = asyncio.ensure_future(_drain(reader))
        self._picture.whole()
        standing_at = 0.0
        loop = asyncio.get_running_loop()
        try:
            while not ended.done():
                woken = self._woken.is_set()
                self._woken.clear()
                events = self._picture.news(self._now_us())
                if woken or loop.time() >= standing_at:
                    events += self._picture.standing(self._now_us())
                    standing_at = loop.time() + STANDING_S
                for event in events:
                    writer.write(event)
                async with asyncio.timeout(DRAIN_S):
                    await writer.drain()
                waiting = asyncio.ensure_future(self._woken.wait())
                await asyncio.wait({waiting, ended}, timeout=NEWS_S, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        except (OSError, TimeoutError) as error:
            log.warning("TAK server %s:%d: %s", self.host, self.port, error or "takes nothing more")
        finally:
            ended.cancel()
            writer.close()
            with suppress(OSError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()


async def _drain(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(65_536):
            pass

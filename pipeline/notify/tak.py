"""The connection to a TAK server, TCP or TLS: `tcp://HOST:8087`, `tls://HOST:8089` with a client certificate. It is tried for ever.

What it was told before it went away it is told again: the whole picture is small, and a server that restarts knows nothing.
A server that refuses our certificate says so (with TLS 1.3) only when the handshake is over for us: `fault` has its reason all the same.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pipeline.notify.cot import Picture
from pipeline.tls import client_context

log = logging.getLogger("rahdar.notify.tak")

NEWS_S = 1.0
STANDING_S = 10.0
RETRY_S = (0.5, 15.0)
DRAIN_S = 10.0
VERDICT_S = 0.5
"""So long a server has to refuse us before anything is written: a connection that is reset by what we write loses the reason."""

_ITS_CERTIFICATE = {
    10: "it has expired; the server needs a new one",
    18: "nobody signed it; RAHDAR_TAK_CA_FILE has to name it, or who signs it",
    19: "RAHDAR_TAK_CA_FILE does not have the authority that signed it",
    20: "RAHDAR_TAK_CA_FILE does not have the authority that signed it",
    21: "RAHDAR_TAK_CA_FILE does not have the authority that signed it",
    62: "it is for another name; call the server by it in RAHDAR_TAK_URL, or give it as RAHDAR_TAK_SERVER_NAME",
    64: "it is not for this address; give the name that it is for as RAHDAR_TAK_SERVER_NAME",
}
"""By X509_V_ERR_*: what is wrong with the server's."""
_OUR_CERTIFICATE = {
    "CERTIFICATE_REQUIRED": "it wants a certificate of ours; set RAHDAR_TAK_CERT_FILE",
    "CERTIFICATE_EXPIRED": "our certificate (RAHDAR_TAK_CERT_FILE) has expired; have a new one made",
    "CERTIFICATE_REVOKED": "our certificate (RAHDAR_TAK_CERT_FILE) has been revoked; have a new one made",
    "UNKNOWN_CA": "it does not know who signed our certificate (RAHDAR_TAK_CERT_FILE); have one made by its own authority",
    "BAD_CERTIFICATE": "it does not take our certificate, or wants one; see RAHDAR_TAK_CERT_FILE",
    "HANDSHAKE_FAILURE": "it does not take our certificate, or wants one; see RAHDAR_TAK_CERT_FILE",
    "CERTIFICATE_UNKNOWN": "it does not take our certificate (RAHDAR_TAK_CERT_FILE)",
}
"""By the alert that the server sends: what it has against ours."""


def parse_tak(url: str) -> tuple[str, int, bool]:
    """Host, port, TLS. Raises ValueError that names the setting."""
    parts = urlsplit(url)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
        raise ValueError(f"RAHDAR_TAK_URL is {url!r}; give tcp://HOST:PORT or tls://HOST:PORT")
    return parts.hostname, parts.port, parts.scheme == "tls"


def reason_of(error: OSError) -> str:
    """Why a connection failed, and what to do about it where that is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {_ITS_CERTIFICATE.get(error.verify_code, error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        said = error.reason or ""
        return next((why for alert, why in _OUR_CERTIFICATE.items() if said.endswith(f"ALERT_{alert}")), str(error))
    if isinstance(error, ConnectionResetError):
        return "it hangs up; with TLS that may be its word for a certificate of ours that it does not want, or misses"
    return str(error) or type(error).__name__


class Tak:
    def __init__(
        self, url: str, picture: Picture, now_us: Callable[[], int], tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:  # fmt: skip
        """`tls`: for `tls://`, and only for that. `server_name`: the one in its certificate, when that is not the host's. Raises ValueError."""
        self.host, self.port, secure = parse_tak(url)
        if not secure and (tls is not None or server_name is not None):
            raise ValueError(
                "RAHDAR_TAK_URL is tcp://, which is open to all, and RAHDAR_TAK_* asks for TLS; give tls://HOST:8089"
            )
        self._how: dict[str, Any] = (
            {"ssl": tls or client_context(None), "server_hostname": server_name} if secure else {}
        )
        self._picture, self._now_us = picture, now_us
        self._woken = asyncio.Event()
        self.connected = False
        self.fault = ""
        """Why it is not connected; "": it is, or nothing was tried."""

    def wake(self) -> None:
        """An alert has changed: it does not wait for the next round."""
        self._woken.set()

    async def run(self) -> None:
        pause = RETRY_S[0]
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self.fault = await self._once()
            self.connected = False
            log.warning("TAK server %s:%d: %s", self.host, self.port, self.fault)
            if loop.time() - began > RETRY_S[1]:
                pause = RETRY_S[0]  # it was no server that takes the call and hangs up
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, RETRY_S[1])

    async def _once(self) -> str:
        """Until the connection ends, or there is none. Returns why."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port, **self._how)
        except OSError as error:
            return reason_of(error)
        ended = asyncio.ensure_future(_drain(reader))
        try:
            if self._how:
                await asyncio.wait({ended}, timeout=VERDICT_S)
            if not ended.done():
                self.connected, self.fault = True, ""
                log.info("TAK server %s:%d: connected", self.host, self.port)
                await self._serve(writer, ended)
            return await ended
        except TimeoutError:
            return "it takes nothing more"
        except OSError as error:
            return ended.result() if ended.done() else reason_of(error)
        finally:
            ended.cancel()
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()

    async def _serve(self, writer: asyncio.StreamWriter, ended: asyncio.Future[str]) -> None:
        """Until the connection ends."""
        self._picture.whole()
        standing_at = 0.0
        loop = asyncio.get_running_loop()
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
            both: set[asyncio.Future[Any]] = {waiting, ended}
            await asyncio.wait(both, timeout=NEWS_S, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()


async def _drain(reader: asyncio.StreamReader) -> str:
    """What the server sends (other people's positions) is read and dropped. Returns why it ended."""
    try:
        while await reader.read(65_536):
            pass
    except OSError as error:
        return reason_of(error)
    return "it has ended the connection"

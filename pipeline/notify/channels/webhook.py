"""A signed POST of JSON to a machine that passes it on.

The address is the URL with the shared secret behind a `#`: `https://desk.example/hook#SECRET`. The receiver checks
`X-Rahdar-Signature: sha256=HMAC(SECRET, TIMESTAMP + "." + BODY)` and refuses an `X-Rahdar-Timestamp` older than five minutes;
`Idempotency-Key` is the same for every try of one telling. 2xx is the receipt. 408, 425, 429, 5xx: tried again. Anything else is permanent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urldefrag

import aiohttp
import orjson

from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Outcome, Passing, Permanent, Sent, Unknown

PASSING = frozenset({408, 425, 429, 500, 502, 503})
NOBODY_KNOWS = frozenset({504})
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookChannel:
    def __init__(self, now_s: Callable[[], int]) -> None:
        self._now_s = now_s

    async def send(self, address: str, letter: Letter) -> Outcome:
        try:
            url, secret = urldefrag(address)
        except ValueError:
            url = secret = ""
        if not url.startswith(("http://", "https://")) or not secret:
            return Permanent("the address is not https://HOST/PATH#SECRET")
        body = orjson.dumps(
            {
                "id": letter.id, "alert": letter.alert, "revision": letter.revision, "person": letter.person,
                "severity": letter.severity, "kind": letter.kind, "repeat": letter.repeat, "title": letter.title,
                "text": letter.short, "long": letter.long, "code": letter.code, "link": letter.link,
            }
        )  # fmt: skip
        stamp = str(self._now_s())
        headers = {
            "Content-Type": "application/json",
            "X-Rahdar-Timestamp": stamp,
            "X-Rahdar-Signature": signature(secret, stamp, body),
            "Idempotency-Key": letter.id,
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return _said(answer.status)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return Passing("cannot be reached")
        except (TimeoutError, asyncio.IncompleteReadError):
            return Unknown("no answer in time")
        except aiohttp.InvalidURL:
            return Permanent("the address is no URL")
        except (aiohttp.ClientError, OSError) as error:
            return Unknown(f"cut off: {type(error).__name__}")


def _said(status: int) -> Outcome:
    if 200 <= status < 300:
        return Sent(f"HTTP {status}")
    if status in NOBODY_KNOWS:
        return Unknown(f"HTTP {status}")
    return Passing(f"HTTP {status}") if status in PASSING else Permanent(f"HTTP {status}")

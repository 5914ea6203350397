"""Mail, SMS gateways, Telegram and a hundred others through Apprise: the address is one Apprise URL, and one person.

Apprise answers yes or no; why not stands only in its log. So its log is read while it sends: an HTTP status or an SMTP reply tells a
failure that passes (try again) from one that stays (another channel); a time-out after the connection stood is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Outcome, Passing, Permanent, Sent, Unknown

WITHIN_S = 20.0
_HTTP = re.compile(r"error=(\d{3})\b|\bHTTP (\d{3})\b")
_SMTP = re.compile(r"(?:^|[\s(:{'\"])([45]\d{2})(?=[\s,])")
_NOT_THERE = (
    "refused",
    "Name or service not known",
    "getaddrinfo",
    "No route",
    "unreachable",
    "Max retries",
    "NameResolution",
)
_SAID_NOTHING = (
    "timed out",
    "reset by peer",
    "unexpectedly closed",
    "Remote end closed",
    "Connection aborted",
    "Broken pipe",
)
_WRONG = ("Authentication", "credentials", "Unauthorized")


_said: ContextVar[list[str] | None] = ContextVar("said", default=None)
"""What Apprise logs for the call of this context. It sends on threads of its own, and takes the context along."""
MOST_LINES = 100


class _Ear(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said = _said.get()
        if said is not None and len(said) < MOST_LINES:
            said.append(record.getMessage()[:500])


_EAR = _Ear(logging.DEBUG)


def classified(said: str) -> Outcome:
    """What went wrong, from what Apprise logged."""
    codes = [int(a or b) for a, b in _HTTP.findall(said)]
    if codes:
        code = codes[-1]
        passing = code in (408, 425, 429) or code >= 500
        return Passing(f"HTTP {code}") if passing else Permanent(f"HTTP {code}")
    replies = [int(code) for code in _SMTP.findall(said)]
    if replies:
        return Permanent(f"SMTP {replies[-1]}") if replies[-1] >= 500 else Passing(f"SMTP {replies[-1]}")
    if any(word in said for word in _NOT_THERE):
        return Passing("cannot be reached")
    if any(word in said for word in _SAID_NOTHING):
        return Unknown("cut off")
    if any(word in said for word in _WRONG):
        return Permanent("the address's credentials are refused")
    return Unknown("it says no more than that it failed")


class AppriseChannel:
    def __init__(self, threads: int = 8) -> None:
        # a server that says nothing holds a thread for as long as Apprise waits: what is critical has threads of its own
        self._threads = {
            urgent: ThreadPoolExecutor(threads, "apprise-critical" if urgent else "apprise") for urgent in (True, False)
        }
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.DEBUG)  # the reasons are on that level; none of it goes anywhere but into our ear
        logger.propagate = False  # it would write addresses
        logger.addHandler(_EAR)  # which is there once, however often

    async def send(self, address: str, letter: Letter) -> Outcome:
        loop = asyncio.get_running_loop()
        threads = self._threads[letter.severity == "critical"]
        try:
            async with asyncio.timeout(WITHIN_S):
                return await loop.run_in_executor(threads, _send, address, letter)
        except TimeoutError:
            return Unknown("no answer in time")


def _send(address: str, letter: Letter) -> Outcome:
    import apprise  # here: whoever never sends by it does not load it

    sender = apprise.Apprise()
    if not sender.add(address):
        return Permanent("Apprise does not know such an address")
    said: list[str] = []
    token = _said.set(said)
    try:
        kinds = {"critical": apprise.NotifyType.FAILURE, "high": apprise.NotifyType.WARNING}
        kind = kinds.get(letter.severity, apprise.NotifyType.INFO)
        done = sender.notify(body=letter.long, title=letter.title, notify_type=kind)
    except Exception as error:  # noqa: BLE001  # a plugin's fault is this address's failure, not ours
        return Unknown(type(error).__name__)
    finally:
        _said.reset(token)
    return Sent("accepted") if done else classified("\n".join(said))

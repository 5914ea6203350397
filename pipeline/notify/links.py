"""What a message carries so that its reader can answer: a short-lived signed link, and a code to send back by SMS.

A link names one alert and one officer, ends after half an hour, and does nothing by itself: its page has one button.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

LINK_US = 30 * 60_000_000
CODE_DIGITS = 5
_MINUTE_US = 60_000_000
_SIGNATURE = 12
SECRET_FILE = "link-secret"  # noqa: S105  # a name of a file


def read_secret(path: Path) -> bytes:
    """The key that links and codes are signed with; made when there is none. Raises OSError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        made = secrets.token_bytes(32)
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    return made


def _sign(secret: bytes, what: bytes, size: int) -> bytes:
    return hmac.digest(secret, what, hashlib.sha256)[:size]


def _person(officer: str) -> bytes:
    return hashlib.blake2b(officer.encode(), digest_size=4).digest()


def link_token(secret: bytes, alert: str, officer: str, until_us: int) -> str | None:
    """None: this alert has no page (a digest)."""
    try:
        name = bytes.fromhex(alert)
    except ValueError:
        return None
    if len(name) != 8:
        return None
    body = name + _person(officer) + (until_us // _MINUTE_US).to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + _sign(secret, b"link" + body, _SIGNATURE)).decode().rstrip("=")


def read_link(secret: bytes, token: str, officers: Iterable[str], now_us: int) -> tuple[str, str] | None:
    """(alert, officer) of a link that is ours and still good."""
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    body, signature = data[:16], data[16:]
    if len(data) != 16 + _SIGNATURE or not hmac.compare_digest(signature, _sign(secret, b"link" + body, _SIGNATURE)):
        return None
    if int.from_bytes(body[12:], "big") * _MINUTE_US < now_us:
        return None
    officer = next((o for o in officers if _person(o) == body[8:12]), None)
    return None if officer is None else (body[:8].hex(), officer)


def reply_code(secret: bytes, alert: str, officer: str) -> str:
    """Five digits that only this officer was sent for this alert."""
    number = int.from_bytes(_sign(secret, b"code" + f"{alert}\0{officer}".encode(), 8), "big")
    return str(number % 10**CODE_DIGITS).zfill(CODE_DIGITS)

"""Passwords of devices: lines `login:argon2-hash`. Verified in a thread, and remembered, so that a storm of reconnects costs nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LOGIN = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
# The passwords that we make have 144 random bits: nobody guesses them, so the hash need not be slow for them.
_MACHINE = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


class CredentialsError(ValueError):
    """The passwords file cannot be used."""


def write_machine_credentials(path: Path, passwords: Mapping[str, str]) -> None:
    """Hashes of machine-made passwords (at least 128 random bits each), readable by us alone."""
    lines = [f"{login}:{_MACHINE.hash(password)}\n" for login, password in sorted(passwords.items())]
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text("".join(lines), encoding="utf-8")
    new.replace(path)


def read_credentials(path: Path) -> dict[str, str]:
    """login -> hash. Raises CredentialsError with the line, OSError."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        login, _, hashed = line.strip().partition(":")
        if not LOGIN.match(login) or not hashed.startswith("$argon2"):
            raise CredentialsError(f"{path}: line {number} is not login:argon2-hash")
        found[login] = hashed
    return found


class Verifier:
    """`None` as credentials lets nobody in by password."""

    def __init__(self, credentials: Mapping[str, str] | None) -> None:
        self._credentials = dict(credentials or {})
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}
        self._hasher = PasswordHasher()
        self._busy = asyncio.Semaphore(2)

    def _digest(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode(), hashlib.sha256)

    async def verify(self, login: str | None, password: str | None) -> bool:
        if login is None or password is None or not LOGIN.match(login) or len(password) > 256:
            return False
        hashed = self._credentials.get(login)
        if hashed is None:
            return False
        digest = self._digest(password)
        known = self._known.get(login)
        if known is not None and hmac.compare_digest(known, digest):
            return True
        async with self._busy:  # argon2 costs on purpose: a flood of guesses must not take the machine
            try:
                await asyncio.to_thread(self._hasher.verify, hashed, password)
            except (VerificationError, InvalidHashError):
                return False
        self._known[login] = digest
        return True

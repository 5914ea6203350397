"""Passwords of devices: lines `login:hash`, where the hash is argon2's or Mosquitto's own (`$7$`), so that one file serves both brokers.
Verified in a thread, and remembered, so that a storm of reconnects costs nothing."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

log = logging.getLogger("rahdar.broker")

LOGIN = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
# The passwords that we make have 144 random bits: nobody guesses them, so the hash need not be slow for them.
_MACHINE = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


# Mosquitto 2's form: PBKDF2 with SHA-512; rounds, salt, 64 bytes
_MOSQUITTO = re.compile(r"\$7\$([1-9][0-9]{0,6})\$([A-Za-z0-9+/]{1,128}={0,2})\$([A-Za-z0-9+/]{86}==)\Z")
_ROUNDS = 101  # mosquitto_passwd's own; see _MACHINE for why that is enough


class CredentialsError(ValueError):
    """The passwords file cannot be used."""


def write_machine_credentials(path: Path, passwords: Mapping[str, str]) -> None:
    """Hashes of machine-made passwords (at least 128 random bits each), readable by us alone."""
    lines = [f"{login}:{_MACHINE.hash(password)}\n" for login, password in sorted(passwords.items())]
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text("".join(lines), encoding="utf-8")
    new.replace(path)


def mosquitto_hash(password: str) -> str:
    """Of a machine-made password; Mosquitto and `Verifier` know it again."""
    salt = secrets.token_bytes(12)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


def _is_mosquitto(hashed: str, password: str) -> bool:
    found = _MOSQUITTO.match(hashed)
    if found is None:
        return False
    try:
        salt, wanted = base64.b64decode(found[2], validate=True), base64.b64decode(found[3], validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(hashlib.pbkdf2_hmac("sha512", password.encode(), salt, int(found[1])), wanted)


def read_credentials(path: Path) -> dict[str, str]:
    """login -> hash. Raises CredentialsError with the line, OSError."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        login, _, hashed = line.strip().partition(":")
        if not LOGIN.match(login) or not (hashed.startswith("$argon2") or _MOSQUITTO.match(hashed)):
            raise CredentialsError(
                f"{path}: line {number} is not login:hash, with a hash of argon2 or of mosquitto_passwd"
            )
        found[login] = hashed
    return found


class Verifier:
    """`None` as credentials lets nobody in by password. `path`: where they were read from, and are read again when it changes."""

    def __init__(self, credentials: Mapping[str, str] | None, path: Path | None = None) -> None:
        self._credentials = dict(credentials or {})
        self._path = path
        self._mark = _mark(path)
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}
        self._hasher = PasswordHasher()
        self._busy = asyncio.Semaphore(2)

    def _digest(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode(), hashlib.sha256)

    def refresh(self) -> set[str]:
        """Read the file again if it is another one; returns whose password is no longer what it was. A file that cannot be read
        changes nothing: a slip of the pen must not shut out the fleet."""
        mark = _mark(self._path)
        if self._path is None or mark == self._mark:
            return set()
        self._mark = mark
        try:
            new = read_credentials(self._path)
        except (OSError, UnicodeDecodeError, CredentialsError) as error:
            log.error("passwords stay as they were: %s", error)
            return set()
        changed = {login for login, hashed in self._credentials.items() if new.get(login) != hashed}
        self._credentials = new
        for login in changed:
            self._known.pop(login, None)
        return changed

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
                if hashed.startswith("$argon2"):
                    await asyncio.to_thread(self._hasher.verify, hashed, password)
                elif not await asyncio.to_thread(_is_mosquitto, hashed, password):
                    return False
            except (VerificationError, InvalidHashError):
                return False
        if self._credentials.get(login) != hashed:  # revoked while we looked
            return False
        self._known[login] = digest
        return True


def _mark(path: Path | None) -> tuple[int, int, int] | None:
    """Another file, or another content, has another mark."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found else None

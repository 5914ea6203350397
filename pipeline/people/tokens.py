"""Tokens for programs that ask the desk: named, scoped, with an end; on disk only as hashes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from pipeline.clock import Clock, WallClock
from pipeline.people.database import Regions, hash_token, open_database, read_regions, write_regions
from pipeline.people.roles import Role

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
LONGEST_DAYS = 400
TOUCH_US = 60 * SECOND_US  # how exactly the last use is known
ROLES_OF_TOKENS: tuple[Role, ...] = ("viewer", "operator", "supervisor")  # people look after people
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_FORM = re.compile(r"rahdar_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, secret_hash BLOB NOT NULL, role TEXT NOT NULL, regions TEXT NOT NULL,
  read_only INTEGER NOT NULL, made_by TEXT NOT NULL, made_us INTEGER NOT NULL, expires_us INTEGER NOT NULL,
  used_us INTEGER, used_from TEXT, revoked_us INTEGER) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS token_name ON token (name) WHERE revoked_us IS NULL;
"""
_COLUMNS = "id, name, role, regions, read_only, made_by, made_us, expires_us, used_us, used_from, revoked_us"


class TokenError(ValueError):
    """It cannot be made as asked; says why."""


@dataclass(frozen=True, slots=True)
class Token:
    id: str
    name: str
    role: str
    regions: Regions
    read_only: bool
    made_by: str
    made_us: int
    expires_us: int
    used_us: int | None
    used_from: str | None
    revoked_us: int | None

    def state(self, now_us: int) -> str:
        return "revoked" if self.revoked_us is not None else "expired" if self.expires_us <= now_us else "good"


class TokenStore:
    def __init__(self, path: Path | str = ":memory:", clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._db = open_database(path, _SCHEMA, power_cuts=True)  # what was revoked stays revoked

    def close(self) -> None:
        self._db.close()

    def make(
        self, name: str, role: str, days: float, made_by: str, regions: Regions = None, read_only: bool = True
    ) -> str:
        """The token itself: shown once, kept nowhere. Raises TokenError."""
        self.check(name, role, days, regions)
        now = self._clock.now_us()
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        self._db.execute(
            f"INSERT INTO token (secret_hash, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",  # noqa: S608  # our own names
            (
                hash_token(secret), token_id, name, role, write_regions(regions), read_only, made_by, now,
                now + int(days * DAY_US),
            ),
        )  # fmt: skip
        return f"rahdar_{token_id}_{secret}"

    def check(self, name: str, role: str, days: float, regions: Regions) -> None:
        """Raises TokenError when there cannot be such a one."""
        if not NAME.fullmatch(name):
            raise TokenError(f"{name!r} cannot be a token's name: letters, digits, `.`, `_` and `-`, 32 at most")
        if role not in ROLES_OF_TOKENS:
            raise TokenError(f"a token cannot have the role {role!r}; give one of {', '.join(ROLES_OF_TOKENS)}")
        if not 0 < days <= LONGEST_DAYS:
            raise TokenError(f"a token lasts up to {LONGEST_DAYS} days; {days:g} is not among them")
        if regions is not None and not regions:
            raise TokenError("name a region, or leave regions out: then all are meant")
        if any(token.name == name and token.revoked_us is None for token in self.all()):
            raise TokenError(f"there is a token {name!r}; revoke it first, or choose another name")

    def find(self, text: str, address: str = "") -> Token | None:
        """Whose this is, and thereby used. None: of nobody, revoked or expired."""
        form = _FORM.fullmatch(text)
        row = (
            form
            and self._db.execute(
                f"SELECT secret_hash, {_COLUMNS} FROM token WHERE id = ?",  # noqa: S608
                (form[1],),
            ).fetchone()
        )
        if not form or not row or not compare_digest(row[0], hash_token(form[2])):
            return None
        token, now = _token(row[1:]), self._clock.now_us()
        if token.state(now) != "good":
            return None
        if token.used_us is None or now - token.used_us >= TOUCH_US or token.used_from != address:
            self._db.execute("UPDATE token SET used_us = ?, used_from = ? WHERE id = ?", (now, address, token.id))
        return token

    def all(self) -> list[Token]:
        """Also those that are no good any more, the newest last."""
        return [_token(row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM token ORDER BY made_us, id")]  # noqa: S608

    def revoke(self, name: str) -> Token | None:
        """At once; None: no token that is not revoked has this name."""
        row = self._db.execute(
            f"UPDATE token SET revoked_us = ? WHERE name = ? AND revoked_us IS NULL RETURNING {_COLUMNS}",  # noqa: S608
            (self._clock.now_us(), name),
        ).fetchone()
        return _token(row) if row else None


def _token(row: Sequence[str | int | None]) -> Token:
    token_id, name, role, regions, read_only, *rest = row
    return Token(token_id, name, role, read_regions(str(regions)), bool(read_only), *rest)  # type: ignore[arg-type]  # as the columns are

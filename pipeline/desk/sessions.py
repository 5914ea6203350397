"""Who is logged in, on disk and only as hashes: a copy of the file lets nobody in. And who looked at what."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from pipeline.clock import Clock, WallClock

SECOND_US = 1_000_000
SESSION_S = 14 * 3600.0  # a shift and its handover
LINK_S_AT_MOST = 24 * 3600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
  token_hash BLOB PRIMARY KEY, login TEXT NOT NULL, role TEXT NOT NULL, by TEXT NOT NULL, csrf TEXT NOT NULL,
  began_us INTEGER NOT NULL, expires_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS link (
  token_hash BLOB PRIMARY KEY, login TEXT NOT NULL, role TEXT NOT NULL, expires_us INTEGER NOT NULL,
  used_us INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looked (
  at_us INTEGER NOT NULL, login TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Session:
    login: str
    role: str
    by: str  # password or link
    csrf: str
    expires_us: int


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class SessionStore:
    """One small SQLite file. Wall time, whatever the speed of the system's own clock."""

    def __init__(self, path: Path | str, clock: Clock | None = None) -> None:
        if isinstance(path, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        self._clock = clock or WallClock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def begin(self, login: str, role: str, by: str) -> tuple[str, Session]:
        """A new session and the token that its cookie carries."""
        now = self._clock.now_us()
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        session = Session(login, role, by, csrf, now + int(SESSION_S * SECOND_US))
        self._db.execute("DELETE FROM session WHERE expires_us <= ?", (now,))
        self._db.execute(
            "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_hash(token), login, role, by, csrf, now, session.expires_us),
        )
        return token, session

    def find(self, token: str) -> Session | None:
        row = self._db.execute(
            "SELECT login, role, by, csrf, expires_us FROM session WHERE token_hash = ? AND expires_us > ?",
            (_hash(token), self._clock.now_us()),
        ).fetchone()
        return Session(*row) if row else None

    def end(self, token: str) -> None:
        self._db.execute("DELETE FROM session WHERE token_hash = ?", (_hash(token),))

    # ---- links ----------------------------------------------------------------------------------------------

    def make_link(self, login: str, role: str, for_s: float) -> str:
        now = self._clock.now_us()
        token = secrets.token_urlsafe(24)
        self._db.execute("DELETE FROM link WHERE expires_us <= ?", (now,))
        self._db.execute(
            "INSERT INTO link VALUES (?, ?, ?, ?, NULL)",
            (_hash(token), login, role, now + int(min(for_s, LINK_S_AT_MOST) * SECOND_US)),
        )
        return token

    def link_is_good(self, token: str) -> bool:
        row = self._db.execute(
            "SELECT 1 FROM link WHERE token_hash = ? AND used_us IS NULL AND expires_us > ?",
            (_hash(token), self._clock.now_us()),
        ).fetchone()
        return row is not None

    def use_link(self, token: str) -> tuple[str, str] | None:
        """Login and role, the first time; one statement decides, so that two who race cannot both win."""
        now = self._clock.now_us()
        row = self._db.execute(
            "UPDATE link SET used_us = ? WHERE token_hash = ? AND used_us IS NULL AND expires_us > ? "
            "RETURNING login, role",
            (now, _hash(token), now),
        ).fetchone()
        return (row[0], row[1]) if row else None

    # ---- who looked -----------------------------------------------------------------------------------------

    def looked(self, login: str, what: str, subject: str) -> None:
        """Trails of protected people are looked at on record."""
        self._db.execute("INSERT INTO looked VALUES (?, ?, ?, ?)", (self._clock.now_us(), login, what, subject))

    def who_looked(self) -> list[tuple[int, str, str, str]]:
        return list(self._db.execute("SELECT at_us, login, what, subject FROM looked ORDER BY at_us"))


class Lockout:
    """Failed logins, by (name, address) and by name: five free, then a pause that doubles to 15 min."""

    FREE = 5
    FIRST_S = 30.0
    LONGEST_S = 900.0
    FREE_FROM_ANYWHERE = 50
    REMEMBERED = 10_000

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._failed: dict[tuple[str, str], tuple[int, int]] = {}  # count, locked until

    def locked_for_s(self, name: str, address: str) -> float:
        now = self._clock.now_us()
        until = max(self._failed.get(key, (0, 0))[1] for key in ((name, address), (name, "*")))
        return max(0.0, (until - now) / SECOND_US)

    def failed(self, name: str, address: str) -> None:
        now = self._clock.now_us()
        if len(self._failed) >= self.REMEMBERED:  # flooded with names: forget the oldest half
            for key in list(self._failed)[: self.REMEMBERED // 2]:
                del self._failed[key]
        for key, free in (((name, address), self.FREE), ((name, "*"), self.FREE_FROM_ANYWHERE)):
            count = self._failed.pop(key, (0, 0))[0] + 1
            pause_s = min(self.FIRST_S * 2 ** min(count - free, 10), self.LONGEST_S) if count >= free else 0.0
            self._failed[key] = (count, now + int(pause_s * SECOND_US))

    def succeeded(self, name: str, address: str) -> None:
        self._failed.pop((name, address), None)
        self._failed.pop((name, "*"), None)

"""Who is logged in, on disk and only as hashes: a copy of the file lets nobody in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.clock import Clock, WallClock
from pipeline.people.database import Regions, hash_token, open_database, read_regions, write_regions

SECOND_US = 1_000_000
SESSION_S = 14 * 3600.0  # a shift and its handover
IDLE_S = 30 * 60.0  # an open page asks all the time: this ends those that were put away
TOUCH_S = 60.0  # how exactly the last use is known; not every request is worth a write
MOST_OF_ONE = 20
LINK_S_AT_MOST = 24 * 3600.0
LONGEST_AGENT = 120
FORM = 2  # of the tables; whoever has an older file logs in again

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
  token_hash BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, login TEXT NOT NULL, role TEXT NOT NULL, regions TEXT NOT NULL,
  by TEXT NOT NULL, stamp TEXT NOT NULL, csrf TEXT NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL,
  began_us INTEGER NOT NULL, used_us INTEGER NOT NULL, expires_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS link (
  token_hash BLOB PRIMARY KEY, login TEXT NOT NULL, role TEXT NOT NULL, regions TEXT NOT NULL,
  expires_us INTEGER NOT NULL, used_us INTEGER) WITHOUT ROWID;
"""
_COLUMNS = "id, login, role, regions, by, stamp, csrf, address, agent, began_us, used_us, expires_us"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who asks: a person at a page, or a program with a token (`by` token: no page, no csrf)."""

    id: str
    login: str
    role: str
    regions: Regions
    by: str  # password, link or token
    stamp: str  # of the account as it was at the login
    csrf: str
    address: str
    agent: str
    began_us: int
    used_us: int
    expires_us: int
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """Whom a link that works once lets in."""

    name: str
    role: str
    regions: Regions
    stamp: str = ""  # of no account: it ends by itself


class SessionStore:
    """One small SQLite file. Wall time, whatever the speed of the system's own clock."""

    def __init__(self, path: Path | str, clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._db = open_database(path)
        if self._db.execute("PRAGMA user_version").fetchone()[0] < FORM:
            self._db.executescript("DROP TABLE IF EXISTS session; DROP TABLE IF EXISTS link;")
            self._db.execute(f"PRAGMA user_version = {FORM}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def begin(
        self,
        login: str,
        role: str,
        by: str,
        regions: Regions = None,
        stamp: str = "",
        address: str = "",
        agent: str = "",
    ) -> tuple[str, Session]:
        """A new session and the token that its cookie carries. Of one login the oldest end when they become too many."""
        now = self._clock.now_us()
        token = secrets.token_urlsafe(32)
        made = Session(
            secrets.token_hex(6), login, role, regions, by, stamp, secrets.token_urlsafe(24), address,
            agent[:LONGEST_AGENT], now, now, now + int(SESSION_S * SECOND_US),
        )  # fmt: skip
        self._sweep(now)
        self._db.execute(
            f"INSERT INTO session (token_hash, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # our own names
            (
                hash_token(token), made.id, login, role, write_regions(regions), by, stamp, made.csrf, address,
                made.agent, now, now, made.expires_us,
            ),
        )  # fmt: skip
        self._db.execute(
            "DELETE FROM session WHERE login = ? AND id NOT IN "
            "(SELECT id FROM session WHERE login = ? ORDER BY began_us DESC LIMIT ?)",
            (login, login, MOST_OF_ONE),
        )
        return token, made

    def find(self, token: str) -> Session | None:
        """The session of this cookie, which is thereby used. None: unknown, ended, too old, or idle for too long."""
        now = self._clock.now_us()
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM session WHERE token_hash = ? AND expires_us > ? AND used_us > ?",  # noqa: S608
            (hash_token(token), now, now - int(IDLE_S * SECOND_US)),
        ).fetchone()
        if row is None:
            return None
        found = _session(row)
        if now - found.used_us >= TOUCH_S * SECOND_US:
            self._db.execute("UPDATE session SET used_us = ? WHERE token_hash = ?", (now, hash_token(token)))
        return found

    def end(self, token: str) -> None:
        self._db.execute("DELETE FROM session WHERE token_hash = ?", (hash_token(token),))

    def all(self, login: str | None = None) -> list[Session]:
        """Those that would be let in, of everybody or of one, the newest first."""
        self._sweep(self._clock.now_us())
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM session ORDER BY began_us DESC, id")  # noqa: S608
        return [found for found in map(_session, rows) if login in (None, found.login)]

    def end_id(self, session_id: str, login: str | None = None) -> Session | None:
        """End this one, if it is this login's (None: anybody's). Returns what was ended."""
        found = next((one for one in self.all(login) if one.id == session_id), None)
        if found is not None:
            self._db.execute("DELETE FROM session WHERE id = ?", (session_id,))
        return found

    def end_all(self, login: str) -> int:
        """How many there were."""
        return self._db.execute("DELETE FROM session WHERE login = ?", (login,)).rowcount

    def _sweep(self, now: int) -> None:
        self._db.execute(
            "DELETE FROM session WHERE expires_us <= ? OR used_us <= ?", (now, now - int(IDLE_S * SECOND_US))
        )

    # ---- links ----------------------------------------------------------------------------------------------

    def make_link(self, login: str, role: str, for_s: float, regions: Regions = None) -> str:
        now = self._clock.now_us()
        token = secrets.token_urlsafe(24)
        self._db.execute("DELETE FROM link WHERE expires_us <= ?", (now,))
        self._db.execute(
            "INSERT INTO link VALUES (?, ?, ?, ?, ?, NULL)",
            (
                hash_token(token), login, role, write_regions(regions),
                now + int(min(for_s, LINK_S_AT_MOST) * SECOND_US),
            ),
        )  # fmt: skip
        return token

    def link_is_good(self, token: str) -> bool:
        row = self._db.execute(
            "SELECT 1 FROM link WHERE token_hash = ? AND used_us IS NULL AND expires_us > ?",
            (hash_token(token), self._clock.now_us()),
        ).fetchone()
        return row is not None

    def use_link(self, token: str) -> Link | None:
        """The first time; one statement decides, so that two who race cannot both win."""
        now = self._clock.now_us()
        row = self._db.execute(
            "UPDATE link SET used_us = ? WHERE token_hash = ? AND used_us IS NULL AND expires_us > ? "
            "RETURNING login, role, regions",
            (now, hash_token(token), now),
        ).fetchone()
        return Link(row[0], row[1], read_regions(row[2])) if row else None


def _session(row: Sequence[str | int]) -> Session:
    session_id, login, role, regions, *rest = row
    return Session(session_id, login, role, read_regions(str(regions)), *rest)  # type: ignore[arg-type]  # as the columns are

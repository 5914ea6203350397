"""What people did and looked at: log-ins, failed ones, trails, residences, tokens, exports. Appended to a chain, in a file of its own.

What happens to alerts is in the alert database's own chain, written in the alert's transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.clock import Clock, WallClock
from pipeline.people.chain import FIRST_BEFORE, link
from pipeline.people.database import open_database

FILE_NAME = "audit.sqlite"  # in RAHDAR_VAR
CHAIN = "people"
LONGEST_WORD = 500

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (n INTEGER PRIMARY KEY, entry BLOB NOT NULL, hash BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did or looked at what, when, and from where."""

    at_us: int
    who: str
    what: str
    subject: str = ""
    address: str = ""
    detail: str = ""

    def encoded(self) -> bytes:
        row = {
            "at_us": self.at_us, "who": self.who, "what": self.what, "subject": self.subject, "from": self.address,
            "detail": self.detail,
        }  # fmt: skip
        return orjson.dumps({key: _bounded(value) for key, value in row.items()}, option=orjson.OPT_SORT_KEYS)


def _bounded(value: Any) -> Any:
    """Strangers choose names: no entry grows with them, and none is unreadable for a lone surrogate."""
    return value[:LONGEST_WORD].encode(errors="replace").decode() if isinstance(value, str) else value


class AuditLog:
    """One chain that several processes append to. On disk when `write` returns; raises sqlite3.Error when it cannot be."""

    def __init__(self, path: Path | str, clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._db = open_database(path, SCHEMA, power_cuts=True)
        self._one_at_a_time = threading.Lock()

    def close(self) -> None:
        self._db.close()

    def write(self, who: str, what: str, subject: str = "", address: str = "", detail: str = "") -> int:
        """The entry's number."""
        data = Entry(self._clock.now_us(), who, what, subject, address, detail).encoded()
        with self._one_at_a_time:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                n = self._append(data)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return n

    def _append(self, data: bytes) -> int:
        last: tuple[int, bytes] | None = self._db.execute(
            "SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1"
        ).fetchone()
        n, before = last or (0, FIRST_BEFORE)
        self._db.execute("INSERT INTO audit VALUES (?, ?, ?)", (n + 1, data, link(before, data)))
        return n + 1

    def entries(self) -> Iterator[Entry]:
        """Oldest first."""
        with closing(self._db.execute("SELECT entry FROM audit ORDER BY n")) as rows:
            for (data,) in rows:
                yield decode(data)


def decode(data: bytes) -> Entry:
    """Raises ValueError when it is no entry of ours."""
    row = orjson.loads(data)
    try:
        return Entry(row["at_us"], row["who"], row["what"], row["subject"], row["from"], row["detail"])
    except (KeyError, TypeError) as error:
        raise ValueError("no entry of the people's chain") from error

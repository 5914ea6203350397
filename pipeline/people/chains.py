"""Where the chains lie, read beside those who write them: the people's in a file of the desk, the alerts' in the alert database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, NoSuchTableError

from pipeline.people.audit import CHAIN as PEOPLE
from pipeline.people.audit import FILE_NAME

ALERTS = "alert"
PAGE = 1000
_ROWS = sa.text("SELECT n, entry, hash FROM audit WHERE n > :after ORDER BY n LIMIT :page")
_ALL_BELOW = sa.text("SELECT n, entry, hash FROM audit WHERE n < 1 ORDER BY n")
_LAST = sa.text("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1")


class UnreadableError(Exception):
    """The database is not there for us now, or is no database any more."""


class Chain:
    """Reads only: whoever writes it is not disturbed, and not taken over."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self._engine = sa.create_engine(_read_only(url))

    def close(self) -> None:
        self._engine.dispose()

    @property
    def exists(self) -> bool:
        """Whether there is a chain at all. Raises UnreadableError."""
        path = _file_of(self.url)
        if path is not None and not path.exists():
            return False
        try:
            return sa.inspect(self._engine).has_table("audit")
        except (DatabaseError, NoSuchTableError) as error:
            raise self._unreadable(error) from error

    def rows(self, after: int = 0) -> Iterator[tuple[Any, Any, Any]]:
        """(n, entry, hash) by n, a page at a time; from the beginning also what has no right number. Raises UnreadableError."""
        if after == 0:
            yield from self._page(_ALL_BELOW)
        while page := self._page(_ROWS, after=after, page=PAGE):
            yield from page
            if not isinstance(page[-1][0], int):
                return
            after = page[-1][0]

    def last(self) -> tuple[int, bytes] | None:
        """Number and hash of the newest entry."""
        found = self._page(_LAST)
        return (found[0][0], found[0][1]) if found else None

    def _page(self, statement: sa.TextClause, **values: int) -> list[tuple[Any, ...]]:
        try:
            with self._engine.connect() as tx:
                return [tuple(map(_plain, row)) for row in tx.execute(statement, values)]
        except DatabaseError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> UnreadableError:
        cause = str(getattr(error, "orig", error)).splitlines()[0]
        return UnreadableError(f"{make_url(self.url).render_as_string(hide_password=True)}: {cause}")


def alert_chain(alert_url: str) -> Chain:
    return Chain(ALERTS, alert_url)


def people_chain(var: Path) -> Chain:
    return Chain(PEOPLE, f"sqlite:///{var / FILE_NAME}")


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value  # some drivers give views


def _file_of(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _read_only(url: str) -> str:
    path = _file_of(url)
    if url.startswith("postgresql://"):
        return "postgresql+psycopg://" + url.removeprefix("postgresql://")
    return url if path is None else f"sqlite:///file:{path.resolve()}?mode=ro&uri=true"

"""The reader: what people ask of the record. Read-only, beside the writer; an absent file is an empty record."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.model.alert import AlertEvent, decode_event
from pipeline.model.observation import Fix

MOST_POINTS = 5000


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a trail."""

    seen_at_us: int
    lat: float
    lon: float
    speed_mps: float | None
    accuracy_m: float | None

    def row(self) -> list[Any]:
        return [self.seen_at_us, round(self.lat, 6), round(self.lon, 6), self.speed_mps, self.accuracy_m]


class Reader:
    """Opens the file for every question: cheap, and never in the writer's way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
                return db.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # just created, not yet written to
                return []
            raise

    def trail(self, vehicle: str, from_us: int, to_us: int) -> Sequence[Point]:
        """Oldest first; thinned evenly when there are very many. Fixes that the rules do not use are left out."""
        rows = self._ask(
            "select seen_at_us, lat, lon, speed_mps, accuracy_m from positions"
            " where vehicle = ? and seen_at_us between ? and ? and flags & 14 = 0 order by seen_at_us",
            vehicle, from_us, to_us,
        )  # fmt: skip
        step = max(1, -(-len(rows) // MOST_POINTS))
        return [Point(*row) for row in rows[::step]]

    def alert_events(self, alert_id: str) -> Sequence[AlertEvent]:
        """Everything that happened to it, in order."""
        return [
            decode_event(r[0])
            for r in self._ask("select event from alert_events where alert = ? order by seq", alert_id)
        ]

    def last_alert_events(self, closed: int = 50) -> list[AlertEvent]:
        """The last one of every alert that is not closed, and of the newest that are."""
        rows = self._ask("select event from alerts where closed_at_us is null")
        rows += self._ask("select event from alerts where closed_at_us is not null order by seq desc limit ?", closed)
        return sorted((decode_event(r[0]) for r in rows), key=lambda event: event.seq)

    def latest_fixes(self) -> list[Fix]:
        """The newest position of each vehicle."""
        rows = self._ask(
            "select vehicle, device, max(seen_at_us), received_at_us, lat, lon, speed_mps, course_deg, accuracy_m, altitude_m,"
            " seq, flags from positions group by vehicle"
        )
        return [
            Fix(
                vehicle=r[0], device=r[1], seen_at_us=r[2], received_at_us=r[3], lat=r[4], lon=r[5], speed_mps=r[6],
                course_deg=r[7], accuracy_m=r[8], altitude_m=r[9], seq=r[10], flags=r[11],
            )
            for r in rows
        ]  # fmt: skip

    def episodes(self, from_us: int, to_us: int) -> list[dict[str, Any]]:
        """Those that touch this time."""
        names = ("id", "rule", "subject", "object", "began_at_us", "ended_at_us", "severity", "peak", "mode")
        rows = self._ask(
            f"select {', '.join(names)} from episodes where began_at_us <= ? and (ended_at_us is null or ended_at_us >= ?)"  # noqa: S608  # our own names
            " order by began_at_us, rule, subject, object",
            to_us, from_us,
        )  # fmt: skip
        return [dict(zip(names, row, strict=True)) for row in rows]

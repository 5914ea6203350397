"""Instants as people and files write them, and as arrays hold them (`_us`: microseconds since 1970-01-01 UTC)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    """Microseconds of an aware datetime. Raises ValueError when it has no zone: a naive instant is a guess."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    return (instant - _EPOCH) // _MICROSECOND


def parse_us(text: str) -> int:
    """Microseconds of an ISO 8601 instant with a zone. Raises ValueError otherwise."""
    return to_us(datetime.fromisoformat(text))


def from_us(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def format_us(us: int) -> str:
    """`2026-11-23T10:00:00.000000Z`: UTC with microseconds, always of one width, so that it sorts as text."""
    return f"{_to_the_second(us // 1_000_000)}.{us % 1_000_000:06d}Z"


@lru_cache(maxsize=4096)  # what happens at the same time is told at the same time
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]

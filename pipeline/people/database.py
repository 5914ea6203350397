"""A small SQLite file of ours, for our eyes only, used by several processes and threads; and what the people's tables share."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import orjson

Regions = tuple[str, ...] | None
"""Where somebody may look and act; None: everywhere."""


def open_database(path: Path | str, schema: str = "", *, power_cuts: bool = False) -> sqlite3.Connection:
    """`power_cuts`: what was written is there also after one; costs a sync for each write."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={'FULL' if power_cuts else 'NORMAL'}")
    db.executescript(schema)
    return db


def hash_token(token: str) -> bytes:
    """Of 256 random bits: nobody guesses them, so the hash need not be slow."""
    return hashlib.sha256(token.encode()).digest()


def write_regions(regions: Regions) -> str:
    return orjson.dumps(regions).decode()


def read_regions(text: str) -> Regions:
    found = orjson.loads(text)
    return None if found is None else tuple(found)

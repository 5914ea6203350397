"""What is kept for people and reports, in SQLite: positions, other observations, episodes, alerts and what happened to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SCHEMA = """
create table if not exists positions (
  vehicle text not null, seen_at_us integer not null, device text not null, seq integer not null, body integer not null,
  received_at_us integer not null, lat real not null, lon real not null, speed_mps real, course_deg real, accuracy_m real,
  altitude_m real, flags integer not null,
  primary key (vehicle, seen_at_us, device, seq, body)) without rowid;
create table if not exists others (
  kind text not null, subject text not null, seen_at_us integer not null, body integer not null, received_at_us integer not null,
  data blob not null, primary key (kind, subject, seen_at_us, body)) without rowid;
create table if not exists episodes (
  id text primary key, rule text not null, subject text not null, object text not null, began_at_us integer not null,
  ended_at_us integer, severity text not null, peak real, mode text not null, evidence text not null) without rowid;
create index if not exists episodes_by_time on episodes (began_at_us);
create table if not exists alerts (
  id text primary key, seq integer not null, opened_at_us integer not null, closed_at_us integer, event blob not null) without rowid;
create table if not exists alert_events (
  seq integer primary key, alert text not null, at_us integer not null, transition text not null, event blob not null);
create index if not exists alert_events_by_alert on alert_events (alert, seq);
create table if not exists offsets (
  topic text not null, partition integer not null, next integer not null, epoch integer not null,
  primary key (topic, partition)) without rowid;
"""


def path_of(url: str) -> Path:
    """The file of a `sqlite:///` URL; beside an `influx://`, the desk's memory. Raises ValueError for any other."""
    if url.startswith(("influx://", "influxs://")):
        return Path(parse_qs(urlsplit(url).query).get("memory", ["var/record.sqlite"])[0])
    if not url.startswith("sqlite:///"):
        raise ValueError(f"RAHDAR_RECORD_URL is {url!r}; give sqlite:///FILE or influx://HOST:PORT/ORG")
    return Path(url.removeprefix("sqlite:///"))


def open_for_writing(path: Path) -> sqlite3.Connection:
    """`synchronous=NORMAL` is enough: positions in the log are in the same transaction, so what a power cut takes is read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        db.execute(f"pragma {pragma}")
    db.executescript(SCHEMA)
    return db

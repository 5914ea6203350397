"""Reads what every stage of a whole system wrote, and holds it against one another (RELIABILITY: one checker for all ledgers)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agents.transport import read_topic
from pipeline.detect.engine import Engine
from pipeline.model import topics
from pipeline.model.alert import AlertEvent, decode_event
from pipeline.model.episode import Change, Ledger, decode_changes
from pipeline.model.wire import ObservationBatch, RawItem, decode_observations, decode_raw
from pipeline.normalise.normalise import Normaliser
from pipeline.plan.model import CompiledPlan


@dataclass
class Told:
    """Everything that a log holds."""

    raw: list[RawItem] = field(default_factory=list)
    observations: dict[int, list[ObservationBatch]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    events: list[AlertEvent] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        ledger = Ledger()
        ledger.apply(self.changes)
        return ledger


async def read_everything(log_url: str, partitions: int) -> Told:
    """All records, older epochs fenced off: of a partition's changes only those count that no newer owner had superseded."""
    told = Told()
    for p in range(partitions):
        async for _, _, value in read_topic(log_url, topics.RAW.name, p):
            if value is not None:
                told.raw.extend(decode_raw(value).items)
        batches = told.observations.setdefault(p, [])
        async for _, _, value in read_topic(log_url, topics.OBSERVATIONS.name, p):
            if value is not None:
                batches.append(decode_observations(value))
        newest = 0
        async for _, _, value in read_topic(log_url, topics.EPISODES.name, p):
            if value is not None:
                record = decode_changes(value)
                if record.epoch >= newest:
                    newest = record.epoch
                    told.changes.extend(record.changes)
    async for _, _, value in read_topic(log_url, topics.ALERTS.name, 0):
        if value is not None:
            told.events.append(decode_event(value))
    return told


def ledger_of(plan: CompiledPlan, told: Told) -> Ledger:
    """What one engine that never died makes of the same raw messages."""
    normaliser = Normaliser(plan)
    from pipeline.model.wire import RAW_VERSION, RawBatch

    ledger = Ledger()
    engine = Engine(plan)
    seen: set[tuple[str, str, bytes, int]] = set()
    for item in sorted(told.raw, key=lambda i: i.id):
        key = (item.login, item.topic, item.payload, item.received_at_us)
        if key in seen:
            continue
        seen.add(key)
        for batch in normaliser.record(RawBatch(RAW_VERSION, "test", plan.hash, [item], [])).batches.values():
            ledger.apply(engine.feed(batch))
    return ledger


BY_TICKS = frozenset({"device.silent", "area.blackout", "clock.suspect"})


def of_fixes(ledger: Ledger) -> list[bytes]:
    """Its lines but those that Ticks begin: `ledger_of` has none, and a load that ends before the system does leaves all devices silent."""
    return [e.line() for e in ledger.sorted() if e.rule not in BY_TICKS]


def payloads(items: Iterable[RawItem]) -> Counter[tuple[str, bytes]]:
    return Counter((item.login, item.payload) for item in items if not item.topic.startswith("$"))


def recorded(path: Path) -> tuple[int, int]:
    """Positions and transitions of alerts in the desk's memory."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        positions, events = (
            int(db.execute(f"select count(*) from {t}").fetchone()[0]) for t in ("positions", "alert_events")
        )
        return positions, events

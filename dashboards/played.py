"""A story played into an InfluxDB through the same normalise, detect, alert and record code as live, without waiting for it.

People are played too: they acknowledge and close. What the ledgers say is handed back, so that the panels' answers can be held
against them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.alert.sentence import words_for
from pipeline.alert.store import AlertStore
from pipeline.detect.engine import Engine
from pipeline.model.alert import Alert, AlertEvent, Command
from pipeline.model.episode import Change, ChangeBatch, Ledger
from pipeline.model.observation import Fix, Link, Other, Press, Reading, Tick
from pipeline.model.wire import BatchBuilder, RawItem, Reject
from pipeline.normalise.files import read_observations
from pipeline.notify.figures import Watch
from pipeline.notify.leases import Leases
from pipeline.notify.outcome import Sent
from pipeline.plan.model import CompiledPlan
from pipeline.record.influx import Influx
from pipeline.record.pending import Pending
from pipeline.record.points import Points, machine_lines, notify_line
from pipeline.record.schema import SYSTEM_BUCKET
from simulators.run import native_lines, story_named

SECOND = 1_000_000
SLICE = 5 * SECOND
PROCESSING = 350_000
TELLING = 1_500_000
SEEN = "ingest@control-room"
SAYS = {
    "door": ("door", "closed", "open"),
    "pir": ("motion", "clear", "detected"),
    "fence": ("vibration", "clear", "detected"),
}
"""What a sensor of a kind reports, at rest and stirred."""


@dataclass
class Played:
    """What really happened."""

    start_us: int
    end_us: int
    fixes: list[Fix] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    presses: list[Press] = field(default_factory=list)
    rejects: int = 0
    events: list[AlertEvent] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def open_alerts(self) -> dict[str, Alert]:
        last = {event.alert.id: event.alert for event in sorted(self.events, key=lambda e: e.seq)}
        return {name: alert for name, alert in last.items() if alert.closed_at_us is None and not alert.held}


def _observations(plan: CompiledPlan, story: str, start_us: int, seconds: int) -> list[Fix | Other]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "story.jsonl"
        path.write_bytes(
            b"".join(
                line.rstrip(b"\n") + b"\n" for line in native_lines(story_named(story), plan, 1, start_us, seconds)
            )
        )
        taken, _ = read_observations([path], plan, None, 10**15)
    return taken


def _site(plan: CompiledPlan, start_us: int, end_us: int, driven: list[Fix | Other]) -> Iterable[Fix | Other]:
    """A gate that opens and shuts, a battery that runs down, a device that goes away for two minutes."""
    for n, at in enumerate(range(start_us, end_us, 30 * SECOND), 1):
        for k, sensor in enumerate(plan.sensors.values()):
            when = at + k * SECOND
            common: dict[str, Any] = {
                "sensor": sensor.id,
                "seen_at_us": when,
                "received_at_us": when + 200_000,
                "device": sensor.device,
            }
            what, calm, stirred = SAYS.get(sensor.kind, (sensor.kind, "clear", "clear"))
            yield Reading(what=what, value=stirred if (n + 3 * k) % 9 in (3, 4) else calm, **common)
            yield Reading(what="battery_pct", value=93.0 - 4 * k - n * 0.2, **common)
    middle = (start_us + end_us) // 2
    for sensor in list(plan.sensors.values())[:2]:
        yield Link(device=sensor.device, state="online", seen_at_us=start_us, received_at_us=start_us)
    yield Link(device=sensor.device, state="offline", seen_at_us=middle, received_at_us=middle)
    yield Link(
        device=sensor.device, state="online", seen_at_us=middle + 120 * SECOND, received_at_us=middle + 120 * SECOND
    )
    pressed = end_us - 75 * SECOND
    patrol = plan.vehicles["p-6"]
    there = max(
        (o for o in driven if isinstance(o, Fix) and o.vehicle == patrol.id and o.seen_at_us <= pressed), key=_when
    )
    yield Press(
        subject=patrol.id, what="sos", seen_at_us=pressed, received_at_us=pressed + 4 * SECOND, lat=there.lat, lon=there.lon,
        device=patrol.devices[0], seq=1,
    )  # fmt: skip


def _when(observation: Fix | Other) -> int:
    return observation.at_us if isinstance(observation, Tick) else observation.received_at_us


def play_story(
    plan: CompiledPlan, influx: Influx, now_us: int, story: str = "first-watch", seconds: int = 330
) -> Played:
    """The story ends at `now_us`. Raises AwayError."""
    start_us = (now_us - seconds * SECOND) // (60 * SECOND) * 60 * SECOND
    told = Played(start_us, now_us)
    driven = _observations(plan, story, start_us, (now_us - start_us) // SECOND)
    everything = [
        *driven,
        *_site(plan, start_us, now_us, driven),
        *(Tick(source=SEEN, at_us=at) for at in range(start_us, now_us + 1, SLICE)),
    ]
    everything = sorted((o for o in everything if _when(o) <= now_us), key=_when)
    engine, points, pending = Engine(plan), Points(plan), Pending()
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/alerts.sqlite"
        store = AlertStore(url, plan, lambda episode: words_for(plan, episode))
        notifier = _Notifier(url)
        try:
            people = _People(store)
            place, offset = 0, 0
            for at in range(start_us, now_us + SLICE, SLICE):
                builder = BatchBuilder(cell=plan.cells[0] if plan.cells else "")
                while place < len(everything) and _when(everything[place]) < at + SLICE:
                    builder.add(everything[place])
                    place += 1
                batch = builder.build()
                told.fixes += batch.fixes.rows()
                told.readings += [p.what for p in batch.others if isinstance(p.what, Reading)]
                told.presses += [p.what for p in batch.others if isinstance(p.what, Press)]
                changes = engine.feed(batch)
                pending.add(batch, points)
                events: list[AlertEvent] = []
                if changes:
                    offset += 1
                    events += _told(store, changes, offset, min(at + SLICE, now_us))
                    told.ledger.apply(changes)
                    for change in changes:
                        pending.put(*points.change(change))
                events += people.act(min(at + SLICE, now_us))
                notifier.act(min(at + SLICE, now_us))
                events += store.take_time(min(at + SLICE + TELLING, now_us), None)
                told.events += events
                for event in events:
                    pending.put(*points.alert(event))
                for line in (*_health(at, place), notifier.line(at)):
                    pending.put(SYSTEM_BUCKET, line)
        finally:
            notifier.close()
            store.close()
    for reject in _rejects(start_us, now_us):
        told.rejects += 1
        point = points.reject(reject)
        assert point
        pending.put(*point)
    for bucket, lines in pending.lines():
        for first in range(0, len(lines), 5000):
            aside = influx.write(bucket, lines[first : first + 5000])
            assert not aside, aside[:3]
    return told


def _told(store: AlertStore, changes: list[Change], offset: int, now_us: int) -> list[AlertEvent]:
    newest = max((c.received_at_us for c in changes), default=0)
    at = max(newest + PROCESSING, now_us - SLICE) if newest else now_us
    batch = ChangeBatch(version=1, partition=0, epoch=1, input_offset=offset, changes=changes)
    return store.take_changes([("rahdar.episodes", 0, offset, batch)], min(at, now_us))


class _People:
    """An operator who acknowledges the first alert, closes the second, has not come to the third, and has not seen the SOS yet."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._n = 0
        self._seen: list[str] = []
        self._done: set[str] = set()

    def _say(self, what: Any, alert: Alert, now_us: int, **more: Any) -> list[AlertEvent]:
        self._n += 1
        self._done.add(alert.id)
        command = Command(version=1, id=f"c{self._n}", what=what, alert_id=alert.id, by="amina", at_us=now_us, **more)
        return self._store.take_commands([("rahdar.commands", 0, self._n, command)], now_us)

    def act(self, now_us: int) -> list[AlertEvent]:
        out: list[AlertEvent] = []
        for alert in sorted(self._store.open_alerts(), key=lambda a: a.opened_at_us):
            if alert.id not in self._seen:
                self._seen.append(alert.id)
            place, age_us = self._seen.index(alert.id), now_us - alert.opened_at_us
            if alert.id in self._done or alert.severity == "critical":
                continue
            if place == 0 and age_us > 35 * SECOND:
                out += self._say("acknowledge", alert, now_us)
            elif place == 2 and age_us > 20 * SECOND and alert.id not in self._done:
                out += self._say("close", alert, now_us, outcome="real")
        return out


class _Notifier:
    """Takes up what is due as the sender does; every channel takes everything."""

    def __init__(self, url: str) -> None:
        self._leases, self._watch, self._sent = Leases(url, "played"), Watch(url), 0

    def close(self) -> None:
        self._leases.close()
        self._watch.close()

    def act(self, now_us: int) -> None:
        for task in self._leases.take(now_us, 100, critical=False):
            self._leases.done(task, Sent("played"), now_us)
            self._sent += 1
        self._leases.alive(now_us, self._sent, 0, 0)

    def line(self, at_us: int) -> str:
        return notify_line("control-room", at_us, dataclasses.asdict(self._watch.figures(at_us)))


def _health(at_us: int, n: int) -> Iterable[str]:
    swing = (at_us // SECOND % 60) / 60
    record = {
        "lag_s": 0.4 + 2 * swing, "points": n, "set_aside": 0, "retries": 0, "write_s": 0.02 + 0.02 * swing,
        "backlog_records": int(10 * swing),
    }  # fmt: skip
    machine = {
        "cpu_pct": 12 + 20 * swing,
        "memory_pct": 31.0 + swing,
        "disk_free_pct": 62.0,
        "disk_free_bytes": 300_000_000_000,
    }
    yield from machine_lines("control-room", at_us, record, machine)


def _rejects(start_us: int, end_us: int) -> Iterable[Reject]:
    said = (
        ("malformed", "not JSON: line 1"),
        ("unknown_device", "no vehicle or sensor has it"),
        ("too_old", "41.0 days before it was received"),
    )
    for n, at in enumerate(range(start_us + 20 * SECOND, end_us, 47 * SECOND)):
        reason, detail = said[n % 3 if n % 5 else 0]
        yield Reject(1, SEEN, reason, detail, RawItem(n, "stray-1", "v1/0/stray-1/native", b"{" * (20 + n), at))

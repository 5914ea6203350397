"""What Rahdar writes into InfluxDB, in one place: buckets, measurements, tags and what bounds them, fields with their units.

The encoder (`points`), the set-up (`setup`), the dashboards' linter and docs/influx.md all read this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["raw", "events", "system"]
Type = Literal["float", "int", "bool", "str"]

PREFIX = "rahdar"
SYSTEM_BUCKET = f"{PREFIX}_system"
DAY_S = 86_400
RETENTION_S: Mapping[str, int] = {"raw": 30 * DAY_S, "1m": 366 * DAY_S, "events": 400 * DAY_S, "system": 30 * DAY_S}


def bucket_of(region: str, kind: Literal["raw", "1m", "events"]) -> str:
    """`rahdar_hazara_raw`: a region's own, so that a token can be for one region."""
    return f"{PREFIX}_{region}_{kind}"


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    kind: Kind
    sentence: str
    tags: Mapping[str, str]
    """Name, and what bounds the number of its values."""
    fields: Mapping[str, Type]
    time: str
    mean_fields: tuple[str, ...] = field(default=())
    """Fields that the one-minute means keep."""


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement(
        "positions", "raw", "One accepted fix of a vehicle.",
        {"region": "plan", "vehicle": "plan", "device": "plan", "role": "plan"},
        {
            "lat_deg": "float", "lon_deg": "float", "speed_mps": "float", "course_deg": "float", "accuracy_m": "float",
            "altitude_m": "float", "late_s": "float", "road_km": "float", "flags": "int",
        },
        "seen_at", ("lat_deg", "lon_deg", "speed_mps", "road_km", "late_s"),
    ),
    Measurement(
        "sensors", "raw", "One reading of a site's sensor; `text` where the sensor speaks in words, else `value`.",
        {"region": "plan", "site": "plan", "sensor": "plan", "kind": "plan", "what": "decoders' closed lists"},
        {"value": "float", "text": "str", "late_s": "float"},
        "seen_at", ("value",),
    ),
    Measurement(
        "links", "raw", "A device came (1) or went (0), as the broker says.",
        {"region": "plan", "device": "plan"}, {"online": "int"}, "seen_at",
    ),
    Measurement(
        "convoys", "raw", "Gap along the road between neighbours of a convoy on the move, every ten seconds.",
        {"region": "plan", "convoy": "plan", "ahead": "plan", "behind": "plan"},
        {"gap_m": "float", "limit_m": "float"}, "the grid's instant", ("gap_m", "limit_m"),
    ),
    Measurement(
        "presses", "events", "Somebody pressed SOS, duress, delay or safe.",
        {"region": "plan", "subject": "plan", "what": "sos, duress, delay, safe"},
        {"lat_deg": "float", "lon_deg": "float", "late_s": "float", "located": "bool"}, "seen_at",
    ),
    Measurement(
        "episodes", "events",
        "An episode as it stands now: an amendment overwrites it, `gone` marks one that was retracted or replaced.",
        {"region": "plan", "rule": "rules", "subject": "plan", "object": "plan"},
        {
            "id": "str", "severity": "str", "mode": "str", "open": "bool", "gone": "bool", "late": "bool",
            "ended_us": "int", "duration_s": "float", "peak": "float", "revision": "int", "waited_s": "float",
        },
        "began_at",
    ),
    Measurement(
        "alerts", "events", "One transition of an alert, with the alert as it stood after it.",
        {"region": "plan", "rule": "rules", "severity": "four words", "transition": "closed list"},
        {
            "alert": "str", "subject": "str", "object": "str", "text": "str", "place": "str", "reason": "str",
            "actor": "str", "detail": "str", "outcome": "str", "seq": "int", "open": "bool", "active": "bool", "acknowledged": "bool",
            "shelved": "bool", "retracted": "bool", "lat_deg": "float", "lon_deg": "float", "opened_us": "int",
            "waited_s": "float", "told_s": "float", "acknowledge_s": "float", "close_s": "float", "respond_within_s": "float",
        },
        "at (the last three digits of the nanoseconds are seq mod 1000: one transaction may carry several)",
    ),
    Measurement(
        "rejects", "system", "One message that was not taken, and why.",
        {"stage": "stages", "reason": "closed list"},
        {"login": "str", "detail": "str", "bytes": "int"}, "received_at (nanoseconds: the item's id mod 1000)",
    ),
    Measurement(
        "ticks", "system", "Time as data: ingest's own word that it lives. `now - last` is the data age.",
        {"source": "ingest hosts"}, {"healthy": "int", "clock_trusted": "int"}, "at",
    ),
    Measurement(
        "record", "system", "How the record itself is doing: written every five seconds while InfluxDB answers.",
        {"host": "hosts"},
        {
            "lag_s": "float", "points": "int", "set_aside": "int", "retries": "int", "write_s": "float",
            "backlog_records": "int",
        },
        "the record's clock",
    ),
    Measurement(
        "notify", "system", "How telling goes, as the record reads it from the outbox; `heard_s` since a notifier said that it lives.",
        {"host": "hosts"},
        {
            "due": "int", "oldest_due_s": "float", "sending": "int", "awaited": "int", "heard_s": "float", "sent": "int",
            "failed": "int", "faults": "int",
        },
        "the record's clock",
    ),
    Measurement(
        "machine", "system", "The machine under it: what is used of processor, memory and disk.",
        {"host": "hosts"},
        {"cpu_pct": "float", "memory_pct": "float", "disk_free_pct": "float", "disk_free_bytes": "int"},
        "the record's clock",
    ),
)  # fmt: skip
BY_NAME: Mapping[str, Measurement] = {m.name: m for m in MEASUREMENTS}


def buckets(regions: tuple[str, ...]) -> dict[str, int]:
    """Every bucket and its retention in seconds."""
    out = {SYSTEM_BUCKET: RETENTION_S["system"]}
    for region in regions:
        out[bucket_of(region, "raw")] = RETENTION_S["raw"]
        out[bucket_of(region, "1m")] = RETENTION_S["1m"]
        out[bucket_of(region, "events")] = RETENTION_S["events"]
    return out

"""What arrived and was accepted. Everything downstream of normalise speaks in these words (DESIGN section 3)."""

from __future__ import annotations

from enum import IntFlag
from typing import Any

import msgspec


class Flag(IntFlag):
    """Marks on an accepted fix. All but LATE and BEYOND_HORIZON keep it out of the rules; it is recorded and shown."""

    LATE = 1
    OUTSIDE_PLAN = 2
    IMPLAUSIBLE = 4
    INACCURATE = 8
    BEYOND_HORIZON = 16
    CLOCK_UNTRUSTED = 32


KEPT_OUT_OF_RULES = Flag.OUTSIDE_PLAN | Flag.IMPLAUSIBLE | Flag.INACCURATE


class Fix(msgspec.Struct, frozen=True, tag="fix", tag_field="kind", kw_only=True):
    """A position. `body` is a 64-bit hash of what the device said, so that equal (seen_at, device, seq) can be told apart."""

    vehicle: str
    device: str
    seen_at_us: int
    received_at_us: int
    lat: float
    lon: float
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    altitude_m: float | None = None
    seq: int = 0
    body: int = 0
    flags: int = 0


class Reading(msgspec.Struct, frozen=True, tag="reading", tag_field="kind", kw_only=True):
    """What a site sensor said."""

    sensor: str
    what: str
    value: str | float | bool | int
    seen_at_us: int
    received_at_us: int
    device: str = ""
    seq: int = 0
    body: int = 0
    flags: int = 0


class Press(msgspec.Struct, frozen=True, tag="press", tag_field="kind", kw_only=True):
    """Somebody pressed: `what` is sos, duress, delay or safe. Never rejected for its position, time or plan."""

    subject: str
    what: str
    seen_at_us: int
    received_at_us: int
    lat: float | None = None
    lon: float | None = None
    device: str = ""
    seq: int = 0
    body: int = 0
    flags: int = 0


class Link(msgspec.Struct, frozen=True, tag="link", tag_field="kind", kw_only=True):
    """A device came online or went offline, as the broker or its last will says."""

    device: str
    state: str
    seen_at_us: int
    received_at_us: int
    body: int = 0


class Statement(msgspec.Struct, frozen=True, tag="statement", tag_field="kind", kw_only=True):
    """A signed entry by a person: departure checklist, head count."""

    subject: str
    what: str
    by: str
    seen_at_us: int
    received_at_us: int
    fields: dict[str, Any] = {}
    body: int = 0


class Order(msgspec.Struct, frozen=True, tag="order", tag_field="kind", kw_only=True):
    """A movement order or a switch of plan, in force from `effective_from_us`."""

    what: str
    effective_from_us: int
    seen_at_us: int
    received_at_us: int
    plan_hash: str = ""
    fields: dict[str, Any] = {}
    body: int = 0


class Tick(msgspec.Struct, frozen=True, tag="tick", tag_field="kind", kw_only=True):
    """Time as data: written by ingest into every partition every few seconds, with its own health."""

    source: str
    at_us: int
    healthy: bool = True
    clock_trusted: bool = True


Observation = Fix | Reading | Press | Link | Statement | Order | Tick
Other = Reading | Press | Link | Statement | Order | Tick

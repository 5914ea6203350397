"""Our own format: one JSON object an observation, or an array of them when a device sends its backlog."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta

from pipeline.model.times import to_us
from pipeline.normalise.formats.said import Said, in_calendar, number
from pipeline.normalise.reasons import RefusedError

_ID = re.compile(r"^[A-Za-z0-9_-]{1,32}\Z")
Id = Annotated[str, Meta(pattern=_ID.pattern)]
MOST_IN_ONE = 1000
MOST_DEEP = 16  # of a statement's fields
_SEQ = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]


class _Base(msgspec.Struct, kw_only=True, tag_field="kind"):
    seen_at: datetime
    received_at: datetime | None = None
    device: Id | None = None
    seq: _SEQ = 0


class _Fix(_Base, tag="fix", kw_only=True):
    vehicle: Id | None = None
    lat: float | None = None
    lon: float | None = None
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    altitude_m: float | None = None


class _Reading(_Base, tag="reading", kw_only=True):
    sensor: Id | None = None
    what: Id
    value: str | float | bool | int


class _Press(_Base, tag="press", kw_only=True):
    subject: Id | None = None
    what: str = "sos"
    lat: float | None = None
    lon: float | None = None


class _Link(_Base, tag="link", kw_only=True):
    state: str


class _Statement(_Base, tag="statement", kw_only=True):
    subject: Id
    what: Id
    by: Id
    fields: dict[str, Any] = {}


class _Order(_Base, tag="order", kw_only=True):
    what: Id
    effective_from: datetime
    fields: dict[str, Any] = {}


class _Tick(_Base, tag="tick", kw_only=True):
    source: Id = "file"


_one = msgspec.json.Decoder(_Fix | _Reading | _Press | _Link | _Statement | _Order | _Tick)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_KIND = re.compile(rb'"kind"\s*:\s*"press"')
PRESSES = ("sos", "duress", "delay", "safe")


def _us(instant: datetime | None) -> int | None:
    if instant is None:
        return None
    try:
        us = to_us(instant)
    except ValueError as error:
        raise RefusedError("malformed", str(error)) from None
    return in_calendar(us, instant.isoformat())


def split(payload: bytes) -> list[bytes]:
    """The objects of an array; a single object as it is. Raises RefusedError."""
    if payload.lstrip()[:1] != b"[":
        return [payload]
    try:
        parts = _raws.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        if _KIND.search(payload):
            return [payload]  # somebody pressed, in a backlog that broke off: `decode` takes it as one press
        raise RefusedError("malformed", str(error)) from None
    if not parts:
        raise RefusedError("malformed", "an array of nothing")
    if len(parts) > MOST_IN_ONE:
        raise RefusedError("oversized", f"{len(parts)} observations in one message; at most {MOST_IN_ONE}")
    return [bytes(part) for part in parts]


def decode(payload: bytes, topic: str = "") -> Said | None:
    """One observation. A press is understood as far as it can be, whatever else is wrong. Raises RefusedError."""
    try:
        return _said(_one.decode(payload))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, RefusedError) as error:
        if _KIND.search(payload):
            return _broken_press(payload)
        raise (error if isinstance(error, RefusedError) else _reason(payload, error)) from None


def _reason(payload: bytes, error: Exception) -> RefusedError:
    try:
        found = orjson.loads(payload)
    except (orjson.JSONDecodeError, RecursionError):
        return RefusedError("malformed", str(error))
    if isinstance(found, dict) and isinstance(found.get("kind"), str) and found["kind"] not in _KINDS:
        return RefusedError("unsupported", f"kind {found['kind'][:40]!r}")
    return RefusedError("malformed", str(error))


_KINDS = ("fix", "reading", "press", "link", "statement", "order", "tick")


def _broken_press(payload: bytes) -> Said:
    """Somebody pressed. What cannot be read is left out: identity and time are then the broker's."""
    try:
        found = orjson.loads(payload)
    except (orjson.JSONDecodeError, RecursionError):
        found = {}
    if not isinstance(found, dict):
        found = {}
    what = found.get("what")
    said = Said(kind="press", what=what if what in PRESSES else "sos")
    said.subject, said.device = _id(found.get("subject")), _id(found.get("device"))
    try:
        said.seen_at_us = _us(datetime.fromisoformat(found.get("seen_at", "")))
    except (TypeError, ValueError):
        said.seen_at_us = None
    try:
        said.lat, said.lon = number(found.get("lat"), "lat"), number(found.get("lon"), "lon")
    except RefusedError:
        said.lat = said.lon = None
    if isinstance(found.get("seq"), int) and not isinstance(found["seq"], bool) and abs(found["seq"]) < 1 << 62:
        said.seq = found["seq"]
    return said


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.match(value) else None


def _kept(value: Any, depth: int = MOST_DEEP) -> None:
    """Whether the wire can carry it. Raises RefusedError."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise RefusedError("out_of_range", "an integer of more than 64 bits")
    if isinstance(value, dict | list):
        if not depth:
            raise RefusedError("malformed", f"nested deeper than {MOST_DEEP}")
        for inner in value.values() if isinstance(value, dict) else value:
            _kept(inner, depth - 1)


def _said(m: _Base) -> Said:
    said = Said(seen_at_us=_us(m.seen_at), received_at_us=_us(m.received_at), device=m.device, seq=m.seq)
    if isinstance(m, _Fix):
        said.subject = m.vehicle
        said.lat, said.lon = m.lat, m.lon
        said.speed_mps, said.course_deg = m.speed_mps, m.course_deg
        said.accuracy_m, said.altitude_m = m.accuracy_m, m.altitude_m
    elif isinstance(m, _Reading):
        _kept(m.value)
        said.kind, said.subject, said.what, said.value = "reading", m.sensor, m.what, m.value
    elif isinstance(m, _Press):
        said.kind, said.subject, said.lat, said.lon = "press", m.subject, m.lat, m.lon
        said.what = m.what if m.what in PRESSES else "sos"
    elif isinstance(m, _Link):
        if m.state not in ("online", "offline"):
            raise RefusedError("malformed", f"state {m.state[:40]!r} is neither online nor offline")
        said.kind, said.what = "link", m.state
    elif isinstance(m, _Statement):
        _kept(m.fields)
        said.kind, said.subject, said.what, said.by, said.fields = "statement", m.subject, m.what, m.by, m.fields
    elif isinstance(m, _Order):
        _kept(m.fields)
        said.kind, said.what = "order", m.what
        said.fields = {**m.fields, "effective_from_us": _us(m.effective_from)}
    elif isinstance(m, _Tick):
        said.kind, said.what = "tick", m.source
    return said

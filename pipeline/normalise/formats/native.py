"""Our own format: one JSON object an observation, or an array of them when a device sends its backlog.

Units are in the names: m/s, degrees, metres; instants are ISO 8601 with a zone. An id in it is a claim, and has to agree with
the login. A press is never lost to its form: in a message that broke off, or is larger than a message may be, whatever can be
recognised as one is told. A duress must not become an sos on the way, which its vehicle would see and hear.
"""

from __future__ import annotations

import itertools
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta

from pipeline.model.times import to_us
from pipeline.normalise.formats.backlog import MOST_IN_ONE, is_array
from pipeline.normalise.formats.said import MOST_BYTES, MOST_SEQ, Format, Said, Told, in_calendar, maybe
from pipeline.normalise.reasons import RefusedError

_ID = re.compile(r"^[A-Za-z0-9_-]{1,32}\Z")
Id = Annotated[str, Meta(pattern=_ID.pattern)]
MOST_DEEP = 16  # of a statement's fields
_SEQ = Annotated[int, Meta(ge=-MOST_SEQ, le=MOST_SEQ)]


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


TICK_SOURCE = "file"


class _Tick(_Base, tag="tick", kw_only=True):
    source: Id = TICK_SOURCE


_one = msgspec.json.Decoder(_Fix | _Reading | _Press | _Link | _Statement | _Order | _Tick)
_KINDS = ("fix", "reading", "press", "link", "statement", "order", "tick")
PRESSES = ("sos", "duress", "delay", "safe")
_PRESS = re.compile(rb'"kind"\s*:\s*"press"')
_ANOTHER = re.compile(rb'\{\s*"(?:kind|seen_at)"')
_WHAT = re.compile(rb'"what"\s*:\s*"\s*([A-Za-z]*)\s*(?=("?))')  # the quote may also open the next word
_WORD = {name: re.compile(rb'"%s"\s*:\s*"([^"\\]{1,40})"' % name.encode()) for name in ("subject", "device", "seen_at")}
_NUMBER = {name: re.compile(rb'"%s"\s*:\s*(-?[0-9.]{1,20})[,}\s]' % name.encode()) for name in ("lat", "lon", "seq")}


def _us(instant: datetime | None) -> int | None:
    if instant is None:
        return None
    try:
        us = to_us(instant)
    except ValueError as error:
        raise RefusedError("malformed", str(error)) from None
    return in_calendar(us, instant.isoformat())


def decode(payload: bytes, topic: str = "") -> Told:
    """One observation. A press is understood as far as it can be, whatever else is wrong. Raises RefusedError."""
    try:
        return _said(_one.decode(payload))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, RefusedError) as error:
        if pressed := presses(payload):
            return pressed
        raise (error if isinstance(error, RefusedError) else _reason(payload, error)) from None


def _reason(payload: bytes, error: Exception) -> RefusedError:
    try:
        found = orjson.loads(payload)
    except (orjson.JSONDecodeError, RecursionError):
        return RefusedError("malformed", str(error))
    if isinstance(found, dict) and isinstance(found.get("kind"), str) and found["kind"] not in _KINDS:
        return RefusedError("unsupported", f"kind {found['kind'][:40]!r}")
    return RefusedError("malformed", str(error))


def presses(payload: bytes) -> list[Said]:
    """Every press that can be recognised in what is broken, or too large to be read. In one pass, and at most 1000.

    What cannot be read of it is left out: identity and time are then the broker's.
    """
    if not _PRESS.search(payload):
        return []
    try:
        found = orjson.loads(payload) if len(payload) <= MOST_BYTES else None
    except (orjson.JSONDecodeError, RecursionError):
        found = None
    if isinstance(found, dict):
        return [_pressed(found)] if found.get("kind") == "press" else []
    return [_pressed(_legible(piece)) for piece in _pieces(payload)]


def _pieces(payload: bytes) -> list[bytes]:
    """The stretches that hold one press each: from the brace before it to the next observation."""
    marks = [mark.span() for mark in itertools.islice(_PRESS.finditer(payload), MOST_IN_ONE)]
    if len(marks) == 1 and not is_array(payload):
        return [payload]
    starts, end = [], 0
    for first, last in marks:
        brace = payload.rfind(b"{", end, first)
        starts.append(brace if brace >= 0 else end)
        end = last
    pieces = []
    for (_, last), start, stop in zip(marks, starts, [*starts[1:], len(payload)], strict=True):
        stop = min(stop, last + MOST_BYTES)
        another = _ANOTHER.search(payload, last, stop)
        pieces.append(payload[start : another.start() if another else stop])
    return pieces


def _legible(piece: bytes) -> dict[str, Any]:
    """What can still be read of a press that is no JSON. A word that broke off is the one that it begins."""
    try:
        whole = orjson.loads(piece[: piece.index(b"}") + 1])
        # not an empty one that stands before it, nor one whose end came too early: what it is may stand behind that
        if isinstance(whole, dict) and whole.get("kind") == "press" and "what" in whole:
            return whole
    except (ValueError, RecursionError):
        pass
    found: dict[str, Any] = {}
    told = [(word.decode().lower(), bool(closed)) for word, closed in _WHAT.findall(piece)]
    heard = [press for press in PRESSES if any(w == press if c else w and press.startswith(w) for w, c in told)]
    if heard:
        found["what"] = "duress" if "duress" in heard else heard[0]  # in doubt the one that is silent in its vehicle
    for name, pattern in _WORD.items():
        if match := pattern.search(piece):
            found[name] = match[1].decode("utf-8", "replace")
    for name, pattern in _NUMBER.items():
        if match := pattern.search(piece):
            found[name] = int(match[1]) if match[1].lstrip(b"-").isdigit() else match[1].decode()
    return found


def _pressed(found: dict[str, Any]) -> Said:
    """Somebody pressed. Nothing that is wrong with the rest of it is a reason."""
    said = Said(kind="press", what=_press_of(found.get("what")))
    said.subject, said.device = _id(found.get("subject")), _id(found.get("device"))
    try:
        said.seen_at_us = _us(datetime.fromisoformat(found.get("seen_at", "")))
    except (TypeError, ValueError):
        said.seen_at_us = None
    said.lat, said.lon = maybe(found.get("lat")), maybe(found.get("lon"))
    if isinstance(found.get("seq"), int) and not isinstance(found["seq"], bool) and abs(found["seq"]) < MOST_SEQ:
        said.seq = found["seq"]
    return said


def _press_of(what: Any) -> str:
    """What was pressed; a word that is none of ours asks for help."""
    word = what[:32].strip().lower() if isinstance(what, str) else ""
    return word if word in PRESSES else "sos"


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
        said.what = _press_of(m.what)
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


FORMAT = Format(decode, looks=lambda m: isinstance(m.get("kind"), str))

"""Episodes, the changes that detect publishes of them, and the ledger: the fold of all changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

import msgspec
import orjson

from pipeline.model.times import format_us

Severity = Literal["critical", "high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")
Mode = Literal["off", "shadow", "live"]
CHANGES_VERSION = 1


def episode_id(rule: str, subject: str, obj: str, began_at_us: int) -> str:
    """Derived, so that a replay repeats it: 16 hex digits of BLAKE2b over the four, length-prefixed."""
    at = b"%d" % began_at_us
    said = _prefixed(rule) + _prefixed(subject) + _prefixed(obj) + len(at).to_bytes(4, "big") + at
    return hashlib.blake2b(said, digest_size=8).hexdigest()


@lru_cache(maxsize=65_536)  # names of the plan, over and over
def _prefixed(name: str) -> bytes:
    part = name.encode()
    return len(part).to_bytes(4, "big") + part


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One unbroken stretch in which one rule's condition held for one subject (and object, e.g. an area or a route)."""

    id: str
    rule: str
    subject: str
    object: str
    began_at_us: int
    ended_at_us: int | None
    severity: Severity
    peak: float | None
    evidence: dict[str, Any]

    def line(self) -> bytes:
        """The ledger's line of it: one JSON object, keys sorted, instants in UTC with microseconds."""
        return orjson.dumps(
            {
                "id": self.id,
                "rule": self.rule,
                "subject": self.subject,
                "object": self.object,
                "began_at": format_us(self.began_at_us),
                "ended_at": None if self.ended_at_us is None else format_us(self.ended_at_us),
                "severity": self.severity,
                "peak": self.peak,
                "evidence": self.evidence,
            },
            option=orjson.OPT_SORT_KEYS,
        )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What detect publishes. `episode` is its whole state after the change; of an amendment, `was_ids` names what it replaces.

    `decided_at_us` is the instant (of event time) at which the rule was sure; `received_at_us` is when the observation that
    decided it was received, so that everybody downstream can tell how long people waited.
    """

    kind: Literal["begin", "amend", "end", "retract"]
    episode: Episode
    revision: int = 0
    was_ids: tuple[str, ...] = ()
    mode: Mode = "live"
    cell: str = ""
    plan_hash: str = ""
    late: bool = False
    decided_at_us: int = 0
    received_at_us: int = 0
    settled: bool = False  # of a day that was settled: for the record, it pages nobody


class ChangeBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A record of `rahdar.episodes`: all changes that one record of observations made. Epochs fence off a dead owner."""

    version: int
    partition: int
    epoch: int
    input_offset: int
    changes: list[Change]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ChangeBatch)


def encode_changes(batch: ChangeBatch) -> bytes:
    return _encoder.encode(batch)


def decode_changes(data: bytes) -> ChangeBatch:
    return _decoder.decode(data)


class Ledger:
    """The fold of changes, whatever their order of arrival between episodes; one atom per episode."""

    def __init__(self) -> None:
        self.episodes: dict[str, Episode] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for gone in change.was_ids:
                self.episodes.pop(gone, None)
            if change.kind == "retract":
                self.episodes.pop(change.episode.id, None)
            else:
                self.episodes[change.episode.id] = change.episode

    def sorted(self) -> list[Episode]:
        return sorted(self.episodes.values(), key=lambda e: (e.began_at_us, e.rule, e.subject, e.object))

    def lines(self) -> bytes:
        return b"".join(episode.line() + b"\n" for episode in self.sorted())

"""What a person handles. The alert stage publishes one `AlertEvent` per transition; record and desk fold them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pipeline.model.episode import Severity

Transition = Literal[
    "opened",
    "grew",
    "amended",
    "cleared",
    "acknowledged",
    "shelved",
    "unshelved",
    "escalated",
    "told",
    "noted",
    "handed_over",
    "merged",
    "retracted",
    "closed",
    "held",  # it is on record, and nobody is told: `reason` and `Alert.held` say why. It may be `opened` later
    "realarmed",  # acknowledged and still active too long: it needs somebody again
]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it stands. Two axes: cleared or not, acknowledged or not; `closed_at_us` ends it."""

    id: str  # of the episode that first raised it
    rule: str
    subject: str
    object: str
    region: str
    cell: str
    severity: Severity
    text: str  # one sentence: what, where, since when
    lead: str  # its first half: what
    place: str  # its second half: where, since when
    response: str  # what to do, from the plan
    owner_post: str
    respond_within_us: int
    began_at_us: int
    opened_at_us: int  # by the alert stage's clock
    cleared_at_us: int | None = None
    acknowledged_at_us: int | None = None
    acknowledged_by: str | None = None
    closed_at_us: int | None = None
    outcome: Literal["real", "false", "expected", "test"] | None = None
    peak: float | None = None
    lat: float | None = None
    lon: float | None = None
    late: bool = False
    shelved_until_us: int | None = None
    retracted: bool = False
    revision: int = 0
    episode_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: dict[str, Any] = {}
    held: str = ""  # why nobody is told: HELD_ON_DELAY, HELD_GROUPED, HELD_FLOOD, ...; "" when it is told
    under: str = ""  # the alert that speaks for this one while it is held
    look_us: int | None = None  # when the policy looks at a held one again
    count: int = 0  # how many held ones it speaks for
    others: str = ""  # one sentence about them
    of_others: str = ""  # how grave the gravest of its group was: it is as grave itself
    parts: tuple[str, ...] = ()  # of one that comes and goes: the episodes that stand side by side, the newest last
    owner: str = ""  # who has it: the one who acknowledged it, or to whom it was handed over
    shelved_by: str = ""
    shelved_why: str = ""
    clears_us: int | None = None  # its cause is over, and it clears then unless the cause comes back
    chattering: bool = False  # it comes and goes: one alert for all of it
    realarm_us: int | None = None  # when an acknowledged one that is still active needs somebody again
    realarms: int = 0


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A record of `rahdar.alerts`. `seq` grows by one per event of one alert database: what a reader resumes from."""

    version: int
    seq: int
    at_us: int
    transition: Transition
    reason: str  # the named decision: BEGAN, ENDED, BY_OPERATOR, HELD_SHADOW, ...
    actor: str  # "policy" or a person's login
    alert: Alert
    detail: str = ""
    command_id: str = ""
    received_at_us: int = 0  # of the observation that decided it: at_us - received_at_us is what people waited


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A record of `rahdar.commands`: what a person did. `id` makes it idempotent."""

    version: int
    id: str
    what: Literal["acknowledge", "unacknowledge", "note", "shelve", "unshelve", "hand_over", "close"]
    alert_id: str
    by: str
    at_us: int
    text: str = ""
    outcome: str = ""
    until_us: int | None = None


_encoder = msgspec.msgpack.Encoder()
_event_decoder = msgspec.msgpack.Decoder(AlertEvent)
_command_decoder = msgspec.msgpack.Decoder(Command)


def encode_event(event: AlertEvent) -> bytes:
    return _encoder.encode(event)


def decode_event(data: bytes) -> AlertEvent:
    return _event_decoder.decode(data)


def encode_command(command: Command) -> bytes:
    return _encoder.encode(command)


def decode_command(data: bytes) -> Command:
    return _command_decoder.decode(data)

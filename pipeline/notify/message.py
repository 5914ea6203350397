"""What a row of the outbox says: the alert as it was when somebody was to be told of it, and whom an escort's downlink concerns."""

from __future__ import annotations

import hashlib

import msgspec

from pipeline.model.alert import Alert
from pipeline.model.episode import Severity
from pipeline.plan.model import CompiledPlan

DOWN_EXPIRES_US = 10 * 60_000_000
"""A downlink that is older than this is not shown any more: the place where it was true is behind the vehicle."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The content of one telling, for whatever channel."""

    alert: str
    revision: int
    kind: str  # alert, correction, digest, downlink
    severity: Severity
    rule: str
    subject: str
    region: str
    text: str
    response: str = ""
    lat: float | None = None
    lon: float | None = None
    at_us: int = 0  # when the outbox took it
    began_us: int = 0
    expires_us: int = 0  # 0: never
    alerts: tuple[str, ...] = ()  # of a digest: those that it sums up


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    return _encoder.encode(message)


def decode_message(data: bytes) -> Message:
    return _decoder.decode(data)


def message_of(alert: Alert, kind: str, now_us: int) -> Message:
    text = f"Not so: {alert.text}" if kind == "correction" else alert.text
    return Message(
        alert=alert.id, revision=alert.revision, kind=kind, severity=alert.severity, rule=alert.rule, subject=alert.subject,
        region=alert.region, text=text, response=alert.response, lat=alert.lat, lon=alert.lon, at_us=now_us,
        began_us=alert.began_at_us, expires_us=now_us + DOWN_EXPIRES_US if kind in ("downlink", "correction") else 0,
    )  # fmt: skip


def row_id(alert: str, revision: int, step: int, person: str, kind: str) -> str:
    """Derived: one telling per alert, revision, step and person, whoever computes it."""
    digest = hashlib.blake2b(digest_size=12)
    for part in (alert, str(revision), str(step), person, kind):
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def concerned(plan: CompiledPlan, alert: Alert) -> tuple[str, ...]:
    """The logins of the vehicles that hear of an alert on the road: the escorts of its convoy, and the vehicle itself if it is an escort
    or a patrol. Of duress its own vehicle hears nothing: whoever forces the driver would hear it too."""
    about = {alert.subject, alert.object}
    convoys = [c for c in plan.convoys.values() if c.id in about or about & set(c.members)]
    vehicles = dict.fromkeys(escort for convoy in convoys for escort in convoy.escorts)
    own = plan.vehicles.get(alert.subject)
    if own is not None and own.role in ("escort", "patrol"):
        vehicles[own.id] = None
    if silent_for(alert):
        vehicles.pop(alert.subject, None)
    devices = [d for v in vehicles if v in plan.vehicles for d in plan.vehicles[v].devices]
    return tuple(d for d in devices if (login := plan.logins.get(d)) is not None and login.kind == "device")


def silent_for(alert: Alert) -> bool:
    """Is this duress?"""
    return alert.evidence.get("what") == "duress" or alert.rule == "duress.pressed"

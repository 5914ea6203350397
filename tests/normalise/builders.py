"""A small plan with a tracker, a sensor and a gateway, and messages to it, in seconds around one instant."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

from pipeline.model.observation import Fix, Other
from pipeline.model.times import format_us
from pipeline.model.wire import RawBatch, RawItem, decode_observations, encode_observations
from pipeline.normalise.normalise import Normalised, Normaliser
from pipeline.plan.model import CompiledPlan, Login, Sensor
from tests.detect.plans import plan

T0 = 1_780_000_000_000_000
SECOND = 1_000_000
TRACKER, SENSOR, GATEWAY = "v1-d0", "s1-d0", "gw"


@cache
def small_plan() -> CompiledPlan:
    """Vehicles v1, v2, v3 and the sensor s1; the gateway speaks for v2's and s1's devices. West 72.5 to north 35.5."""
    bare = plan(vehicles=("v1", "v2", "v3"))
    logins = (
        Login(TRACKER, "device", (TRACKER,), "c"),
        Login(SENSOR, "device", (SENSOR,), "c"),
        Login(GATEWAY, "gateway", ("v2-d0", SENSOR), "c"),
        Login("stray", "device", ("stray",), "c"),  # let in, and its device bound to nothing
    )
    return replace(
        bare,
        sensors={"s1": Sensor("s1", "r", "c", {"en": "S"}, "door", "a1", SENSOR)},
        device_subject={**bare.device_subject, SENSOR: "s1"},
        logins={login.login: login for login in logins},
    )


def said(kind: str = "fix", seen_s: float | None = 0, **more: Any) -> bytes:
    """Native JSON; a key whose value is None is left out."""
    body: dict[str, Any] = {"kind": kind, "seen_at": None if seen_s is None else format_us(T0 + round(seen_s * SECOND))}
    if kind == "fix":
        body |= {"lat": 35.0, "lon": 73.0}
    if kind == "reading":
        body |= {"what": "door", "value": "open"}
    return json.dumps({k: v for k, v in (body | more).items() if v is not None}).encode()


def item(
    payload: bytes, login: str = TRACKER, form: str = "native", topic: str | None = None, trusted: bool = True
) -> RawItem:
    return RawItem(1, login, f"v1/0/{login}/{form}" if topic is None else topic, payload, T0, False, trusted)


def record(*items: RawItem) -> Normalised:
    """What became of these, once it has been through the wire, with its sums checked."""
    out = Normaliser(small_plan()).record(RawBatch(1, "src", "h", list(items), []))
    counts = out.counts
    assert counts["inputs"] == counts["accepted"] + counts["flagged"] + counts["rejected"] >= len(items)
    assert counts["rejected"] == len(out.rejects) == sum(n for k, n in counts.items() if k.startswith("rejected:"))
    assert counts["flagged"] <= sum(n for k, n in counts.items() if k.startswith("flagged:"))
    for batch in out.batches.values():
        decode_observations(encode_observations(batch))
    return out


def observations(out: Normalised) -> list[Fix | Other]:
    found: list[Fix | Other] = []
    for batch in out.batches.values():
        found += batch.fixes.rows()
        found += [placed.what for placed in batch.others]
    return found


def outcome(sent: RawItem) -> str:
    """The one outcome of one input: accepted, the mark of a flagged fix, or the reason of a reject."""
    out = record(sent)
    assert out.counts["inputs"] == 1
    if out.rejects:
        assert out.rejects[0].item == sent, "a reject keeps the bytes and what came with them"
        assert not out.batches
        return out.rejects[0].reason
    return ",".join(sorted(k.removeprefix("flagged:") for k in out.counts if k.startswith("flagged:"))) or "accepted"


def only(sent: RawItem) -> Any:
    """The one observation of one input."""
    (found,) = observations(record(sent))
    return found

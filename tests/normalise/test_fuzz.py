"""Whatever comes: no exception, one outcome an input, sums that agree, and a record that the wire can carry."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.model.wire import RawItem
from tests.normalise.builders import GATEWAY, SENSOR, TRACKER, item, observations, record, said

FORMS = ("native", "owntracks", "nmea")
BASES: list[dict[str, Any]] = [
    json.loads(said()),
    json.loads(said("reading")),
    json.loads(said("press")),
    json.loads(said("statement", subject="v1", what="x", by="p", fields={"a": 1})),
    json.loads(said(speed_mps=1.0, accuracy_m=5.0, altitude_m=900.0, course_deg=80, seq=1)),
    {"kind": "link", "state": "online", "seen_at": "2026-05-28T20:26:40Z"},
    {"_type": "location", "lat": 35, "lon": 73, "tst": 1_780_000_000, "vel": 3, "acc": 4},
    {"_type": "transition", "lat": 35, "lon": 73, "tst": 1_780_000_000, "event": "enter"},
    {"_type": "lwt", "tst": 1_780_000_000},
]
KEYS = sorted(
    {key for base in BASES for key in base} | {"seq", "device", "vehicle", "speed_mps", "altitude_m", "fields"}
)
HOSTILE: list[Any] = [
    *(10**30, -(10**400), 1 << 63, -(1 << 63) - 1, 0, -1, 1e308, -1e308, 3.5e38, math.nan, math.inf, -0.0),
    *("\ud800", "\udfff", "\x00", "", "nan", "1e999", "now", "2026-05-28T20:26:40"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", None, True, [], {}, ["\ud800"], {"a": [10**30]}),
]


def mutated(dice: random.Random) -> RawItem:
    """A sound message of whom it may come from, some values changed; at times nested deeply, in an array, cut off."""
    base = dice.choice(BASES)
    body = dict(base)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        key = dice.choice(KEYS if dice.random() < 0.1 else [k for k in base if k not in ("kind", "_type")])
        body[key] = dice.choice(HOSTILE)
    if dice.random() < 0.1:
        body["fields"] = {"a": "@deep@"}
    depth = dice.choice((10, dice.randrange(950, 1010), 5000))
    text = json.dumps(body).replace('"@deep@"', "[" * depth + "]" * depth)
    if "kind" in base and dice.random() < 0.3:
        text = f"[{text},{json.dumps(dice.choice(BASES))}]"
    data = text.encode()
    if dice.random() < 0.1:
        data = data[: dice.randrange(len(data))]
    login = SENSOR if base.get("kind") == "reading" else TRACKER
    if dice.random() < 0.1:
        login = dice.choice(LOGINS)
    return item(data, login, "native" if "kind" in base else "owntracks", trusted=dice.random() < 0.8)


LOGINS = [TRACKER, SENSOR, GATEWAY, "stray", "nobody"]
seeds = st.integers(0, (1 << 64) - 1)
noise = st.binary(max_size=200) | st.binary(max_size=80).map(lambda b: b"$GPRMC," + b)
noises = st.builds(item, noise, st.sampled_from(LOGINS), st.sampled_from(FORMS), trusted=st.booleans())


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seeds, noises)
def test_whatever_comes_has_one_outcome(seed: int, noise: RawItem) -> None:
    dice = random.Random(seed)
    sent = [noise, *(mutated(dice) for _ in range(8))]
    out = record(*sent)  # asserts the sums and the wire
    silent = out.counts["accepted"] + out.counts["flagged"] + out.counts["beside"] - len(observations(out))
    assert silent >= 0, "an observation that was not counted"
    kept = b"\n".join(one.payload for one in sent)
    assert all(reject.item.payload in kept for reject in out.rejects)


@pytest.mark.parametrize("form", FORMS)
def test_no_depth_of_nesting_is_too_deep(form: str) -> None:
    stated = said("statement", subject="v1", what="x", by="p", fields={"a": 0})
    for depth in range(900, 1100):
        record(item(stated.replace(b'"a": 0', b'"a": ' + b"[" * depth + b"]" * depth), form=form))

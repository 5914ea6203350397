"""Every reason and every mark of the closed lists, three rows an edge."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.model.observation import Fix, Flag, Press, Reading
from pipeline.normalise.reasons import MARKS, REASONS
from tests.normalise.builders import (
    GATEWAY,
    SECOND,
    SENSOR,
    T0,
    TRACKER,
    item,
    observations,
    only,
    outcome,
    record,
    said,
)

DAY_S = 86_400
HOUR_S = 3_600
OF_INGEST = {"rate_limited"}  # the broker's bucket, before normalise


def sized(size: int) -> bytes:
    return said().ljust(size)


EDGES: list[tuple[str, bytes, str]] = [
    # the instant
    ("119.999 s ahead", said(seen_s=119.999), "accepted"),
    ("120 s ahead", said(seen_s=120), "accepted"),
    ("120.001 s ahead", said(seen_s=120.001), "future"),
    ("a second less than 30 days old", said(seen_s=1 - 30 * DAY_S), "accepted"),
    ("30 days old", said(seen_s=-30 * DAY_S), "accepted"),
    ("a second more than 30 days old", said(seen_s=-1 - 30 * DAY_S), "too_old"),
    # the position
    ("lat 90", said(lat=90.0), "outside_plan"),
    ("lat beyond 90", said(lat=90.000001), "out_of_range"),
    ("lat -90", said(lat=-90.0), "outside_plan"),
    ("lat beyond -90", said(lat=-90.000001), "out_of_range"),
    ("lon 180", said(lon=180.0), "outside_plan"),
    ("lon beyond 180", said(lon=180.000001), "out_of_range"),
    ("lon -180", said(lon=-180.0), "outside_plan"),
    ("lon beyond -180", said(lon=-180.000001), "out_of_range"),
    ("0, 0", said(lat=0.0, lon=0.0), "zero_island"),
    ("-0, 0", said(lat=-0.0, lon=0.0), "zero_island"),
    ("just off 0, 0", said(lat=0.000001, lon=0.0), "outside_plan"),
    ("on the equator", said(lat=0.0, lon=73.0), "outside_plan"),
    ("no lat", said(lat=None), "no_position"),
    ("no lon", said(lon=None), "no_position"),
    ("neither", said(lat=None, lon=None), "no_position"),
    ("inside the northern bound", said(lat=35.499999), "accepted"),
    ("on the northern bound", said(lat=35.5), "accepted"),
    ("beyond the northern bound", said(lat=35.500001), "outside_plan"),
    ("inside the western bound", said(lon=72.500001), "accepted"),
    ("on the western bound", said(lon=72.5), "accepted"),
    ("beyond the western bound", said(lon=72.499999), "outside_plan"),
    ("lat and lon swapped", said(lat=73.0, lon=35.0), "outside_plan"),
    # what the numbers can be
    ("69.9 m/s", said(speed_mps=69.9), "accepted"),
    ("70 m/s", said(speed_mps=70.0), "accepted"),
    ("70.1 m/s", said(speed_mps=70.1), "implausible"),
    ("900 m/s", said(speed_mps=900.0), "implausible"),
    ("standing", said(speed_mps=0.0), "accepted"),
    ("less than standing", said(speed_mps=-0.1), "implausible"),
    ("9000 m up", said(altitude_m=9000.0), "accepted"),
    ("9001 m up", said(altitude_m=9001.0), "implausible"),
    ("500 m down", said(altitude_m=-500.0), "accepted"),
    ("501 m down", said(altitude_m=-501.0), "implausible"),
    ("499 m of doubt", said(accuracy_m=499.0), "accepted"),
    ("500 m of doubt", said(accuracy_m=500.0), "accepted"),
    ("501 m of doubt", said(accuracy_m=501.0), "inaccurate"),
    ("two marks at once", said(accuracy_m=501.0, speed_mps=71.0), "implausible,inaccurate"),
    ("a speed that no column holds", said(speed_mps=1e300), "out_of_range"),
    ("an altitude that no column holds", said(altitude_m=-1e300), "out_of_range"),
    ("an accuracy that no column holds", said(accuracy_m=1e300), "out_of_range"),
    # the form
    ("one byte less than the most", sized(65_535), "accepted"),
    ("the most", sized(65_536), "accepted"),
    ("one byte more than the most", sized(65_537), "oversized"),
    ("nothing", b"", "malformed"),
    ("an array of nothing", b"[]", "malformed"),
    ("cut off", said()[:-1], "malformed"),
    ("a word for a number", said(lat="north"), "malformed"),
    ("NaN", said().replace(b"35.0", b"NaN"), "malformed"),
    ("a byte order mark", b"\xef\xbb\xbf" + said(), "malformed"),
    ("no instant", said(seen_s=None), "malformed"),
    ("an instant without a zone", said(seen_at="2026-05-28T20:26:40"), "malformed"),
    ("an instant of before the calendar", said(seen_at="0001-01-01T00:00:00+14:00"), "out_of_range"),
    ("an id with a slash", said(vehicle="v/1"), "malformed"),
    ("an id of 33 characters", said(vehicle="v" * 33), "malformed"),
    ("an unknown kind", said("dance"), "unsupported"),
    ("a tick", said("tick"), "unsupported"),
    ("an order", said("order", what="x", effective_from="2026-05-28T20:26:40Z"), "unsupported"),
    (
        "an integer of 64 bits",
        said("statement", subject="v1", what="x", by="p", fields={"a": (1 << 63) - 1}),
        "accepted",
    ),
    ("an integer of more", said("statement", subject="v1", what="x", by="p", fields={"a": 1 << 63}), "out_of_range"),
]


@pytest.mark.parametrize(("payload", "expected"), [row[1:] for row in EDGES], ids=[row[0] for row in EDGES])
def test_an_input_has_this_outcome_and_no_other(payload: bytes, expected: str) -> None:
    assert outcome(item(payload)) == expected


OTHERS: list[tuple[str, Any, str]] = [
    ("another vehicle", item(said(vehicle="v2")), "identity_mismatch"),
    ("a tracker with a reading", item(said("reading")), "identity_mismatch"),
    ("a sensor with a fix", item(said(), login=SENSOR), "identity_mismatch"),
    ("a sensor with a reading", item(said("reading"), login=SENSOR), "accepted"),
    ("a sensor with an integer of 64 bits", item(said("reading", value=(1 << 63) - 1), login=SENSOR), "accepted"),
    ("a sensor with an integer of more", item(said("reading", value=1 << 63), login=SENSOR), "out_of_range"),
    ("a gateway with a sensor's fix", item(said(device=SENSOR), login=GATEWAY), "identity_mismatch"),
    ("a gateway with a tracker's reading", item(said("reading", device="v2-d0"), login=GATEWAY), "identity_mismatch"),
    ("an unknown login", item(said(), login="nobody"), "unknown_device"),
    ("an unknown format", item(said(), form="smoke"), "unsupported"),
    ("no topic of ours", item(said(), topic="a/b"), "unsupported"),
    ("encrypted", item(b'{"_type":"encrypted","data":"x"}', form="owntracks"), "undecoded"),
]


@pytest.mark.parametrize(("sent", "expected"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_who_and_where_from_have_this_outcome(sent: Any, expected: str) -> None:
    assert outcome(sent) == expected


def test_the_tables_leave_no_reason_and_no_mark_out() -> None:
    told = {word for row in EDGES + OTHERS for word in row[2].split(",")} - {"accepted"}
    assert told == {*REASONS, *MARKS} - OF_INGEST


PRESSED: list[tuple[str, bytes]] = [
    ("whole", said("press", what="sos")),
    ("far ahead", said("press", seen_s=10 * DAY_S)),
    ("far too old", said("press", seen_s=-400 * DAY_S)),
    ("no instant", said("press", seen_s=None)),
    ("no zone", said("press", seen_at="2026-05-28T20:26:40")),
    ("a word for an instant", said("press", seen_at="now")),
    ("at 0, 0", said("press", lat=0.0, lon=0.0)),
    ("no place on earth", said("press", lat=95.0, lon=400.0)),
    ("outside the plan", said("press", lat=10.0, lon=10.0)),
    ("a word for a place", said("press", lat="here")),
    ("of somebody else", said("press", subject="v2")),
    ("of no id", said("press", subject="<b>")),
    ("an unknown button", said("press", what="dance")),
    ("cut off", said("press")[:-1]),
    ("nested without end", b'{"kind":"press","x":' + b"[" * 5000),
]


@pytest.mark.parametrize("payload", [row[1] for row in PRESSED], ids=[row[0] for row in PRESSED])
@pytest.mark.parametrize("login", [TRACKER, SENSOR, GATEWAY, "stray", "nobody"])
def test_a_press_is_never_refused(payload: bytes, login: str) -> None:
    press = only(item(payload, login=login))
    assert isinstance(press, Press) and press.what == "sos"
    assert abs(press.seen_at_us - T0) <= 30 * DAY_S * SECOND
    assert (press.lat, press.lon) in ((None, None), (10.0, 10.0))


@pytest.mark.parametrize("what", ["sos", "duress", "delay", "safe"])
def test_a_broken_press_keeps_what_can_be_read(what: str) -> None:
    press = only(item(said("press", what=what, seq="x", lat=35.1, lon=73.2, seen_s=-5)))
    assert (press.what, press.lat, press.lon, press.seen_at_us) == (what, 35.1, 73.2, T0 - 5 * SECOND)


def test_a_press_in_a_backlog_that_broke_off_is_heard() -> None:
    fix, press = observations(record(item(b"[" + said() + b"," + said("press") + b',{"kind":')))
    assert isinstance(fix, Fix) and isinstance(press, Press)
    assert (press.subject, press.received_at_us) == ("v1", T0)


@pytest.mark.parametrize("seen_s", [-31 * DAY_S, 121, 400 * DAY_S])
def test_without_a_trusted_clock_no_time_is_a_reason(seen_s: float) -> None:
    assert outcome(item(said(seen_s=seen_s))) in ("future", "too_old")
    fix = only(item(said(seen_s=seen_s), trusted=False))
    assert fix.flags == Flag.CLOCK_UNTRUSTED


@pytest.mark.parametrize(
    ("seen_s", "flags"),
    [
        (-59, 0),
        (-60, 0),
        (-60.001, Flag.LATE),
        (-6 * HOUR_S + 1, Flag.LATE),
        (-6 * HOUR_S, Flag.LATE),
        (-6 * HOUR_S - 1, Flag.LATE | Flag.BEYOND_HORIZON),
    ],
)
def test_late_and_beyond_the_horizon_are_marks_that_keep_nothing_out(seen_s: float, flags: int) -> None:
    assert outcome(item(said(seen_s=seen_s))) == "accepted"
    assert only(item(said(seen_s=seen_s))).flags == flags
    reading = only(item(said("reading", seen_s=seen_s), login=SENSOR))
    assert isinstance(reading, Reading) and reading.flags == flags


@pytest.mark.parametrize(("course", "kept"), [(0, 0.0), (359.5, 359.5), (360, 0.0), (361, None), (-1, None)])
def test_a_course_is_of_the_circle_or_not_known(course: float, kept: float | None) -> None:
    assert only(item(said(course_deg=course))).course_deg == kept


def test_a_negative_accuracy_is_not_known() -> None:
    assert only(item(said(accuracy_m=-1.0))).accuracy_m is None


def test_a_backlog_is_as_many_inputs_and_one_bad_costs_one() -> None:
    bad = said(lat=95.0)
    out = record(item(b"[" + b",".join([said(seen_s=-2), bad, said(accuracy_m=900.0), said("press")]) + b"]"))
    assert dict(out.counts) == {
        "inputs": 4, "accepted": 2, "flagged": 1, "rejected": 1, "flagged:inaccurate": 1, "rejected:out_of_range": 1,
    }  # fmt: skip
    assert [r.item.payload for r in out.rejects] == [bad]
    assert len(observations(out)) == 3


@pytest.mark.parametrize(("n", "rejected"), [(999, 0), (1000, 0), (1001, 1)])
def test_a_backlog_has_a_most(n: int, rejected: int) -> None:
    out = record(item(b"[" + b",".join([b'{"kind":"tick"}'] * n) + b"]"))
    assert out.counts["rejected:oversized"] == rejected
    assert out.counts["inputs"] == (1 if rejected else n)


def test_what_cannot_be_read_of_one_message_costs_the_others_nothing() -> None:
    deep = b"[" * 990 + b"]" * 990
    stated = said("statement", subject="v1", what="x", by="p", fields={"a": 0}).replace(b'"a": 0', b'"a": ' + deep)
    out = record(item(said()), item(stated), item(said(seen_s=1)))
    assert [out.counts[k] for k in ("inputs", "accepted", "rejected:malformed")] == [3, 2, 1]


@pytest.mark.parametrize(("depth", "expected"), [(14, "accepted"), (15, "accepted"), (16, "malformed")])
def test_fields_have_a_depth(depth: int, expected: str) -> None:
    inner: list[Any] = []
    for _ in range(depth - 1):
        inner = [inner]
    assert outcome(item(said("statement", subject="v1", what="x", by="p", fields={"a": inner}))) == expected

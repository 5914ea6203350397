"""A backlog that broke off, or is too large: what is whole in it is taken, who pressed is heard as what they pressed."""

from __future__ import annotations

import random

import pytest

from pipeline.model.observation import Fix, Press
from pipeline.normalise.formats.backlog import MOST_IN_ONE, salvage
from pipeline.normalise.formats.native import PRESSES, presses
from pipeline.normalise.formats.said import MOST_BYTES
from tests.normalise.builders import SECOND, T0, item, observations, only, record, said

DURESS = said("press", what="duress", seen_s=-7)


def pressed(payload: bytes) -> list[str]:
    return [one.what for one in observations(record(item(payload))) if isinstance(one, Press)]


def test_a_backlog_that_broke_off_loses_what_it_lost() -> None:
    out = record(item(b"[" + b",".join([said(seen_s=-3), said(seen_s=-2), DURESS, said(seen_s=-1)])[:-5]))
    assert [out.counts[k] for k in ("inputs", "accepted", "rejected:malformed")] == [4, 3, 1]
    assert [type(one) for one in observations(out)] == [Fix, Fix, Press]
    assert out.rejects[0].item.payload == said(seen_s=-1)[:-5].strip()


@pytest.mark.parametrize("what", PRESSES)
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_press_that_is_the_last_of_a_backlog_is_what_it_was(what: str, missing: int) -> None:
    assert pressed(b"[" + said() + b"," + said("press", what=what) + b"]"[: -missing or None]) == [what]
    assert pressed((b"[" + said() + b"," + said("press", what=what) + b"]")[:-missing]) == [what]


def test_wherever_a_duress_breaks_off_it_is_silent_once_it_can_be_told() -> None:
    whole = b"[" + said() + b"," + DURESS + b"]"
    told = whole.index(b'"duress"') + 2  # from its first letter on
    for end in range(told, len(whole) + 1):
        assert pressed(whole[:end]) == ["duress"], whole[:end]


def test_a_duress_is_silent_whatever_is_broken_beside_it() -> None:
    for broken in (b'{"kind":"fix","lat":}', b'{"kind":"fix"', b"nonsense", b"{}}", b'"', b'{"a":[1,'):
        for payload in (
            b"[%b,%b]" % (broken, DURESS),
            b"[%b,%b]" % (DURESS, broken),
            b"[%b,%b,%b" % (broken, DURESS, broken),
        ):
            assert pressed(payload) == ["duress"], payload


@pytest.mark.parametrize("word", ["duress", "DURESS", "Duress", " duress "])
def test_a_duress_is_silent_however_it_is_written(word: str) -> None:
    whole = said("press", what=word)
    for payload in (whole, whole[:-1], b"[" + whole, b"[" + whole[:-1] + b',"x":', whole.ljust(MOST_BYTES + 1)):
        assert pressed(payload) == ["duress"], payload[:200]


def test_an_empty_object_before_a_broken_duress_does_not_make_it_an_sos() -> None:
    """Found by `make fuzz`, chunk 291."""
    assert pressed(b'{}"kind": "press", "what": "duress", "lat": 35.0, "lon": {"Time": "x"}}') == ["duress"]


def test_a_duress_whose_word_was_begun_twice_is_silent() -> None:
    """Found by `make fuzz`, chunk 592: a stretch of it came twice, and the quote of the second word closed the first."""
    assert pressed(b'{"kind": "press", "what": "du "what": "duress", "lat": 35.0, "lon": 73.0}') == ["duress"]


def test_a_duress_that_ends_too_early_is_silent() -> None:
    """Found by `make fuzz`, chunks 843 and 863."""
    for broken in (
        b'{"kind": "press", "seen_at": "2026-05-28T20:26:40.000000Z"}, "what": "duress", "lat": 0, "lon": "0.0"}',
        b'{"kind": "press"}, "seess"}, "seen_at": "2026-05-28T20:26:40.000000Z", "what": "duress", "lat": 35.0}',
    ):
        assert pressed(broken) == ["duress"]


def test_a_broken_press_keeps_who_when_and_where() -> None:
    press = only(item(said("press", what="safe", seen_s=-5, lat=35.1, lon=73.2, seq=9, device="v1-d0")[:-1] + b',"x":'))
    assert (press.what, press.seen_at_us, press.lat, press.lon, press.seq) == ("safe", T0 - 5 * SECOND, 35.1, 73.2, 9)


def test_two_presses_in_one_broken_piece_are_two() -> None:
    piece = said("press", what="delay")[:-1] + b"," + said("press", what="duress")
    assert pressed(b"[" + piece) == ["delay", "duress"]


@pytest.mark.parametrize("before", [0, MOST_BYTES])
def test_a_press_that_is_larger_than_a_message_may_be_is_heard(before: int) -> None:
    payload = b" " * before + DURESS.ljust(MOST_BYTES + 1)
    press = only(item(payload))
    assert (press.what, press.seen_at_us) == ("duress", T0 - 7 * SECOND)
    assert record(item(payload)).counts == {"inputs": 1, "accepted": 1}


def test_of_a_backlog_that_is_too_large_the_presses_are_heard_and_the_rest_is_counted() -> None:
    fixes = b",".join([said(seen_s=-n) for n in range(900)])
    for payload in (
        b"[" + fixes + b"," + DURESS + b"]",
        b"[" + b",".join([b"{}"] * MOST_IN_ONE) + b"," + DURESS + b"]",
    ):
        out = record(item(payload))
        assert out.counts == {"inputs": 2, "accepted": 1, "rejected": 1, "rejected:oversized": 1}
        (press,) = observations(out)
        assert isinstance(press, Press) and (press.what, press.seen_at_us) == ("duress", T0 - 7 * SECOND)


@pytest.mark.parametrize("records", [500, 1500])
def test_the_press_in_a_long_backlog_of_another_format_is_heard(records: int) -> None:
    record_of = b'{"imei":"1","ts":1780000000000,"lat":35,"lon":73,"sp":"0","sat":"9","text":"%s"%s}'
    quiet, pressing = record_of % (b"x" * 200, b""), record_of % (b"x" * 200, b',"236":1')
    payload = b"[" + b",".join([quiet] * (records // 2) + [pressing] + [quiet] * (records // 2)) + b"]"
    for sent in (payload, payload[:-7]):
        out = record(item(sent, form="teltonika"))
        assert [one.what for one in observations(out) if isinstance(one, Press)] == ["sos"]
        assert out.counts == {"inputs": 2, "accepted": 1, "rejected": 1, "rejected:oversized": 1}


@pytest.mark.parametrize(
    "payload",
    [
        said("statement", subject="v1", what="x", by="p", fields={"kind": "press"}),
        said("reading", value={"kind": "press"}),
        said(lat={"kind": "press"}),
        b'{"_type":"x","a":{"kind":"press"}}',
    ],
)
def test_what_only_speaks_of_a_press_is_none(payload: bytes) -> None:
    assert pressed(payload) == []


@pytest.mark.parametrize(
    ("broken", "parts"),
    [
        (b"[1,2,3]", [b"1", b"2", b"3"]),
        (b'[{"a":[1,2]},{"b":"]},{"}', [b'{"a":[1,2]}', b'{"b":"]},{"}']),
        (b"[1,2", [b"1", b"2"]),
        (b"[1,,2,]", [b"1", b"2"]),
        (b"[1] x", [b"1", b"x"]),
        (b'["a\\"b","c"]', [b'"a\\"b"', b'"c"']),
        (b'[1,"a', [b"1", b'"a']),
        (b"[", []),
    ],
)
def test_an_array_comes_apart_at_its_commas(broken: bytes, parts: list[bytes]) -> None:
    assert salvage(broken) == parts


@pytest.mark.parametrize(
    "unit",
    [
        b'"',
        b"{",
        b"[",
        b'\\"',
        b"[{",
        b'{"kind":"press"',
        b'"kind":"press"',
        b'{"what":"',
        b'{"seen_at"',
        b" ",
        b"}",
        b",",
    ],
)
def test_no_form_of_a_broken_message_takes_long(unit: bytes) -> None:
    """A test that would not end in its two minutes, were any of it quadratic."""
    dice = random.Random(1)
    payload = b"[" + unit * (MOST_BYTES // len(unit))
    for cut in (len(payload) - 1, dice.randrange(len(payload))):
        record(item(payload[:cut]))
    presses(unit * (1_000_000 // len(unit)) + b'"kind":"press"')

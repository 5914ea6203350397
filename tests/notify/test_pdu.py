"""SMS as the standard has them: what we make is what an independent reader of the same tables reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.notify.channels.pdu import (
    BASIC,
    EXTENDED,
    Deliver,
    PduError,
    Report,
    packed,
    read_pdu,
    septets,
    submits,
    unpacked,
)
from tests.notify.modem import decoded

PLAIN = "".join(c for c in BASIC if c.isascii() and c not in "\x1b$_\n\r@") + "@[]"


def test_a_known_example_of_the_standard() -> None:
    """`hellohello` in seven bits."""
    assert packed(septets("hellohello") or []).hex().upper() == "E8329BFD4697D9EC37"


def test_the_alphabet_is_whole() -> None:
    assert len(BASIC) == 128 and len(EXTENDED) == 9


@given(st.lists(st.integers(0, 127), max_size=200), st.sampled_from([0, 1]))
def test_packing_is_undone_by_unpacking(codes: list[int], shift: int) -> None:
    assert unpacked(packed(codes, shift), len(codes), shift) == codes


@pytest.mark.parametrize(
    ("length", "parts"), [(1, 1), (159, 1), (160, 1), (161, 2), (306, 2), (307, 3), (612, 4), (700, 4)]
)
def test_a_long_text_is_cut_into_parts(length: int, parts: int) -> None:
    text = ("0123456789" * 80)[:length]
    read = [decoded(s.data) for s in submits("+923001234567", text, 7)]
    assert [p for _, _, p in read] == [(n + 1, parts) for n in range(parts)]
    assert "".join(t for _, t, _ in read) == text[: 160 if parts == 1 else 153 * parts]


@pytest.mark.parametrize(("length", "parts"), [(70, 1), (71, 2), (134, 2), (135, 3)])
def test_urdu_is_sent_in_ucs2(length: int, parts: int) -> None:
    text = ("ہزارہ میں خطرہ " * 20)[:length]
    read = [decoded(s.data) for s in submits("+923001234567", text, 7)]
    assert len(read) == parts and "".join(t for _, t, _ in read) == text


@given(st.text(PLAIN, min_size=1, max_size=400), st.from_regex(r"\+[1-9][0-9]{4,14}", fullmatch=True))
def test_whatever_is_written_is_read(text: str, number: str) -> None:
    read = [decoded(s.data) for s in submits(number, text, 255)]
    assert "".join(t for _, t, _ in read) == text and {n for n, _, _ in read} == {number}


@pytest.mark.parametrize("number", ["", "+", "12", "amina", "+92 300", "+9230012345678901234567"])
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(PduError):
        submits(number, "x", 0)


@pytest.mark.parametrize(
    ("pdu", "told"),
    [
        (
            "07917283010010F5040BC87238880900F10000993092516195800AE8329BFD4697D9EC37",
            Deliver("27838890001", "hellohello"),
        ),
        ("0006D60B911326880736F4111011719551401110117195714000", Report(0xD6, "+31628870634", 0)),
    ],
)
def test_what_a_modem_hands_on_is_read(pdu: str, told: object) -> None:
    assert read_pdu(pdu) == told


@given(st.binary(max_size=200))
def test_no_pdu_does_more_than_be_refused(data: bytes) -> None:
    try:
        read_pdu(data.hex())
    except PduError:
        return

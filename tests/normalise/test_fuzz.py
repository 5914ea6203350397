"""Whatever comes, in whatever format: no exception, one outcome an input, sums that agree, and a record that the wire can carry."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.normalise.formats import FAULT, FORMATS, Format
from pipeline.normalise.reasons import REASONS
from tests.normalise.builders import item, record, said
from tests.normalise.fuzz import CHUNK, FORMS, Findings, chunk

CHUNKS = 20
SEED = 20261124
OF_INGEST = {"rate_limited"}

Ran = list[tuple[Counter[str], float, Findings]]


@pytest.fixture(scope="module")
def ran() -> Ran:
    """Twenty thousand payloads; ten seconds or so."""
    return [chunk(SEED, number) for number in range(CHUNKS)]


def test_whatever_comes_has_one_outcome(ran: Ran) -> None:
    assert [finding for _, _, findings in ran for finding in findings] == []
    assert sum(counts["payloads"] for counts, _, _ in ran) == CHUNKS * CHUNK == 20_000
    assert max(longest_s for _, longest_s, _ in ran) < 5


def test_the_fuzzer_reaches_every_format_and_every_reason(ran: Ran) -> None:
    told = sum((counts for counts, _, _ in ran), Counter[str]())
    for form in FORMS:
        assert told[f"{form} accepted"] > 20, form
    for reason in set(REASONS) - OF_INGEST:
        assert any(told[f"{form} rejected {reason}"] for form in FORMS), reason


def test_a_fault_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(payload: bytes, topic: str) -> None:
        raise KeyError("x")

    monkeypatch.setitem(FORMATS, "shelly", Format(decode))
    assert any(FAULT in finding for finding in chunk(SEED, 0)[2])


def test_the_same_seed_is_the_same_run() -> None:
    first, second = chunk(7, 3), chunk(7, 3)
    assert (first[0], first[2]) == (second[0], second[2])


@pytest.mark.parametrize("form", FORMATS)
def test_no_depth_of_nesting_is_too_deep(form: str) -> None:
    stated = said("statement", subject="v1", what="x", by="p", fields={"a": 0})
    for depth in (*range(990, 1030), 20_000):
        record(item(stated.replace(b'"a": 0', b'"a": ' + b"[" * depth + b"]" * depth), form=form))

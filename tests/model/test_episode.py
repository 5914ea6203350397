"""Ids are derived, the ledger is the fold of the changes."""

from __future__ import annotations

import itertools
import json

from pipeline.model.episode import Change, Episode, Ledger, episode_id


def episode(began: int, ended: int | None = None, subject: str = "c-1") -> Episode:
    return Episode(
        id=episode_id("route.deviation", subject, "n35", began),
        rule="route.deviation",
        subject=subject,
        object="n35",
        began_at_us=began,
        ended_at_us=ended,
        severity="high",
        peak=640.0,
        evidence={"z": 1, "a": 2},
    )


def test_an_id_is_a_function_of_the_four() -> None:
    """The same four give the same id for ever (this very one), and moving a character between parts gives another."""
    assert episode_id("r", "s", "o", 1) == "317ed82ec066b8d1"
    assert len({episode_id(*parts, 1) for parts in (("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"))}) == 3


def test_the_fold_does_not_depend_on_the_order_between_episodes() -> None:
    """Changes of different episodes may come interleaved in any way."""
    one = [Change(kind="begin", episode=episode(1)), Change(kind="end", episode=episode(1, 5))]
    two = [Change(kind="begin", episode=episode(2, subject="c-2"))]
    folds = set()
    for order in set(itertools.permutations([0, 0, 1])):
        queues = [iter(one), iter(two)]
        ledger = Ledger()
        ledger.apply(next(queues[which]) for which in order)
        folds.add(ledger.lines())
    assert len(folds) == 1


def test_an_amendment_takes_the_place_of_what_it_was() -> None:
    ledger = Ledger()
    ledger.apply([Change(kind="begin", episode=episode(10))])
    ledger.apply([Change(kind="amend", episode=episode(8), was_ids=(episode(10).id,), revision=1)])
    assert [e.began_at_us for e in ledger.sorted()] == [8]


def test_a_retracted_episode_is_gone() -> None:
    ledger = Ledger()
    ledger.apply([Change(kind="begin", episode=episode(10)), Change(kind="retract", episode=episode(10))])
    assert ledger.lines() == b""


def test_a_line_has_sorted_keys_and_utc_with_microseconds() -> None:
    """The form of the contract, key by key."""
    line = episode(1_700_000_000_000_001, 1_700_000_000_000_002).line()
    told = json.loads(line)
    assert list(told) == sorted(told)
    assert told["began_at"] == "2023-11-14T22:13:20.000001Z"
    assert list(told["evidence"]) == ["a", "z"]

"""The judge of stories sees what is missing, what is extra and what is at the wrong time."""

from __future__ import annotations

import pytest

from simulators.story import Expected
from tests.scenarios.judge import differences

WANTED = Expected("stop.unscheduled", "s-1", "", began_at_s=60, ended_at_s=120, within_s=10)


def _row(began: int = 60, ended: int | None = 120, **changes: object) -> dict[str, object]:
    def at(second: int) -> str:
        return f"1970-01-01T00:{second // 60:02d}:{second % 60:02d}.000000Z"

    row = {"rule": "stop.unscheduled", "subject": "s-1", "object": "", "began_at": at(began)}
    return {**row, "ended_at": None if ended is None else at(ended), **changes}


@pytest.mark.parametrize("row", [_row(), _row(began=50), _row(began=70), _row(ended=130), _row(object="n-35")])
def test_within_its_tolerance_it_is_the_one(row: dict[str, object]) -> None:
    assert differences([row], [WANTED], 0) == []


@pytest.mark.parametrize(
    "row", [_row(began=49), _row(began=71), _row(ended=131), _row(ended=None), _row(subject="s-2"), _row(rule="x")]
)
def test_else_one_is_missing_and_one_is_extra(row: dict[str, object]) -> None:
    missing, extra = differences([row], [WANTED], 0)
    assert missing.startswith("missing")
    assert extra.startswith("extra")


def test_the_same_episode_twice_is_one_too_many() -> None:
    (extra,) = differences([_row(), _row()], [WANTED], 0)
    assert extra.startswith("extra")

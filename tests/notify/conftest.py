from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.plan.model import CompiledPlan
from tests.notify.builders import Stage

Opens = Callable[..., Stage]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Opens]:
    """Opens the alert stage's store over this plan, on one file, as often as one likes."""
    made: list[Stage] = []

    def opens(of: CompiledPlan | None = None, patience_us: int | None = None) -> Stage:
        made.append(Stage(tmp_path / "alerts.db", of, patience_us))
        return made[-1]

    yield opens
    for one in made:
        one.close()

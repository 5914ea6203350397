"""The two plans that these tests look at: a tiny sound one, and the demonstration's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from tests.plan.overlay import SOUND


@pytest.fixture(scope="session")
def vale() -> CompiledPlan:
    return load_plan(SOUND)


@pytest.fixture(scope="session")
def hazara(root: Path) -> CompiledPlan:
    return load_plan(root / "plans" / "hazara")

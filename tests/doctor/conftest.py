"""A deployment with nothing wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.builders import Deployment


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Deployment:
    """To be copied, never changed."""
    return Deployment.make(tmp_path_factory.mktemp("deployment"), root / "plans" / "hazara")


@pytest.fixture
def deployment(tmp_path: Path, made: Deployment) -> Deployment:
    return made.copy(tmp_path)

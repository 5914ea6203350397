"""Where the suite finds its logs: an embedded one in a directory, and Kafka when RAHDAR_TEST_KAFKA says where."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

KAFKA = os.environ.get("RAHDAR_TEST_KAFKA")


@pytest.fixture(params=["log", *(["kafka"] if KAFKA else [])])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A log of either kind."""
    return f"log://{tmp_path / 'log'}" if request.param == "log" else f"kafka://{KAFKA}"


@pytest.fixture
def embedded_url(tmp_path: Path) -> str:
    return f"log://{tmp_path / 'log'}"


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Names of topics and groups that no other test has: Kafka outlives a test."""
    suffix = secrets.token_hex(4)
    return lambda name: f"{name}-{suffix}"

"""Where the suite finds its logs: an embedded one in a directory, and a real Kafka."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(params=["log", "kafka"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A log of either kind."""
    if request.param == "log":
        return f"log://{tmp_path / 'log'}"
    return str(request.getfixturevalue("kafka_url"))


@pytest.fixture
def embedded_url(tmp_path: Path) -> str:
    return f"log://{tmp_path / 'log'}"


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Names of topics and groups that no other test has: Kafka outlives a test."""
    suffix = secrets.token_hex(4)
    return lambda name: f"{name}-{suffix}"

"""An influxd for this folder's tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pipeline.record.influx import Influx
from pipeline.record.local import LocalInfluxd
from tests.record.servers import started

REGIONS = ("r",)


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalInfluxd]:
    server = started(tmp_path_factory.mktemp("influxd"), REGIONS)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def own_influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalInfluxd]:
    """For tests that kill it."""
    server = started(tmp_path_factory.mktemp("own-influxd"), REGIONS)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def influx(influxd: LocalInfluxd) -> Iterator[Influx]:
    """With the writer's token."""
    one = Influx(influxd.place, influxd.tokens.writer.read_text().strip())
    yield one
    one.close()


@pytest.fixture
def reader(influxd: LocalInfluxd) -> Iterator[Influx]:
    """With the token that Grafana gets."""
    one = Influx(influxd.place, influxd.tokens.reader.read_text().strip())
    yield one
    one.close()

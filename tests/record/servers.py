"""A real influxd for the tests: one a session, or one of their own for those that kill it. In CI a missing one is a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.record.local import LocalInfluxd, find_influxd


def need_influxd() -> None:
    if find_influxd() is None:
        why = "no influxd here; deploy/influxdb/install.sh builds it"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


def started(directory: Path, regions: tuple[str, ...]) -> LocalInfluxd:
    need_influxd()
    server = LocalInfluxd(directory)
    try:
        server.start()
        server.set_up(regions)
    except BaseException:
        server.stop()
        raise
    return server

"""The measurement of a restart measures one."""

from __future__ import annotations

import asyncio

import pytest

from agents.bench_restart import measure_restart


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_worker_that_was_killed_tells_what_comes_after() -> None:
    rows = asyncio.run(measure_restart(vehicles=40, turns=2))
    assert [row.name for row in rows] == ["restart.first_new_change_median", "restart.first_new_change_worst"]
    assert 0.3 < rows[0].value <= rows[1].value < 60.0  # a Python process does not start in less

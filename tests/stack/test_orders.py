"""An order reaches everybody who has to know it, once it was taken: through kill -9, and a plan that was edited is a switch from then on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.local import LocalStack
from agents.transport import read_topic
from pipeline.model import topics
from pipeline.model.observation import Order
from pipeline.model.wire import decode_observations
from pipeline.plan.load import load_plan
from tests.stack.running import running

PARTITIONS = 32
CANCEL = "order: cancel\nmovement: reserve\nby: officer-1\n"
CREATE = """
order: create
movement: {id: night-run, name: Night run, vehicles: [e-5], route: n-35, always: true, from_km: 64, to_km: 100}
"""


@pytest.fixture
def stack(tmp_path: Path, root: Path) -> Iterator[LocalStack]:
    plans = tmp_path / "plan"
    shutil.copytree(root / "plans" / "hazara", plans)
    stack = LocalStack(tmp_path / "system", plans, extra={"RAHDAR_LOG_LEVEL": "ERROR"})
    with running(stack, 0.1):
        yield stack


def give(stack: LocalStack, text: str) -> subprocess.CompletedProcess[str]:
    file = stack.directory / "order.yaml"
    file.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "order", str(file)],
        env={**os.environ, **stack.environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def orders(stack: LocalStack, wanted: int, within_s: float = 60.0) -> list[list[Order]]:
    """Of each partition, each order once, when all have so many."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found: list[list[Order]] = []
        for partition in range(PARTITIONS):
            mine: dict[int, Order] = {}
            async for _, _, value in read_topic(stack.log_url, topics.OBSERVATIONS.name, partition):
                for placed in decode_observations(value or b"").others:
                    if isinstance(placed.what, Order):
                        mine[placed.what.body] = placed.what
            found.append(list(mine.values()))
        if all(len(mine) >= wanted for mine in found) or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_order_that_was_taken_reaches_every_partition_through_kills(stack: LocalStack) -> None:
    refused = await asyncio.to_thread(give, stack, CREATE.replace("n-35", "n-36").replace("e-5", "e-55"))
    assert refused.returncode == 1
    assert "there is no such route" in refused.stderr and "there is no such vehicle" in refused.stderr

    taken = await asyncio.to_thread(give, stack, CANCEL)
    assert taken.returncode == 0, taken.stderr
    assert "it concerns hazara" in taken.stdout
    assert stack.supervisor is not None
    for pid in list(stack.supervisor.pids.values()):
        os.kill(pid, signal.SIGKILL)
    assert await asyncio.to_thread(stack.wait_ready, 120)
    taken = await asyncio.to_thread(give, stack, CREATE)
    assert taken.returncode == 0, taken.stderr
    again = await asyncio.to_thread(give, stack, CREATE)
    assert again.returncode == 1 and "there is such a movement already" in again.stderr

    for mine in await orders(stack, 2):
        assert [o.what for o in mine] == ["cancel", "create"]
        assert all(o.effective_from_us <= o.received_at_us for o in mine)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_plan_that_was_edited_is_a_switch(stack: LocalStack) -> None:
    first = load_plan(stack.plan).hash
    rules = stack.plan / "rules.yaml"
    rules.write_text(rules.read_text() + "\n# another word\n")
    assert load_plan(stack.plan).hash != first
    assert stack.supervisor is not None
    for pid in list(stack.supervisor.pids.values()):
        os.kill(pid, signal.SIGTERM)
    assert await asyncio.to_thread(stack.wait_ready, 120)
    for mine in await orders(stack, 1):
        assert [(o.what, o.plan_hash) for o in mine] == [("plan", load_plan(stack.plan).hash)]

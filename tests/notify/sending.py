"""A sender over a store's outbox, and what the people at the other end were told."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pipeline.clock import Clock, SetClock
from pipeline.notify.addresses import Addresses
from pipeline.notify.channels import Channel
from pipeline.notify.leases import Leases
from pipeline.notify.sender import Sender
from pipeline.plan.model import CompiledPlan
from tests.alert.builders import at

SECRET = b"s" * 32


class MovingClock(SetClock):
    """From a minute on it goes with the loop's time."""

    def __init__(self, minute: float) -> None:
        super().__init__(at(minute))
        self._began = asyncio.get_running_loop().time()

    def now_us(self) -> int:
        return super().now_us() + round((asyncio.get_running_loop().time() - self._began) * 1e6)


@asynccontextmanager
async def sending(
    url: str, plan: CompiledPlan, addresses: Mapping[str, str], channels: Mapping[str, Channel], clock: Clock, leases: Leases | None = None
) -> AsyncIterator[Sender]:  # fmt: skip
    """Runs until the block ends. `addresses`: name -> address."""
    known = {"RAHDAR_ADDRESS_" + name.upper().replace("-", "_"): value for name, value in addresses.items()}
    sender = Sender(
        leases or Leases(url, "n"), plan, Addresses(None, known), channels, clock, SECRET, "https://desk.example"
    )
    running = asyncio.ensure_future(sender.run())
    try:
        yield sender
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await running
        await sender.close()


def faults(heard: Iterable[Mapping[str, Any]], wanted: Iterable[str]) -> list[str]:
    """What breaks the promise: everybody is told once, or again with the word "repeat". `wanted`: alerts."""
    told: dict[tuple[str, int, str, str], list[bool]] = defaultdict(list)
    for line in heard:
        if line["kind"] != "digest":
            told[line["alert"], line["revision"], line["person"], line["kind"]].append(line["repeat"])
    out = [f"{key} was told again without a word" for key, repeats in told.items() if not all(repeats[1:])]
    reached = {alert for alert, *_ in told}
    return out + [f"nobody was told of {alert}" for alert in wanted if alert not in reached]

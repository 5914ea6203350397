"""Waiting for what nobody tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(what: Callable[[], object], within_s: float = 10.0) -> bool:
    """Whether it became true within so many seconds. The caller says what it waits for."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not what():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True

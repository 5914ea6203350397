"""An outage of the log is no bad message: what waits to be written is tried again until it stands."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import faust

T = TypeVar("T")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


async def patiently(topic: faust.TopicT, write: Callable[[], Awaitable[T]], log: logging.Logger) -> T:
    """What `write` returns, once it does. Between two tries a pause with jitter that grows."""
    pause = FIRST_PAUSE_S
    while True:
        try:
            return await write()
        except (OSError, ConnectionError, TimeoutError) as error:
            log.warning("cannot write to %s: %s", topic, error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, LONGEST_PAUSE_S)


async def send_patiently(
    topic: faust.TopicT, key: bytes, value: bytes | None, partition: int, log: logging.Logger
) -> Awaitable[object]:
    """Hand it to the producer, which keeps the order; what is returned resolves when it is durable."""

    async def send() -> Awaitable[object]:
        return await topic.send(key=key, value=value, partition=partition)

    return await patiently(topic, send, log)

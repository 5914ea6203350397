"""Positions that a stage keeps in a database of its own, and the log of which they may not be any more."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from agents.transport import beyond_the_end

Positions = Mapping[tuple[str, int], int]


async def positions_in(
    log_url: str, kept: Positions, begin_anew: Callable[[str, int], Awaitable[None]], log: logging.Logger
) -> Positions:
    """Of `kept`, (topic, partition) -> next offset, those that this log reaches. The others are let go by `begin_anew`: to go on from
    there would pass over all that comes, in silence, for as long as the new log is shorter."""
    lost = await beyond_the_end(log_url, kept)
    for topic, partition in lost:
        log.critical(
            "%s %d ends before %d, up to which it was read: another log? Read from its beginning",
            topic,
            partition,
            kept[topic, partition],
        )
        await begin_anew(topic, partition)
    return {tp: offset for tp, offset in kept.items() if tp not in lost}

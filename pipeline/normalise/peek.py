"""What time a message speaks of: ingest compares devices' clocks with its own, and asks nothing else of the payload."""

from __future__ import annotations

from itertools import islice

from pipeline.normalise.formats import FORMATS, read
from pipeline.normalise.identity import format_of
from pipeline.normalise.reasons import RefusedError

MOST_BYTES = 8192  # larger ones are backlogs
MOST_PARTS = 64


def newest_seen_us(topic: str, payload: bytes) -> int | None:
    """The newest instant of a fix or reading in it; None: it dates nothing, or cannot be read."""
    if len(payload) > MOST_BYTES:
        return None
    try:
        name = format_of(topic)
    except RefusedError:
        return None
    if name not in FORMATS:
        return None
    seen = [
        said.seen_at_us
        for _, told in islice(read(name, payload, topic), MOST_PARTS)
        if isinstance(told, list)
        for said in told
        if said.seen_at_us is not None and said.kind in ("fix", "reading")
    ]
    return max(seen, default=None)

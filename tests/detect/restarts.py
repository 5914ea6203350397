"""An engine that is stopped and started again from its checkpoints, here and there."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import Engine, NeedHistoryError
from pipeline.model.episode import Ledger
from pipeline.model.wire import ObservationBatch


def restarted(
    engine_of: Callable[[], Engine], records: Sequence[ObservationBatch], seed: int, again: float
) -> tuple[Ledger, int]:
    """The ledger, and how often it was started again: with the chance `again` behind one checkpoint in twenty records."""
    rng = random.Random(seed)
    engine, recovery, folded, topic = engine_of(), Recovery(0), Ledger(), dict[bytes, bytes]()
    epoch, restarts = 1, 0
    for at, record in enumerate(records, 1):
        try:
            folded.apply(engine.feed(record))
        except NeedHistoryError as need:
            engine.load_history(records[: at - 1], need.from_us)
            folded.apply(engine.feed(record))
        if rng.random() < 0.05:
            written = recovery.checkpoint(engine, at, epoch)
            topic.update([*written.blocks, written.manifest])
            if rng.random() < again:
                recovery, engine, epoch = Recovery(0), engine_of(), epoch + 1
                for key, value in topic.items():
                    recovery.see(key, value)
                assert recovery.restore(engine, epoch) == at
                restarts += 1
    return folded, restarts

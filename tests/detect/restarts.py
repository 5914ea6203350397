"""An engine that is stopped and started again from its checkpoints, here and there."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from pipeline.detect.checkpoint import Recovery
from pipeline.detect.engine import Engine, NeedHistoryError
from pipeline.detect.timed import Timed
from pipeline.model.episode import Change, Ledger
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan

BESIDE = 2  # records that whoever was not killed is fed as well


def taken_over(
    engine: Engine | Timed,
    fresh: Engine | Timed,
    at: int = 1,
    plans: Mapping[str, CompiledPlan] | None = None,
    recovery: Recovery | None = None,
) -> Recovery:
    """Bring `fresh` to where `engine` is, before record `at`, by a checkpoint. Returns what goes on with the checkpoints."""
    written, after = (recovery or Recovery(0)).checkpoint(engine, at, 1), Recovery(0)
    for key, value in (*written.blocks, written.manifest):
        after.see(key, value)
    assert after.restore(fresh, 2, plans) == at
    return after


def restarted(
    engine_of: Callable[[], Engine], records: Sequence[ObservationBatch], seed: int, again: float
) -> tuple[Ledger, int]:
    """The ledger, and how often it was started again: with the chance `again` behind one checkpoint in twenty records. Whoever was not
    killed says the same to the next records, byte for byte."""
    rng = random.Random(seed)
    engine, recovery, folded, topic = engine_of(), Recovery(0), Ledger(), dict[bytes, bytes]()
    epoch, restarts = 1, 0
    former, until = engine, 0

    def fed(engine: Engine, at: int) -> list[Change]:
        try:
            return engine.feed(records[at])
        except NeedHistoryError as need:
            engine.load_history(records[:at], need.from_us)
            return engine.feed(records[at])

    for at in range(len(records)):
        changes = fed(engine, at)
        if at < until:
            assert fed(former, at) == changes, "a replay did not repeat itself"
        folded.apply(changes)
        if rng.random() < 0.05:
            written = recovery.checkpoint(engine, at + 1, epoch)
            topic.update([*written.blocks, written.manifest])
            if rng.random() < again:
                former, until = engine, at + 1 + BESIDE
                recovery, engine, epoch = Recovery(0), engine_of(), epoch + 1
                for key, value in topic.items():
                    recovery.see(key, value)
                assert recovery.restore(engine, epoch) == at + 1
                restarts += 1
    return folded, restarts

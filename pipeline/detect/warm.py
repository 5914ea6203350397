"""Compile the rules, or load what an earlier run has compiled, before the first fix needs them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pipeline.detect.engine import Engine
from pipeline.detect.tables import Tables
from pipeline.model.observation import Fix
from pipeline.model.wire import BatchBuilder
from pipeline.plan.model import CompiledPlan

log = logging.getLogger("rahdar.detect")

SLOW_S = 2.0
SEEN_US = (1_000_000_000, 1_030_000_000, 1_015_000_000)  # the last one is out of order: going back is compiled too


def warm_up(plan: CompiledPlan, tables: Tables, now: Callable[[], float] = time.perf_counter) -> float:
    """Run fixes of the plan's first vehicle through an engine that is thrown away. Returns the seconds that it took."""
    began = now()
    if (vehicle := next(iter(plan.vehicles), None)) is None:
        return 0.0
    engine = Engine(plan, None, tables)
    for seq, seen_at_us in enumerate(SEEN_US):
        builder = BatchBuilder()
        builder.add(
            Fix(
                vehicle=vehicle,
                device="warm-up",
                seen_at_us=seen_at_us,
                received_at_us=seen_at_us,
                lat=plan.projection.lat0,
                lon=plan.projection.lon0 + seq * 1e-4,
                seq=seq,
            )
        )
        engine.feed(builder.build())
    took_s = now() - began
    if took_s > SLOW_S:
        log.warning("the rules were compiled in %.0f s; the next start loads them", took_s)
    return took_s

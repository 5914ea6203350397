"""The rules beside the scan go from one version of the plan to the next: with what they know, and with what they have told.

What the new plan asks for and the old one did not has not been kept by anybody: that is read back, and heard once more. So a plan that
was announced and the same plan ordered late know the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.detect import sensors, silence
from pipeline.detect.convoys import more_guests
from pipeline.detect.form import FIX
from pipeline.detect.segment import Segment
from pipeline.detect.sensors import Sensors
from pipeline.detect.silence import Silence
from pipeline.model.episode import Change, Episode, Mode
from pipeline.model.wire import NO_FIXES, ObservationBatch
from pipeline.plan.model import CompiledPlan
from pipeline.plan.timeline import Version

CONVOY_US = 1_200_000_000  # so much of a convoy's past a version wants to know that has it newly on the road
NOTHING = ObservationBatch(NO_FIXES)

History = Callable[[str], Iterable[tuple[Segment, Any]]]
"""Of a vehicle: fixes, and the version that has kept them."""


def wanted_since(
    before: CompiledPlan, after: Version, horizon_us: int | None, cells: Container[str] | None, reached_us: int
) -> Iterator[int]:
    """Since when everything is to be heard once more that came in under `before`: at most one instant of each reason. `reached_us`: time has
    come so far."""
    if sensors.asks_more(before, after.plan, cells) or silence.asks_more(before, after.plan, cells):
        yield 0 if horizon_us is None else after.from_us - horizon_us
    if more_guests(before, after.plan, cells, reached_us):
        yield after.from_us - CONVOY_US


def hand_over(before: Segment, after: Segment, history: History) -> None:
    """All that the one's rules know goes to the other's, and of convoys also what was seen since a while before: the new plan may have a
    movement that the old one did not."""
    for old, new in zip(before.judges, after.judges, strict=True):
        if isinstance(new, Sensors) and isinstance(old, Sensors):
            new.take_over(old, after.from_us)
        elif new.on and old.on:
            new.restore(old.dump(whole=True))
        if isinstance(new, Sensors | Silence):
            new.disown()  # what has no rule any more ends with the stretch of the version before
        if isinstance(new, Silence) and isinstance(old, Silence):
            new.blackout.again()
            if new.floor_us < old.floor_us:
                new.doubt(0 if after.horizon_us is None else after.from_us - after.horizon_us)
    if after.convoys.on:
        since_us = after.from_us - CONVOY_US
        after.convoys.begin(since_us, before.convoys, after.from_us)
        rows = np.concatenate([np.zeros(0, FIX), *_members(before, after, history, since_us)], dtype=FIX)
        rows = rows[np.argsort(rows["seen"], kind="stable")]
        after.convoys.take(NOTHING, rows, np.ones(len(rows), np.uint8))


def owners(after: CompiledPlan, before: CompiledPlan, vehicles: Iterable[str]) -> set[str]:
    """These, and whose their devices were."""
    names = set(vehicles)
    if after.vehicles is before.vehicles:
        return names
    devices = {device for v in names for device in after.vehicles[v].devices}
    return names | {v.id for v in before.vehicles.values() if not devices.isdisjoint(v.devices)}


def _members(before: Segment, after: Segment, history: History, since_us: int) -> Iterator[Any]:
    members = {v for marching in after.convoys.marches.values() for v in marching.march.members}
    for name in sorted(owners(after.plan, before.plan, members)):
        for segment, rows in history(name):
            yield after.adopt(rows[rows["seen"] >= since_us], segment, name)


def told_beside(segment: Segment) -> Iterator[Change]:
    """What the rules beside the scan have told and still hold."""
    for judge in segment.judges:
        if judge.on:
            for episode, mode, cell in judge.held():
                yield _held(segment, episode, mode, cell)


def _held(segment: Segment, episode: Episode, mode: Mode, cell: str) -> Change:
    at_us = episode.ended_at_us or episode.began_at_us
    return Change(
        kind="amend", episode=episode, mode=mode, cell=cell, plan_hash=segment.plan.hash, decided_at_us=at_us,
        received_at_us=max(at_us, segment.received_us),
    )  # fmt: skip

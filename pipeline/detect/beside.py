"""The rules beside the scan go from one version of the plan to the next: with what they know, and with what they have told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.detect.form import FIX
from pipeline.detect.segment import Segment
from pipeline.detect.sensors import Sensors
from pipeline.model.episode import Change, Episode, Mode
from pipeline.model.wire import NO_FIXES, ObservationBatch

NOTHING = ObservationBatch(NO_FIXES)


History = Callable[[str], Iterable[tuple[Segment, Any]]]
"""Of a vehicle: fixes, and the version that has kept them."""


def hand_over(before: Segment, after: Segment, history: History, from_us: int) -> list[Change]:
    """All that the one's rules know goes to the other's, and of convoys also what was seen since `from_us`: the new plan may have a
    movement that the old one did not. Returns what these now tell."""
    for old, new in zip(before.judges, after.judges, strict=True):
        if new.on and old.on:
            new.restore(old.dump(whole=True))
        if isinstance(new, Sensors):
            new.disown()  # what has no rule any more ends with the stretch of the version before
    if after.convoys.on:
        rows = np.concatenate([np.zeros(0, FIX), *_members(after, history, from_us)], dtype=FIX)
        rows = rows[np.argsort(rows["seen"], kind="stable")]
        after.convoys.take(NOTHING, rows, np.ones(len(rows), np.uint8))
    told = list(told_beside(after))
    for judge in after.judges:
        if judge.on:
            judge.take(NOTHING, None, None)
            told += judge.changes()
    return told


def _members(after: Segment, history: History, from_us: int) -> Iterator[Any]:
    for name in sorted({v for marching in after.convoys.marches.values() for v in marching.march.members}):
        for segment, rows in history(name):
            yield after.adopt(rows[rows["seen"] >= from_us], segment, name)


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

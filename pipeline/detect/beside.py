"""The rules beside the scan go from one version of the plan to the next: with what they know, and with what they have told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.detect.clocks import Clocks
from pipeline.detect.convoys import Convoys
from pipeline.detect.form import FIX
from pipeline.detect.judge import Told
from pipeline.detect.segment import Segment
from pipeline.detect.sensors import Sensors
from pipeline.detect.silence import Silence
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
            new._removed.clear()  # what has no rule any more ends with the stretch of the version before
    if after.convoys.on:
        rows = np.concatenate([np.zeros(0, FIX), *_members(after, history, from_us)])
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
        if not judge.on:
            continue
        if isinstance(judge, Silence):
            for place, told in judge._told.items():
                watched = judge.watched.get(judge._ids[place])
                if isinstance(told, Told) and watched is not None and watched.setting is not None:
                    for e in told.episodes:
                        yield _held(segment, e, watched.setting.mode, watched.vehicle.cell)
            for cell, told in judge.blackout.told.items():
                if cell in judge.blackout.settings:
                    for e in told.episodes:
                        yield _held(segment, e, judge.blackout.settings[cell].mode, cell)
        elif isinstance(judge, Clocks):
            for region, rule in judge.regions:
                for told in judge._told.get(region.id, {}).values():
                    for e in told.episodes:
                        yield _held(segment, e, rule.mode, region.cells[0])
        elif isinstance(judge, Convoys):
            judge.take(NOTHING, None, None)  # what was restored is read now
            for marching in judge.marches.values():
                for relation, mine in zip(marching.march.relations, marching.told, strict=True):
                    for e in mine.values():
                        yield _held(segment, e, marching._mode(relation, e), marching.march.cell)
        elif isinstance(judge, Sensors):
            for site in judge.sites.values():
                for e in site.told.episodes:
                    if e.rule in site.settings:
                        yield _held(segment, e, site.settings[e.rule].mode, site.cell)


def _held(segment: Segment, episode: Episode, mode: Mode, cell: str) -> Change:
    at_us = episode.ended_at_us or episode.began_at_us
    return Change(
        kind="amend", episode=episode, mode=mode, cell=cell, plan_hash=segment.plan.hash, decided_at_us=at_us,
        received_at_us=max(at_us, segment.received_us),
    )  # fmt: skip

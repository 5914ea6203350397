"""`clock.suspect`: ingest says in its Ticks that it does not trust its own clock.

Ingest judges (`pipeline.ingest.agree`); here its word becomes an episode, one for each region that asks, in the partition of the region's
first cell: Ticks are in every partition and one alert about ourselves is enough. What is heard is kept where nobody asks as well: the next
plan may. Untrusted Ticks no farther apart than `HOLD_US` are one
episode, which begins with the first of them and ends `HOLD_US` after the last, once the source has ticked past that. Runs of
them merge in whatever order they come.
"""

from __future__ import annotations

import bisect
from collections.abc import Container, Iterator

import msgspec

from pipeline.detect.judge import Array, Held, Told, retold
from pipeline.detect.listening import ANY_SOURCE
from pipeline.model.episode import Change, Episode, episode_id
from pipeline.model.observation import Tick
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan, Region, RuleSetting

RULE = "clock.suspect"
HOLD_US = 60_000_000  # a clock that is put right by steps is one alert

type_run = tuple[int, int]


class Kept(msgspec.Struct, array_like=True):
    """What a checkpoint holds of it: of each source its last Tick and the runs of untrusted ones, by (region, source) what was told."""

    last_us: dict[str, int] = {}
    runs: dict[str, list[type_run]] = {}
    told: dict[str, dict[str, Told]] = {}
    trusted_us: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def joined(runs: list[type_run], at_us: int) -> list[type_run]:
    """The runs with one more untrusted Tick."""
    near = [run for run in runs if run[0] - HOLD_US <= at_us <= run[1] + HOLD_US]
    whole = min([at_us, *(a for a, _ in near)]), max([at_us, *(b for _, b in near)])
    rest = [run for run in runs if run not in near]
    bisect.insort(rest, whole)
    return rest


class Clocks:
    """The rule over one partition: a `Judge`. `cells`: those of the partition; None: all."""

    name = "clocks"

    def __init__(self, plan: CompiledPlan, cells: Container[str] | None, horizon_us: int | None) -> None:
        self.plan = plan
        self.horizon_us = horizon_us
        self.regions: list[tuple[Region, RuleSetting]] = [
            (region, rule)
            for region in plan.regions.values()
            if (rule := region.rules.get(RULE)) is not None
            and rule.mode != "off"
            and (cells is None or region.cells[0] in cells)
        ]
        self.on = True
        self.dirty = False
        self._last_us: dict[str, int] = {}
        self._runs: dict[str, list[type_run]] = {}
        self._told: dict[str, dict[str, Told]] = {}
        self._touched: set[str] = set()
        self._trusted_us = 0  # no other Tick gives anything up

    def take(self, batch: ObservationBatch, fixes: Array | None, use: Array | None) -> None:
        for placed in batch.others:
            if isinstance(placed.what, Tick) and placed.what.source != ANY_SOURCE:
                self.tick(placed.what)

    def tick(self, tick: Tick) -> None:
        before = self._last_us.get(tick.source, 0)
        self._last_us[tick.source] = max(before, tick.at_us)
        if tick.clock_trusted:
            self._trusted_us = max(self._trusted_us, tick.at_us)
        runs = self._runs.get(tick.source, [])
        if not tick.clock_trusted:
            self._runs[tick.source] = joined(runs, tick.at_us)
            self._touched.add(tick.source)
        elif runs and before < runs[-1][1] + HOLD_US <= tick.at_us:
            self._touched.add(tick.source)

    def changes(self) -> list[Change]:
        out: list[Change] = []
        for source in sorted(self._touched):
            self._trim(source)
            for region, rule in self.regions:
                out += self._differences(region, rule, source)
        self.dirty = self.dirty or bool(self._touched)
        self._touched.clear()
        return out

    def _oldest_us(self, source: str) -> int:
        return 0 if self.horizon_us is None else min(self._trusted_us, self._last_us[source]) - 2 * self.horizon_us

    def _trim(self, source: str) -> None:
        """As long as what is told of it is kept; and whoever was told that it goes on hears first that it is over."""
        oldest_us = self._oldest_us(source)
        told = (e for of in self._told.values() for e in (of[source].episodes if source in of else ()))
        open_ = {e.began_at_us for e in told if e.ended_at_us is None}
        self._runs[source] = [r for r in self._runs[source] if r[1] + HOLD_US >= oldest_us or r[0] in open_]

    def _differences(self, region: Region, rule: RuleSetting, source: str) -> Iterator[Change]:
        last_us = self._last_us[source]
        oldest_us = self._oldest_us(source)
        told = self._told.setdefault(region.id, {}).get(source)
        if told:
            kept = [e for e in told.episodes if e.ended_at_us is None or e.ended_at_us >= oldest_us]
            told = Told(told.revision, kept)
        after = [_episode(region, rule, source, run, last_us) for run in self._runs[source]]
        told, news = retold(told, after, rule.mode, last_us, region.cells[0], self.plan.hash)
        yield from news
        self._told[region.id][source] = told

    def held(self) -> Iterator[Held]:
        for region, rule in self.regions:
            for told in self._told.get(region.id, {}).values():
                yield from (Held(e, rule.mode, region.cells[0]) for e in told.episodes)

    def dump(self, whole: bool) -> bytes:
        self.dirty = False
        return _encode(Kept(dict(self._last_us), dict(self._runs), dict(self._told), self._trusted_us))

    def restore(self, kept: bytes) -> None:
        said = _decode(kept)
        self._trusted_us = max(self._trusted_us, said.trusted_us)
        self._last_us.update(said.last_us)
        self._runs.update(said.runs)
        self._told.update(said.told)
        self._touched.update(said.runs)


def _episode(region: Region, rule: RuleSetting, source: str, run: type_run, last_us: int) -> Episode:
    first, last = run
    return Episode(
        id=episode_id(RULE, source, region.id, first),
        rule=RULE,
        subject=source,
        object=region.id,
        began_at_us=first,
        ended_at_us=last + HOLD_US if last + HOLD_US <= last_us else None,
        severity=rule.severity,
        peak=None,
        evidence={},
    )

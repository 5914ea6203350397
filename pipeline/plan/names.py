"""Names across regions. A name of another region is written region:name, so that a region can be checked, and run, without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.plan.read import ANYTHING, RegionSource

BETWEEN = ":"


def bare(name: str) -> str:
    return name.rpartition(BETWEEN)[2]


class Known(set[str]):
    """What may be named. What belongs to a region that is not loaded cannot be looked up, and is let pass."""

    def __init__(self, sources: Sequence[RegionSource], kind: str) -> None:
        super().__init__(name for source in sources for name in _declared(source, kind))
        self._of = {s.region.item.id: _declared(s, kind) for s in sources if s.region is not None}

    def __contains__(self, name: object) -> bool:
        region, _, wanted = str(name).rpartition(BETWEEN)
        if not region:
            return super().__contains__(name)
        if region not in self._of:
            return True
        return wanted in self._of[region] or ANYTHING in self._of[region]


def _declared(source: RegionSource, kind: str) -> set[str]:
    if kind == "cells":
        return set(source.region.item.all_cells) if source.region is not None else set()
    return source.declared.get(kind, set())


class Loaded:
    """The regions that are here. `whole`: all that there are, so that no other can be meant."""

    def __init__(self, sources: Sequence[RegionSource], whole: bool) -> None:
        self.regions = frozenset(s.region.item.id for s in sources if s.region is not None)
        self.whole = whole and all(s.region is not None for s in sources)
        self.left_out: dict[str, None] = {}

    def here(self, name: str) -> str | None:
        """The name without its region; None: that region is not loaded, which is noted."""
        region, _, wanted = name.rpartition(BETWEEN)
        if not region or region in self.regions:
            return wanted
        self.left_out[name] = None
        return None

    def all_here(self, names: Iterable[str]) -> list[str]:
        return [found for name in names if (found := self.here(name)) is not None]

    def strange(self, name: str) -> str | None:
        """The region that this name is of, when there can be no such region."""
        region = name.rpartition(BETWEEN)[0]
        return region if region and self.whole and region not in self.regions else None

"""`area.blackout`: several vehicles near one another fall silent together: somebody jams, or the network is cut.

An *absence* is a pause of a device that lasts longer than `silent_for`, away from home and from the plan's own gaps in coverage. It counts
from that deadline until its end. A cell is dark while one of its absences has `vehicles` about it, itself among them: of different
vehicles, last heard within `near_m` and `within` of it. It stays dark until fewer than half of `vehicles` are left. All this is a
function of the set of absences, so whatever changes one is judged again from the first instant on which that bears.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from pipeline.detect.judge import Held, Told, retold
from pipeline.model.episode import Change, Episode, episode_id
from pipeline.plan.model import CompiledPlan, RuleSetting

RULE = "area.blackout"
NAMED = 12  # vehicles in the evidence


class Absence(NamedTuple):
    """`heard_us`: the last fix before it, at `xy` metres. It counts from `from_us` to `to_us`; None: it goes on."""

    from_us: int
    to_us: int | None
    heard_us: int
    vehicle: str
    device: str
    xy: tuple[float, float]
    lat: float
    lon: float


class Setting(NamedTuple):
    """The rule's numbers. `least`: what is left when it is over, one less than which ends it."""

    vehicles: int
    least: int
    near_m: float
    within_us: int

    @staticmethod
    def of(setting: RuleSetting) -> Setting:
        p = setting.params
        k = int(p["vehicles"])
        return Setting(k, (k + 1) // 2, p["near_m"], int(p["within_us"]))


def settings_of(plan: CompiledPlan) -> dict[str, RuleSetting]:
    """Of each cell in which the rule runs."""
    found = {}
    for region in plan.regions.values():
        setting = region.rules.get(RULE)
        if setting is not None and setting.mode != "off":
            found.update(dict.fromkeys(region.cells, setting))
    return found


def largest(active: Iterable[Absence], setting: Setting) -> list[Absence]:
    """Those about the absence that has most vehicles about it; of equals the first in order."""
    ordered = sorted(active, key=attrgetter("from_us", "heard_us", "device"))
    best: list[Absence] = []
    most = 0
    for seed in ordered:
        x, y = seed.xy
        about = [
            other
            for other in ordered
            if abs(other.heard_us - seed.heard_us) <= setting.within_us
            and math.hypot(other.xy[0] - x, other.xy[1] - y) <= setting.near_m
        ]
        vehicles = len({other.vehicle for other in about})
        if vehicles > most:
            best, most = about, vehicles
    return best


def dark(
    cell: str,
    absences: Iterable[Absence],
    rule: RuleSetting,
    since_us: int,
    before: Sequence[Episode],
    oldest_us: int = 0,
) -> list[Episode]:
    """The cell's episodes, in order. What was told `before` stands as far as it ended by `since_us`: from there it is judged again. Of
    what ended by `oldest_us` the absences may be forgotten: what ended before stands as well, and what began before keeps its beginning."""
    setting = Setting.of(rule)
    out: list[Episode] = []
    open_: Episode | None = None
    for e in before:
        if e.ended_at_us is not None and e.ended_at_us < max(since_us, oldest_us):
            out.append(e)
            since_us = max(since_us, e.ended_at_us)  # of what is forgotten nobody can judge again
        elif e.began_at_us < oldest_us:
            open_ = msgspec.structs.replace(e, ended_at_us=None)
            since_us = max(since_us, oldest_us)
        else:
            since_us = min(since_us, e.began_at_us)
    mine = [a for a in absences if a.to_us is None or a.to_us >= since_us]
    coming = sorted(mine, key=attrgetter("from_us"), reverse=True)
    active: list[Absence] = []
    for at in sorted({at for a in mine for at in (a.from_us, a.to_us) if at is not None and at >= since_us}):
        active = [a for a in active if a.to_us is None or a.to_us > at]
        while coming and coming[-1].from_us <= at:
            one = coming.pop()
            if one.to_us is None or one.to_us > at:
                active.append(one)
        about = largest(active, setting) if len(active) >= setting.least else []
        count = len({a.vehicle for a in about})
        if open_ is None and count >= setting.vehicles:
            open_ = _begun(cell, rule, at, about, count)
        elif open_ is not None and count < setting.least:
            out.append(msgspec.structs.replace(open_, ended_at_us=at))
            open_ = None
        elif open_ is not None and count > (open_.peak or 0):
            open_ = msgspec.structs.replace(open_, peak=float(count))
    return out if open_ is None else [*out, open_]


def _begun(cell: str, rule: RuleSetting, began_us: int, about: list[Absence], count: int) -> Episode:
    vehicles = sorted({a.vehicle for a in about})
    return Episode(
        id=episode_id(RULE, cell, "", began_us),
        rule=RULE,
        subject=cell,
        object="",
        began_at_us=began_us,
        ended_at_us=None,
        severity=rule.severity,
        peak=float(count),
        evidence={
            "lat": round(sum(a.lat for a in about) / len(about), 6),
            "lon": round(sum(a.lon for a in about) / len(about), 6),
            "vehicles": vehicles[:NAMED],
            "silent": len(vehicles),
        },
    )


class Kept(msgspec.Struct, array_like=True):
    """What a checkpoint holds of it; absences are reckoned again from the pauses."""

    told: dict[str, Told] = {}


class Blackout:
    """The rule over the cells of one partition. `silent_for_us`: of each cell; those that are not in it are not judged."""

    def __init__(self, plan: CompiledPlan) -> None:
        self.plan = plan
        self.settings = settings_of(plan)
        self.silent_for_us = {cell: int(s.params["silent_for_us"]) for cell, s in self.settings.items()}
        self.told: dict[str, Told] = {}
        self._absences: dict[str, dict[str, list[Absence]]] = {cell: {} for cell in self.settings}
        self._since: dict[str, int] = {}

    def see(self, cell: str, device: str, absences: list[Absence], oldest_us: int) -> None:
        """All that is now known of a device. What ended by `oldest_us` is forgotten, which changes nothing."""
        known = self._absences[cell].get(device, [])
        if absences == known:
            return
        changed = [
            a.from_us for a in set(absences) ^ set(known) if a.to_us is None or a.to_us >= oldest_us
        ]  # fmt: skip
        if changed:
            self._since[cell] = min(self._since.get(cell, changed[0]), *changed)
        if absences:
            self._absences[cell][device] = absences
        else:
            del self._absences[cell][device]

    def again(self) -> None:
        """All that was told is judged once more: it may have been by another plan's rule."""
        self._since.update(dict.fromkeys(self.told.keys() & self.settings.keys(), 0))

    def held(self) -> Iterator[Held]:
        for cell, told in self.told.items():
            if cell in self.settings:
                yield from (Held(e, self.settings[cell].mode, cell) for e in told.episodes)

    def changes(self, now_us: int, oldest_us: int) -> Iterator[Change]:
        """What is to be told otherwise than before. Episodes that were over by `oldest_us` are no more kept in mind."""
        for cell, since_us in sorted(self._since.items()):
            told, rule = self.told.get(cell), self.settings[cell]
            before = told.episodes if told else []
            mine = [a for of_device in self._absences[cell].values() for a in of_device]
            after = dark(cell, mine, rule, since_us, before, oldest_us)
            told, news = retold(told, after, rule.mode, now_us, cell, self.plan.hash)
            yield from news
            if told.revision:
                kept = [e for e in after if e.ended_at_us is None or e.ended_at_us >= oldest_us]
                self.told[cell] = Told(told.revision, kept)
        self._since.clear()

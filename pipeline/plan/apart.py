"""What has to be kept apart, or two episodes would have one id: lines of one rule on an area, and movements of one vehicle.

An id is of rule, subject, object and the instant of the beginning. Every line is judged by itself, and so is every movement, but
the object is the area or the route, whichever of its lines or movements tells it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pipeline.plan import schema
from pipeline.plan.faults import Fault
from pipeline.plan.handover import Member
from pipeline.plan.model import Schedule
from pipeline.plan.names import Loaded
from pipeline.plan.read import Placed, RegionSource
from pipeline.plan.rules import AREA_RULES
from pipeline.plan.times import ALWAYS_US, ZONES, instant_us
from pipeline.plan.tree import KeyPath

MONDAY_US = 4 * 86_400_000_000
"""Midnight of 1970-01-05: where a week begins."""


def where(entry: Placed[schema.Entry]) -> str:
    """What a fault of another entry calls this one."""
    line = entry.tree.line_of(entry.path)
    return f"{entry.key} in {entry.tree.file}" + (f" on line {line}" if line else "")


def check_lines(area: Placed[schema.AreaIn], source: RegionSource, fleet: Mapping[str, Member]) -> Iterator[Fault]:
    """No two lines of one rule concern one vehicle at one time."""
    counted = Counter(line.rule for line in area.item.rules)
    running = [
        # in local time, which two lines of one area share
        (number, line, _concerned(line, source, fleet), Schedule(schema.week_of(line.schedule), utc_offset_s=0))
        for number, line in enumerate(area.item.rules)
        if counted[line.rule] > 1 and _runs(line, source)
    ]
    for (before, other, theirs, when), (number, line, ours, then) in combinations(running, 2):
        both = sorted(ours & theirs) if line.rule == other.rule else []
        if not both or not _meet(when, then):
            continue
        whom = both[0] if len(both) == 1 else f"{both[0]} and {len(both) - 1} more"
        at = area.tree.line_of((*area.path, "rules", before))
        told = f"rules[{before + 1}]" + (f" on line {at}" if at else "")
        problem = f"{told} says it of {whom} at the same time, and the two would tell one episode"
        cure = "Make them one line, or keep their roles, vehicles or schedules apart"
        yield area.fault(("rules", number, "rule"), line.rule, problem, cure)


def _runs(line: schema.AreaRuleIn, source: RegionSource) -> bool:
    if line.rule not in AREA_RULES or line.rule not in source.rules:
        return False  # which is a fault of its own
    return (line.mode or source.rules[line.rule][0].item.mode) != "off"


def _concerned(line: schema.AreaRuleIn, source: RegionSource, fleet: Mapping[str, Member]) -> set[str]:
    """Whom it judges, of all regions: an area asks nobody where he is from."""
    roles = line.roles or source.rules[line.rule][0].item.roles
    return {
        name
        for name, vehicle in fleet.items()
        if (not roles or vehicle.role in roles) and (not line.vehicles or name in line.vehicles)
    }


def _meet(one: Schedule, other: Schedule) -> bool:
    """Is there an instant of the week at which both apply? Then one of them starts within the other."""
    if not one.windows or not other.windows:
        return True
    return any(
        held.applies(MONDAY_US + start * 1_000_000)
        for held, its in ((one, other), (other, one))
        for start, _ in its.windows
    )


@dataclass(frozen=True, slots=True)
class _Ride:
    """Somebody's part in a movement, and where the movement names him."""

    starts_us: int
    ends_us: int
    movement: Placed[schema.MovementIn]
    at: KeyPath

    @property
    def convoy(self) -> str | None:
        return self.movement.item.convoy


def check_movements(sources: Sequence[RegionSource], loaded: Loaded) -> Iterator[Fault]:
    """Nobody is on two movements at a time, as orders have it too (`orders._Checked.free`)."""
    members = {convoy.item.id: loaded.all_here(convoy.item.members) for s in sources for convoy in s.convoys}
    rides: dict[str, list[_Ride]] = {}
    for source in sources:
        for movement in source.movements:
            window = _window_us(movement.item, source)
            if window is None:
                continue
            for name, at in _who(movement.item, members, loaded):
                rides.setdefault(name, []).append(_Ride(*window, movement, at))
    for name, taken in rides.items():
        under_way: list[_Ride] = []
        for ride in sorted(taken, key=lambda r: r.starts_us):
            under_way = [other for other in under_way if other.ends_us > ride.starts_us]
            for other in under_way:
                if ride.convoy is not None and ride.convoy == other.convoy and ride.convoy != name:
                    continue  # it is said of the convoy
                problem = f"on {where(other.movement)} at the same time, and each of the two would judge it"
                cure = "Let one end where the other starts, or take it off one of them"
                yield ride.movement.fault(ride.at, name, problem, cure)
            under_way.append(ride)


def _who(
    item: schema.MovementIn, members: Mapping[str, Sequence[str]], loaded: Loaded
) -> Iterator[tuple[str, KeyPath]]:
    """Who must not be elsewhere, and where it is named."""
    if item.convoy is not None:
        yield item.convoy, ("convoy",)
        for name in dict.fromkeys(members.get(item.convoy, ())):
            yield name, ("convoy",)
        return
    first: dict[str, int] = {}
    for number, given in enumerate(item.vehicles):
        if (found := loaded.here(given)) is not None:
            first.setdefault(found, number)
    for name, number in first.items():
        yield name, ("vehicles", number)


def _window_us(item: schema.MovementIn, source: RegionSource) -> tuple[int, int] | None:
    """None: it has none that can be read, or ends before it starts, which is told elsewhere."""
    utc_offset_s = ZONES[source.region.item.timezone] if source.region else 0
    try:
        starts = instant_us(item.starts, utc_offset_s) if item.starts is not None else ALWAYS_US[0]
        ends = instant_us(item.ends, utc_offset_s) if item.ends is not None else ALWAYS_US[1]
    except (ValueError, OverflowError):
        return None
    return (starts, ends) if starts < ends else None

"""What has to be true of movements that go through several regions, and of those who march with another region's people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.plan import schema
from pipeline.plan.faults import Fault
from pipeline.plan.ground import distance_m, point_at_km
from pipeline.plan.names import Loaded
from pipeline.plan.read import ANYTHING, Placed, RegionSource

CONVOY_RULES = ("convoy.separated", "escort.missing")
MEET_M = 300.0
"""Two drawings of one junction lie no farther apart."""


@dataclass(frozen=True, slots=True)
class Member:
    """A vehicle as its region declares it."""

    role: str
    region: str
    cell: str
    item: schema.VehicleIn

    def serves(self, cell: str, loaded: Loaded) -> bool:
        return cell in (self.cell, *loaded.all_here(self.item.cells_served)) or ANYTHING in (cell, self.cell)


def convoy_cell(item: schema.ConvoyIn, source: RegionSource, members: Sequence[Member]) -> str:
    """Where a convoy is judged; as `compile` has it."""
    homes = {m.cell for m in members}
    return item.cell or (homes.pop() if len(homes) == 1 else _first_cell(source))


def _first_cell(source: RegionSource) -> str:
    return source.region.item.all_cells[0] if source.region is not None else ANYTHING


def check_strangers(sources: Sequence[RegionSource], loaded: Loaded) -> Iterator[Fault]:
    """Names of regions that there are not."""

    def told(entry: Placed[schema.Entry], at: tuple[str | int, ...], name: str) -> Iterator[Fault]:
        if (region := loaded.strange(name)) is not None:
            cure = f"The regions are {', '.join(sorted(loaded.regions))}"
            yield entry.fault(at, name, f"there is no region {region}", cure)

    def each(entry: Placed[schema.Entry], key: str, names: Sequence[str] | None) -> Iterator[Fault]:
        for number, name in enumerate(names or ()):
            yield from told(entry, (key, number), name)

    for source in sources:
        for vehicle in source.vehicles:
            yield from each(vehicle, "cells_served", vehicle.item.cells_served)
        for convoy in source.convoys:
            for key in ("members", "principals", "escorts"):
                yield from each(convoy, key, getattr(convoy.item, key))
        for movement in source.movements:
            item = movement.item
            for key in ("vehicles", "stops"):
                yield from each(movement, key, getattr(item, key))
            for key in ("route", "origin", "destination"):
                if (name := getattr(item, key)) is not None:
                    yield from told(movement, (key,), name)
            for number, leg in enumerate(item.legs or ()):
                yield from told(movement, ("legs", number, "route"), leg.route)
                if leg.region is not None and loaded.whole and leg.region not in loaded.regions:
                    cure = f"The regions are {', '.join(sorted(loaded.regions))}"
                    yield movement.fault(("legs", number, "region"), leg.region, "there is no such region", cure)
                for at, name in enumerate(leg.escorts):
                    yield from told(movement, ("legs", number, "escorts", at), name)


def check_copies(
    convoy: Placed[schema.ConvoyIn], source: RegionSource, fleet: Mapping[str, Member], loaded: Loaded
) -> Iterator[Fault]:
    """A convoy is judged in one cell: its members must be allowed to be known there. Within a region only where it is judged."""
    watched = any(r in source.rules and source.rules[r][0].item.mode != "off" for r in CONVOY_RULES)
    region = source.region.item.id if source.region is not None else ""
    numbered = [(n, name) for n, given in enumerate(convoy.item.members) if (name := loaded.here(given)) in fleet]
    cell = convoy_cell(convoy.item, source, [fleet[name] for _, name in numbered if name])
    for number, name in numbered:
        member = fleet[name or ""]
        if (watched or member.region != region) and not member.serves(cell, loaded):
            where = cell if member.region == region else f"{region}:{cell}"
            problem = f"its home cell is {member.cell}, and this convoy is judged in {cell}, which it may not serve"
            cure = f"Add {where} to the cells_served of {name}, or take it out of this convoy"
            yield convoy.fault(("members", number), convoy.item.members[number], problem, cure)


def check_legs(
    movement: Placed[schema.MovementIn], sources: Sequence[RegionSource], fleet: Mapping[str, Member], loaded: Loaded
) -> Iterator[Fault]:
    """Roads' ends meet, legs' cells are there, and who drives through another region may serve it."""
    legs = movement.item.legs or ()
    by_region = {s.region.item.id: s for s in sources if s.region is not None}
    routes = {r.item.id: (r.item, s.region.item.id if s.region else "") for s in sources for r in s.routes}
    found = [routes.get(loaded.here(leg.route) or "") for leg in legs]
    for number, (leg, route) in enumerate(zip(legs, found, strict=True)):
        region = leg.region or (route[1] if route else "")
        if region not in by_region:
            continue
        cells = by_region[region].region.item.all_cells  # type: ignore[union-attr]  # those have one
        if leg.cell is not None and leg.cell not in cells:
            cure = f"Use {', '.join(cells)}"
            yield movement.fault(("legs", number, "cell"), leg.cell, f"{region} declares no such cell", cure)
            continue
        cell = leg.cell or cells[0]
        for name in _driving(movement.item, leg, sources, loaded):
            member = fleet.get(name)
            if member is not None and member.region != region and not member.serves(cell, loaded):
                cure = f"Add {region}:{cell} to the cells_served of {name}, or take it off this movement"
                yield movement.fault(("legs", number), name, f"it may not serve {region}, where it is led", cure)
    for number, ((leg, route), (following, its)) in enumerate(pairwise(zip(legs, found, strict=True)), 1):
        if route is None or its is None or len(route[0].line) < 2 or len(its[0].line) < 2:
            continue
        end, start = point_at_km(route[0], leg.to_km, True), point_at_km(its[0], following.from_km, False)
        gap = distance_m(end, start)
        if gap > MEET_M:
            problem = "it begins that far from where the leg before it ends"
            cure = "Give both the kilometre of the place where one hands over to the other"
            yield movement.fault(("legs", number, "from_km"), f"{gap / 1000:.1f} km", problem, cure)


def _driving(item: schema.MovementIn, leg: schema.LegIn, sources: Sequence[RegionSource], loaded: Loaded) -> list[str]:
    """Who drives along this leg: of a convoy all but the escorts that are relieved."""
    convoy = next((c.item for s in sources for c in s.convoys if c.item.id == item.convoy), None)
    if convoy is None:
        return loaded.all_here(item.vehicles)
    roles = {v.item.id: v.item.role for s in sources for v in s.vehicles}
    members = loaded.all_here(convoy.members)
    escorts = {m for m in members if roles.get(m) == "escort"}
    if convoy.escorts is not None:
        escorts = set(loaded.all_here(convoy.escorts))
    return [m for m in members if m not in escorts] + loaded.all_here(leg.escorts)

"""What one entry alone cannot know: references, what is declared twice, and whether shapes and windows make sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.plan import schema
from pipeline.plan.apart import check_lines, check_movements, where
from pipeline.plan.faults import Fault, nearest
from pipeline.plan.ground import check_area, check_place, check_route, km_range
from pipeline.plan.handover import Member, check_copies, check_legs, check_strangers
from pipeline.plan.model import DOOR_KINDS, NO_INTRUSION
from pipeline.plan.names import Known, Loaded
from pipeline.plan.read import ANYTHING, Placed, RegionSource, unknown
from pipeline.plan.roster_checks import check_roster
from pipeline.plan.rules import AREA_RULES, RULES
from pipeline.plan.times import ZONES, instant_us


def check(sources: Sequence[RegionSource], whole: bool = False) -> list[Fault]:
    """All faults between the entries of these regions. `whole`: there are no others, so that every name has to be found."""
    faults: list[Fault] = []
    loaded = Loaded(sources, whole)
    known: dict[str, set[str]] = {
        kind: Known(sources, kind) for kind in ("areas", "routes", "vehicles", "convoys", "sensors")
    }
    cells = Known(sources, "cells")
    if any(source.region is None for source in sources):
        cells.add(ANYTHING)
    faults += check_strangers(sources, loaded)
    faults += _twice(sources)
    devices = {d.id for s in sources for v in s.vehicles for d in v.item.devices}
    devices |= {x.item.device.id for s in sources for x in s.sensors}
    if any(len(getattr(s, kind)) < len(s.declared.get(kind, ())) for s in sources for kind in ("vehicles", "sensors")):
        devices.add(ANYTHING)  # the vehicle that has it may be the broken one
    fleet = {
        v.item.id: Member(v.item.role, s.region.item.id if s.region else ANYTHING, _home_cell(v.item, s), v.item)
        for s in sources
        for v in s.vehicles
    }
    for source in sources:
        if source.region is not None:
            faults += _region(source.region)
        faults += _rules(source)
        for area in source.areas:
            faults += _area(area, source, known)
            faults += check_lines(area, source, fleet)
        for route in source.routes:
            faults += check_route(route, source.region.item.bounds if source.region else None)
        for vehicle in source.vehicles:
            faults += unknown(vehicle, ("home",), vehicle.item.home, known["areas"], "area")
            faults += _cell(vehicle, vehicle.item.cell, source)
            faults += unknown(vehicle, ("cells_served",), vehicle.item.cells_served, cells, "cell")
        for sensor in source.sensors:
            faults += unknown(sensor, ("site",), [sensor.item.site], known["areas"], "area", single=True)
            faults += _cell(sensor, sensor.item.cell, source)
        for convoy in source.convoys:
            faults += _convoy(convoy, known)
            faults += _cell(convoy, convoy.item.cell, source)
            faults += check_copies(convoy, source, fleet, loaded)
            faults += _watched_convoy(convoy, source, fleet, loaded)
        for login in source.logins:
            faults += _login(login, devices, source)
        faults += check_roster(source)
    faults += _movements(sources, known, fleet, loaded)
    faults += check_movements(sources, loaded)
    faults += _sensors(sources, known)
    return faults


def _cell(
    entry: Placed[schema.Entry],
    cell: str | None,
    source: RegionSource,
) -> Iterator[Fault]:
    if cell is None or source.region is None:
        return
    cells = source.region.item.all_cells
    if cell not in cells:
        cure = nearest(cell, cells, f"Declare it in {source.region.tree.file}, or use {', '.join(cells)}")
        yield entry.fault(("cell",), cell, "the region declares no such cell", cure)


def _twice(sources: Sequence[RegionSource]) -> Iterator[Fault]:
    """Ids must be unique over all regions: they are subjects and objects of episodes, and names at the broker."""
    seen: dict[tuple[str, str], Placed[schema.Entry]] = {}

    def claim(space: str, name: str, entry: Placed[schema.Entry], at: tuple[str | int, ...]) -> Iterator[Fault]:
        first = seen.setdefault((space, name), entry)
        if first is not entry:
            yield entry.fault(at, name, f"the {space} is taken by {where(first)}", "Give each an id of its own")

    def claim_each(
        space: str, names: Sequence[str], entry: Placed[schema.Entry], at: tuple[str | int, ...]
    ) -> Iterator[Fault]:
        for number, name in enumerate(names):
            if name in names[:number]:
                yield entry.fault((*at, number), name, f"the {space} stands twice", "Remove one of the two")
            else:
                yield from claim(space, name, entry, (*at, number))

    for source in sources:
        if source.region:
            yield from claim("region", source.region.item.id, source.region, ("id",))
            yield from claim_each("cell", source.region.item.all_cells, source.region, ("cells",))
        for kind in ("areas", "routes", "movements"):
            for entry in getattr(source, kind):
                yield from claim(f"id of {kind}", entry.item.id, entry, ("id",))
        for kind in ("vehicles", "sensors", "convoys"):
            for entry in getattr(source, kind):
                yield from claim("subject", entry.item.id, entry, ("id",))
        for vehicle in source.vehicles:
            if seen["subject", vehicle.item.id] is vehicle:  # else its sign is taken too, and once is enough said
                yield from claim(
                    "call sign", vehicle.item.call_sign or vehicle.item.id.upper(), vehicle, ("call_sign",)
                )
            yield from claim_each("device", [d.id for d in vehicle.item.devices], vehicle, ("devices",))
        for sensor in source.sensors:
            yield from claim("device", sensor.item.device.id, sensor, ("device",))
    for source in sources:  # a gateway's login is a name beside the devices'
        for login in source.logins:
            yield from claim("device", login.item.login, login, ("login",))
            yield from claim_each("gateway's device", login.item.devices, login, ("devices",))


def _region(entry: Placed[schema.RegionIn]) -> Iterator[Fault]:
    for number, place in enumerate(entry.item.places):
        yield from check_place(entry, number, place)


def _rules(source: RegionSource) -> Iterator[Fault]:
    for name, (entry, params) in source.rules.items():
        rule, spec = entry.item, RULES[name]
        if rule.mode != "off" and not spec.judged:
            yield entry.fault(
                ("mode",),
                rule.mode,
                "this version does not judge that rule yet",
                "Set mode: off; nobody would be watching",
            )
            continue
        if spec.always_live and rule.mode != "live":
            yield entry.fault(("mode",), rule.mode, "this rule is always live", "Set mode: live")
        if rule.mode != "off":
            for key, why in (
                ("owner", "Name the post that answers for it, as in owner: shift-officer"),
                ("response", "Write what that post does, step by step"),
                ("respond_within", "Say how soon, as in respond_within: 3 min"),
            ):
                if getattr(rule, key) is None:
                    yield entry.fault((key,), "", f"a rule that runs ({rule.mode}) must name its {key}", why)
        if rule.roles and name.startswith("sensor."):
            yield entry.fault(("roles",), rule.roles[0], "a sensor has no role", "Remove roles here")
        if "high_at_m" in params and params["high_at_m"] > params["critical_at_m"]:
            yield entry.fault(
                ("high_at_m",), params["high_at_m"], "high begins beyond critical", "Make high_at_m the smaller one"
            )


def _area(area: Placed[schema.AreaIn], source: RegionSource, known: dict[str, set[str]]) -> Iterator[Fault]:
    yield from check_area(area, source.region.item.bounds if source.region else None)
    stretch = area.item.stretch
    if stretch is not None:
        yield from unknown(area, ("stretch", "route"), [stretch.route], known["routes"], "route", single=True)
    for number, rule in enumerate(area.item.rules):
        at = ("rules", number)
        if rule.rule not in AREA_RULES:
            yield area.fault(
                (*at, "rule"),
                rule.rule,
                "no rule of areas",
                nearest(rule.rule, AREA_RULES, f"Use {', '.join(AREA_RULES)}"),
            )
        elif rule.mode in ("shadow", "live") and (own := source.rules.get(rule.rule)) and own[0].item.mode == "off":
            cure = "Switch it on there, with owner, response and respond_within"
            yield area.fault((*at, "mode"), rule.mode, "the region's rules.yaml has this rule off", cure)
        elif source.rules_read and rule.rule not in source.declared.get("rules", ()):
            cure = f"Add {rule.rule} to rules.yaml with owner, response and respond_within"
            yield area.fault((*at, "rule"), rule.rule, "the region's rules.yaml does not have this rule", cure)
        yield from unknown(area, (*at, "vehicles"), rule.vehicles, known["vehicles"], "vehicle")


def _convoy(convoy: Placed[schema.ConvoyIn], known: dict[str, set[str]]) -> Iterator[Fault]:
    item = convoy.item
    if ANYTHING not in known["vehicles"]:
        for number, name in enumerate(item.members):
            if name not in known["vehicles"]:
                cure = nearest(name, known["vehicles"], "Members are vehicles; declare it, or remove it here")
                yield convoy.fault(("members", number), name, "there is no such vehicle", cure)
    for number, name in enumerate(item.members):
        if name in item.members[:number]:
            yield convoy.fault(("members", number), name, "the member stands twice", "Remove one")
    for key in ("principals", "escorts"):
        for number, name in enumerate(getattr(item, key) or ()):
            if name not in item.members:
                yield convoy.fault((key, number), name, "not a member of the convoy", nearest(name, item.members))


def _home_cell(vehicle: schema.VehicleIn, source: RegionSource) -> str:
    return vehicle.cell or (source.region.item.all_cells[0] if source.region else ANYTHING)


def _watched_convoy(
    convoy: Placed[schema.ConvoyIn], source: RegionSource, fleet: Mapping[str, Member], loaded: Loaded
) -> Iterator[Fault]:
    """What escort.missing needs of one, when it runs."""
    running = "escort.missing" in source.rules and source.rules["escort.missing"][0].item.mode != "off"
    given = loaded.all_here(convoy.item.members)
    members = [m for m in given if m in fleet]
    if not running or len(members) < len(given):
        return

    def named(given: list[str] | None, role: str) -> set[str]:
        return {m for m in members if fleet[m].role == role} if given is None else set(loaded.all_here(given))

    principals, escorts = named(convoy.item.principals, "principal"), named(convoy.item.escorts, "escort")
    for name in sorted(principals & escorts):
        cure = "Take it out of one of the two"
        yield convoy.fault(("escorts",), name, "it is a principal and would be its own escort", cure)
    if principals and not escorts and len(given) == len(convoy.item.members):
        cure = "Name its escorts, or take escort.missing out of rules.yaml"
        yield convoy.fault((), "", "escort.missing runs, and nobody in this convoy is an escort", cure)


def _login(login: Placed[schema.LoginIn], devices: set[str], source: RegionSource) -> Iterator[Fault]:
    yield from unknown(login, ("devices",), login.item.devices, devices, "device of a vehicle or sensor")
    yield from _cell(login, login.item.cell, source)


def _sensors(sources: Sequence[RegionSource], known: dict[str, set[str]]) -> Iterator[Fault]:
    """What sensors say of one another: groups, and pairs that must agree."""
    declared = {entry.item.id: (entry, source) for source in sources for entry in source.sensors}
    groups: dict[tuple[str, str], list[str]] = {}
    for entry, _ in declared.values():
        if entry.item.kind not in NO_INTRUSION:
            groups.setdefault((entry.item.site, entry.item.group or ""), []).append(entry.item.id)
    whole = ANYTHING not in known["sensors"] and len(declared) == len(known["sensors"])
    for entry, source in declared.values():
        item = entry.item
        together = groups.get((item.site, item.group or ""), [])
        yield from _one_cell(entry, source, together, declared)
        yield from _agreement(entry, source, declared, known["sensors"])
        if not whole:
            continue
        if item.confirm_n is not None and item.confirm_n > len(together):
            cure = f"Give at most {len(together)}, or put more sensors into its group"
            if not together:
                cure = "Remove it: a sensor of this kind needs no confirmation"
            yield entry.fault(("confirm_n",), item.confirm_n, "there are not as many to confirm an intrusion", cure)
        alarm = source.rules.get("sensor.alarm")
        alone = item.kind in DOOR_KINDS and together == [item.id]
        if alone and item.schedule is None and item.confirm_n is None and alarm and alarm[0].item.mode != "off":
            cure = "Say when it must be closed, as in schedule: [{from: 22:00, to: 05:00}], or confirm_n: 1 for always"
            yield entry.fault((), "", "nothing confirms this door, and it may always be open: no alarm", cure)


def _one_cell(
    entry: Placed[schema.SensorIn],
    source: RegionSource,
    together: Sequence[str],
    declared: dict[str, tuple[Placed[schema.SensorIn], RegionSource]],
) -> Iterator[Fault]:
    """Those that confirm one another have to be judged in one place."""
    if source.region is None or entry.item.id not in together[1:]:
        return
    first, its_source = declared[together[0]]
    if its_source.region is not None and _cell_of(entry, source) != _cell_of(first, its_source):
        cure = f"Give it the cell of {first.item.id}, or a group of its own"
        yield entry.fault(("cell",), _cell_of(entry, source), "its group is in another cell", cure)


def _cell_of(entry: Placed[schema.SensorIn], source: RegionSource) -> str:
    return entry.item.cell or (source.region.item.all_cells[0] if source.region else "")


def _agreement(
    entry: Placed[schema.SensorIn],
    source: RegionSource,
    declared: dict[str, tuple[Placed[schema.SensorIn], RegionSource]],
    known: set[str],
) -> Iterator[Fault]:
    item = entry.item
    if item.agrees_with is None:
        return
    at = ("agrees_with",)
    yield from unknown(entry, at, [item.agrees_with], known, "sensor", single=True)
    other = declared.get(item.agrees_with)
    if item.agrees_with == item.id:
        yield entry.fault(at, item.id, "a sensor always agrees with itself", "Name another sensor of its site")
    elif other is not None:
        if other[0].item.site != item.site:
            cure = f"Name a sensor of {item.site}"
            yield entry.fault(at, item.agrees_with, f"that sensor is at {other[0].item.site}", cure)
        elif other[1].region and source.region and _cell_of(*other) != _cell_of(entry, source):
            yield entry.fault(at, item.agrees_with, "that sensor is in another cell", "Give both the same cell")
    if source.rules_read and "sensor.disagrees" not in source.declared.get("rules", ()):
        cure = "Add sensor.disagrees to rules.yaml with owner, response and respond_within"
        yield entry.fault(at, item.agrees_with, "the region's rules.yaml does not have sensor.disagrees", cure)


def _movements(
    sources: Sequence[RegionSource], known: dict[str, set[str]], fleet: Mapping[str, Member], loaded: Loaded
) -> Iterator[Fault]:
    routes = {r.item.id: r.item for source in sources for r in source.routes}
    for source in sources:
        for area in source.areas:
            stretch = area.item.stretch
            if stretch is not None and stretch.route in routes:
                yield from km_range(area, ("stretch",), stretch.from_km, stretch.to_km, routes[stretch.route])
        for movement in source.movements:
            item = movement.item
            if item.route is not None:
                yield from unknown(movement, ("route",), [item.route], known["routes"], "route", single=True)
            for number, leg in enumerate(item.legs or ()):
                at = ("legs", number, "route")
                yield from unknown(movement, at, [leg.route], known["routes"], "route", single=True)
                yield from unknown(movement, ("legs", number, "escorts"), leg.escorts, known["vehicles"], "vehicle")
            yield from unknown(movement, ("vehicles",), item.vehicles, known["vehicles"], "vehicle")
            if item.convoy is not None:
                yield from unknown(movement, ("convoy",), [item.convoy], known["convoys"], "convoy", single=True)
            for key in ("origin", "destination"):
                if (name := getattr(item, key)) is not None:
                    yield from unknown(movement, (key,), [name], known["areas"], "area", single=True)
            yield from unknown(movement, ("stops",), item.stops, known["areas"], "area")
            for number, leg in enumerate(item.all_legs):
                if (name := loaded.here(leg.route)) in routes:
                    at_leg = ("legs", number) if item.legs else ()
                    yield from km_range(movement, at_leg, leg.from_km, leg.to_km, routes[name])
            yield from check_legs(movement, sources, fleet, loaded)
            yield from _window(movement, ZONES[source.region.item.timezone] if source.region else 0)


def _window(movement: Placed[schema.MovementIn], utc_offset_s: int) -> Iterator[Fault]:
    read: dict[str, int] = {}
    for key in ("starts", "ends"):
        text = getattr(movement.item, key)
        if text is None:
            continue
        try:
            read[key] = instant_us(text, utc_offset_s)
        except (ValueError, OverflowError):
            cure = 'Write it in the region\'s time, "2026-11-23 21:30", or with a zone, "2026-11-23T16:30:00Z"'
            yield movement.fault((key,), text, "this is no instant", cure)
    if len(read) == 2 and read["ends"] <= read["starts"]:
        yield movement.fault(
            ("ends",),
            movement.item.ends,
            "the movement ends before it starts",
            "Look at the dates: after midnight it is the next day",
        )

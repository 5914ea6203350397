"""The plan as the compiled code reads it: arrays, with places instead of names. Built once per plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.detect.corridor import Lines, build_lines
from pipeline.detect.form import DEVIATION, STOPPED
from pipeline.detect.ground import Ground, build_ground
from pipeline.model.episode import SEVERITIES, Mode, Severity
from pipeline.plan.legs import Stretch, stretches, way_key, way_line
from pipeline.plan.model import Area, AreaRule, CompiledPlan, Movement, RuleSetting, Vehicle, movements_of_vehicles

Array = npt.NDArray[Any]

INACCURATE_M = 500.0  # of a fix that the gate lets through, at most
INSIDE_RULES = ("area.entered", "area.forbidden")
ENTERED, FORBIDDEN, LEFT, REQUIRED = 0, 1, 2, 3
_KINDS = {"area.entered": ENTERED, "area.forbidden": FORBIDDEN, "area.left": LEFT, "area.required": REQUIRED}
STOP_ALLOWED = 1
ACCESS_M = 500.0  # a place farther from the road than this has to be reached by a route of its own

WATCH = np.dtype(
    [
        ("area", "i4"),
        ("kind", "i4"),
        ("severity", "i4"),
        ("roles", "u8"),  # a bit each; 0: every role
        ("vehicles", "i4", (2,)),  # into `bound`, first and last; equal: every vehicle
        ("schedule", "i4", (2,)),  # into `windows`
        ("dwell", "i8"),
        ("crossing", "i8"),  # of a way between two fixes, at most; 0: only fixes count
        ("enter", "f8"),
        ("exit", "f8"),
    ],
    align=True,
)
VEHICLE = np.dtype(
    [
        ("role", "u8"),
        ("gap", "i8"),  # no data for longer than this is a gap
        ("legs", "i4", (2,)),  # into LEG_PLAN
        ("homes", "i4", (2,)),
        ("required", "i4", (2,)),  # into `must`
        ("off_on", "i4"),
        ("off_severity", "i4"),
        ("off_after", "i8"),
        ("off_high", "f8"),
        ("off_critical", "f8"),
        ("stop_on", "i4"),
        ("stop_severity", "i4"),
        ("stop_after", "i8"),
        ("stop_radius", "f8"),
    ],
    align=True,
)
LEG_PLAN = np.dtype(
    [
        ("line", "i4"),
        ("movement", "i4"),
        ("starts", "i8"),
        ("ends", "i8"),
        ("parts", "i4", (2,)),  # into PART
        ("stops", "i4", (2,)),  # into `exempt`
        ("checkpoints", "i4", (2,)),  # into `checkpoints`
    ],
    align=True,
)
PART = np.dtype(
    [
        ("starts", "f8"),  # metre of the way; to where the next one starts
        ("half", "f8"),
        ("exit", "f8"),
        ("host", "i4"),  # whose row among the vehicles says how deviations are judged here
    ],
    align=True,
)
"""A piece of a movement's way that one region is responsible for."""


class Static(NamedTuple):
    """What the scan is handed, in one piece."""

    box: Array
    edges: Array
    starts: Array
    entries: Array
    near: Array
    outlines: Array
    area_boxes: Array
    area_flags: Array
    area_watches: Array  # (areas + 1,) into watches
    watches: Array
    bound: Array
    windows: Array  # (n, 2) seconds of the local week
    utc_offset: Array  # of the windows
    vehicles: Array
    must: Array
    homes: Array
    exempt: Array
    access: Array  # metres around it that belong to its way in, beside `exempt`
    legs: Array
    parts: Array
    checkpoints: Array  # (n, 2): chainage, radius
    vertices: Array
    boxes: Array
    big: Array
    ranges: Array
    crossing_us: int  # the longest of the watches
    margin_m: float  # the widest of the watches


@dataclass(frozen=True, slots=True)
class Told:
    """What the changes of one rule and object say."""

    rule: str
    object: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Tables:
    plan: CompiledPlan
    static: Static
    vehicle_ids: tuple[str, ...]
    vehicle_place: dict[str, int]
    device_place: dict[str, tuple[int, int]]  # place among all, rank on its vehicle
    watches: tuple[Told, ...]
    leg_movements: tuple[Movement, ...]
    leg_ways: tuple[tuple[Stretch, ...], ...]
    leg_hosts: tuple[tuple[int, ...], ...]  # of each stretch, into `off_modes`
    off_modes: tuple[Mode, ...]  # by vehicle; then as a vehicle is judged where another region is responsible
    stop_modes: tuple[Mode, ...]  # by vehicle
    most_legs: int
    heard_at: dict[tuple[str, float, float], Any] = field(default_factory=dict, compare=False)
    """What silence means where a device was heard: reckoned once for all engines of the plan, whichever needs it first."""


def severity_code(severity: Severity) -> int:
    """0 is the gravest."""
    return SEVERITIES.index(severity)


class _Ranges:
    """Lists laid end to end; each is named by its first and last place."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def add(self, items: Iterable[Any]) -> tuple[int, int]:
        first = len(self.all)
        self.all.extend(items)
        return first, len(self.all)


def _roles(plan: CompiledPlan) -> dict[str, int]:
    return {role: 1 << i for i, role in enumerate(sorted({v.role for v in plan.vehicles.values()}))}


def _in(role: str, roles: frozenset[str]) -> bool:
    return not roles or role in roles


def build_tables(plan: CompiledPlan, like: Tables | None = None) -> Tables:
    """`like`: another plan's; where the areas are the very same its ground is taken, which is what costs most."""
    vehicle_ids = tuple(sorted(plan.vehicles))
    place = {vehicle: i for i, vehicle in enumerate(vehicle_ids)}
    roles = _roles(plan)
    area_place = {area.id: i for i, area in enumerate(plan.areas)}
    bound, windows, offsets, homes, stops, must, checkpoints = (_Ranges() for _ in range(7))

    watch_rows: list[tuple[Any, ...]] = []
    told: list[Told] = []
    area_watches = [0]
    required: dict[int, list[int]] = {}
    for area in plan.areas:
        for rule in area.rules:
            if rule.mode == "off":
                continue
            watch_rows.append(_watch(area, rule, area_place, roles, place, bound, windows, offsets))
            told.append(Told(rule.rule, area.id, rule.mode))
            if rule.rule == "area.required":
                for vehicle in plan.vehicles.values():
                    if _in(vehicle.role, rule.roles) and (not rule.vehicles or vehicle.id in rule.vehicles):
                        required.setdefault(place[vehicle.id], []).append(len(watch_rows) - 1)
        area_watches.append(len(watch_rows))

    ways = _Ways(plan)
    mine, movement_place = movements_of_vehicles(plan), {m.id: i for i, m in enumerate(plan.movements)}
    legs: list[tuple[Any, ...]] = []
    parts = _Ranges()
    leg_movements: list[Movement] = []
    leg_ways: list[tuple[Stretch, ...]] = []
    leg_hosts: list[tuple[int, ...]] = []
    vehicles = np.zeros(len(vehicle_ids), VEHICLE)
    guests: list[Any] = []
    guest_modes: list[Mode] = []
    off_modes: list[Mode] = []
    stop_modes: list[Mode] = []
    judged_as: dict[tuple[str, str], tuple[Any, Mode, Mode]] = {}
    lists: list[tuple[tuple[int, int], ...]] = []  # of each vehicle: legs, homes, required
    for i, vehicle_id in enumerate(vehicle_ids):
        vehicle = plan.vehicles[vehicle_id]
        first = len(legs)
        for movement in mine.get(vehicle_id, ()):
            line = ways.place[way_key(movement)]
            way = stretches(plan, movement)
            hosts = []
            for stretch in way:
                hosts.append(i)
                if stretch.region != vehicle.region:
                    hosts[-1] = len(vehicle_ids) + len(guests)
                    guest, its = np.zeros((), VEHICLE), plan.regions[stretch.region].rules.get("route.deviation")
                    guest_modes.append(_judge_deviations(guest, its, vehicle.role))
                    guests.append(guest)
            widths = [(s.route.half_width_m, s.route.exit_width_m) for s in way]
            legs.append(
                (
                    line,
                    movement_place[movement.id],
                    movement.starts_us,
                    movement.ends_us,
                    parts.add((s.starts_m, *w, h) for s, w, h in zip(way, widths, hosts, strict=True)),
                    stops.add(_stops(ways, line, movement, vehicle, area_place)),
                    checkpoints.add(_checkpoints(movement, way)),
                )
            )
            leg_movements.append(movement)
            leg_ways.append(way)
            leg_hosts.append(tuple(hosts))
        if (judged := judged_as.get((vehicle.region, vehicle.role))) is None:
            judged = judged_as[vehicle.region, vehicle.role] = _judged(plan, vehicle.region, vehicle.role, roles)
        vehicles[i], off_mode, stop_mode = judged
        off_modes.append(off_mode)
        stop_modes.append(stop_mode)
        lists.append(
            (
                (first, len(legs)),
                homes.add(sorted(area_place[a] for a in vehicle.home_areas if a in area_place)),
                must.add(required.get(i, ())),
            )
        )
    vehicles["gap"] = [max(60_000_000, 6 * plan.vehicles[v].expected_interval_us) for v in vehicle_ids]
    vehicles["legs"], vehicles["homes"], vehicles["required"] = np.moveaxis(
        np.array(lists, np.int32).reshape(-1, 3, 2), 1, 0
    )

    watches = np.array(watch_rows, WATCH) if watch_rows else np.zeros(0, WATCH)
    if like is not None and like.plan.areas is plan.areas:
        st = like.static
        ground = Ground(st.box, st.edges, st.starts, st.entries, st.near, st.outlines, st.area_boxes)
    else:
        ground = build_ground([area.polygon for area in plan.areas], INACCURATE_M + _margin(watches) + 1.0)
    static = _static(
        ground,
        ways.lines,
        plan.areas,
        area_watches,
        watches,
        bound,
        windows,
        offsets,
        np.concatenate([vehicles, np.stack(guests)]) if guests else vehicles,
        must,
        homes,
        stops,
        legs,
        parts,
        checkpoints,
    )
    devices = sorted({d for v in plan.vehicles.values() for d in v.devices})
    device_order = {device: i for i, device in enumerate(devices)}
    device_place = {
        device: (device_order[device], min(rank, 2))
        for v in plan.vehicles.values()
        for rank, device in enumerate(v.devices)
    }
    most_legs = int(np.diff(vehicles["legs"]).max(initial=0))
    return Tables(
        plan,
        static,
        vehicle_ids,
        place,
        device_place,
        tuple(told),
        tuple(leg_movements),
        tuple(leg_ways),
        tuple(leg_hosts),
        (*off_modes, *guest_modes),
        tuple(stop_modes),
        max(1, most_legs),
    )


def _margin(watches: Array) -> float:
    return max((float(max(w["enter"], w["exit"])) for w in watches), default=0.0)


def _judged(plan: CompiledPlan, region: str, role: str, roles: dict[str, int]) -> tuple[Any, Mode, Mode]:
    """How a vehicle of this role is judged in its own region: a row of VEHICLE, and the modes of deviations and stops."""
    rules = plan.regions[region].rules
    off, stop = rules.get("route.deviation"), rules.get("stop.unscheduled")
    row = np.zeros((), VEHICLE)
    row["role"] = roles[role]
    off_mode = _judge_deviations(row, off, role)
    if stop and stop.mode != "off" and _in(role, stop.roles):
        row["stop_on"] = 1
        row["stop_severity"] = severity_code(stop.severity)
        row["stop_after"] = int(stop.params["min_duration_us"])
        row["stop_radius"] = stop.params["radius_m"]
    return row, off_mode, stop.mode if stop else "off"


def _judge_deviations(row: Any, off: RuleSetting | None, role: str) -> Mode:
    """Fill in how a vehicle of this role is judged by the region that is responsible."""
    if off and off.mode != "off" and _in(role, off.roles):
        row["off_on"] = 1
        row["off_severity"] = severity_code(off.severity)
        row["off_after"] = int(off.params["min_duration_us"])
        row["off_high"], row["off_critical"] = off.params["high_at_m"], off.params["critical_at_m"]
    return off.mode if off else "off"


def _checkpoints(movement: Movement, way: tuple[Stretch, ...]) -> list[tuple[float, float]]:
    """Where one may stop: metre of the way and radius."""
    found = []
    for stretch in way:
        for c in stretch.route.checkpoints:
            at = stretch.on_way(c.chainage_m) if movement.legs else c.chainage_m
            if c.stop_allowed and at is not None:
                found.append((at, c.radius_m))
    return found


def _watch(
    area: Area,
    rule: AreaRule,
    area_place: dict[str, int],
    roles: dict[str, int],
    place: dict[str, int],
    bound: _Ranges,
    windows: _Ranges,
    offsets: _Ranges,
) -> tuple[Any, ...]:
    mask = 0
    for role in rule.roles:
        mask |= roles.get(role, 0)
    if rule.roles and not mask:
        mask = 1 << 63  # roles that no vehicle has: nobody
    listed = sorted(place[v] for v in rule.vehicles if v in place)
    if rule.vehicles and not listed:
        listed = [-1]
    schedule = windows.add(rule.schedule.windows)
    offsets.add([rule.schedule.utc_offset_s] * len(rule.schedule.windows))
    return (
        area_place[area.id],
        _KINDS[rule.rule],
        severity_code(rule.severity),
        mask,
        bound.add(listed),
        schedule,
        rule.dwell_us,
        rule.crossing_us,
        rule.enter_margin_m,
        rule.exit_margin_m,
    )


def _stops(
    ways: _Ways, line: int, movement: Movement, vehicle: Vehicle, area_place: dict[str, int]
) -> list[tuple[int, float]]:
    """Where this vehicle may be off the road on this movement: (area, how far around it the way in from the road may run)."""
    found = []
    for area_id in sorted({*movement.stop_areas, *vehicle.home_areas}):
        if area_id in area_place:
            gap = ways.gap_m(line, area_place[area_id])
            found.append((area_place[area_id], gap if gap <= ACCESS_M else 0.0))
    return found


class _Ways:
    """A line for every way that movements take, and how far areas are from it: reckoned once, whoever drives there."""

    def __init__(self, plan: CompiledPlan) -> None:
        ways = {way_key(m): m for m in plan.movements}
        keys = sorted(ways)
        lines = [way_line(plan, ways[key]) for key in keys]
        self.lines = build_lines(lines)
        self.place = {key: i for i, key in enumerate(keys)}
        self._areas = plan.areas
        self._roads = [shapely.LineString(xy) for xy, _ in lines]
        self._gaps: dict[tuple[int, int], float] = {}

    def gap_m(self, line: int, area: int) -> float:
        if (line, area) not in self._gaps:
            self._gaps[line, area] = float(self._roads[line].distance(self._areas[area].polygon))
        return self._gaps[line, area]


def _static(
    ground: Ground,
    lines: Lines,
    areas: Sequence[Area],
    area_watches: list[int],
    watches: Array,
    bound: _Ranges,
    windows: _Ranges,
    offsets: _Ranges,
    vehicles: Array,
    must: _Ranges,
    homes: _Ranges,
    stops: _Ranges,
    legs: list[tuple[Any, ...]],
    parts: _Ranges,
    checkpoints: _Ranges,
) -> Static:
    flags = np.array([STOP_ALLOWED if area.stop_allowed else 0 for area in areas], np.int64)
    return Static(
        ground.box,
        ground.edges,
        ground.starts,
        ground.entries,
        ground.near,
        ground.outlines,
        ground.area_boxes,
        flags,
        np.array(area_watches, np.int64),
        watches,
        np.array(bound.all, np.int64),
        np.array(windows.all, np.int64).reshape(-1, 2),
        np.array(offsets.all, np.int64),
        vehicles,
        np.array(must.all, np.int64),
        np.array(homes.all, np.int64),
        np.array([area for area, _ in stops.all], np.int64),
        np.array([access for _, access in stops.all], np.float64),
        np.array(legs, LEG_PLAN) if legs else np.zeros(0, LEG_PLAN),
        np.array(parts.all, PART) if parts.all else np.zeros(0, PART),
        np.array(checkpoints.all, np.float64).reshape(-1, 2),
        lines.vertices,
        lines.boxes,
        lines.big,
        lines.ranges,
        max((int(w["crossing"]) for w in watches), default=0),
        _margin(watches),
    )


RULE_NAMES = {DEVIATION: "route.deviation", STOPPED: "stop.unscheduled"}

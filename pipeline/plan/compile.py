"""From sound entries to the compiled plan: metres, microseconds, one projection over all regions.

Circles become 64-gons, stretches the road's buffer. Chainage is the length of the projected line (see `geo.routes`
for its error).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import shapely

from pipeline.geo.projection import Projection, fit
from pipeline.geo.routes import chainage, section
from pipeline.plan import schema
from pipeline.plan.ground import open_ring
from pipeline.plan.model import (
    Area,
    AreaRule,
    Checkpoint,
    CompiledPlan,
    Convoy,
    Leg,
    Login,
    Movement,
    Place,
    Region,
    Route,
    RuleSetting,
    Schedule,
    Sensor,
    SpeedLimit,
    Vehicle,
)
from pipeline.plan.names import Loaded
from pipeline.plan.read import RegionSource
from pipeline.plan.roster import Roster, compile_roster
from pipeline.plan.times import ALWAYS_US, ZONES, instant_us

MARGIN_DEG = 0.1  # around all bounds: what lies just outside is still placed truly
CIRCLE_SIDES = 64
STOP_ALLOWED = frozenset({"site", "residence", "home", "safe_stop", "checkpoint", "depot"})


def plan_hash(sources: Sequence[RegionSource]) -> str:
    """Of the files' content, wherever they lie: BLAKE2b over (region/file, bytes) in order, length-prefixed."""
    files = {
        f"{source.region.item.id if source.region else ''}/{name}": data
        for source in sources
        for name, data in source.content.items()
    }
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def compile_plan(sources: Sequence[RegionSource]) -> CompiledPlan:
    """Takes sources that `checks.check` found without fault. Raises ValueError when their bounds span too much for
    one projection."""
    regions = [(source, source.region.item) for source in sources if source.region is not None]
    bounds = [region.bounds for _, region in regions]
    projection = fit(
        min(b.west for b in bounds) - MARGIN_DEG,
        min(b.south for b in bounds) - MARGIN_DEG,
        max(b.east for b in bounds) + MARGIN_DEG,
        max(b.north for b in bounds) + MARGIN_DEG,
    )
    loaded = Loaded(sources, whole=False)
    routes = {r.item.id: _route(r.item, region.id, projection) for source, region in regions for r in source.routes}
    settings = {region.id: _settings(source) for source, region in regions}
    areas = [
        _area(a.item, region, projection, routes, settings[region.id])
        for source, region in regions
        for a in source.areas
    ]
    vehicles = {v.item.id: _vehicle(v.item, region, loaded) for source, region in regions for v in source.vehicles}
    sensors = {s.item.id: _sensor(s.item, region) for source, region in regions for s in source.sensors}
    convoys = {
        c.item.id: _convoy(c.item, region, vehicles, loaded) for source, region in regions for c in source.convoys
    }
    cells = {region.id: region.all_cells[0] for _, region in regions}
    moved = (
        _movement(m.item, region, routes, convoys, vehicles, cells, loaded)
        for source, region in regions
        for m in source.movements
    )
    movements = [movement for movement in moved if movement is not None]
    formats = {
        device.id: device.format
        for source in sources
        for device in [*(d for v in source.vehicles for d in v.item.devices), *(s.item.device for s in source.sensors)]
        if device.format != "native"
    }
    return CompiledPlan(
        hash=plan_hash(sources),
        projection=projection,
        regions={region.id: _region(region, settings[region.id]) for _, region in regions},
        areas=tuple(areas),
        routes=routes,
        vehicles=vehicles,
        sensors=sensors,
        convoys=convoys,
        movements=tuple(movements),
        logins=_logins(regions, vehicles, sensors),
        places=tuple(_place(p, projection) for _, region in regions for p in region.places),
        device_subject={d: v.id for v in vehicles.values() for d in v.devices}
        | {s.device: s.id for s in sensors.values()},
        cells=tuple(cell for _, region in regions for cell in region.all_cells),
        device_format=formats,
        left_out=tuple(loaded.left_out),
        rosters={region.id: _roster(source, region) for source, region in regions if "roster.yaml" in source.content},
    )


def _roster(source: RegionSource, region: schema.RegionIn) -> Roster:
    return compile_roster(
        region.id,
        region.timezone,
        [p.item for p in source.posts],
        [o.item for o in source.officers],
        [o.item for o in source.overrides],
        [x.item for x in source.leave],
        [x.item for x in source.escalation],
    )


def _region(region: schema.RegionIn, rules: Mapping[str, RuleSetting]) -> Region:
    b = region.bounds
    return Region(
        region.id,
        region.name.mapping(),
        region.timezone,
        tuple(region.all_cells),
        rules,
        region.invented,
        (b.west, b.south, b.east, b.north),
    )


def _settings(source: RegionSource) -> dict[str, RuleSetting]:
    return {
        name: RuleSetting(
            rule=name,
            mode=placed.item.mode,
            severity=placed.item.severity,
            owner=placed.item.owner or "",
            response=placed.item.response or "",
            respond_within_us=placed.item.respond_within or 0,
            params=params,
            roles=frozenset(placed.item.roles),
            on_delay_us=placed.item.on_delay,
            off_delay_us=placed.item.off_delay,
            realarm_after_us=placed.item.realarm_after,
        )
        for name, (placed, params) in source.rules.items()
    }


def _place(place: schema.PlaceIn, projection: Projection) -> Place:
    x, y = projection.to_xy(place.lat, place.lon)
    return Place(place.name.mapping(), place.lat, place.lon, (float(x), float(y)))


def _route(item: schema.RouteIn, region: str, projection: Projection) -> Route:
    lat, lon = np.array(item.line, float).T
    xy = np.ascontiguousarray(np.column_stack(projection.to_xy(lat, lon)))
    along = chainage(xy)

    def at(km: float) -> float:
        return float(np.clip((km - item.km_at_start) * item.km_sign * 1000.0, 0.0, along[-1]))

    limits = []
    for limit in item.speed_limits:
        low, high = sorted((at(limit.from_km), at(limit.to_km)))
        limits.append(SpeedLimit(low, high, limit.limit_kmh / 3.6))
    return Route(
        id=item.id,
        region=region,
        name=item.name.mapping(),
        road=item.road,
        xy=xy,
        chainage_m=along,
        lonlat=np.ascontiguousarray(np.column_stack([lon, lat])),
        km_at_start=float(item.km_at_start),
        km_sign=item.km_sign,
        half_width_m=float(item.half_width_m),
        exit_width_m=float(item.exit_width_m if item.exit_width_m is not None else item.half_width_m * 0.75),
        checkpoints=tuple(
            Checkpoint(c.id, c.name.mapping(), at(c.km), c.stop_allowed, float(c.radius_m))
            for c in sorted(item.checkpoints, key=lambda c: at(c.km))
        ),
        speed_limits=tuple(limits),
    )


def _area(
    item: schema.AreaIn,
    region: schema.RegionIn,
    projection: Projection,
    routes: Mapping[str, Route],
    settings: Mapping[str, RuleSetting],
) -> Area:
    if item.polygon is not None:
        lat, lon = np.array(open_ring(item.polygon), float).T
        polygon = shapely.Polygon(np.column_stack(projection.to_xy(lat, lon)))
        lonlat = shapely.Polygon(np.column_stack([lon, lat]))
    else:
        polygon = _circle(item.circle, projection) if item.circle is not None else _stretch(item.stretch, routes)
        lonlat = to_lonlat(polygon, projection)
    shapely.prepare(polygon)
    allowed = item.stop_allowed if item.stop_allowed is not None else item.kind in STOP_ALLOWED
    rules = tuple(_area_rule(rule, settings[rule.rule], ZONES[region.timezone]) for rule in item.rules)
    return Area(item.id, region.id, item.name.mapping(), item.kind, polygon, lonlat, rules, allowed)


def _circle(circle: schema.CircleIn, projection: Projection) -> shapely.Polygon:
    x, y = projection.to_xy(circle.lat, circle.lon)
    angle = np.arange(CIRCLE_SIDES) * (2 * np.pi / CIRCLE_SIDES)
    # a polygon inside the circle would be smaller than it: this radius gives the same area
    radius = circle.radius_m * np.sqrt(2 * np.pi / CIRCLE_SIDES / np.sin(2 * np.pi / CIRCLE_SIDES))
    return shapely.Polygon(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]))


def _stretch(stretch: schema.StretchIn | None, routes: Mapping[str, Route]) -> shapely.Polygon:
    assert stretch is not None
    route = routes[stretch.route]
    ends = np.clip(
        [route.chainage_of_km(stretch.from_km), route.chainage_of_km(stretch.to_km)], 0.0, route.chainage_m[-1]
    )
    line = section(route.xy, route.chainage_m, float(ends.min()), float(ends.max()))
    buffered = shapely.buffer(shapely.LineString(line), stretch.half_width_m, cap_style="flat", quad_segs=4)
    # a stretch that closes on itself would have holes; its outline is what a planner means
    outer = max(shapely.get_parts(buffered), key=shapely.area)
    return shapely.Polygon(shapely.simplify(shapely.Polygon(outer.exterior), stretch.half_width_m * 0.02))


def to_lonlat(polygon: shapely.Polygon, projection: Projection) -> shapely.Polygon:
    """The same polygon in degrees (longitude, latitude)."""

    def back(
        xy: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.column_stack(projection.to_lonlat(xy[:, 0], xy[:, 1]))

    return shapely.transform(polygon, back)


def _area_rule(item: schema.AreaRuleIn, setting: RuleSetting, utc_offset_s: int) -> AreaRule:
    params = setting.params
    return AreaRule(
        rule=item.rule,
        roles=frozenset(item.roles) or setting.roles,
        vehicles=frozenset(item.vehicles),
        schedule=Schedule(schema.week_of(item.schedule), utc_offset_s),
        dwell_us=int(params["dwell_us"]) if item.dwell is None else item.dwell,
        enter_margin_m=float(params["enter_margin_m"] if item.enter_margin_m is None else item.enter_margin_m),
        exit_margin_m=float(params["exit_margin_m"] if item.exit_margin_m is None else item.exit_margin_m),
        severity=item.severity or setting.severity,
        mode=item.mode or setting.mode,
        crossing_us=int(params.get("crossing_within_us", 0)),
    )


def _vehicle(item: schema.VehicleIn, region: schema.RegionIn, loaded: Loaded) -> Vehicle:
    cell = item.cell or region.all_cells[0]
    return Vehicle(
        id=item.id,
        region=region.id,
        cell=cell,
        call_sign=item.call_sign or item.id.upper(),
        kind=item.kind,
        role=item.role,
        devices=tuple(d.id for d in item.devices),
        home_areas=tuple(item.home),
        cells_served=tuple(dict.fromkeys([cell, *loaded.all_here(item.cells_served)])),
        expected_interval_us=item.interval,
    )


def _sensor(item: schema.SensorIn, region: schema.RegionIn) -> Sensor:
    return Sensor(
        id=item.id,
        region=region.id,
        cell=item.cell or region.all_cells[0],
        name=item.name.mapping(),
        kind=item.kind,
        site=item.site,
        device=item.device.id,
        group=item.group or "",
        schedule=Schedule(schema.week_of(item.schedule), ZONES[region.timezone]) if item.schedule else None,
        confirm_n=item.confirm_n,
        agrees_with=item.agrees_with,
    )


def _convoy(item: schema.ConvoyIn, region: schema.RegionIn, vehicles: Mapping[str, Vehicle], loaded: Loaded) -> Convoy:
    members = loaded.all_here(item.members)

    def of(given: list[str] | None, role: str) -> tuple[str, ...]:
        if given is None:
            return tuple(m for m in members if vehicles[m].role == role)
        return tuple(loaded.all_here(given))

    homes = {vehicles[m].cell for m in members}
    return Convoy(
        item.id,
        region.id,
        item.name.mapping(),
        tuple(members),
        of(item.principals, "principal"),
        of(item.escorts, "escort"),
        float(item.max_gap_m),
        item.cell or (homes.pop() if len(homes) == 1 else region.all_cells[0]),
    )


def _leg(
    item: schema.LegIn,
    route: Route,
    convoy: Convoy | None,
    vehicles: Mapping[str, Vehicle],
    cells: Mapping[str, str],
    loaded: Loaded,
) -> Leg:
    length = float(route.chainage_m[-1])
    region = item.region or route.region

    def at(km: float | None, otherwise: float) -> float:
        return otherwise if km is None else min(max(route.chainage_of_km(km), 0.0), length)

    escorts = tuple(loaded.all_here(item.escorts))
    if not escorts and convoy is not None:  # those of the region take over
        escorts = tuple(e for e in convoy.escorts if vehicles[e].region == region)
    return Leg(
        route.id, at(item.from_km, 0.0), at(item.to_km, length), region, item.cell or cells[region], escorts
    )  # fmt: skip


def _movement(
    item: schema.MovementIn,
    region: schema.RegionIn,
    routes: Mapping[str, Route],
    convoys: Mapping[str, Convoy],
    vehicles: Mapping[str, Vehicle],
    cells: Mapping[str, str],
    loaded: Loaded,
) -> Movement | None:
    """None: no region of it is here. Of one that is handed over what is here: the legs up to the first that is not."""
    convoy = convoys[item.convoy] if item.convoy is not None else None
    legs: list[Leg] = []
    for leg in item.all_legs:
        route = loaded.here(leg.route)
        if route is None or (leg.region is not None and loaded.here(f"{leg.region}:{item.id}") is None):
            if legs:
                break
            continue
        legs.append(_leg(leg, routes[route], convoy, vehicles, cells, loaded))
    if not legs:
        return None
    offset = ZONES[region.timezone]
    starts, ends = ALWAYS_US
    if item.starts is not None and item.ends is not None:
        starts, ends = instant_us(item.starts, offset), instant_us(item.ends, offset)
    allowed = [area for area in (item.origin, item.destination, *item.stops) if area is not None]
    return Movement(
        id=item.id,
        region=region.id,
        name=item.name.mapping(),
        vehicles=tuple(loaded.all_here(item.vehicles)) if convoy is None else convoy.members,
        convoy=item.convoy,
        route=legs[0].route,
        starts_us=starts,
        ends_us=ends,
        from_chainage_m=legs[0].from_chainage_m,
        to_chainage_m=legs[0].to_chainage_m,
        stop_areas=frozenset(loaded.all_here(allowed)),
        legs=tuple(legs) if item.legs is not None else (),
    )


def _logins(
    regions: Sequence[tuple[RegionSource, schema.RegionIn]],
    vehicles: Mapping[str, Vehicle],
    sensors: Mapping[str, Sensor],
) -> dict[str, Login]:
    """One login a device, unless a gateway speaks for it; and the gateways."""
    cell_of = {d: v.cell for v in vehicles.values() for d in v.devices} | {s.device: s.cell for s in sensors.values()}
    gateways = [(login.item, region) for source, region in regions for login in source.logins]
    spoken_for = {device for item, _ in gateways for device in item.devices}
    logins = {d: Login(d, "device", (d,), cell) for d, cell in cell_of.items() if d not in spoken_for}
    for item, region in gateways:
        logins[item.login] = Login(item.login, "gateway", tuple(item.devices), item.cell or region.all_cells[0])
    return logins

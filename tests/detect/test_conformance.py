"""Cases that others wrote for their own trackers (Tile38, Traccar, Home Assistant), with the answers that they expect.

Where we answer otherwise on purpose the test asserts our answer and says why. Traccar's cases of overspeed are not here: there is no
rule `speed.exceeded` yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from pipeline.detect.engine import Engine
from pipeline.geo.projection import Projection, fit
from pipeline.geo.routes import chainage, project_point
from pipeline.model.episode import Episode
from pipeline.model.observation import Fix
from pipeline.normalise.formats import owntracks
from pipeline.normalise.formats.said import Said
from pipeline.normalise.gate import Who, flagged, gate
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.model import CompiledPlan
from tests.detect.plans import SECOND, T0, area, feed, fix, plan, setting, watch

LatLon = tuple[float, float]
AT_ONCE = {"route.deviation": setting("route.deviation", min_duration_us=0.0, high_at_m=1e6, critical_at_m=1e7)}


@pytest.fixture(scope="module")
def cases(shared: Path) -> dict[str, dict[str, Any]]:
    """Every case by its id; of Home Assistant's file the whole, as `homeassistant`."""
    found = {}
    for path in sorted((shared / "data" / "conformance").glob("*.json")):
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            found["homeassistant"] = content
        else:
            found |= {case["id"]: case for case in content}
    return found


def around(points: Sequence[LatLon], margin: float = 0.5) -> tuple[Projection, tuple[float, float, float, float]]:
    lats, lons = zip(*points, strict=True)
    bounds = min(lons) - margin, min(lats) - margin, max(lons) + margin, max(lats) + margin
    return fit(*bounds), bounds


def metres(projection: Projection, points: Sequence[LatLon]) -> np.ndarray:
    lats, lons = zip(*points, strict=True)
    return np.column_stack(projection.to_xy(lats, lons))


def at(place: LatLon, second: float, accuracy: float | None = 0.0) -> Fix:
    seen = T0 + round(second * SECOND)
    return Fix(
        vehicle="v1", device="v1-d0", seen_at_us=seen, received_at_us=seen, lat=place[0], lon=place[1],
        accuracy_m=accuracy, speed_mps=10.0,
    )  # fmt: skip


def told(of: CompiledPlan, fixes: Sequence[Fix]) -> list[Episode]:
    return feed(Engine(of), fixes).sorted()


def areas_plan(
    corners: Sequence[LatLon] | shapely.Polygon, points: Sequence[LatLon], radius_m: float = 0.0
) -> CompiledPlan:
    """A plan with one area, entered without dwell or margins: a polygon of these corners, or a circle around the only one."""
    ring = list(corners.exterior.coords) if isinstance(corners, shapely.Polygon) else corners
    projection, bounds = around([*ring, *points])
    if isinstance(corners, shapely.Polygon):
        holes = [metres(projection, list(hole.coords)) for hole in corners.interiors]
        polygon = shapely.Polygon(metres(projection, ring), holes)
    elif radius_m:
        polygon = shapely.Point(metres(projection, ring)[0]).buffer(radius_m, quad_segs=64)
    else:
        polygon = shapely.Polygon(metres(projection, ring))
    zone = area("zone", polygon, watch("area.entered", dwell_s=0, enter=0.0, leave=0.0))
    return plan([zone], projection=projection, bounds=bounds)


def inside(of: CompiledPlan, place: LatLon, accuracy: float = 0.0) -> bool:
    return [e.rule for e in told(of, [at(place, 0, accuracy)])] == ["area.entered"]


def corridor_plan(line: Sequence[LatLon], half_m: float, points: Sequence[LatLon]) -> CompiledPlan:
    projection, bounds = around([*line, *points])
    return plan(
        line=metres(projection, line), rules=AT_ONCE, half_m=half_m, exit_m=half_m, projection=projection, bounds=bounds
    )


def on_corridor(of: CompiledPlan, joined_at: LatLon, place: LatLon, accuracy: float = 0.0) -> bool:
    """Of a vehicle that has been on the road: a deviation is only that of one who had joined it."""
    return [e.rule for e in told(of, [at(joined_at, 0), at(place, 60, accuracy)])] != ["route.deviation"]


def latlon(case: dict[str, Any]) -> LatLon:
    return case["lat"], case["lon"]


def wkt(text: str) -> list[LatLon]:
    """The points of Traccar's WKT, latitude first."""
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", text)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def of_geojson(shape: dict[str, Any]) -> shapely.Polygon:
    rings = [[(lat, lon) for lon, lat, *_ in ring] for ring in shape["coordinates"]]
    return shapely.Polygon(rings[0], rings[1:])


# ---- Tile38: containment


def test_tile38_trucks_on_the_corridor_are_no_deviation_and_those_off_it_are(cases: Any) -> None:
    case = cases["t38-route-corridor-buffer-1000m"]
    line = [(lat, lon) for lon, lat in case["line_lonlat"]]
    of = corridor_plan(line, case["half_width_m"], [latlon(c) for c in case["cases"]])
    assert [on_corridor(of, line[2], latlon(c)) for c in case["cases"]] == [c["inside"] for c in case["cases"]]


@pytest.mark.parametrize("name", ["t38-within-jagged-polygon", "t38-within-bounds-1", "t38-within-bounds-2"])
def test_tile38_points_in_polygons(cases: Any, name: str) -> None:
    case = cases[name]
    if case["kind"] == "bounds":
        b = case["bounds"]
        corners = [
            (b[f"{y}_lat"], b[f"{x}_lon"]) for y, x in (("min", "min"), ("min", "max"), ("max", "max"), ("max", "min"))
        ]
    else:
        corners = list(of_geojson(case["geojson"]).exterior.coords)
    points = [latlon(c) for c in case["cases"]]
    of = areas_plan(corners, points)
    assert [inside(of, p) for p in points] == [c["inside"] for c in case["cases"]]


@pytest.mark.parametrize("name", ["t38-within-circle-1000", "t38-within-circle-10"])
def test_tile38_points_in_circles(cases: Any, name: str) -> None:
    """A point on another continent is outside for us too, though not by the rule: it is beyond the plan and kept out of the rules."""
    case = cases[name]
    centre = latlon(case["center"])
    of = areas_plan([centre], [], case["radius_m"])
    near = [c for c in case["cases"] if of.projection.covers(c["lat"], c["lon"])]
    assert [inside(of, latlon(c)) for c in near] == [c["inside"] for c in near] == [True, True]
    for far in (c for c in case["cases"] if c not in near):
        assert not far["inside"]
        judged = gate(Said(seen_at_us=T0, lat=far["lat"], lon=far["lon"]), Who("v1-d0", "v1"), T0, True, of)
        assert isinstance(judged, Fix) and flagged(judged.flags) == ["outside_plan"]
        assert told(of, [judged]) == []


def test_tile38_a_hole_is_outside(cases: Any) -> None:
    """Our areas judge points, so a box is within when all its corners are, and meets the area when some of them are."""
    case = cases["t38-polygon-with-holes-shape"]
    of = areas_plan(of_geojson(case["geojson"]), [])
    for c in case["cases_polygons"]:
        west, south, east, north = c["bbox_lonlat"]
        corners = [inside(of, p) for p in ((south, west), (south, east), (north, east), (north, west))]
        assert all(corners) == c["within"], c["id"]
        assert any(corners) == c.get("intersects", True), c["id"]


# ---- Traccar: geofences

TRACCAR_AREAS = ["tc-circle-100m", "tc-polygon", "tc-polygon-greenwich"]


def traccar_area(case: dict[str, Any]) -> CompiledPlan:
    points = wkt(case["wkt_latlon"].rsplit(",", 1)[0] if case["kind"] == "circle" else case["wkt_latlon"])
    radius = float(case["wkt_latlon"].rsplit(",", 1)[1].strip(" )")) if case["kind"] == "circle" else 0.0
    return areas_plan(points, [latlon(c) for c in case["contains"]], radius)


@pytest.mark.parametrize("name", TRACCAR_AREAS)
def test_traccar_points_in_areas(cases: Any, name: str) -> None:
    case = cases[name]
    of = traccar_area(case)
    assert [inside(of, latlon(c)) for c in case["contains"]] == [c["inside"] for c in case["contains"]]


def test_traccar_points_that_are_inside_are_uncertain_when_they_are_not_accurate(cases: Any) -> None:
    """Ours differs: 70 m from the middle of a circle of 100 m one is inside for Traccar however poor the fix. Here 30 m remain to the
    border, and twice the accuracy has to fit into them."""
    case = cases["tc-circle-100m"]
    of = traccar_area(case)
    place = latlon(case["contains"][0])
    middle = metres(of.projection, wkt(case["wkt_latlon"].rsplit(",", 1)[0]))[0]
    deep = 100 - float(np.hypot(*(metres(of.projection, [place])[0] - middle)))
    assert 20 < deep < 40
    assert inside(of, place, deep / 2 - 0.5)
    assert not inside(of, place, deep / 2 + 0.5)


@pytest.mark.parametrize("name", ["tc-polygon-antimeridian", "tc-polyline-antimeridian"])
def test_traccar_shapes_across_the_antimeridian_are_refused(cases: Any, name: str) -> None:
    """Ours differs: a plan is one sheet of metres and lies on one side of the antimeridian, and no longitude is beyond 180."""
    case = cases[name]
    lats, lons = zip(*wkt(case["wkt_latlon"]), strict=True)
    with pytest.raises(ValueError, match="bounds"):
        fit(min(lons), min(lats), max(lons), max(lats))
    with pytest.raises(ValueError, match="bounds"):
        fit(max(lons), min(lats), min(x for x in lons if x < 0), max(lats))
    for c in (c for c in case["contains"] if not -180 <= c["lon"] <= 180):
        with pytest.raises(RefusedError) as refused:
            gate(Said(seen_at_us=T0, lat=c["lat"], lon=c["lon"]), Who("v1-d0", "v1"), T0, True, None)
        assert refused.value.reason == "out_of_range"


@pytest.mark.parametrize("name", ["tc-polyline-35m", "tc-polyline-15m", "tc-polyline-3seg-15m"])
def test_traccar_points_in_corridors(cases: Any, name: str) -> None:
    case = cases[name]
    line = wkt(case["wkt_latlon"])
    of = corridor_plan(line, case["polyline_half_width_m"], [latlon(c) for c in case["contains"]])
    assert [on_corridor(of, line[0], latlon(c)) for c in case["contains"]] == [c["inside"] for c in case["contains"]]


def test_traccar_points_off_a_corridor_are_on_it_when_they_are_not_accurate(cases: Any) -> None:
    """Ours differs: a fix 33 m from the road is no deviation from a corridor of 15 m when it says that it may be 20 m off."""
    case = cases["tc-polyline-15m"]
    line, place = wkt(case["wkt_latlon"]), latlon(case["contains"][0])
    of = corridor_plan(line, case["polyline_half_width_m"], [place])
    assert not on_corridor(of, line[0], place, accuracy=15)
    assert on_corridor(of, line[0], place, accuracy=20)


def crossings(case: dict[str, Any], intersects: bool) -> Iterator[tuple[LatLon, LatLon]]:
    for c in case["segment_intersects"]:
        if c["intersects"] == intersects:
            yield latlon(c["from"]), latlon(c["to"])


@pytest.mark.parametrize("name", ["tc-circle-100m", "tc-polygon"])
def test_traccar_a_drive_past_an_area_is_no_visit(cases: Any, name: str) -> None:
    of = traccar_area(cases[name])
    ((start, end),) = crossings(cases[name], False)
    assert told(of, [at(start, 0), at(end, 60)]) == []


@pytest.mark.parametrize("name", ["tc-circle-100m", "tc-polygon"])
def test_traccar_a_drive_through_an_area_between_two_fixes_is_a_visit(cases: Any, name: str) -> None:
    of = traccar_area(cases[name])
    ((start, end),) = crossings(cases[name], True)
    (visit,) = told(of, [at(start, 0), at(end, 60)])
    assert (visit.rule, visit.object, visit.evidence["inferred"]) == ("area.entered", "zone", "crossing")
    assert T0 < visit.began_at_us < (visit.ended_at_us or 0) < T0 + 60 * SECOND


@pytest.mark.parametrize("name", ["tc-circle-100m", "tc-polygon"])
def test_traccar_a_line_through_an_area_is_no_visit_when_it_is_no_way(cases: Any, name: str) -> None:
    """Ours differs: Traccar draws the line however poor the two fixes are and however long nothing was heard between them."""
    of = traccar_area(cases[name])
    ((start, end),) = crossings(cases[name], True)
    assert told(of, [at(start, 0), at(end, 60, accuracy=60)]) == []
    assert told(of, [at(start, 0, accuracy=60), at(end, 60)]) == []
    assert len(told(of, [at(start, 0), at(end, 120)])) == 1
    assert told(of, [at(start, 0), at(end, 121)]) == []


@pytest.mark.parametrize("name", ["tc-circle-100m", "tc-polygon"])
def test_traccar_a_drive_through_an_area_is_a_visit_when_a_fix_is_in_it(cases: Any, name: str) -> None:
    of = traccar_area(cases[name])
    ((start, end),) = crossings(cases[name], True)
    steps = [(start[0] + (end[0] - start[0]) * k / 40, start[1]) for k in range(41)]
    (visit,) = told(of, [at(place, k) for k, place in enumerate(steps)])
    assert (visit.rule, visit.object) == ("area.entered", "zone")
    assert T0 < visit.began_at_us < (visit.ended_at_us or 0) < T0 + 40 * SECOND


def test_traccar_a_crossing_of_a_road_is_on_it_only_there(cases: Any) -> None:
    """Traccar asks whether a way meets the line; we, how far a fix is from it: on the line at the crossing, off it at both ends."""
    case = cases["tc-polyline-crossing"]
    line = wkt(case["wkt_latlon"])
    ((south, north),) = crossings(case, True)
    of = corridor_plan(line, 15.0, [south, north])
    steps = [(south[0] + (north[0] - south[0]) * k / 40, south[1]) for k in range(41)]
    near = [on_corridor(of, line[0], place) for place in steps]
    assert not near[0] and not near[-1] and any(near)


def test_traccar_area_of_a_polygon(cases: Any) -> None:
    case = cases["tc-polygon-area"]
    ring = wkt(case["wkt_latlon"])
    projection, _ = around(ring)
    square_km = shapely.Polygon(metres(projection, ring)).area / 1e6
    assert square_km == pytest.approx(case["expected_area"]["value"], abs=case["expected_area"]["tolerance"])


def test_traccar_distances(cases: Any) -> None:
    """Ours differs between two far points: Traccar measures on a sphere of 6,371 km or so, we on the ellipsoid."""
    points, *lines = cases["tc-distance"]["cases"]
    start, end = latlon(points["from"]), latlon(points["to"])
    projection, _ = around([start, end])
    (ax, ay), (bx, by) = metres(projection, [start, end])
    ours = float(np.hypot(bx - ax, by - ay))
    *_, true = pyproj.Geod(ellps="WGS84").inv(start[1], start[0], end[1], end[0])
    assert ours == pytest.approx(true, abs=0.5)
    assert ours == pytest.approx(points["metres"], rel=0.004)
    assert len(lines) == 2
    for c in lines:
        line = [(lat, lon) for lat, lon in c["line"]]
        projection, _ = around([*line, latlon(c["point"])])
        xy = metres(projection, line)
        x, y = metres(projection, [latlon(c["point"])])[0]
        away, _ = project_point(xy, chainage(xy), x, y)
        assert away == pytest.approx(c["metres"], abs=c["tolerance"])


# ---- Traccar: motion. A stop of ours is five minutes within 50 m, on a movement.

STOPS = plan(
    line=[(-1000, 0), (4000, 0)],
    rules={"stop.unscheduled": setting("stop.unscheduled", radius_m=50.0, min_duration_us=300e6)},
)


def positions(case: dict[str, Any], every_s: float | None = None) -> list[Fix]:
    """The steps as fixes along the road. `every_s`: while it stands it reports as often as this."""
    instants = [datetime.strptime(s["time_utc"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for s in case["steps"]]
    reports: list[tuple[float, float]] = []
    for instant, step in zip(instants, case["steps"], strict=True):
        second, along = (instant - instants[0]).total_seconds(), float(step["total_distance_m"])
        if every_s and reports and reports[-1][1] == along:
            before = reports[-1][0]
            reports += [(before + k * every_s, along) for k in range(1, int((second - before - 1) // every_s) + 1)]
        reports.append((second, along))
    return [fix(s, along, 0.0, seq=n, speed=None) for n, (s, along) in enumerate(reports)]


def stops_of(fixes: Sequence[Fix]) -> list[tuple[float, float | None]]:
    return [
        ((e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND)
        for e in told(STOPS, fixes)
    ]


def stopped_events(case: dict[str, Any]) -> int:
    return sum(step["expected_event"] == "deviceStopped" for step in case["steps"])


def test_traccar_a_parked_vehicle_has_stopped(cases: Any) -> None:
    """Ours differs in the instant: the stop begins when it came to stand there (00:02), not when that was sure (00:10)."""
    case = cases["tc-motion-testMotionWithPosition"]
    assert stopped_events(case) == 1
    fixes = positions(case, every_s=30)
    assert stops_of(fixes) == [(120.0, None)]


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("tc-motion-testMotionWithPosition", 1),
        ("tc-motion-testStopWithGap", 1),
        ("tc-motion-testStopWithDoubleGap", 1),
    ],
)
def test_traccar_a_gap_is_no_stop(cases: Any, name: str, stops: int) -> None:
    """Ours differs: Traccar takes seven or ten silent minutes with the same position at both ends for a stop. Nobody saw it stand
    there; when the reports in between come in, be it late, the stop is told after all."""
    case = cases[name]
    assert stopped_events(case) == stops
    sparse = positions(case)
    dense = positions(case, every_s=30)
    assert stops_of(sparse) == []
    assert len(stops_of(dense)) == stops
    assert stops_of([*sparse, *(f for f in dense if f.seen_at_us not in {s.seen_at_us for s in sparse})]) == [
        (120.0 if "WithPosition" in name else 0.0, None)
    ]


@pytest.mark.parametrize("every_s", [None, 20])
def test_traccar_a_short_halt_is_no_stop(cases: Any, every_s: float | None) -> None:
    case = cases["tc-motion-testMotionFluctuation"]
    assert stopped_events(case) == 0
    fixes = positions(case, every_s)
    assert stops_of(fixes) == []


def test_traccar_ignition_decides_nothing(cases: Any) -> None:
    """Ours differs: Traccar's vehicle has stopped after two minutes because its ignition went off. We hear of no ignition, and two
    minutes are no stop; five are."""
    case = cases["tc-motion-testStopWithPositionIgnition"]
    assert stopped_events(case) == 1
    fixes = positions(case, every_s=30)
    assert stops_of(fixes) == []
    assert stops_of([*fixes, *(fix(s, 100.0, 0.0, speed=None) for s in range(150, 301, 30))]) == [(0.0, None)]


# ---- Home Assistant: OwnTracks in two zones


@pytest.fixture(scope="module")
def zones(cases: Any) -> CompiledPlan:
    inner, outer = cases["homeassistant"]["config"]["zones"]
    bounds = (87.0, 42.5, 91.5, 46.5)
    projection = fit(*bounds)
    areas = []
    for zone in (inner, outer):
        x, y = projection.to_xy(zone["latitude"], zone["longitude"])
        circle = shapely.Point(float(x), float(y)).buffer(zone["radius_m"], quad_segs=64)
        areas.append(area(zone["name"], circle, watch("area.entered", dwell_s=0, leave=0.0)))
    return plan(areas, projection=projection, bounds=bounds)


def heard(cases: Any, of: CompiledPlan, name: str, at_s: float, **other: Any) -> Fix:
    """A message as it is decoded and judged. The recorded ones all say 1 or 2 s after 1970; here they come a minute apart."""
    payload = cases["homeassistant"]["messages"][name]["payload"] | {"tst": T0 // SECOND + at_s} | other
    said = owntracks.decode(json.dumps(payload).encode())
    assert said is not None and said.seen_at_us is not None
    judged = gate(said, Who("v1-d0", "v1"), said.seen_at_us, True, of)
    assert isinstance(judged, Fix)
    return judged


def zones_after(cases: Any, of: CompiledPlan, *names: str, **other: Any) -> set[str]:
    """In which zones it is, after these messages a minute apart; `other` replaces fields of the last."""
    fixes = [heard(cases, of, name, 60 * k, **(other if k == len(names) - 1 else {})) for k, name in enumerate(names)]
    return {e.object for e in told(of, fixes) if e.ended_at_us is None}


def messages(cases: Any, name: str, zone: str | None = None) -> list[str]:
    (case,) = [c for c in cases["homeassistant"]["cases"] if c["id"] == name]
    assert case["expected"].get("zone") == zone
    return list(case["messages"])


def test_ha_a_location_is_in_its_zone(cases: Any, zones: CompiledPlan) -> None:
    assert zones_after(cases, zones, *messages(cases, "ha-location-update", "outer")) == {"outer"}
    assert zones_after(cases, zones, "LOCATION", "LOCATION_NOT_HOME") == set()


def test_ha_an_inaccurate_location_is_ignored(cases: Any, zones: CompiledPlan) -> None:
    """Home Assistant's limit in this test is 200 m, ours 500 m; the message says 2,000. Its place is in the outer zone
    as the one before it; so it is also put far away, where an accurate fix ends the visit."""
    names = messages(cases, "ha-inaccurate-gps-ignored")
    assert flagged(heard(cases, zones, names[-1], 0).flags) == ["inaccurate"]
    far = {"lat": 43.0, "lon": 88.1}
    assert zones_after(cases, zones, *names) == {"outer"}
    assert zones_after(cases, zones, *names, **far) == {"outer"}
    assert zones_after(cases, zones, *names, **far, acc=60) == set()


def test_ha_an_accuracy_of_zero_is_taken_at_its_word(cases: Any, zones: CompiledPlan) -> None:
    """Ours differs: Home Assistant throws the fix away. For us 0 m is what the device said, and only a negative accuracy is unknown:
    the fix counts."""
    names = messages(cases, "ha-zero-accuracy-ignored")
    judged = heard(cases, zones, names[-1], 0)
    assert flagged(judged.flags) == []
    assert judged.accuracy_m == 0
    assert zones_after(cases, zones, *names, lat=43.0, lon=88.1) == set()


def test_ha_an_entry_counts_where_it_is_and_not_by_what_it_says(cases: Any, zones: CompiledPlan) -> None:
    """Ours differs: a transition says `inner`, but its position is 71 m from that zone's middle, beyond its 50 m, with an accuracy of
    60 m. Home Assistant trusts the phone's word; we judge the position, which is in the outer zone."""
    names = messages(cases, "ha-gps-entry", "inner")
    assert zones_after(cases, zones, *names) == {"outer"}
    assert zones_after(cases, zones, *names, lat=45.1) == {"outer"}  # in the middle of 50 m, give or take 60
    assert zones_after(cases, zones, *names, lat=45.1, acc=20) == {"inner", "outer"}


def test_ha_a_later_location_moves_it_out_of_the_region(cases: Any, zones: CompiledPlan) -> None:
    """Ours differs: Home Assistant stays in `inner` until the phone says `leave`, whatever its later, distant fixes are."""
    enter, location = messages(cases, "ha-location-ignored-while-in-region", "inner")
    inside_it = heard(cases, zones, enter, 0, lat=45.1, acc=20)
    assert {e.object for e in told(zones, [inside_it]) if e.ended_at_us is None} == {"inner", "outer"}
    both = told(zones, [inside_it, heard(cases, zones, location, 60)])
    assert {e.object: e.ended_at_us for e in both} == {"inner": T0 + 60 * SECOND, "outer": None}


def test_ha_an_exit_ends_in_the_outer_zone(cases: Any, zones: CompiledPlan) -> None:
    names = messages(cases, "ha-gps-exit", "outer")
    fixes = [heard(cases, zones, names[0], 0, lat=45.1, acc=20), heard(cases, zones, names[-1], 60)]
    assert {e.object: e.ended_at_us for e in told(zones, fixes)} == {"inner": T0 + 60 * SECOND, "outer": None}


def test_ha_an_inaccurate_entry_is_none(cases: Any, zones: CompiledPlan) -> None:
    """Ours differs: Home Assistant enters `inner` at an accuracy of 2,000 m since the phone says so. Here it is kept out of the rules."""
    names = messages(cases, "ha-entry-inaccurate-still-enters", "inner")
    assert zones_after(cases, zones, *names) == {"outer"}
    assert zones_after(cases, zones, *names, lat=45.1) == {"outer"}


def test_ha_an_inaccurate_exit_keeps_the_zone(cases: Any, zones: CompiledPlan) -> None:
    """Home Assistant keeps the position and forgets the region; we keep both."""
    enter, leave = messages(cases, "ha-exit-inaccurate-keeps-position", "inner")
    start = heard(cases, zones, enter, 0, lat=45.1, acc=20)
    ended = {
        accuracy: {
            e.object for e in told(zones, [start, heard(cases, zones, leave, 60, acc=accuracy)]) if e.ended_at_us
        }
        for accuracy in (2000, 60)
    }
    assert ended == {2000: set(), 60: {"inner"}}


# ---- Traccar: what time may be


def outcome(seen: datetime | float, received: datetime) -> str:
    us = round((seen if isinstance(seen, float | int) else seen.timestamp()) * SECOND)
    try:
        judged = gate(
            Said(seen_at_us=us, lat=35.0, lon=73.0), Who("d", "v"), round(received.timestamp() * SECOND), True, None
        )
    except RefusedError as refused:
        return refused.reason
    assert isinstance(judged, Fix)
    return "accepted"


def test_traccar_now_is_accepted_and_the_far_future_never(cases: Any) -> None:
    """Of the other filters (invalid, static, duplicate, approximate) none is a rule about time; ours know no `valid` and no alarm."""
    case = cases["tc-filter-valid-now"]
    now = datetime(2026, 5, 28, 20, 0, tzinfo=UTC)
    of_time = [c for c in case["cases"] if c["valid"] and "alarm" not in c]
    said = [outcome((2**63 - 1) / 1000 if "MAX" in c["fix"] else now, now) for c in of_time]
    assert said == ["accepted", "future"]
    assert [s != "accepted" for s in said] == [c["filtered"] for c in of_time]
    assert outcome(now + timedelta(seconds=120), now) == "accepted"
    assert outcome(now + timedelta(seconds=121), now) == "future"


def test_traccar_a_clock_that_rolled_over_is_refused_and_not_mended(cases: Any) -> None:
    """Ours differs: Traccar adds 1,024 weeks. A receiver that is 19 years off may be off by anything else, and its fixes would be
    evidence: it is refused as too old, kept among the rejects, and somebody has to mend the receiver."""
    case = cases["tc-gps-week-rollover"]
    now = datetime.fromisoformat(case["now_utc"])
    rolled, week_old, epoch = case["cases"]
    assert rolled["adjusted"] == case["now_utc"]
    assert outcome(now - timedelta(weeks=1024), now) == "too_old"
    assert week_old["adjusted"] == week_old["device_time"]
    assert outcome(datetime.fromisoformat(week_old["device_time"]), now) == "accepted"
    assert epoch["adjusted"] == epoch["device_time"]
    assert outcome(datetime.fromisoformat(epoch["device_time"]), now) == "too_old"

"""Drives that others recorded, with plans written for them: what is told depends neither on the rate of the reports, nor on their
order, nor on the records that they come in."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.detect.engine import Engine
from pipeline.geo.projection import fit
from pipeline.model.episode import Episode
from pipeline.model.observation import Fix
from pipeline.model.times import format_us
from pipeline.normalise.files import Outcome, Reader
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan, RuleSetting
from tests.detect.plans import SECOND, area, feed, plan, setting, watch


def stop_rule(radius_m: float, seconds: float) -> dict[str, RuleSetting]:
    return {"stop.unscheduled": setting("stop.unscheduled", radius_m=radius_m, min_duration_us=seconds * SECOND)}


def told(of: CompiledPlan, fixes: Sequence[Fix], batch: int = 1000) -> list[Episode]:
    return feed(Engine(of), fixes, batch).sorted()


def seconds(episodes: Sequence[Episode], start_us: int) -> list[tuple[str, str, float, float | None]]:
    """(rule, object, began, ended), in seconds since the drive's start."""
    return [
        (e.rule, e.object, (e.began_at_us - start_us) / SECOND, e.ended_at_us and (e.ended_at_us - start_us) / SECOND)
        for e in episodes
    ]


# ---- barefoot: one car at 1 s, and the same drive at 15 s

MUNICH = (11.3, 48.05, 11.7, 48.25)
SLOW_S = 15


@pytest.fixture(scope="module")
def car(shared: Path) -> tuple[list[Fix], list[Fix]]:
    def drive(name: str) -> list[Fix]:
        fixes = []
        for row in json.loads((shared / "data" / "tracks" / "barefoot" / name).read_bytes()):
            lon, lat = map(float, row["point"].removeprefix("POINT(").removesuffix(")").split())
            at = round(datetime.strptime(row["time"], "%Y-%m-%d %H:%M:%S%z").timestamp()) * SECOND
            fixes.append(Fix(vehicle="v1", device="v1-d0", seen_at_us=at, received_at_us=at, lat=lat, lon=lon))
        return fixes

    return drive("x0001-001.json"), drive("x0001-015.json")


def car_plan(fixes: Sequence[Fix]) -> CompiledPlan:
    """Areas of 600 m to both sides around six points of the drive; a stop is a minute within 30 m."""
    projection = fit(*MUNICH)
    xy = np.column_stack(projection.to_xy([f.lat for f in fixes], [f.lon for f in fixes]))
    areas = []
    for n in range(6):
        x, y = xy[100 + 200 * n]
        zone = shapely.box(x - 600, y - 600, x + 600, y + 600)
        areas.append(area(f"z{n}", zone, watch("area.entered", dwell_s=0, leave=0.0)))
    return plan(areas, line=xy[::10], rules=stop_rule(30.0, 60.0), projection=projection, bounds=MUNICH)


def test_the_rate_of_the_reports_changes_neither_stops_nor_visits(car: tuple[list[Fix], list[Fix]]) -> None:
    fine, coarse = car
    of, start = car_plan(fine), fine[0].seen_at_us
    assert (len(fine), len(coarse)) == (1194, 80)
    every_second, every_fifteen = (seconds(told(of, fixes), start) for fixes in (fine, coarse))
    counted = [sum(row[0] == rule for row in every_second) for rule in ("area.entered", "stop.unscheduled")]
    assert counted[0] >= 6 and counted[1] == 2
    assert sorted(row[:2] for row in every_second) == sorted(row[:2] for row in every_fifteen)
    for a, b in zip(
        sorted(every_second, key=lambda r: (r[:2], r[2])),
        sorted(every_fifteen, key=lambda r: (r[:2], r[2])),
        strict=True,
    ):
        assert abs(a[2] - b[2]) <= 2 * SLOW_S, (a, b)
        assert (a[3] is None) == (b[3] is None), (a, b)
        if a[3] is not None and b[3] is not None:
            assert abs(a[3] - b[3]) <= 2 * SLOW_S, (a, b)


def test_both_rates_together_are_the_finer_one(car: tuple[list[Fix], list[Fix]]) -> None:
    """Every one of the 15 s reports is also one of the 1 s reports: what comes twice changes nothing."""
    fine, coarse = car
    of = car_plan(fine)
    expected = feed(Engine(of), fine).lines()
    assert expected.count(b"\n") >= 8
    assert feed(Engine(of), [*coarse, *fine]).lines() == expected
    assert feed(Engine(of), [*fine, *coarse]).lines() == expected


# ---- bus 304 in Limerick

LIMERICK = (-8.75, 52.55, -8.5, 52.75)
NEAR_M = 40.0


def bus_stops(shared: Path) -> dict[str, tuple[float, float]]:
    with (shared / "data" / "tracks" / "bus-304" / "bus-304-stops.csv").open(encoding="utf-8") as file:
        return {row["stop_no"]: (float(row["lat"]), float(row["lon"])) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def bus(shared: Path) -> list[Fix]:
    path = shared / "data" / "tracks" / "bus-304" / "bus-304-limerick.gpx"
    of = plan(projection=fit(*LIMERICK), bounds=LIMERICK)
    outcomes = list(Reader(of, "v1", horizon_us=10**18).read(path))
    assert {o.outcome for o in outcomes} == {"accepted"}
    fixes = [o.observation for o in outcomes if isinstance(o.observation, Fix)]
    assert len(fixes) == len(outcomes) == 2144
    return fixes


def bus_plan(shared: Path, fixes: Sequence[Fix], allowed: bool = False) -> CompiledPlan:
    """A circle around every stop, and one 150 m to the north of it where no bus has to be."""
    projection = fit(*LIMERICK)
    xy = np.column_stack(projection.to_xy([f.lat for f in fixes], [f.lon for f in fixes]))
    areas = []
    watched = watch("area.entered", dwell_s=0, leave=20.0)
    for number, (lat, lon) in bus_stops(shared).items():
        x, y = (float(c) for c in projection.to_xy(lat, lon))
        areas.append(area(number, shapely.Point(x, y).buffer(NEAR_M), watched, stop_allowed=allowed))
        areas.append(area(f"{number}-decoy", shapely.Point(x, y + 150.0).buffer(NEAR_M), watched))
    return plan(areas, line=xy[::5], rules=stop_rule(30.0, 45.0), projection=projection, bounds=LIMERICK)


def nearest_m(of: CompiledPlan, fixes: Sequence[Fix], name: str) -> float:
    (zone,) = [a for a in of.areas if a.id == name]
    xy = np.column_stack(of.projection.to_xy([f.lat for f in fixes], [f.lon for f in fixes]))
    centre = zone.polygon.centroid
    return float(np.hypot(xy[:, 0] - centre.x, xy[:, 1] - centre.y).min())


def test_the_bus_visits_the_stops_that_it_drove_by(shared: Path, bus: list[Fix]) -> None:
    """The plain way to say it: surely nearer than the circle's radius less twice the 10 m that a silent receiver is credited with.
    Between there and the circle nobody knows, but outside it nothing is told."""
    of = bus_plan(shared, bus)
    visited = {e.object for e in told(of, bus) if e.rule == "area.entered"}
    away = {a.id: nearest_m(of, bus, a.id) for a in of.areas}
    surely = {name for name, metres in away.items() if metres <= NEAR_M - 20.5}
    never = {name for name, metres in away.items() if metres > NEAR_M - 19.5}
    assert len(surely) >= 36 and len(never) >= 10
    assert surely <= visited
    assert not visited & never


def test_a_visit_of_the_bus_is_while_it_was_there(shared: Path, bus: list[Fix]) -> None:
    of = bus_plan(shared, bus)
    zones = {a.id: a.polygon for a in of.areas}
    visits = [e for e in told(of, bus) if e.rule == "area.entered" and e.ended_at_us is not None]
    assert len(visits) >= 30
    for e in visits:
        there = [f for f in bus if e.began_at_us <= f.seen_at_us < (e.ended_at_us or 0)]
        x, y = of.projection.to_xy([f.lat for f in there], [f.lon for f in there])
        assert zones[e.object].contains(shapely.Point(x[0], y[0]))
        assert max(zones[e.object].distance(shapely.Point(a, b)) for a, b in zip(x, y, strict=True)) <= 30.5


def test_the_bus_stood_where_its_stops_say(shared: Path, bus: list[Fix]) -> None:
    """Each stop that is told holds in the fixes themselves: 45 s or more within 30 m of where it began, but for one stray fix."""
    of = bus_plan(shared, bus)
    stops = [e for e in told(of, bus) if e.rule == "stop.unscheduled"]
    assert len(stops) >= 3
    for e in stops:
        ended = e.ended_at_us or bus[-1].seen_at_us
        assert ended - e.began_at_us >= 45 * SECOND
        there = [f for f in bus if e.began_at_us <= f.seen_at_us < ended]
        x, y = of.projection.to_xy([f.lat for f in there], [f.lon for f in there])
        stray = np.hypot(x - x[0], y - y[0]) > 30.0 + 20.0
        assert not (stray[1:] & stray[:-1]).any()


def test_a_stop_at_a_bus_stop_is_silent_where_stopping_is_allowed(shared: Path, bus: list[Fix]) -> None:
    def stops_within(allowed: bool) -> list[bool]:
        of = bus_plan(shared, bus, allowed)
        circles = shapely.union_all([a.polygon for a in of.areas if not a.id.endswith("-decoy")])
        stops = [e for e in told(of, bus) if e.rule == "stop.unscheduled"]
        first = [next(f for f in bus if f.seen_at_us == e.began_at_us) for e in stops]
        x, y = of.projection.to_xy([f.lat for f in first], [f.lon for f in first])
        return [bool(circles.contains(shapely.Point(a, b))) for a, b in zip(x, y, strict=True)]

    forbidden, allowed = stops_within(False), stops_within(True)
    assert any(forbidden) and not all(forbidden)
    assert allowed and not any(allowed)


@pytest.mark.parametrize(("batch", "backwards"), [(1, False), (10, False), (50, True), (10_000, True)])
def test_the_bus_in_any_records(shared: Path, bus: list[Fix], batch: int, backwards: bool) -> None:
    of = bus_plan(shared, bus)
    expected = feed(Engine(of), bus).lines()
    assert expected
    assert feed(Engine(of), bus[::-1] if backwards else bus, batch).lines() == expected


# ---- gpxpy's awkward files

ISTRIA = {
    "region": "{id: istria, name: Istria, timezone: UTC, invented: true, cells: [istria], bounds: {west: 13.2, south: 45, east: 15, north: 46}}",
    "areas": """
areas:
  - {id: visnjan, name: Visnjan, kind: zone, circle: {lat: 45.2735, lon: 13.7142, radius_m: 400}, rules: [{rule: area.entered}]}
  - {id: korita, name: Korita, kind: zone, circle: {lat: 45.4591, lon: 14.0147, radius_m: 400}, rules: [{rule: area.entered}]}
""",
    "rules": """
rules:
  area.entered: {mode: live, severity: low, owner: post, respond_within: 5 min, response: Ask., dwell: 20 s}
""",
    "vehicles": "vehicles: [{id: car, kind: car, role: patrol, devices: [logger]}]",
}
WITHIN = {"around-visnjan-with-car.gpx", "cerknicko-without-times.gpx", "korita-zbevnica.gpx"}
VISITED = {"around-visnjan-with-car.gpx": "visnjan", "korita-zbevnica.gpx": "korita"}


def write_plan(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def istria(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("plans") / "istria", ISTRIA)


def gpx_outcomes(shared: Path, name: str) -> list[Outcome]:
    return list(Reader(None, "v1").read(shared / "data" / "tracks" / "gpxpy" / name))


AWKWARD = {  # points with a time, points without: counted in the files
    "around-visnjan-with-car.gpx": (104, 0),
    "cerknicko-without-times.gpx": (5, 291),
    "gpx_with_garmin_extension.gpx": (0, 0),  # waypoints only
    "korita-zbevnica.gpx": (513, 358),
    "track-with-empty-segment.gpx": (9, 0),
    "track-with-extremes.gpx": (0, 25),
    "track-with-less-sec-time.gpx": (2, 0),
    "track-with-small-floats.gpx": (0, 3),
    "track_with_dilution_errors.gpx": (0, 1),
    "track_with_speed.gpx": (3, 0),
    "unicode_with_bom.gpx": (0, 0),  # waypoints only
}


def test_the_list_of_awkward_files_is_whole(shared: Path) -> None:
    assert {path.name for path in (shared / "data" / "tracks" / "gpxpy").glob("*.gpx")} == set(AWKWARD)


@pytest.mark.parametrize("name", sorted(AWKWARD))
def test_every_point_of_an_awkward_file_has_one_outcome(shared: Path, name: str) -> None:
    outcomes = gpx_outcomes(shared, name)
    rejected = [o for o in outcomes if o.outcome == "rejected"]
    assert (len(outcomes) - len(rejected), len(rejected)) == AWKWARD[name]
    assert {o.reason for o in rejected} <= {"malformed"}


def test_fractions_of_a_second_and_a_zone_are_kept(shared: Path) -> None:
    fixes = [o.observation for o in gpx_outcomes(shared, "track-with-less-sec-time.gpx")]
    instants = [format_us(f.seen_at_us) for f in fixes if isinstance(f, Fix)]
    assert instants == ["2015-12-11T14:43:13.000000Z", "2015-12-11T14:43:13.994000Z"]


@pytest.mark.parametrize("name", sorted(AWKWARD))
def test_an_awkward_file_is_detected_on_as_any_other(shared: Path, istria: Path, name: str) -> None:
    """Two of them are tracks in Istria, where this plan has an area for each; of the others nothing is told."""
    path = shared / "data" / "tracks" / "gpxpy" / name
    done = CliRunner().invoke(cli, ["detect", "--plan", str(istria), "--vehicle", "car", str(path)])
    assert done.exit_code == 0, done.output
    rejected = AWKWARD[name][1]
    assert done.stderr.startswith(f"rahdar: {rejected} of the messages were rejected (malformed)" if rejected else "")
    outside = AWKWARD[name][0] if name not in WITHIN else 0
    told = f"rahdar: {outside} of the fixes are kept out of the rules ({outside} outside_plan)"
    assert [line for line in done.stderr.splitlines() if "rejected" not in line] == ([told] if outside else [])
    assert bool(rejected) == ("rejected" in done.stderr)
    visited = {(row["rule"], row["subject"], row["object"]) for row in map(json.loads, done.stdout.splitlines())}
    assert visited == ({("area.entered", "car", VISITED[name])} if name in VISITED else set())


# ---- e-mission: eight days of a phone, as a plan's folder and a table of ours

REGION = """
id: bay
name: Bay
timezone: UTC
invented: true
cells: [bay]
bounds: {west: -122.6, south: 33.8, east: -118.2, north: 39.7}
"""
AREAS = """
areas:
  - {id: base, name: Base, kind: site, circle: {lat: 37.3908, lon: -122.0864, radius_m: 250}, rules: [{rule: area.entered}, {rule: area.left}]}
  - {id: north, name: North, kind: zone, circle: {lat: 37.8790, lon: -122.2590, radius_m: 5000}, rules: [{rule: area.entered, dwell: 0 s}]}
"""
BENDS = np.array([(37.39, -122.086), (37.46, -122.15), (37.56, -122.3), (37.66, -122.4), (37.77, -122.405)])
LINE = " ".join(
    f"{np.interp(at, range(5), BENDS[:, 0]):.5f},{np.interp(at, range(5), BENDS[:, 1]):.5f}"
    for at in np.linspace(0, 4, 41)
)
ROUTES = f"""
routes:
  - id: bayshore
    name: Bayshore
    road: US-101
    half_width_m: 1000
    exit_width_m: 800
    line: "{LINE}"
"""
MOVEMENTS = """
movements:
  - {id: days, name: Days, vehicles: [%s], route: bayshore, always: true}
"""
RULE = "{mode: live, severity: medium, owner: post, respond_within: 5 min, response: Ask., %s}"
RULES = "rules:\n" + "".join(
    f"  {name}: {RULE % more}\n".replace(", }", "}")
    for name, more in {
        "area.entered": "dwell: 1 min",
        "area.left": "dwell: 1 min",
        "route.deviation": "min_duration: 1 min",
        "stop.unscheduled": "radius_m: 100, min_duration: 5 min",
    }.items()
)
DAYS = [f"em-{n:02}" for n in range(1, 9)]


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vehicles = "vehicles:\n" + "".join(
        f"  - {{id: {day}, kind: car, role: patrol, devices: [{day}-phone]}}\n" for day in DAYS
    )
    files = {
        "region": REGION,
        "areas": AREAS,
        "routes": ROUTES,
        "movements": MOVEMENTS % ", ".join(DAYS),
        "rules": RULES,
        "vehicles": vehicles,
    }
    return write_plan(tmp_path_factory.mktemp("plans") / "bay", files)


@pytest.fixture(scope="module")
def days(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The phone's rows with our names: `received_at` is when they were written, which is up to hours after."""
    folder = tmp_path_factory.mktemp("days")
    paths = []
    for day in DAYS:
        with (shared / "data" / "tracks" / "e-mission" / f"{day}.locations.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        path = folder / f"{day}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            out.writerow(["vehicle", "device", "seen_at", "received_at", "lat", "lon", "accuracy_m", "speed_mps"])
            for row in rows:
                seen, written = (format_us(round(float(row[k]) * SECOND)) for k in ("ts_epoch", "write_ts_epoch"))
                out.writerow(
                    [day, f"{day}-phone", seen, written, row["lat"], row["lon"], row["accuracy_m"], row["speed_mps"]]
                )
        paths.append(path)
    return paths


def detect(of: Path, files: Sequence[Path], *options: object) -> bytes:
    done = CliRunner().invoke(cli, ["detect", "--plan", str(of), *map(str, options), *map(str, files)])
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


@pytest.fixture(scope="module")
def ledger(bay: Path, days: list[Path]) -> bytes:
    return detect(bay, days)


def test_the_days_have_something_of_every_rule(ledger: bytes) -> None:
    rows: list[dict[str, Any]] = [json.loads(line) for line in ledger.splitlines()]
    assert {row["rule"] for row in rows} == {"area.entered", "area.left", "route.deviation", "stop.unscheduled"}
    assert {row["subject"] for row in rows} == set(DAYS)


@pytest.mark.parametrize("batch", [1, 10, 1000])
@pytest.mark.parametrize("shuffle", [None, 1, 2])
def test_order_and_records_change_no_byte_of_the_days(
    bay: Path, days: list[Path], ledger: bytes, batch: int, shuffle: int | None
) -> None:
    options = ["--batch", batch] + ([] if shuffle is None else ["--shuffle", shuffle])
    assert detect(bay, days, *options) == ledger


def test_days_apart_are_the_days_together(bay: Path, days: list[Path], ledger: bytes) -> None:
    apart = [line for day in days for line in detect(bay, [day]).splitlines()]
    assert sorted(apart) == sorted(ledger.splitlines())


def test_the_order_in_which_it_was_written_changes_no_byte(
    bay: Path, days: list[Path], ledger: bytes, tmp_path: Path
) -> None:
    """The phone wrote late and not in the order of time; a network would deliver it in the order of its writing."""
    header, rows = "", []
    for day in days:
        header, *more = day.read_text(encoding="utf-8").splitlines()
        rows += more
    path = tmp_path / "written.csv"
    path.write_text("\n".join([header, *sorted(rows, key=lambda row: row.split(",")[3], reverse=True)]))
    assert detect(bay, [path]) == ledger


def test_the_plan_is_where_the_phone_was(bay: Path, days: list[Path]) -> None:
    reader = Reader(load_plan(bay), horizon_us=10**18)
    outcomes = [o for day in days for o in reader.read(day)]
    assert len(outcomes) == sum(len(day.read_text().splitlines()) - 1 for day in days)
    assert {o.outcome for o in outcomes} <= {"accepted", "flagged"}
    assert {o.reason for o in outcomes if o.outcome == "flagged"} <= {"inaccurate", "implausible"}

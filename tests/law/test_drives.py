"""Drives that others recorded, in many orders: `rahdar detect --shuffle` changes no byte of the ledger. The phone wrote a row up to hours after
it was seen, but for a handful within seconds; so it also goes through valleys here, where it keeps what it sees."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.commands.detect import NO_HORIZON_US
from pipeline.detect.engine import Engine
from pipeline.geo.projection import fit
from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix, Other, Tick
from pipeline.model.times import format_us
from pipeline.model.wire import BatchBuilder
from pipeline.normalise.files import read_observations
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from tests.detect import test_tracks as tracks
from tests.detect.plans import SECOND, plan

ORDERS = int(os.environ.get("RAHDAR_ORDERS", "5"))  # fifty take a quarter of an hour
LATE_US = 60 * SECOND


def told(of: CompiledPlan, observations: list[Fix | Other], batch: int) -> Ledger:
    """In the order given, in records of so many."""
    engine, ledger = Engine(of), Ledger()
    for start in range(0, len(observations), batch):
        builder = BatchBuilder()
        builder.extend(observations[start : start + batch])
        ledger.apply(engine.feed(builder.build()))
    return ledger


class Drive(NamedTuple):
    of: CompiledPlan
    observations: list[Fix | Other]
    rules: frozenset[str]


def written(folder: Path, shared: Path) -> list[Path]:
    """The phone's eight days with our names: `received_at` is when a row was written, up to hours after it was seen."""
    folder.mkdir()
    paths = []
    for day in tracks.DAYS:
        with (shared / "data" / "tracks" / "e-mission" / f"{day}.locations.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        paths.append(folder / f"{day}.csv")
        with paths[-1].open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            out.writerow(["vehicle", "device", "seen_at", "received_at", "lat", "lon", "accuracy_m", "speed_mps"])
            for row in rows:
                seen, came = (format_us(round(float(row[name]) * SECOND)) for name in ("ts_epoch", "write_ts_epoch"))
                out.writerow(
                    [day, f"{day}-phone", seen, came, row["lat"], row["lon"], row["accuracy_m"], row["speed_mps"]]
                )
    return paths


def phone_plan(folder: Path) -> Path:
    vehicles = "".join(f"  - {{id: {day}, kind: car, role: patrol, devices: [{day}-phone]}}\n" for day in tracks.DAYS)
    files = {
        "region": tracks.REGION,
        "areas": tracks.AREAS,
        "routes": tracks.ROUTES,
        "movements": tracks.MOVEMENTS % ", ".join(tracks.DAYS),
        "rules": tracks.RULES + f"  device.silent: {tracks.RULE % 'expected_within: 3 min'}\n",
        "vehicles": "vehicles:\n" + vehicles,
    }
    return tracks.write_plan(folder, files)


def through_valleys(fixes: list[Fix]) -> list[Fix]:
    """In the order of their coming: out of a valley the newest comes first."""
    dice, out = random.Random(1), list[Fix]()
    for vehicle in sorted({f.vehicle for f in fixes}):
        until_us = 0
        for f in sorted((f for f in fixes if f.vehicle == vehicle), key=lambda f: f.seen_at_us):
            if f.seen_at_us > until_us and dice.random() < 0.02:
                until_us = f.seen_at_us + dice.randint(120, 3600) * SECOND
            came_us = f.received_at_us
            if f.seen_at_us <= until_us:
                came_us = max(came_us, until_us + (until_us - f.seen_at_us) // 1000)
            out.append(msgspec.structs.replace(f, received_at_us=came_us))
    return sorted(out, key=lambda f: f.received_at_us)


def phone(shared: Path, folder: Path) -> Drive:
    """In the order of its coming; a Tick says when it is over."""
    of = load_plan(phone_plan(folder / "bay"))
    observations, rejected = read_observations(written(folder / "days", shared), of, None, NO_HORIZON_US)
    assert not rejected
    recorded = [f for f in observations if isinstance(f, Fix)]
    assert max(f.received_at_us - f.seen_at_us for f in recorded) > LATE_US
    fixes = through_valleys(recorded)
    late = sum(f.received_at_us - f.seen_at_us > LATE_US for f in fixes)
    backwards = sum(a.vehicle == b.vehicle and a.seen_at_us > b.seen_at_us for a, b in itertools.pairwise(fixes))
    assert min(late, backwards) > len(fixes) // 20, "the lateness is the point"
    ticks = [Tick(source="until", at_us=fixes[-1].received_at_us + 600 * SECOND)]
    rules = {"area.entered", "area.left", "route.deviation", "stop.unscheduled", "device.silent"}
    return Drive(of, [*fixes, *ticks], frozenset(rules))


def bus(shared: Path, _: Path) -> Drive:
    path = shared / "data" / "tracks" / "bus-304" / "bus-304-limerick.gpx"
    of = plan(projection=fit(*tracks.LIMERICK), bounds=tracks.LIMERICK)
    observations, _rejected = read_observations([path], of, "v1", NO_HORIZON_US)
    fixes = [f for f in observations if isinstance(f, Fix)]
    rules = frozenset({"area.entered", "stop.unscheduled"})
    return Drive(tracks.bus_plan(shared, fixes), list(fixes), rules)


def car(shared: Path, _: Path) -> Drive:
    """The same drive at 1 s and at 15 s, as if it had sent the one live and the other late."""
    fixes = []
    for name, late_s in (("x0001-001.json", 0), ("x0001-015.json", 900)):
        for row in json.loads((shared / "data" / "tracks" / "barefoot" / name).read_bytes()):
            lon, lat = map(float, row["point"].removeprefix("POINT(").removesuffix(")").split())
            at = round(datetime.strptime(row["time"], "%Y-%m-%d %H:%M:%S%z").timestamp()) * SECOND
            came = at + late_s * SECOND
            fixes.append(Fix(vehicle="v1", device="v1-d0", seen_at_us=at, received_at_us=came, lat=lat, lon=lon))
    fixes.sort(key=lambda f: f.received_at_us)
    fine = [f for f in fixes if f.received_at_us == f.seen_at_us]
    return Drive(tracks.car_plan(fine), list(fixes), frozenset({"area.entered", "stop.unscheduled"}))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recorded", [phone, bus, car], ids=lambda f: f.__name__)
def test_a_drive_in_many_orders(recorded: Callable[[Path, Path], Drive], shared: Path, tmp_path: Path) -> None:
    drive = recorded(shared, tmp_path)
    expected = told(drive.of, drive.observations, 1)
    assert {e.rule for e in expected.sorted()} == drive.rules
    for n in range(ORDERS):
        dice, mixed = random.Random(n), list(drive.observations)
        dice.shuffle(mixed)
        ledger = told(drive.of, mixed, dice.choice((3, 10, 100, 1000)))
        assert ledger.lines() == expected.lines(), f"order {n}"


def test_the_command_shuffles_so_as_well(shared: Path, tmp_path: Path) -> None:
    of, files = phone_plan(tmp_path / "bay"), written(tmp_path / "days", shared)
    said = []
    for options in ([], ["--shuffle", "7"], ["--shuffle", "8", "--batch", "13"]):
        done = CliRunner().invoke(
            cli, ["detect", "--plan", str(of), "--until", "2030-01-01T00:00:00Z", *options, *map(str, files)]
        )
        assert done.exit_code == 0, done.output
        said.append(done.stdout_bytes)
    assert said[0].count(b"\n") > 50
    assert said[1] == said[0] and said[2] == said[0]

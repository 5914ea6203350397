"""What a fix costs by the number of areas and vehicles and the size of records: the rest of `rahdar bench core`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.commands.bench_core import Drive, Row, Timing, as_read, best, invented_plan, timed
from pipeline.detect.engine import Engine
from pipeline.detect.tables import Tables, build_tables
from pipeline.model.episode import Ledger
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan

HORIZON_US = 6 * 3600 * 1_000_000
AREAS, VEHICLES, SIZES = (100, 1_000, 10_000), (1_000, 10_000, 100_000), (1, 10, 100, 1_000)
USUAL = 1_000
OF_A_CELL = 6


class DiffersError(ValueError):
    """Records of another size gave other episodes: what was measured does not count."""


def cut(batch: ObservationBatch, size: int) -> Iterator[ObservationBatch]:
    """The same fixes in records of at most so many. Its names are those of its vehicles, then of their devices, as `Drive` has them."""
    n = len(batch.fixes)
    for start in range(0, n, size):
        part = batch.fixes.part(slice(start, start + size))
        count = len(part)
        named = np.r_[start : start + count, n + start : n + start + count]
        place = np.arange(count, dtype=np.int32)
        fixes = replace(
            part, names=tuple(batch.fixes.names[i] for i in named.tolist()), vehicle=place, device=place + np.int32(count)
        )  # fmt: skip
        places = None if batch.places is None else batch.places[named]
        yield as_read(replace(batch, fixes=fixes, places=places))


@dataclass(frozen=True)
class World:
    plan: CompiledPlan
    tables: Tables
    before: list[ObservationBatch]
    """By these its vehicles are known, and on their way."""
    measured: list[ObservationBatch]


def world(seed: int, vehicles: int, areas: int, records: int) -> World:
    """Records of 1,000; every vehicle has been heard twice before those that are measured."""
    plan = invented_plan(vehicles, areas, 20, seed)
    drive = Drive(plan, seed)
    of = min(USUAL, vehicles)
    return World(
        plan,
        build_tables(plan),
        list(drive.batches(of, 2 * -(-vehicles // of))),
        list(drive.batches(of, records * USUAL // of)),
    )


def ledger_of(world: World, batches: Iterable[ObservationBatch]) -> Ledger:
    engine, ledger = Engine(world.plan, HORIZON_US, world.tables), Ledger()
    for batch in (*world.before, *batches):
        ledger.apply(engine.feed(batch))
    return ledger


def measured(world: World, batches: list[ObservationBatch]) -> Timing:
    engine = Engine(world.plan, HORIZON_US, world.tables)
    for batch in world.before:
        engine.feed(batch)
    return timed(engine, batches)


def measure_grid(seed: int = 1, records: int = 50, repetitions: int = 3) -> Iterator[Row]:
    """Each row as soon as it is known. Raises DiffersError."""

    def row(name: str, t: Timing, episodes: int, conditions: str) -> Row:
        return Row(f"core.{name}", t.fixes / t.seconds, "fixes/s", None, seed, episodes, conditions)

    one = world(seed, 10_000, 1_000, records)
    expected: str | None = None
    for size in SIZES:
        parts = [part for batch in one.measured for part in cut(batch, size)]
        told = ledger_of(one, parts)
        found = hashlib.blake2b(told.lines()).hexdigest()
        if expected not in (None, found):
            raise DiffersError(f"records of {size} give other episodes than records of {SIZES[0]}")
        expected = found
        t = best([measured(one, parts) for _ in range(repetitions)])
        yield row(
            f"records_of_{size}", t, len(told.episodes), "10,000 vehicles, 1,000 areas; the same fixes and episodes"
        )
    drive = Drive(one.plan, seed)
    groups = drive.rng.permutation(len(one.plan.vehicles) // OF_A_CELL)
    sixes = [
        as_read(drive.record(np.arange(g * OF_A_CELL, (g + 1) * OF_A_CELL)))
        for _ in range(2) for g in groups[: records * 20].tolist()
    ]  # fmt: skip
    half = len(sixes) // 2
    cells = World(one.plan, one.tables, sixes[:half], sixes[half:])
    t = best([measured(cells, cells.measured) for _ in range(repetitions)])
    yield row(
        "cells_of_6", t, len(ledger_of(cells, cells.measured).episodes), "1,000 areas, records of a cell's 6 vehicles"
    )
    for areas in AREAS:
        by_areas = world(seed, 10_000, areas, records)
        t = best([measured(by_areas, by_areas.measured) for _ in range(repetitions)])
        told = ledger_of(by_areas, by_areas.measured)
        yield row(f"areas_{areas}", t, len(told.episodes), "10,000 vehicles, records of 1,000")
    for vehicles in VEHICLES:
        by_vehicles = world(seed, vehicles, 1_000, records)
        t = best([measured(by_vehicles, by_vehicles.measured) for _ in range(repetitions)])
        told = ledger_of(by_vehicles, by_vehicles.measured)
        yield row(f"vehicles_{vehicles}", t, len(told.episodes), "1,000 areas, records of 1,000")

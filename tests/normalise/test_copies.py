"""A vehicle's fixes in the other cells that name it: what goes there, behind what, and that nobody keeps it twice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.normalise import COPIED_TICK_KEY, NormaliseStage, key_of, ticks_to
from pipeline.desk.live import LiveState
from pipeline.model import topics
from pipeline.model.observation import Tick
from pipeline.model.times import format_us
from pipeline.model.wire import (
    ObservationBatch,
    RawBatch,
    RawItem,
    decode_observations,
    encode_observations,
    encode_raw,
)
from pipeline.normalise.normalise import Normalised, Normaliser
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.record.points import Points
from pipeline.record.write import Taken, Writer
from pipeline.settings import Settings

T0 = 1_780_000_000_000_000
N = 24


@pytest.fixture(scope="module")
def both(root: Path) -> CompiledPlan:
    return load_plan(root / "plans")


def item(
    login: str, number: int = 0, kind: str = "fix", lat: float = 34.93, lon: float = 72.87, age_s: int = 0
) -> RawItem:
    body = {"kind": kind, "seen_at": format_us(T0 + (number - age_s) * 1_000_000)}
    body |= {"lat": lat, "lon": lon} if kind == "fix" else {"what": "sos"}
    return RawItem(number, login, f"v1/0/{login}/native", json.dumps(body).encode(), T0 + number * 1_000_000)


def normalised(plan: CompiledPlan, *items: RawItem, ticks: int = 0) -> Normalised:
    marks = [Tick(source="a", at_us=T0 + i) for i in range(ticks)]
    return Normaliser(plan).record(RawBatch(1, "a", plan.hash, list(items), marks))


def vehicles(batch: ObservationBatch) -> list[str]:
    return [f.vehicle for f in batch.fixes.rows()]


def test_copies_go_to_the_cells_that_name_a_vehicle_and_to_no_other(both: CompiledPlan) -> None:
    out = normalised(
        both, item("c-21-tracker", 1), item("e-7-tracker", 2), item("e-1-tracker", 3), item("c-24-tracker", 4)
    )
    assert {cell: vehicles(b) for cell, b in out.batches.items()} == {
        "malakand": ["c-21", "c-24"],
        "hazara": ["e-7", "e-1"],
    }
    assert {cell: vehicles(b) for cell, b in out.copies.items()} == {"hazara": ["c-21"], "malakand": ["e-7"]}
    assert all(b.copy for b in out.copies.values()) and not any(b.copy for b in out.batches.values())
    assert out.counts["inputs"] == out.counts["accepted"] == 4, "a copy is no outcome"


def test_what_no_rule_uses_is_not_copied_and_a_press_stays_at_home(both: CompiledPlan) -> None:
    far, late = item("c-21-tracker", 1, lat=10.0), item("c-21-tracker", 2, age_s=7 * 3600)
    out = normalised(both, far, late, item("c-21-tracker", 3, kind="press"))
    assert sorted(vehicles(out.batches["malakand"])) == ["c-21", "c-21"] and not out.copies
    assert len(out.batches["malakand"].others) == 1


def test_a_vehicle_is_within_the_plan_where_it_may_serve(both: CompiledPlan) -> None:
    """Dasu is beyond Malakand's bounds: C-21 may be led there, C-24 may not."""
    out = normalised(both, item("c-21-tracker", 1, lat=35.29, lon=73.29), item("c-24-tracker", 2, lat=35.29, lon=73.29))
    assert (out.counts["accepted"], out.counts["flagged:outside_plan"]) == (1, 1)


def test_a_copy_says_so_on_the_wire(both: CompiledPlan) -> None:
    out = normalised(both, item("c-21-tracker", 1))
    for batch in (out.copies["hazara"], out.batches["malakand"]):
        read = decode_observations(encode_observations(batch))
        assert (read.copy, read.cell, read.source, vehicles(read)) == (batch.copy, batch.cell, "a", ["c-21"])


def placed(plan: CompiledPlan, out: Normalised, partition: int) -> list[tuple[str, bool, int]]:
    """(what, a copy, partition) in the order in which the stage sends it."""
    stage = SimpleNamespace(n=N, _ticks_to={plan.hash: ticks_to(plan, N)})
    return [
        (key_of(cell, batch).decode(), batch.copy, where)
        for cell, batch, where in NormaliseStage._placed(stage, out, partition, plan)  # type: ignore[arg-type]
    ]


def test_ticks_stand_behind_the_copies_wherever_these_went(both: CompiledPlan) -> None:
    home, other = topics.partition_of("malakand", N), topics.partition_of("hazara", N)
    assert home != other
    out = normalised(both, item("c-21-tracker", 1), item("c-22-tracker", 2), ticks=2)
    assert placed(both, out, home) == [
        ("malakand", False, home), ("hazara", True, other), ("_tick", False, home), (COPIED_TICK_KEY.decode(), True, other),
    ]  # fmt: skip


def test_a_partition_without_guests_keeps_its_ticks_to_itself(both: CompiledPlan) -> None:
    elsewhere = next(p for p in range(N) if p not in {topics.partition_of(c, N) for c in ("malakand", "hazara")})
    assert placed(both, normalised(both, ticks=1), elsewhere) == [("_tick", False, elsewhere)]


class _Topic:
    """Takes what the stage sends."""

    def __init__(self, sent: list[tuple[str, int]]) -> None:
        self.sent = sent

    async def send(self, *, key: bytes, value: bytes, partition: int) -> Awaitable[None]:
        self.sent.append((key.decode(), partition))
        return asyncio.sleep(0)


async def test_after_a_switch_ticks_go_at_once_where_the_new_plan_has_guests(both: CompiledPlan, root: Path) -> None:
    """The stage goes on as it was started: with a plan of one region, which hands nobody over."""
    before = load_plan(root / "plans" / "hazara")
    home, other = topics.partition_of("hazara", N), topics.partition_of("malakand", N)
    sent: list[tuple[str, int]] = []
    app: Any = SimpleNamespace(topic=lambda *_, **__: _Topic(sent))
    stage = NormaliseStage(app, Settings(partitions=N, plan=root / "plans" / "hazara"), before)
    stage.plans.known[both.hash] = both
    for number, plan in enumerate((before, both, before)):
        record = RawBatch(1, "a", plan.hash, [item("e-7-tracker", number)], [Tick(source="a", at_us=T0)])
        message = SimpleNamespace(partition=home, offset=number)
        await stage._one(cast("Any", SimpleNamespace(value=encode_raw(record), message=message, ack=lambda: None)))
    await stage.settled(set())
    alone = [("hazara", home), ("_tick", home)]
    shared = [("hazara", home), ("malakand", other), ("_tick", home), (COPIED_TICK_KEY.decode(), other)]
    assert sent == alone + shared + alone


def test_record_and_desk_keep_a_position_once(both: CompiledPlan, tmp_path: Path) -> None:
    out = normalised(both, *(item("c-21-tracker", n) for n in range(5)))
    records = [*out.batches.values(), *out.copies.values()]
    with closing(Writer(tmp_path / "record.sqlite")) as writer:
        writer.write(Taken(observations=records))
    with closing(sqlite3.connect(tmp_path / "record.sqlite")) as db:
        assert db.execute("select count(*) from positions").fetchone() == (5,)
    points, lines = Points(both), {}  # type: ignore[var-annotated]
    assert [points.observations(batch, lines) for batch in records] == [5, 0]
    desk = LiveState(both)
    for batch in out.copies.values():
        desk.apply_observations(batch)
    assert not desk.positions
    for batch in out.batches.values():
        desk.apply_observations(batch)
    assert set(desk.positions) == {"c-21"}

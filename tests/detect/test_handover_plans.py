"""`rahdar detect --plan plans` with a convoy and a car that Malakand hands over to Hazara: both sides, any order, one partition or many."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.commands.detect import detect
from pipeline.detect.engine import Engine
from pipeline.model import topics
from pipeline.model.episode import Ledger
from pipeline.model.times import format_us, parse_us
from pipeline.model.wire import ObservationBatch, RawBatch, RawItem
from pipeline.normalise.normalise import Normaliser
from pipeline.plan.legs import stretches, way_line
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan

START = parse_us("2026-11-23T05:00:00Z")
FROM_M, UNTIL_M, MPS = 72_000.0, 86_000.0, 15.0


@pytest.fixture(scope="module")
def both(root: Path) -> CompiledPlan:
    return load_plan(root / "plans")


@pytest.fixture(scope="module")
def story(both: CompiledPlan) -> list[dict[str, object]]:
    """C-26 leaves the road for 600 m before Besham and behind it. In Delta C-23 falls 900 m behind on N-90 and stays there; Hazara's
    escorts wait at Besham, Malakand's turn back."""
    delta = next(m for m in both.movements if m.id == "delta-over")
    border = stretches(both, delta)[2].starts_m
    xy, metres = way_line(both, delta)
    rng = random.Random(7)
    out: list[dict[str, object]] = []

    def seen(vehicle: str, t: int, along: float, aside: float = 0.0) -> None:
        at, ahead = (np.array([np.interp(along + d, metres, xy[:, k]) for k in (0, 1)]) for d in (0.0, 20.0))
        step = (ahead - at) / np.hypot(*(ahead - at))
        x, y = at + aside * np.array([-step[1], step[0]]) + [rng.gauss(0, 3), rng.gauss(0, 3)]
        lon, lat = both.projection.to_lonlat(x, y)
        body = {
            "kind": "fix",
            "vehicle": vehicle,
            "device": both.vehicles[vehicle].devices[0],
            "seq": t,
            "accuracy_m": 6,
            "speed_mps": MPS,
        }
        out.append(
            body
            | {"seen_at": format_us(START + t * 1_000_000), "lat": round(float(lat), 6), "lon": round(float(lon), 6)}
        )

    for t in range(0, round((UNTIL_M - FROM_M) / MPS), 10):
        front = FROM_M + MPS * t
        seen("c-26", t, front, 450.0 if 74_000 <= front < 74_900 or 83_000 <= front < 83_900 else 0.0)
        for vehicle, behind in (
            ("e-21", 60.0),
            ("c-21", 160.0),
            ("c-22", 260.0),
            ("c-23", 360.0 if front < 75_500 else 1160.0),
            ("e-22", 1260.0),
        ):
            along = front - behind
            seen(vehicle, t, 2 * border - along if vehicle[0] == "e" and along > border else along)
        seen("e-7", t, max(front - 100.0, border + 60.0))
        seen("e-9", t, max(front - 1200.0, border + 30.0))
    return out


@pytest.fixture(scope="module")
def file(story: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("handover") / "drive.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in story))
    return path


def ledger(root: Path, file: Path, *options: str) -> bytes:
    found = CliRunner().invoke(detect, ["--plan", str(root / "plans"), *options, str(file)])
    assert found.exit_code == 0, found.output
    return found.stdout_bytes


def test_both_sides_are_told_on_their_own_roads_by_their_own_rules(root: Path, file: Path) -> None:
    told = [json.loads(line) for line in ledger(root, file).splitlines()]
    off = [
        (e["object"], e["evidence"]["region"], e["severity"])
        for e in told
        if e["rule"] == "route.deviation" and e["subject"] == "c-26"
    ]
    assert [(road, region) for road, region, _ in off] == [("n-90", "malakand"), ("n-35", "hazara")]
    gaps = [e for e in told if e["rule"] == "convoy.separated" and e["object"] == "c-23"]
    assert [(e["subject"], e["evidence"]["region"], e["evidence"]["route"]) for e in gaps] == [
        ("delta", "malakand", "n-90")
    ]
    assert gaps[0]["ended_at"] is None, "Hazara took it over as it was"
    kms = {
        e["object"]: e["evidence"]["road_km"] for e in told if e["rule"] == "route.deviation" and e["subject"] == "c-26"
    }
    assert kms == {"n-90": pytest.approx(50, abs=0.4), "n-35": pytest.approx(182, abs=0.4)}


@pytest.mark.parametrize(
    "options", [("--shuffle", "1", "--batch", "1"), ("--shuffle", "2", "--batch", "7"), ("--batch", "100")]
)
def test_no_order_and_no_record_changes_a_byte(root: Path, file: Path, options: tuple[str, ...]) -> None:
    assert ledger(root, file, *options) == ledger(root, file)


@pytest.mark.parametrize("n", [1, 2, 24])
def test_in_any_number_of_partitions_the_ledger_is_the_same(
    root: Path, file: Path, both: CompiledPlan, story: list[dict[str, object]], n: int
) -> None:
    normaliser, engines, folded = Normaliser(both), {}, Ledger()  # type: ignore[var-annotated]
    lines = list(story)
    random.Random(n).shuffle(lines)

    def feed(cell: str, batch: ObservationBatch) -> None:
        where = topics.partition_of(cell, n)
        if where not in engines:
            engines[where] = Engine(both)
        folded.apply(engines[where].feed(batch))

    for start in range(0, len(lines), 20):
        items = [
            RawItem(i, str(line["device"]), f"v1/0/{line['device']}/native", json.dumps(line).encode(), parse_us(str(line["seen_at"])))
            for i, line in enumerate(lines[start : start + 20], start)
        ]  # fmt: skip
        out = normaliser.record(RawBatch(1, "a", both.hash, items, []))
        for cell, batch in (*out.batches.items(), *out.copies.items()):
            feed(cell, batch)
    assert len(engines) == min(n, 2)
    assert folded.lines() == ledger(root, file)

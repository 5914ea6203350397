"""A flood waits on disk at its own device's cost; a press passes it, and so does everybody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.clock import SetClock
from pipeline.ingest import intake as module
from pipeline.ingest.intake import Intake, RateLimitedError, pressed
from pipeline.ingest.rate import Bucket
from pipeline.ingest.spool import Spool, records

TOPIC = "v1/0/d1/native"
FIX = b'{"kind":"fix","vehicle":"v1","seen_at":"2026-11-23T10:00:00Z","lat":35.1,"lon":73.0,"seq":%d}'
SOS = b'{"kind":"press","subject":"v1","what":"sos","seen_at":"2026-11-23T10:00:00Z"}'


class Bench:
    def __init__(self, directory: Path, per_s: float, burst: float) -> None:
        self.directory = directory
        self.spool = Spool(directory, SetClock(1_780_000_000_000_000))
        self.intake = Intake(self.spool, self.spool.clock, per_s, burst)

    def passed(self) -> list[tuple[str, bytes]]:
        paths = sorted(self.directory.glob("*.spool"))
        return [(i.login, i.payload) for path in paths for i, _ in records(path.read_bytes())]

    async def close(self) -> None:
        await self.intake.close()
        await self.spool.close()


async def until(n: int, bench: Bench) -> None:
    async with asyncio.timeout(20):
        while len(bench.passed()) < n:  # noqa: ASYNC110  # files tell nobody
            await asyncio.sleep(0.02)


async def test_a_press_and_everybody_else_pass_a_flood_and_the_flood_is_not_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, per_s=400, burst=100)
    await bench.intake.start()
    flood = [bench.intake.put("d1", TOPIC, FIX % n) for n in range(600)]
    press = bench.intake.put("d1", TOPIC, SOS)
    other = bench.intake.put("d2", "v1/0/d2/native", FIX % 1)
    await asyncio.gather(*flood, press, other)  # all of it is on disk, and may be acknowledged
    passed = bench.passed()
    assert ("d1", SOS) in passed and ("d2", FIX % 1) in passed
    assert len(passed) < 150
    assert bench.intake.counts["slowed"] > 450
    await until(602, bench)
    assert sorted(bench.passed()) == sorted([*(("d1", FIX % n) for n in range(600)), ("d1", SOS), ("d2", FIX % 1)])
    await bench.close()


async def test_what_waits_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = Bench(tmp_path, per_s=0.001, burst=10)
    await first.intake.start()
    await asyncio.gather(*(first.intake.put("d1", TOPIC, FIX % n) for n in range(100)))
    assert len(first.passed()) < 10
    await first.close()
    again = Bench(tmp_path, per_s=10_000, burst=100)
    await again.intake.start()
    await until(100, again)
    assert {payload for _, payload in again.passed()} == {FIX % n for n in range(100)}
    await again.close()


async def test_a_flood_of_presses_does_not_pass_either_and_is_not_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, per_s=0.001, burst=1)
    await bench.intake.start()
    kept = await asyncio.gather(*(bench.intake.put("d1", TOPIC, SOS) for _ in range(100)))
    assert len(kept) == 100
    assert module.PRESSES <= len(bench.passed()) <= module.PRESSES + 1  # the one is what the other bucket had left
    await bench.close()


async def test_what_is_new_passes_what_waits(tmp_path: Path) -> None:
    """Where it is now matters more than where it was yesterday: the lane leaves a reserve of tokens."""
    bench = Bench(tmp_path, per_s=200, burst=100)
    await bench.intake.start()
    await asyncio.gather(*(bench.intake.put("d1", TOPIC, FIX % n) for n in range(2000)))
    await asyncio.sleep(0.5)
    await bench.intake.put("d1", TOPIC, FIX % 9999)
    passed = bench.passed()
    assert ("d1", FIX % 9999) in passed and len(passed) < 1500
    await bench.close()


async def test_a_lane_has_an_end_and_a_press_passes_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANE_BYTES", 2000)
    bench = Bench(tmp_path, per_s=0.001, burst=1)
    await bench.intake.start()
    outcomes = await asyncio.gather(
        *(bench.intake.put("d1", TOPIC, FIX % n) for n in range(100)), return_exceptions=True
    )
    refused = [o for o in outcomes if isinstance(o, RateLimitedError)]
    assert 50 < len(refused) == bench.intake.counts["refused:rate_limited"]
    await bench.intake.put("d1", TOPIC, SOS)
    assert ("d1", SOS) in bench.passed()
    await bench.close()


@pytest.mark.parametrize(
    ("topic", "payload", "found"),
    [
        (TOPIC, SOS, True),
        (TOPIC, b"[" + FIX % 1 + b"," + SOS + b"]", True),
        (TOPIC, SOS[:-2], True),  # broken off: a press all the same
        (TOPIC, FIX % 1, False),
        ("v1/0/g/zigbee2mqtt/b1", b'{"action":"single"}', True),
        ("owntracks/d1/phone", b'{"_type":"location","lat":35,"lon":73,"tst":1780000000}', False),
        ("v1/0/d1/nothing", SOS, False),
        ("x", SOS, False),
        (TOPIC, b"\xff" * 100, False),
        (TOPIC, b"", False),
    ],
)
def test_a_press_is_found_in_whatever_form(topic: str, payload: bytes, found: bool) -> None:
    assert pressed(topic, payload) is found


@pytest.mark.parametrize(("after_s", "passes"), [(0.99, False), (1.0, True), (1.01, True)])
def test_a_token_comes_back_in_its_time(after_s: float, passes: bool) -> None:
    bucket = Bucket.full(1.0, 2.0, 0.0)
    assert [bucket.spend(0.0) for _ in range(3)] == [True, True, False]
    assert bucket.due_s() == 1.0
    assert bucket.spend(after_s) is passes


@pytest.mark.parametrize(("cost", "reserve", "passes"), [(5, 4, True), (5, 5, True), (5, 6, False)])
def test_a_reserve_is_left_alone(cost: float, reserve: float, passes: bool) -> None:
    assert Bucket.full(1.0, 10.0, 0.0).spend(0.0, cost, reserve) is passes

"""`rahdar bench influx`: how many points a second go through the record's own encoder and client into a real influxd beside it."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from pipeline.clock import WallClock
from pipeline.commands.bench_core import Row, invented_plan
from pipeline.model.wire import COLUMNS, Fixes, ObservationBatch, decode_observations, encode_observations
from pipeline.record.influx import LANES, MOST_LINES, Influx, place_of, read_token
from pipeline.record.local import LocalInfluxd
from pipeline.record.pending import Pending
from pipeline.record.points import Points
from pipeline.record.schema import bucket_of

BATCH = 1000  # fixes of a record, as normalise cuts them
LINES = 2 * MOST_LINES  # what waits when a write is over, at full load: as much as the stage lets wait
TARGET = 50_000.0


def _records(vehicles: int, seed: int, start_us: int) -> Iterator[bytes]:
    """For ever: every vehicle once a second, in records of a thousand."""
    rng = np.random.default_rng(seed)
    names = tuple([f"v{i}" for i in range(vehicles)] + [f"d{i}" for i in range(vehicles)])
    step = 0
    while True:
        for first in range(0, vehicles, BATCH):
            who = np.arange(first, min(first + BATCH, vehicles), dtype=np.int32)
            n = len(who)
            at = np.full(n, start_us + step * 1_000_000, np.int64) + rng.integers(0, 900_000, n)
            values = {
                "vehicle": who, "device": who + vehicles, "seen_at_us": at, "received_at_us": at + 300_000,
                "lat": 34.5 + rng.random(n), "lon": 72.5 + rng.random(n), "seq": np.full(n, step),
                "body": rng.integers(0, 2**63, n, np.uint64), "speed_mps": rng.random(n) * 25,
                "course_deg": rng.random(n) * 360, "accuracy_m": rng.random(n) * 10,
                "altitude_m": rng.random(n) * 2000, "flags": np.zeros(n),
            }  # fmt: skip
            fixes = Fixes(names=names, **{name: np.asarray(values[name], dtype) for name, dtype in COLUMNS})
            yield encode_observations(ObservationBatch(fixes, (), "c", "bench"))
        step += 1


def measure_influx(
    seed: int, seconds: int, vehicles: int, url: str | None = None, token_file: Path | None = None
) -> Iterator[Row]:
    """Into `url`, or into an influxd that is started here and thrown away. Raises FileNotFoundError, ConnectionError, TimeoutError,
    ValueError."""
    plan = replace(invented_plan(vehicles, 1, 1, seed, vertices=10), movements=())
    directory = Path(tempfile.mkdtemp(prefix="rahdar-bench-"))
    server = None
    try:
        if url is None:
            server = LocalInfluxd(directory)
            server.start()
            server.set_up(("r",))
            url, token_file = server.url, server.tokens.writer
        yield from _measure(
            Points(plan), Influx(place_of(url), read_token(token_file)), seed, seconds, vehicles, server
        )
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _measure(
    points: Points, influx: Influx, seed: int, seconds: int, vehicles: int, server: LocalInfluxd | None
) -> Iterator[Row]:
    start_us = WallClock().now_us() - 86_400_000_000
    stream = _records(vehicles, seed, start_us)
    records = [next(stream) for _ in range(max(400, seconds * 120))]  # made before the clock runs
    ready: queue.Queue[list[str] | None] = queue.Queue(2)
    faults: list[BaseException] = []
    written = [0]
    stop = threading.Event()

    def write() -> None:
        try:
            while (lines := ready.get()) is not None:
                aside = influx.write(bucket_of("r", "raw"), lines)
                written[0] += len(lines) - len(aside)
        except BaseException as error:  # noqa: BLE001  # told by the other thread
            faults.append(error)
            stop.set()
            while ready.get() is not None:
                continue

    own, theirs = psutil.Process(), psutil.Process(server.pid) if server else None

    def cpu() -> tuple[float, float]:
        mine = own.cpu_times()
        other = theirs.cpu_times() if theirs else None
        return mine.user + mine.system, other.user + other.system if other else 0.0

    writer = threading.Thread(target=write)
    writer.start()
    began, before = time.perf_counter(), cpu()
    each: list[float] = []  # points by the end of each second
    encoding = 0.0
    pending = Pending()
    for record in records:
        if stop.is_set() or time.perf_counter() - began > seconds:
            break
        at = time.thread_time()
        pending.add(decode_observations(record), points)
        encoding += time.thread_time() - at
        if pending.rows >= LINES:
            for _, lines in pending.lines():
                ready.put(lines)
            pending = Pending()
        if time.perf_counter() - began > len(each) + 1:
            each.append(written[0])
    ready.put(None)
    writer.join()
    took, after = time.perf_counter() - began, cpu()
    influx.close()
    if faults:
        raise faults[0]
    n = written[0]
    per_second = np.diff(each) if len(each) > 1 else np.array([n / took])
    said = f"{vehicles} vehicles, {took:.0f} s, requests of up to {MOST_LINES} lines, {LANES} at once, 8 to 9 fields a point, influxd on the same machine"
    yield Row("influx.points_per_second", n / took, "points/s", TARGET, seed, 0, said)
    yield Row("influx.points_in_the_slowest_second", float(per_second.min()), "points/s", None, seed, 0, said)
    yield Row("influx.cpu_record", (after[0] - before[0]) / n * 1e6, "us/point", None, seed, 0, "CPU of our process")
    yield Row("influx.cpu_encode", encoding / n * 1e6, "us/point", None, seed, 0, "decode and encode, of that")
    if theirs:
        yield Row("influx.cpu_influxd", (after[1] - before[1]) / n * 1e6, "us/point", None, seed, 0, "CPU of influxd")

"""The profile `small` as a whole, with InfluxDB dead for ten minutes under load: what alerts notice of it, what it holds afterwards, what all of it weighs.

`python -m tests.stack.influx_away` prints the table; `make campaign` puts it into its own. Mosquitto with TLS, influxd, nginx and Rahdar's stages run
natively with the compose file's settings and configuration; Grafana is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

from agents import bench
from agents.local import resident_bytes
from pipeline.clock import WallClock
from simulators.publish import Publisher
from tests.stack.ledgers import recorded
from tests.stack.native import ControlRoom

BEFORE_S, AFTER_S = 60, 60
CAUGHT_UP_WITHIN_S = 300.0
RAW, EVENTS = "rahdar_bench_raw", "rahdar_bench_events"
MIB = 2**20
Row = tuple[str, str, str]


@dataclass
class Weight:
    """Resident memory and processor time by program."""

    memory: dict[str, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)


def programs(room: ControlRoom) -> dict[str, list[psutil.Process]]:
    """Rahdar's supervisor with its stages, and the servers."""
    assert room.mosquitto.process is not None
    assert room.nginx.process is not None
    roots = {"Mosquitto": room.mosquitto.process.pid, "nginx": room.nginx.process.pid}
    if room.influxd.runs:
        roots["InfluxDB"] = room.influxd.pid
    for service in room.services:
        assert service.process is not None
        roots["Rahdar"] = service.process.pid
    found = {}
    for name, pid in roots.items():
        one = psutil.Process(pid)
        found[name] = [one, *one.children(recursive=True)]
    return found


def weigh(room: ControlRoom) -> Weight:
    weight = Weight()
    for name, processes in programs(room).items():
        weight.memory[name] = resident_bytes(p.pid for p in processes)
        weight.cpu_s[name] = sum(sum(p.cpu_times()[:2]) for p in processes)
    return weight


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def counted(room: ControlRoom, bucket: str, measurement: str, field_name: str) -> int:
    """Points of this field, whatever their tags."""
    rows = room.in_influx(
        f'from(bucket: "{bucket}") |> range(start: -1d, stop: 1d)'
        f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field_name}") |> count() |> group() |> sum()'
    )
    return int(rows[0]["_value"]) if rows else 0


def in_memory(room: ControlRoom) -> tuple[int, int]:
    return recorded(room.directory / "state" / "record.sqlite")


def percentiles(waits: list[float]) -> str:
    if not waits:
        return "no alert"
    p50, p99 = np.percentile(np.array(waits) * 1000, (50, 99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms of {len(waits)} alerts"


async def measure(vehicles: int, per_second: int, away_s: int, directory: Path) -> list[Row]:
    """A minute with InfluxDB, `away_s` without, a minute with it. Raises AssertionError when something is lost."""
    plan = bench.write_plan(directory, vehicles)
    room = ControlRoom(directory / "room", "small", plan)
    seconds = BEFORE_S + away_s + AFTER_S
    await asyncio.to_thread(room.set_up)
    watching = asyncio.ensure_future(room.watch())
    try:
        await asyncio.to_thread(room.start)
        await room.until_ready()
        clock = WallClock()
        crossings = bench.Crossings(vehicles, per_second, seconds, 1, clock.now_us() + 2_000_000)
        opened: list[tuple[str, float]] = []
        client = room.browser(httpx.Timeout(20, read=None))
        await room.log_in(client)
        listener = asyncio.ensure_future(bench.listen(client, opened, clock))
        passwords = json.loads((room.secrets / "demo-passwords.json").read_text())
        url = f"mqtts://localhost:{room.mosquitto.password_port}"
        publisher = Publisher(url, passwords, clock, ca_file=room.secrets / "bridge" / "ca.pem")
        publishing = asyncio.ensure_future(publisher.run(crossings.messages(), asyncio.Event()))

        await asyncio.sleep(BEFORE_S)
        first = await asyncio.to_thread(weigh, room)
        room.influxd.stop(signal.SIGKILL)
        died_s = clock.now_us() / 1e6
        await asyncio.sleep(away_s)
        alone = await asyncio.to_thread(weigh, room)
        behind = in_memory(room)[0]
        await asyncio.to_thread(room.influxd.start)
        back_s, began = clock.now_us() / 1e6, time.monotonic()
        held = await asyncio.to_thread(counted, room, RAW, "positions", "lat_deg")
        caught_up_s = None
        while caught_up_s is None:
            assert time.monotonic() - began < CAUGHT_UP_WITHIN_S, "InfluxDB was not caught up"
            have = await asyncio.to_thread(counted, room, RAW, "positions", "lat_deg")
            if have >= in_memory(room)[0] - 2 * per_second:
                caught_up_s = time.monotonic() - began
            await asyncio.sleep(1)
        await publishing
        last = await asyncio.to_thread(weigh, room)
        await asyncio.sleep(5)
        listener.cancel()
        await client.aclose()
        assert publisher.acked == publisher.sent == per_second * seconds
        waits, missing = crossings.waits(opened)
        assert missing == 0, f"{missing} alerts did not come to the desk"
        positions, events = in_memory(room)
        assert positions == publisher.acked, f"{publisher.acked} acknowledged, {positions} recorded"
        async with asyncio.timeout(60):
            while True:
                have = await asyncio.to_thread(counted, room, RAW, "positions", "lat_deg")
                told = await asyncio.to_thread(counted, room, EVENTS, "alerts", "seq")
                if (have, told) == (positions, events):
                    break
                await asyncio.sleep(1)
    finally:
        watching.cancel()
        await asyncio.to_thread(room.close)
    load = f"{vehicles} vehicles, {per_second} fixes/s for {seconds} s, load and all on one machine"
    with_it = [w for at, w in waits if at < died_s]
    without = [w for at, w in waits if died_s <= at < back_s]
    after = [w for at, w in waits if at >= back_s]
    memory = ", ".join(f"{name} {last.memory[name] / MIB:.0f}" for name in sorted(last.memory))
    during = {name: (alone.cpu_s[name] - first.cpu_s[name]) / away_s for name in alone.cpu_s}
    cores = ", ".join(f"{name} {share:.2f}" for name, share in sorted(during.items()))
    log, influx = size(directory / "room" / "state" / "log"), size(room.influxd.directory / "engine")
    return [
        (
            f"profile small as a whole, InfluxDB killed for {away_s} s; {load}", "passed",
            f"{publisher.acked:,} messages and {len(waits)} alerts, none lost, all in InfluxDB; before {percentiles(with_it)}; "
            f"while it was dead {percentiles(without)}; after {percentiles(after)}",
        ),
        (
            "the same: caught up", "passed",
            f"{behind - held:,} positions were owed, none after {caught_up_s:.0f} s, with the load going on",
        ),
        (
            "the same: memory at the end", "",
            f"{sum(last.memory.values()) / MIB:.0f} MiB: {memory}; Rahdar {alone.memory['Rahdar'] / MIB:.0f} when InfluxDB had been dead for {away_s} s",
        ),
        ("the same: processor while it was dead", "", f"{sum(during.values()):.2f} cores: {cores}"),
        (
            "the same: disk, a fix", "",
            f"log (raw, observations and the rest) {log / positions:.0f} bytes, InfluxDB {influx / positions:.0f}",
        ),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=500)
    parser.add_argument("--rate", type=int, default=500, help="fixes per second")
    parser.add_argument("--away", type=int, default=600, help="seconds without InfluxDB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rahdar-away-") as name:
        for what, outcome, figures in asyncio.run(measure(given.vehicles, given.rate, given.away, Path(name))):
            print(f"| {what} | {outcome} | {figures} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

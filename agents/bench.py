"""What the whole system reaches on this machine: from a vehicle's publish to the operator's page, and one worker's throughput."""

from __future__ import annotations

import asyncio
import json
import math
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from agents.local import LocalStack, resident_bytes
from pipeline.commands.bench_core import Row

CENTRE_LAT, CENTRE_LON = 35.1, 73.0
QUIET = {"RAHDAR_LOG_LEVEL": os.environ.get("RAHDAR_LOG_LEVEL", "WARNING")}
ALERTS = 600
METRE_LAT = 1 / 111_200.0
METRE_LON = METRE_LAT / math.cos(math.radians(CENTRE_LAT))


class Plain(yaml.SafeDumper):
    """A plan takes no anchors: what is used twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_plan(directory: Path, vehicles: int, areas: int | None = None) -> Path:
    """A plan in which each of the first `areas` vehicles, without it every one, has a forbidden area at its home, told at the first fix
    inside."""
    plan = directory / "plan"
    plan.mkdir(parents=True, exist_ok=True)

    def put(name: str, content: dict[str, Any]) -> None:
        (plan / name).write_text(yaml.dump(content, Dumper=Plain, sort_keys=False), encoding="utf-8")

    words = {"en": "Bench", "ur": "پیمائش"}
    put(
        "region.yaml",
        {
            "id": "bench",
            "name": words,
            "timezone": "Asia/Karachi",
            "invented": True,
            "cells": ["bench"],
            "bounds": {"west": 72.5, "south": 34.5, "east": 73.5, "north": 35.7},
        },
    )
    put(
        "rules.yaml",
        {
            "rules": {
                "area.forbidden": {
                    "mode": "live",
                    "severity": "high",
                    "owner": "bench",
                    "respond_within": "5 min",
                    "response": "None: a measurement.",
                    "dwell": "0 s",
                }
            }
        },
    )
    forbidden, cars = [], []
    for i in range(vehicles if areas is None else areas):
        lat, lon = home_of(i)
        circle = {"lat": round(lat, 6), "lon": round(lon, 6), "radius_m": 200}
        forbidden.append(
            {
                "id": f"a-{i}",
                "name": words,
                "kind": "forbidden",
                "circle": circle,
                "rules": [{"rule": "area.forbidden"}],
            }
        )
    for i in range(vehicles):
        cars.append({"id": f"v-{i}", "call_sign": f"V-{i}", "kind": "pickup", "role": "patrol", "devices": [f"d-{i}"]})
    put("areas.yaml", {"areas": forbidden})
    put("vehicles.yaml", {"vehicles": cars})
    return plan


def home_of(i: int) -> tuple[float, float]:
    """Where the area of vehicle i is: a grid of 3 km, with room for 560 within the plan's bounds."""
    return CENTRE_LAT + (i % 20 - 10) * 3000 * METRE_LAT, CENTRE_LON + (i // 20 - 13) * 3000 * METRE_LON


def fix(i: int, seq: int, seen_at: str, east_m: float) -> bytes:
    lat, lon = home_of(i)
    return json.dumps(
        {
            "kind": "fix",
            "vehicle": f"v-{i}",
            "device": f"d-{i}",
            "seq": seq,
            "seen_at": seen_at,
            "lat": round(lat, 7),
            "lon": round(lon + east_m * METRE_LON, 7),
            "speed_mps": 10.0,
            "accuracy_m": 5,
        }
    ).encode()


class Crossings:
    """Fixes at an even rate from vehicles in turn; each goes into its area and out again. What came of it, when the desk's events are there."""

    def __init__(self, vehicles: int, per_second: int, seconds: int, seed: int, start_us: int) -> None:
        self.vehicles, self.per_second, self.seconds, self.start_us = vehicles, per_second, seconds, start_us
        self.published: dict[str, list[float]] = {f"v-{i}": [] for i in range(vehicles)}
        self._rng = np.random.default_rng(seed)

    def messages(self) -> Iterator[Any]:
        """simulators.devices.Message, each at its instant."""
        devices: Any = __import__("simulators.devices", fromlist=["Message"])
        from pipeline.model.times import format_us

        vehicles, per_second = self.vehicles, self.per_second
        # as many alerts as percentiles ask for, and no more: nobody here takes them off the operators' list
        every_s = max(4.0, self.seconds * vehicles / ALERTS)
        due = self._rng.uniform(1, every_s, vehicles)
        inside = np.zeros(vehicles, bool)
        step_us = 1_000_000 // per_second
        one_turn_s = vehicles / per_second
        for n in range(per_second * self.seconds):
            i = n % vehicles
            at_us = self.start_us + n * step_us
            if n / per_second > due[i]:
                inside[i] = not inside[i]
                stays_s = max(1.0, one_turn_s) if inside[i] else float(self._rng.uniform(0.5, 1.5)) * every_s
                due[i] = n / per_second + stays_s
                if inside[i]:
                    self.published[f"v-{i}"].append(at_us / 1e6)
            payload = fix(i, n, format_us(at_us), 0.0 if inside[i] else 800.0)
            yield devices.Message(at_us, f"d-{i}", f"v1/0/d-{i}/native", payload)

    def waits(self, opened: list[tuple[str, float]]) -> tuple[list[tuple[float, float]], int]:
        """(published at, seconds until the desk told it) of each alert; how many entries have none."""
        left = {vehicle: list(times) for vehicle, times in self.published.items()}
        found = []
        for subject, at_s in opened:
            if left.get(subject):
                began_s = left[subject].pop(0)
                found.append((began_s, at_s - began_s))
        return found, sum(len(times) for times in left.values())


async def measure_latency(
    fixes_per_second: int = 500, seconds: int = 60, vehicles: int = 50, seed: int = 1, memory: bool = True
) -> list[Row]:
    """Publish `fixes_per_second`; every vehicle goes into its area and out again; time from the publish to the desk's event."""
    publish: Any = __import__("simulators.publish", fromlist=["Publisher"])
    from pipeline.clock import WallClock

    with tempfile.TemporaryDirectory(prefix="rahdar-bench-") as name:
        directory = Path(name)
        stack = LocalStack(directory / "system", write_plan(directory, vehicles), extra=QUIET)
        async with at_the_desk(stack) as client:
            clock = WallClock()
            crossings = Crossings(vehicles, fixes_per_second, seconds, seed, clock.now_us() + 2_000_000)
            stop = asyncio.Event()
            opened: list[tuple[str, float]] = []
            listener = asyncio.ensure_future(listen(client, opened, clock))
            publisher = publish.Publisher(stack.mqtt_url, stack.credentials, clock)
            memory_at: list[tuple[float, int]] = []
            watcher = asyncio.ensure_future(_weigh(stack, memory_at)) if memory else None
            cpu_before, wall_before = cpu_s(stack), time.monotonic()
            await publisher.run(crossings.messages(), stop)
            used_s, wall_s = cpu_s(stack) - cpu_before, time.monotonic() - wall_before
            await asyncio.sleep(3)
            listener.cancel()
            if watcher:
                watcher.cancel()
            waits, missing = crossings.waits(opened)
    if not waits:
        raise RuntimeError("no alert came to the desk")
    waits_ms = np.array([waited_s for _, waited_s in waits]) * 1000
    conditions = f"embedded, {fixes_per_second} fixes/s for {seconds} s, {vehicles} devices, all processes and the load on one machine"

    def row(name: str, value: float, unit: str, target: float | None) -> Row:
        return Row(f"latency.{name}", value, unit, target, seed, len(waits), conditions)

    rows = [
        row("publish_to_desk_p50", float(np.percentile(waits_ms, 50)), "ms", 60.0),
        row("publish_to_desk_p99", float(np.percentile(waits_ms, 99)), "ms", 250.0),
        row("alerts_missing", float(missing), "alerts", 0.0),
        row("messages_unacknowledged", float(publisher.sent - publisher.acked), "messages", 0.0),
        row("cpu", used_s / wall_s, "cores", None),
    ]
    if memory_at and seconds >= 150:
        early = [b for at, b in memory_at if 60 <= at <= 120]
        late = [b for at, b in memory_at if at >= memory_at[-1][0] - 60]
        rows.append(row("memory_last_minute_over_minute_2", max(late) / max(early), "ratio", 1.05))
    if memory_at:
        rows.append(row("memory", memory_at[-1][1] / 2**20, "MiB", 600.0))
    return rows


def cpu_s(stack: LocalStack) -> float:
    """CPU seconds that the system's processes have used; the load generator is not among them."""
    import psutil

    assert stack.supervisor is not None
    used = 0.0
    for pid in stack.supervisor.pids.values():
        times = psutil.Process(pid).cpu_times()
        used += times.user + times.system
    return used


async def _weigh(stack: LocalStack, memory_at: list[tuple[float, int]]) -> None:
    began = time.monotonic()
    while True:
        assert stack.supervisor is not None
        memory_at.append((time.monotonic() - began, resident_bytes(stack.supervisor.pids.values())))
        await asyncio.sleep(2)


@asynccontextmanager
async def at_the_desk(stack: LocalStack) -> AsyncIterator[httpx.AsyncClient]:
    """The whole system, up until the end, and somebody logged in. Raises TimeoutError, PermissionError."""
    from pipeline.desk.operators import one_time_link

    stack.start()
    try:
        if not await asyncio.to_thread(stack.wait_ready, 180):
            raise TimeoutError("the system did not come up within three minutes")
        client = await _log_in(one_time_link(stack.directory, stack.desk_url), stack.desk_url)
        async with aclosing(client):
            yield client
    finally:
        await asyncio.to_thread(stack.close)


async def _log_in(link: str, desk_url: str) -> httpx.AsyncClient:
    """Log in as a person would: open the link, press its button."""
    client = httpx.AsyncClient(base_url=desk_url, timeout=httpx.Timeout(10, read=None), headers={"Origin": desk_url})
    token = link.rsplit("token=", 1)[1]
    answer = await client.post("/enter", data={"token": token})
    if answer.status_code >= 400:
        raise PermissionError(f"the desk refused the link: {answer.status_code} {answer.text[:200]}")
    return client


async def listen(client: httpx.AsyncClient, opened: list[tuple[str, float]], clock: Any) -> None:
    """Read the desk's events as its page does; note when an alert first shows."""
    seen: set[str] = set()
    async with client.stream("GET", "/api/events") as answer:
        async for line in answer.aiter_lines():
            if not line.startswith("data:"):
                continue
            now_s = clock.now_us() / 1e6
            for alert in _alerts_in(json.loads(line[5:])):
                if alert["id"] not in seen:
                    seen.add(alert["id"])
                    opened.append((alert["subject"], now_s))


def _alerts_in(data: Any) -> Iterator[dict[str, Any]]:
    """Alerts wherever the event carries them."""
    if isinstance(data, dict):
        if {"id", "rule", "subject", "severity"} <= data.keys():
            yield data
        else:
            for value in data.values():
                yield from _alerts_in(value)
    elif isinstance(data, list):
        for value in data:
            yield from _alerts_in(value)

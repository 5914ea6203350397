"""What a region costs when nothing happens: the shipped plan filled up to so many vehicles and sensors, its quiet hour, the desk open."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from typing import Any

import yaml

from agents.bench import QUIET, Plain, at_the_desk, cpu_s, listen
from agents.local import LocalStack, resident_bytes
from pipeline.clock import WallClock
from pipeline.commands.bench_core import Row
from pipeline.plan.load import load_plan

CPU_CORES, MEMORY_MIB = 0.10, 600.0
WARM_S = 75  # every device has logged in, and what is done once was done
HEARTBEAT_S = 60
STORY = "quiet-hour"
SITE, SITE_LAT, SITE_LON = "dasu-camp", 35.285, 73.298


def fill_plan(shipped: Path, folder: Path, vehicles: int, sensors: int) -> tuple[list[str], list[str]]:
    """The shipped region at `folder`, with patrols and fence sensors added until there are so many: their ids. Raises PlanError for what
    `shipped` holds."""
    plan = load_plan(shipped)
    shutil.copytree(shipped, folder)
    cars = [f"extra-{i}" for i in range(vehicles - len(plan.vehicles))]
    fences = [f"fence-{i}" for i in range(sensors - len(plan.sensors))]
    _more(folder / "vehicles.yaml", "vehicles", [
        {"id": v, "call_sign": v.upper(), "kind": "pickup", "role": "patrol", "devices": [f"{v}-tracker"]} for v in cars
    ])  # fmt: skip
    _more(folder / "sensors.yaml", "sensors", [
        {"id": s, "name": {"en": s, "ur": s}, "kind": "fence", "site": SITE, "device": s, "group": f"group-{i // 8}"}
        for i, s in enumerate(fences)
    ])  # fmt: skip
    return cars, fences


def _more(file: Path, kind: str, entries: list[dict[str, Any]]) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content[kind] += entries
    file.write_text(yaml.dump(content, Dumper=Plain, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _added(cars: list[str], fences: list[str], start_us: int, seconds: int) -> Iterator[Any]:
    """Added vehicles stand by the camp and report every ten seconds, added sensors that they live, each at its own instant."""
    devices: Any = importlib.import_module("simulators.devices")
    due = [(i * 10.0 / max(1, len(cars)), 10, "car", v) for i, v in enumerate(cars)]
    due += [(i * HEARTBEAT_S / max(1, len(fences)), HEARTBEAT_S, "fence", s) for i, s in enumerate(fences)]
    calls = sorted(
        (at + k * every, kind, name, k) for at, every, kind, name in due for k in range(seconds // every + 1)
    )
    for at_s, kind, name, k in calls:
        at_us = start_us + int(at_s * 1_000_000)
        if kind == "car":
            item = devices.FixItem(
                vehicle=name, device=f"{name}-tracker", seq=k, seen_at_us=at_us, lat=SITE_LAT, lon=SITE_LON + 1e-5 * (k % 3),
                speed_mps=0.2, course_deg=None, accuracy_m=6.0, altitude_m=840.0,
            )  # fmt: skip
        else:
            item = devices.ReadingItem(
                sensor=name, what="vibration", value="clear", device=name, seq=k, seen_at_us=at_us
            )
        parcel = devices.Parcel(at_us=at_us, login=item.device, device=item.device, format="native", items=(item,))
        yield from devices.messages(parcel)


async def measure_region(
    shipped: Path, vehicles: int = 60, sensors: int = 200, seconds: int = 300, seed: int = 1, warm_s: int = WARM_S
) -> list[Row]:
    """Processor and memory of all processes of the system, without those that simulate, over the last `seconds`."""
    publish: Any = importlib.import_module("simulators.publish")
    run: Any = importlib.import_module("simulators.run")
    clock = WallClock()
    with tempfile.TemporaryDirectory(prefix="rahdar-bench-") as name:
        directory = Path(name)
        cars, fences = fill_plan(shipped, directory / "plan", vehicles, sensors)
        stack = LocalStack(directory / "system", directory / "plan", extra=QUIET)
        async with at_the_desk(stack) as client:
            start_us = run.whole_second(clock.now_us() + 2_000_000)
            lasting = warm_s + seconds
            told = run.mqtt_messages(run.story_named(STORY), stack.compiled, seed, start_us, lasting)
            messages = merge(told, _added(cars, fences, start_us, lasting), key=lambda m: m.at_us)
            opened: list[tuple[str, float]] = []
            publisher, stop = publish.Publisher(stack.mqtt_url, stack.credentials, clock), asyncio.Event()
            listener = asyncio.ensure_future(listen(client, opened, clock))
            publishing = asyncio.ensure_future(publisher.run(messages, stop))
            await asyncio.sleep(warm_s)
            used, began, before = cpu_s(stack), time.monotonic(), publisher.acked
            await asyncio.sleep(seconds)
            used, lasted_s, acked = cpu_s(stack) - used, time.monotonic() - began, publisher.acked - before
            assert stack.supervisor is not None
            memory = resident_bytes(stack.supervisor.pids.values())
            stop.set()
            await publishing
            listener.cancel()
    conditions = f"{len(stack.compiled.vehicles)} vehicles and {len(stack.compiled.sensors)} sensors, {acked / lasted_s:.1f} messages/s for {lasted_s:.0f} s, {len(opened)} alerts, embedded, a desk open"

    def row(name: str, value: float, unit: str, target: float) -> Row:
        return Row(f"region.{name}", value, unit, target, seed, acked, conditions)

    return [
        row("cpu", used / lasted_s, "cores", CPU_CORES),
        row("memory", memory / 2**20, "MiB", MEMORY_MIB),
        row("messages_unacknowledged", float(publisher.sent - publisher.acked), "messages", 0.0),
    ]

"""Our engine beside a plain Faust agent and Bytewax, on the same fixes and two rules, in one run. Prints a table; CPU time, one core each.

    python -m tests.bench.peers [--bytewax PYTHON] [--fixes 100000] [--out docs/campaigns]

`--bytewax`: an interpreter with `pip install bytewax shapely`; without it that row is left out. The plain rules (`plain_rules`) know no late
fix, no duplicate, no restart and no accuracy of a crossing: they do less than ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import faust
import numpy as np
import orjson

from agents.detect import detect_stage
from agents.transport import RAW_RECORDS, declare_topics, make_app
from pipeline.clock import WallClock
from pipeline.commands.bench_core import Drive, invented_plan
from pipeline.commands.bench_grid import cut
from pipeline.detect.engine import Engine
from pipeline.model import topics
from pipeline.model.times import from_us
from pipeline.model.wire import ObservationBatch, encode_observations
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings
from tests.bench.plain_rules import Rules, Vehicle

VEHICLES, AREAS, SEED = 1000, 100, 1
HOUR_US = 3_600_000_000
type_world = tuple[CompiledPlan, list[ObservationBatch]]


@dataclass(frozen=True)
class Result:
    """`begins`: episodes of each rule that began."""

    name: str
    fixes: int
    cpu_s: float
    begins: Counter[str]

    @property
    def rate(self) -> float:
        return self.fixes / self.cpu_s


def world(fixes: int) -> type_world:
    """The country of `rahdar bench core` with two rules: forbidden areas, and standing."""
    plan = invented_plan(VEHICLES, AREAS, 20, SEED)
    areas = tuple(
        replace(a, rules=tuple(replace(r, rule="area.forbidden") for r in a.rules), lonlat=a.lonlat) for a in plan.areas
    )
    region = plan.regions["r"]
    two = replace(region, rules={"stop.unscheduled": region.rules["stop.unscheduled"]})
    plan = replace(plan, areas=areas, regions={"r": two})
    return plan, list(Drive(plan, SEED).batches(1000, fixes // 1000))


def begins(changes: list[Any]) -> Counter[str]:
    return Counter(c.episode.rule for c in changes if c.kind == "begin")


def engine(world: type_world, size: int) -> Result:
    plan, batches = world
    parts = [part for whole in batches for part in cut(whole, size)]
    Engine(plan, 6 * HOUR_US).feed(parts[0])  # compiled, and warm
    engine = Engine(plan, 6 * HOUR_US)
    began = time.process_time()
    changes = [change for part in parts for change in engine.feed(part)]
    cpu_s = time.process_time() - began
    return Result(f"Rahdar's engine, records of {size:,}", sum(len(p.fixes) for p in parts), cpu_s, begins(changes))


async def worker(world: type_world) -> Result:
    """One Faust worker of ours: records in, changes out, checkpoints that cover them."""
    plan, batches = world
    with tempfile.TemporaryDirectory(prefix="rahdar-peers-") as name:
        settings = Settings(log_url=f"log://{name}/log", partitions=1, plan=Path(name), var=Path(name) / "var")
        await declare_topics(settings.log_url, topics.ALL, 1)
        await fill(settings.log_url, topics.OBSERVATIONS.name, [encode_observations(b) for b in batches])
        app = make_app("rahdar-detect", settings.log_url)
        stage = detect_stage(app, settings, plan)
        began = time.process_time()
        await app.start()
        # the stage tells nobody when a checkpoint is done
        while not (0 in stage.owned and stage.owned[0].next_input >= len(batches) and not stage.owned[0].unacked):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        cpu_s = time.process_time() - began
        await app.stop()
    return Result(
        "Rahdar's worker, on the embedded log", sum(len(b.fixes) for b in batches), cpu_s, Counter()
    )  # fmt: skip


async def fill(url: str, topic: str, values: list[bytes]) -> None:
    app = make_app("rahdar-peers-fill", url)
    to = app.topic(topic, partitions=1, **RAW_RECORDS)
    await app.start()
    for sent in [await to.send(key=b"c", value=value, partition=0) for value in values]:
        await sent
    await app.stop()


async def plain_faust(rules: Rules, lines: list[bytes]) -> Result:
    """An agent as Faust's manual has it: a record a fix, JSON, state in a dict, an event sent for what begins or ends."""
    with tempfile.TemporaryDirectory(prefix="rahdar-peers-") as name:
        url = f"log://{name}/log"
        await declare_topics(url, topics.ALL, 1)
        await fill(url, topics.OBSERVATIONS.name, lines)
        app = make_app("plain", url, stream_buffer_maxsize=4096)
        come, go = (app.topic(t.name, partitions=1, **RAW_RECORDS) for t in (topics.OBSERVATIONS, topics.EPISODES))
        vehicles: dict[str, Vehicle] = {}
        found: Counter[str] = Counter()
        done = asyncio.Event()

        async def judge(stream: faust.StreamT[bytes]) -> None:
            seen = 0
            async for value in stream:
                fix = orjson.loads(value)
                for rule, kind in rules.step(vehicles.setdefault(fix["vehicle"], Vehicle()), fix):
                    found[rule] += kind == "begin"
                    await go.send(key=b"c", value=orjson.dumps([rule, kind, fix["vehicle"]]), partition=0)
                seen += 1
                if seen == len(lines):
                    done.set()

        app.agent(come, name="plain")(judge)
        began = time.process_time()
        await app.start()
        await done.wait()
        cpu_s = time.process_time() - began
        await app.stop()
    return Result("a plain Faust agent, the same log", len(lines), cpu_s, found)


def bytewax(python: str, folder: Path) -> Result:
    script = Path(__file__).with_name("peer_bytewax.py")
    said = json.loads(subprocess.run([python, str(script), str(folder)], check=True, stdout=subprocess.PIPE).stdout)
    return Result("Bytewax, one worker", said["fixes"], said["cpu_s"], Counter(said["begins"]))


def lines_of(batches: list[ObservationBatch]) -> list[bytes]:
    return [
        orjson.dumps(
            {
                "vehicle": f.vehicle,
                "at_s": f.seen_at_us / 1e6,
                "lat": f.lat,
                "lon": f.lon,
                "accuracy_m": f.accuracy_m,
            }
        )
        for batch in batches
        for f in batch.fixes.rows()
    ]


def table(results: list[Result], when: datetime) -> str:
    first = results[0]
    rows = [
        f"# Beside others, {when:%Y-%m-%d}",
        "",
        f"Two rules (forbidden areas with dwell, standing), {VEHICLES:,} vehicles, {AREAS} areas, the same {first.fixes:,} fixes in order. One run on",
        f"one machine ({platform.processor() or platform.machine()}, Python {platform.python_version()}); fixes per second of CPU, everything from the record's bytes on",
        "(the engine's rows: from its arrays on). The peers run `tests/bench/plain_rules.py`, which knows no late fix, no duplicate and no restart.",
        "",
        "| what | fixes per CPU-second | ours against it | begun: area, standing |",
        "|---|---|---|---|",
    ]
    for r in results:
        told = f"{r.begins['area.forbidden']:,}, {r.begins['stop.unscheduled']:,}" if r.begins else ""
        rows.append(f"| {r.name} | {r.rate:,.0f} | {first.rate / r.rate:.1f} | {told} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytewax", metavar="PYTHON")
    parser.add_argument("--fixes", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    made = world(asked.fixes)
    plan = made[0]
    lines = lines_of(made[1])
    rings = [
        [(float(a), float(b)) for a, b in zip(*plan.projection.to_lonlat(*_xy(area.polygon)), strict=True)]
        for area in plan.areas
    ]
    results = [engine(made, 1000), engine(made, 10), asyncio.run(worker(made))]
    results.append(asyncio.run(plain_faust(Rules(rings, 35.1, 73.3), lines)))
    if asked.bytewax:
        with tempfile.TemporaryDirectory(prefix="rahdar-peers-") as name:
            folder = Path(name)
            (folder / "world.json").write_bytes(orjson.dumps({"areas": rings, "lat0": 35.1, "lon0": 73.3}))
            (folder / "fixes.jsonl").write_bytes(b"\n".join(lines))
            results.append(bytewax(asked.bytewax, folder))
    when = from_us(WallClock().now_us())
    text = table(results, when)
    sys.stdout.write(text)
    if asked.out:
        (asked.out / f"peers-{when:%Y-%m-%d}.md").write_text(text, encoding="utf-8")


def _xy(polygon: Any) -> tuple[Any, Any]:
    corners = np.asarray(polygon.exterior.coords)
    return cast(Any, corners[:, 0]), cast(Any, corners[:, 1])


if __name__ == "__main__":
    main()

"""What detect reaches on Kafka: one worker, and two that share the cells. Prints a JSON object a line; docs/kafka.md has the figures.

    python -m tests.transport.measure_kafka [--workers 1,2] [--records 1600] [--log]
    python -m tests.transport.measure_kafka --latency 60 [--log]

`--latency`: the whole system with 500 fixes a second for so many seconds, as `rahdar bench latency` measures it, on Kafka.

Records of 1,000 fixes wait in eight partitions; workers that are ready, with their rules compiled, read them until their
checkpoints cover all. `--log`: the same on the embedded log, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from agents import bench
from agents.detect import detect_stage
from agents.transport import RAW_RECORDS, declare_topics, make_app
from pipeline.commands.bench_core import Drive, invented_plan
from pipeline.model import topics
from pipeline.model.wire import ObservationBatch, encode_observations
from pipeline.settings import Settings
from tests.transport.kafka_server import KafkaServer

PARTITIONS = 8
VEHICLES = 10_000
SIZE = 1000
SEED = 1


def settings_for(url: str, folder: Path) -> Settings:
    return Settings(log_url=url, partitions=PARTITIONS, plan=folder, var=folder / "var")


async def work(url: str, folder: Path, each: int) -> None:
    """A worker: says `ready`, and `done CPU_S` when all that is its own has been covered by a checkpoint."""
    plan = invented_plan(VEHICLES, 1000, 20, SEED)
    app = make_app("rahdar-detect", url)
    stage = detect_stage(app, settings_for(url, folder), plan)
    await app.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    cpu_s = 0.0
    while True:
        await asyncio.sleep(0.01)
        owned = list(stage.owned.values())
        if cpu_s == 0.0 and any(o.next_input for o in owned):
            cpu_s = time.process_time()
        if owned and all(o.next_input >= each and not o.unacked for o in owned):
            break
    sys.stdout.write(f"done {time.process_time() - cpu_s} {len(owned)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def values(records: int) -> list[tuple[int, bytes]]:
    """(partition, record). A vehicle is in one partition, and reports once in a record."""
    plan = invented_plan(VEHICLES, 1000, 20, SEED)
    drive = Drive(plan, SEED)
    made = []
    for n in range(records):
        p, turn = n % PARTITIONS, n // PARTITIONS
        mine = np.arange(p, VEHICLES, PARTITIONS)
        who = np.take(mine, np.arange(turn * SIZE, (turn + 1) * SIZE), mode="wrap")
        made.append((p, encode_observations(ObservationBatch(drive.fixes(who), (), f"c-{p}", "bench"))))
    return made


async def measure(url: str, folder: Path, workers: int, made: list[tuple[int, bytes]]) -> dict[str, object]:
    settings = settings_for(url, folder)
    await declare_topics(url, topics.ALL, PARTITIONS)
    each = len(made) // PARTITIONS
    command = [sys.executable, "-m", "tests.transport.measure_kafka", "--work", url, str(folder), str(each)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]  # noqa: ASYNC220
    try:
        for worker in started:
            assert worker.stdout is not None
            await asyncio.to_thread(worker.stdout.readline)
        await asyncio.sleep(8)  # the group has settled
        app = make_app("fill", url)
        await app.maybe_start_producer()
        topic = app.topic(topics.OBSERVATIONS.name, partitions=settings.partitions, **RAW_RECORDS)
        began = time.monotonic()
        for sent in [await topic.send(key=b"c", value=value, partition=p) for p, value in made]:
            await sent
        filled_s = time.monotonic() - began
        said = [(await asyncio.to_thread(w.stdout.readline)).split() for w in started if w.stdout]
        wall_s = time.monotonic() - began
        await app.producer.stop()
    finally:
        for worker in started:
            worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()
    fixes = len(made) * SIZE
    cpu_s = sum(float(words[1]) for words in said)
    return {
        "log": url.split(":")[0],
        "workers": workers,
        "shares": [int(words[2]) for words in said],
        "fixes_per_second": round(fixes / wall_s),
        "fixes_per_cpu_second_of_workers": round(fixes / cpu_s),
        "wall_s": round(wall_s, 2),
        "filled_within_s": round(filled_s, 2),
        "records": len(made),
    }


async def latency(url: str | None, seconds: int) -> list[dict[str, object]]:
    """From a vehicle's publish to the operator's page. url: None for the embedded log."""
    if url is not None:
        bench.QUIET["RAHDAR_LOG_URL"] = url  # the stages take it instead of their own
    rows = await bench.measure_latency(seconds=seconds, memory=False)
    log = "log" if url is None else "kafka"
    return [
        {"log": log, "name": r.name, "value": round(r.value, 2), "unit": r.unit, "alerts": r.episodes} for r in rows
    ]


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        asyncio.run(work(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--records", type=int, default=1600)
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--latency", type=int, metavar="SECONDS")
    asked = parser.parse_args()
    if asked.latency:
        with tempfile.TemporaryDirectory(prefix="rahdar-kafka-") as name:
            server = KafkaServer(Path(name) / "kafka", tier=4)
            if not asked.log:
                server.start()
            try:
                for latency_row in asyncio.run(latency(None if asked.log else server.url, asked.latency)):
                    sys.stdout.write(json.dumps(latency_row) + "\n")
            finally:
                server.stop()
        return
    made = values(asked.records)
    for workers in map(int, asked.workers.split(",")):
        with tempfile.TemporaryDirectory(prefix="rahdar-kafka-") as name:
            folder = Path(name)
            if asked.log:
                row = asyncio.run(measure(f"log://{folder}/log", folder, workers, made))
            else:
                server = KafkaServer(folder / "kafka", tier=4)
                server.start()
                try:
                    row = asyncio.run(measure(server.url, folder, workers, made))
                finally:
                    server.stop()
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""The two plain rules as a Bytewax dataflow. Run by `tests.bench.peers` with an interpreter that has Bytewax: python peer_bytewax.py FOLDER."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from plain_rules import Rules, Vehicle


def main(folder: Path) -> None:
    world = json.loads((folder / "world.json").read_bytes())
    rules = Rules(world["areas"], world["lat0"], world["lon0"])
    lines = (folder / "fixes.jsonl").read_bytes().splitlines()

    def key(line: bytes) -> tuple[str, dict[str, Any]]:
        fix = json.loads(line)
        return fix["vehicle"], fix

    def judge(vehicle: Vehicle | None, fix: dict[str, Any]) -> tuple[Vehicle, list[tuple[str, str]]]:
        vehicle = vehicle or Vehicle()
        return vehicle, list(rules.step(vehicle, fix))

    out: list[Any] = []
    flow = Dataflow("peer")
    read = op.input("read", flow, TestingSource(lines, batch_size=1000))
    keyed = op.map("key", read, key)
    told = op.stateful_map("judge", keyed, judge)
    some = op.filter("some", told, lambda item: bool(item[1]))
    op.output("out", some, TestingSink(out))
    began = time.process_time()
    run_main(flow)
    cpu_s = time.process_time() - began
    counts = Counter(rule for _, events in out for rule, kind in events if kind == "begin")
    print(json.dumps({"fixes": len(lines), "cpu_s": cpu_s, "begins": counts}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

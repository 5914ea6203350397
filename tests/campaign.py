"""`make campaign`: what is too long for CI. Writes its table, with the date and the machine, under docs/campaigns."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from agents.bench import measure_latency
from tests.law.campaign import KILLS, LONG, PERMUTATIONS, SEEDS, SWITCHES, TIMELINES, campaign
from tests.stack import influx_away

ROOT = Path(__file__).resolve().parent.parent
KILLS_OF_EACH = int(os.environ.get("RAHDAR_KILLS_OF_EACH", "20"))
PROCESSES = 5
AWAY_S = int(os.environ.get("RAHDAR_INFLUX_AWAY_S", "600"))
LOAD_S = int(os.environ.get("RAHDAR_LOAD_S", "300"))


def kills() -> tuple[str, str, str]:
    """20 turns of kill -9 for each process while devices publish; every ledger is compared at the end."""
    count = KILLS_OF_EACH * PROCESSES
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-s",
            "-o",
            "timeout=3600",
            "--timeout=3600",
            "tests/stack/test_kill.py",
        ],
        cwd=ROOT,
        env={**os.environ, "RAHDAR_KILLS": str(count)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = next(
        (line for line in done.stdout.splitlines() if line.lstrip(".").startswith("killed")), done.stdout[-300:]
    )
    outcome = "passed" if done.returncode == 0 else "FAILED"
    return (
        f"kill -9, {KILLS_OF_EACH} turns of each process",
        outcome,
        f"{said.lstrip('.')}; {time.monotonic() - began:.0f} s",
    )


def law() -> tuple[str, str, str]:
    """Permutations, kills, timelines and seeds by the thousand; they have a table of their own, and go on where they were stopped."""
    began = time.monotonic()
    passed = campaign(PERMUTATIONS, KILLS, TIMELINES, SWITCHES, LONG, SEEDS, os.cpu_count() or 1)
    figures = f"{PERMUTATIONS:,} permutations, {KILLS:,} kills, {TIMELINES:,} timelines, {LONG:,} long worlds, {SEEDS:,} seeds (law-....md); {time.monotonic() - began:.0f} s"
    return "the law", "passed" if passed else "FAILED", figures


def away() -> list[tuple[str, str, str]]:
    """The profile small with 500 vehicles, InfluxDB dead for AWAY_S."""
    with tempfile.TemporaryDirectory(prefix="rahdar-away-") as name:
        try:
            return asyncio.run(influx_away.measure(500, 500, AWAY_S, Path(name)))
        except (AssertionError, TimeoutError) as error:
            return [(f"profile small, InfluxDB dead for {AWAY_S} s", "FAILED", str(error))]


def main() -> int:
    """0 when everything passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--without", choices=("law", "kills", "away"), action="append", default=[], help="repeat it for several"
    )
    without = parser.parse_args().without
    rows = [part() for name, part in (("law", law), ("kills", kills)) if name not in without]
    rows += [] if "away" in without else away()
    for row in asyncio.run(measure_latency(seconds=LOAD_S)):
        reached = "" if row.target is None else ("reached" if row.value <= row.target else "NOT REACHED")
        target = "" if row.target is None else f", target {row.target:g}"
        rows.append((row.name, reached, f"{row.value:.4g} {row.unit}{target}; {row.conditions}"))
    day = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")  # noqa: TID251  # a dated table is the point
    target_file = ROOT / "docs" / "campaigns" / f"{day}.md"
    target_file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# Campaign of {day}",
        "",
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}.",
        "",
        "| what | outcome | figures |",
        "|---|---|---|",
        *(f"| {what} | {outcome} | {figures} |" for what, outcome, figures in rows),
        "",
    ]
    target_file.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))  # a person ran this
    return 0 if all(outcome in ("passed", "reached", "") for _, outcome, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

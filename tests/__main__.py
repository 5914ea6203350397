"""`make test`: what mostly computes runs side by side on all cores; then, in two rows beside each other, what mostly waits for servers;
last and alone what holds people's waits against the clock.

With arguments: pytest, with these. Exit status: the first that is not 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIDE_BY_SIDE = (
    "alert", "bench", "cli", "dashboards", "deploy", "detect", "doctor", "geo", "law", "model", "normalise", "people", "plan",
    "scenarios", "simulators", "test_accuracy.py",
)  # fmt: skip
ALONE = ("desk", "notify/test_storm.py", "stack/test_kill.py")
MOST_WORKERS = 8


def folders() -> tuple[list[str], list[str], list[str]]:
    """Side by side, in two rows, and alone: each test stands in one of them."""
    found = sorted(
        path.name
        for path in HERE.iterdir()
        if path.name.startswith("test_") or (path.is_dir() and any(path.rglob("test_*.py")))
    )
    alone = [f"tests/{n}" for n in ALONE]
    rows = [f"tests/{n}" for n in found if n not in SIDE_BY_SIDE and n not in ALONE]
    return [f"tests/{n}" for n in found if n in SIDE_BY_SIDE], rows + [f"--ignore={n}" for n in alone], alone


def main(arguments: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "--durations=25"]
    if arguments:
        return subprocess.run([*pytest, *arguments], cwd=HERE.parent, check=False).returncode
    workers = str(min(os.cpu_count() or 1, MOST_WORKERS))
    side_by_side, in_rows, alone = folders()
    codes = [
        subprocess.run([*pytest, *more], cwd=HERE.parent, check=False).returncode
        for more in (
            ["-n", workers, "--dist", "loadfile", *side_by_side],
            ["-n", "2", "--dist", "loadgroup", *in_rows],  # tests/conftest.py: who stands in which row
            alone,
        )
    ]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

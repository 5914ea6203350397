"""`make test`: what only computes runs side by side on all cores; what starts servers or waits for a clock runs after it, alone.

With arguments: pytest, with these. Exit status: the first that is not 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPUTING = ("alert", "bench", "detect", "geo", "law", "model", "normalise", "people", "plan", "simulators")
MOST_WORKERS = 8


def folders() -> tuple[list[str], list[str]]:
    """Side by side, and alone: each test stands in one of them."""
    found = sorted(
        path.name
        for path in HERE.iterdir()
        if path.name.startswith("test_") or (path.is_dir() and any(path.rglob("test_*.py")))
    )
    together = [*COMPUTING, "test_accuracy.py"]
    return [f"tests/{n}" for n in found if n in together], [f"tests/{n}" for n in found if n not in together]


def main(arguments: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest"]
    if arguments:
        return subprocess.run([*pytest, *arguments], cwd=HERE.parent, check=False).returncode
    workers = str(min(os.cpu_count() or 1, MOST_WORKERS))
    side_by_side, alone = folders()
    codes = [
        subprocess.run([*pytest, *more], cwd=HERE.parent, check=False).returncode
        for more in (["-n", workers, "--dist", "loadfile", *side_by_side], alone)
    ]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""docker-compose.yml as docker compose itself understands it; no Docker is needed for that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path.home() / ".cache" / "rahdar" / "bin"
PROFILES = ("full", "small", "demo", "small-demo")


def program() -> list[str]:
    """The client that deploy/compose/install.sh built, else Docker's own. In CI a missing one is a failure."""
    built = sorted(BUILT.glob("docker-compose-*"))
    if built:
        return [str(built[-1])]
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    why = "no docker compose here; deploy/compose/install.sh builds it"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMPOSE_", "RAHDAR_"))}
    return subprocess.run([*program(), *words], cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60)


def config(profile: str) -> dict[str, Any]:
    """The whole file, checked and filled in, of one profile."""
    done = ask("--profile", profile, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found

"""What a bundle for a machine without a network takes, and that it notices what is not as it was made."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.deploy.compose import PROFILES, ROOT, config


def bundle(folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / "deploy" / "bundle"), str(folder), what], capture_output=True, text=True)


def test_it_takes_every_image(tmp_path: Path) -> None:
    listed = {line.strip() for line in bundle(tmp_path, "list").stdout.splitlines() if line.startswith("  ")}
    used = {s["image"] for profile in (*PROFILES, "tools") for s in config(profile)["services"].values()}
    assert listed - used == {"debian:12.12-slim"}, "and what ours is built from"
    assert used <= listed


@pytest.mark.parametrize("change", ["nothing", "another byte", "a file more", "a file less"])
def test_check(tmp_path: Path, change: str) -> None:
    (tmp_path / "wheels").mkdir()
    sums = []
    for name in ("wheels/a-1-py3-none-any.whl", "rahdar.tar.gz"):
        (tmp_path / name).write_bytes(name.encode())
        sums.append(f"{hashlib.sha256(name.encode()).hexdigest()}  ./{name}\n")
    (tmp_path / "SHA256SUMS").write_text("".join(sums))
    if change == "another byte":
        (tmp_path / "rahdar.tar.gz").write_bytes(b"?")
    elif change == "a file more":
        (tmp_path / "wheels" / "b.whl").write_bytes(b"")
    elif change == "a file less":
        (tmp_path / "rahdar.tar.gz").unlink()
    assert bundle(tmp_path, "check").returncode == (change != "nothing")

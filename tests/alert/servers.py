"""A PostgreSQL of its own for the tests, as Debian's package has it: in a folder, on a free port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from agents.local import free_port
from pipeline.alert.tables import make_engine


def programs() -> Path | None:
    """Where initdb and postgres lie."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    return found[-1].parent if found else None


@contextmanager
def postgres() -> Iterator[str]:
    """Its URL. It may not run as root: then it runs as `postgres`, whom the package has made."""
    at = programs()
    assert at is not None, "PostgreSQL is not installed (apt-get install postgresql)"
    folder = Path(tempfile.mkdtemp(prefix="rahdar-pg-"))
    as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_other:
        shutil.chown(folder, "postgres")
    port = free_port()
    # the locale of the machine decides nothing; syncs cost time and prove nothing here
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40"
    control = [*as_other, str(at / "pg_ctl"), "-D", str(folder / "data"), "-w", "-s"]
    run = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
    try:
        subprocess.run(
            [
                *as_other,
                str(at / "initdb"),
                "-D",
                str(folder / "data"),
                "-U",
                "rahdar",
                "-A",
                "trust",
                "--no-locale",
                "-E",
                "UTF8",
            ],
            **run,  # type: ignore[call-overload]
        )
        subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], **run)  # type: ignore[call-overload]
        try:
            yield f"postgresql://rahdar@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def afresh(url: str) -> None:
    """Nothing in it."""
    engine = make_engine(url)
    try:
        with engine.begin() as tx:
            tx.execute(sa.text("drop schema public cascade"))
            tx.execute(sa.text("create schema public"))
    finally:
        engine.dispose()

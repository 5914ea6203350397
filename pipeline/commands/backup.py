"""`rahdar backup` and `rahdar restore`: what one machine keeps, copied while it runs.

The order makes it consistent. Whoever reads goes before what it reads: alerts and record first, then the spool, then the log. So a copy
may hold records that its readers have not seen, and they read them after the restore; never the other way round, or what comes
after the restore would be taken for known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.commands.run import read_settings
from pipeline.ingest.authority import write_private
from pipeline.model.times import format_us
from pipeline.record.tables import path_of
from pipeline.settings import Settings

MANIFEST = "MANIFEST.json"
VERSION = 1
SKIPPED = ("-wal", "-shm", "-journal", ".lock", ".new")
NOT_OURS = {"compiled", "log"}
"""Below RAHDAR_VAR: compiled code is made again, the log is copied last."""
_env = click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)


def _log(s: Settings) -> Path | None:
    return Path(s.log_url.removeprefix("log://")) / "log.sqlite" if s.log_url.startswith("log://") else None


def _alert(s: Settings) -> Path | None:
    return Path(s.alert_url.removeprefix("sqlite:///")) if s.alert_url.startswith("sqlite:///") else None


def places(s: Settings) -> dict[str, Path]:
    """Name in the copy and where it is, in the order of copying; `var` stands for all files in it. Raises ValueError."""
    found = {"alert.sqlite": _alert(s), "record.sqlite": path_of(s.record_url), "var": s.var, "log.sqlite": _log(s)}
    return {name: path for name, path in found.items() if path is not None}


def _files(var: Path, apart: set[Path]) -> Iterator[Path]:
    """All of ours in RAHDAR_VAR, the spool's cursor before its segments: an older cursor sends again, a newer one would lose."""
    found = []
    for folder, folders, names in os.walk(var):
        here = Path(folder)
        if here == var:
            folders[:] = [name for name in folders if name not in NOT_OURS]
        found += [here / name for name in names if not name.endswith(SKIPPED) and not name.startswith(".")]
    for path in sorted(found, key=lambda p: (p.suffix == ".spool", p)):
        if path.resolve() not in apart and path.is_file():
            yield path


def _copy(source: Path, target: Path) -> bool:
    """False: it is gone meanwhile, as a spool's segment that was dealt with."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if source.suffix == ".sqlite":
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as live,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)  # one transaction: whoever writes goes on, and is not in it
    else:
        try:
            shutil.copyfile(source, target)
        except FileNotFoundError:
            return False
    target.chmod(0o600)
    return True


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@_env
def backup(directory: Path, env_file: Path | None) -> None:
    """Copy alerts, record, sessions, spool, keys and the embedded log into a new DIRECTORY, while everything runs.

    Not in it: settings, plan and secrets (files that you have), Kafka, PostgreSQL, InfluxDB (docs/deploy.md).
    """
    s = read_settings(env_file)
    if directory.exists() and any(directory.iterdir()):
        raise BadInput(f"{directory} is not empty; give a new directory for every backup")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made: dict[str, str] = {}
    try:
        where = places(s)
        apart = {path.resolve() for name, path in where.items() if name != "var"} | {directory.resolve()}
        for name, path in where.items():
            sources = {name: path} if name != "var" else {}
            if name == "var":
                sources = {f"var/{f.relative_to(path)}": f for f in _files(path, apart) if directory not in f.parents}
            for copied, source in sources.items():
                if source.exists() and _copy(source, directory / copied):
                    made[copied] = _sum(directory / copied)
    except (ValueError, OSError, sqlite3.Error) as error:
        raise BadInput(f"the backup is not whole: {error}") from error
    at = format_us(WallClock().now_us())
    write_private(
        directory / MANIFEST, json.dumps({"version": VERSION, "at": at, "plan": str(s.plan), "sha256": made}, indent=1)
    )
    size = sum((directory / name).stat().st_size for name in made)
    click.echo(f"{directory}: {len(made)} files, {size / (1 << 20):.1f} MiB")
    for what, missing in (("Kafka", _log(s) is None), ("PostgreSQL", _alert(s) is None)):
        if missing:
            click.echo(f"rahdar: {what} is not in it; docs/deploy.md says how it is copied", err=True)


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_env
def restore(directory: Path, env_file: Path | None) -> None:
    """Put a backup in DIRECTORY where the settings say, while nothing runs. What is there is never overwritten."""
    s = read_settings(env_file)
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        sums: dict[str, str] = dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{directory / MANIFEST}: no backup of ours, or not whole ({error})") from error
    if manifest.get("version") != VERSION:
        raise BadInput(f"{directory}: a backup of version {manifest.get('version')}; this program reads {VERSION}")
    try:
        targets = _targets(s, sums)
        for name, expected in sums.items():
            if not (directory / name).is_file() or _sum(directory / name) != expected:
                raise BadInput(f"{directory / name} is not what was written; take another backup")
        for path in targets.values():
            if path.exists():
                raise BadInput(f"{path} is there; move it away first")
        for name, path in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(directory / name, path)
            path.chmod(0o600)
    except (ValueError, OSError) as error:
        raise BadInput(str(error)) from error
    click.echo(f"{len(targets)} files of {manifest['at']} are in their places")


def _targets(s: Settings, names: dict[str, str]) -> dict[str, Path]:
    """Where each goes. Raises BadInput for a name that would lead out of its place."""
    where = places(s)
    out = {}
    for name in names:
        top, _, rest = name.partition("/")
        if top not in where or (rest and (top != "var" or ".." in Path(rest).parts or Path(rest).is_absolute())):
            raise BadInput(f"{name}: the settings have no place for it (is RAHDAR_LOG_URL the one it was made with?)")
        out[name] = where[top] / rest if rest else where[top]
    return out

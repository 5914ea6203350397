"""What the commands about people share: where their files lie, who is asking, and that it goes on record."""

from __future__ import annotations

import contextlib
import getpass
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.commands.run import read_settings
from pipeline.model.times import format_us
from pipeline.people.audit import FILE_NAME as AUDIT_FILE
from pipeline.people.audit import AuditLog
from pipeline.people.chains import UnreadableError, people_chain
from pipeline.people.database import Regions
from pipeline.people.heads import FOLDER, Signer
from pipeline.people.keeper import BrokenChainError, sign
from pipeline.people.keyfile import KeyFileError

regions_option = click.option(
    "--region", "regions", multiple=True, help="Only this region; may be given several times. Default: all."
)


def whoever() -> str:
    """Who asks, on this machine."""
    try:
        return f"shell:{getpass.getuser()}"
    except (OSError, KeyError):
        return "shell:?"


def as_regions(regions: tuple[str, ...]) -> Regions:
    return tuple(sorted(set(regions))) or None


def shown_regions(regions: Regions) -> str:
    return "all regions" if regions is None else ", ".join(regions)


def when(at_us: int | None) -> str:
    return "never" if at_us is None else format_us(at_us)[:19] + "Z"


def var() -> Path:
    return read_settings().var


def record(what: str, subject: str, detail: str = "") -> None:
    """Before it is done. What cannot be put on record is not done."""
    folder = var()
    log = AuditLog(folder / AUDIT_FILE)
    try:
        log.write(whoever(), what, subject, "", detail)
    finally:
        log.close()
    chain = people_chain(folder)
    try:
        sign(chain, Signer(folder / FOLDER), WallClock())
    except BrokenChainError as error:
        click.echo(f"rahdar: the people's audit chain was touched: {error}; run `rahdar audit verify`", err=True)
    except UnreadableError as error:
        raise BadInput(str(error)) from error
    finally:
        chain.close()


@contextlib.contextmanager
def refusals(*kinds: type[Exception]) -> Iterator[None]:
    """Expected errors as one line of cause and exit code 1."""
    expected: tuple[type[Exception], ...] = (KeyFileError, *kinds)
    try:
        yield
    except expected as error:
        raise BadInput(str(error)) from error
    except (OSError, sqlite3.Error) as error:
        raise BadInput(f"{getattr(error, 'filename', None) or 'disk'}: {error}") from error

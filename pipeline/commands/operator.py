"""`rahdar operator`: who may log in to the desk, as what and where."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.commands.people import as_regions, record, refusals, regions_option, shown_regions, var, when
from pipeline.commands.run import read_settings
from pipeline.desk.operators import FILE_NAME, Operators, OperatorsError
from pipeline.desk.sessions import SessionStore
from pipeline.people.lockout import Lockout
from pipeline.people.roles import DUTIES, ROLES, Role

_file = click.option(
    "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Default: RAHDAR_OPERATORS_FILE."
)
_password = click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its first line; else it is asked for.",
)
_role = click.Choice(ROLES)


def _operators(path: Path | None) -> Operators:
    path = path or read_settings().operators_file
    if path is None:
        raise BadInput("RAHDAR_OPERATORS_FILE is not set; set it, or name the file by --file")
    return Operators(path)


def _asked_password(name: str, password_file: Path | None) -> str:
    if password_file is None:
        return str(click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True))
    lines = password_file.read_text(encoding="utf-8").splitlines()
    return lines[0] if lines else ""


def _known(operators: Operators, name: str) -> None:
    if name not in operators.all():
        raise BadInput(f"no operator is called {name!r}")


def _end_sessions(name: str) -> int:
    store = SessionStore(var() / FILE_NAME)
    try:
        return store.end_all(name)
    finally:
        store.close()


@click.group()
def operator() -> None:
    """Who may log in to the desk: a file with argon2 hashes. Each change is on record."""


@operator.command()
@click.argument("name")
@click.option("--role", type=_role, required=True, help="; ".join(f"{role} {duty}" for role, duty in DUTIES.items()))
@regions_option
@_password
@_file
def add(name: str, role: Role, regions: tuple[str, ...], password_file: Path | None, path: Path | None) -> None:
    """Let NAME log in, or give NAME another role, regions and password."""
    with refusals(OperatorsError):
        operators = _operators(path)
        password = _asked_password(name, password_file)
        operators.check(name, password, as_regions(regions))
        record("operator_added", name, f"{role}, {shown_regions(as_regions(regions))}")
        operators.put(name, role, password, as_regions(regions))
    click.echo(f"{name} may log in as {role}, {shown_regions(as_regions(regions))}.")


@operator.command("list")
@_file
def list_operators(path: Path | None) -> None:
    """Everybody who may log in: name, role, regions, and whether shut out."""
    with refusals(OperatorsError):
        known = _operators(path).all()
    for name in sorted(known):
        one = known[name]
        click.echo("\t".join((name, one.role, shown_regions(one.regions), *(["disabled"] if one.disabled else []))))


@operator.command()
@click.argument("name")
@click.argument("role", type=_role)
@regions_option
@_file
def role(name: str, role: Role, regions: tuple[str, ...], path: Path | None) -> None:
    """Give NAME another role, in the regions named or in all. NAME logs in again."""
    with refusals(OperatorsError):
        operators = _operators(path)
        _known(operators, name)
        record("operator_changed", name, f"{role}, {shown_regions(as_regions(regions))}")
        operators.change_role(name, role, as_regions(regions))
    click.echo(f"{name} is {role}, {shown_regions(as_regions(regions))}, and logs in again.")


@operator.command()
@click.argument("name")
@_password
@_file
def passwd(name: str, password_file: Path | None, path: Path | None) -> None:
    """Give NAME another password. Every session of NAME ends, and every browser of NAME is a new one."""
    with refusals(OperatorsError):
        operators = _operators(path)
        _known(operators, name)
        password = _asked_password(name, password_file)
        operators.check(name, password, None)
        record("operator_changed", name, "password")
        operators.change_password(name, password)
        lockout = Lockout(var() / FILE_NAME)
        lockout.forget_devices(name)
        lockout.close()
    click.echo(f"{name} has a new password and logs in again.")


@operator.command()
@click.argument("name")
@_file
def disable(name: str, path: Path | None) -> None:
    """Shut NAME out, at once. The name stays taken; `enable` lets NAME in again."""
    _set_disabled(name, path, True)
    click.echo(f"{name} is shut out.")


@operator.command()
@click.argument("name")
@_file
def enable(name: str, path: Path | None) -> None:
    """Let NAME in again."""
    _set_disabled(name, path, False)
    click.echo(f"{name} may log in again.")


def _set_disabled(name: str, path: Path | None, disabled: bool) -> None:
    with refusals(OperatorsError):
        operators = _operators(path)
        _known(operators, name)
        record("operator_disabled" if disabled else "operator_enabled", name)
        operators.disable(name, disabled)
        if disabled:
            _end_sessions(name)


@operator.command()
@click.argument("name")
@_file
def remove(name: str, path: Path | None) -> None:
    """Shut NAME out, at once, and forget NAME. The record does not."""
    with refusals(OperatorsError):
        operators = _operators(path)
        _known(operators, name)
        record("operator_removed", name)
        operators.remove(name)
        _end_sessions(name)
    click.echo(f"{name} is shut out.")


@operator.command()
@click.argument("name")
def unlock(name: str) -> None:
    """Forgive the failed log-ins of NAME, so that NAME need not wait."""
    with refusals():
        record("operator_unlocked", name)
        lockout = Lockout(var() / FILE_NAME)
        counts = lockout.unlock(name)
        lockout.close()
    click.echo(f"{name} need not wait." if counts else f"{name} did not have to wait.")


@operator.command()
@click.argument("name", required=False)
def sessions(name: str | None) -> None:
    """Who is logged in: session, login, role, since when, last used, from where."""
    with refusals():
        store = SessionStore(var() / FILE_NAME)
        found = store.all(name)
        store.close()
    for one in found:
        click.echo(
            "\t".join((one.id, one.login, one.role, when(one.began_us), when(one.used_us), one.address, one.agent))
        )


@operator.command("sign-out")
@click.argument("name")
def sign_out(name: str) -> None:
    """End every session of NAME, who may log in again."""
    with refusals():
        record("session_ended", name, "all")
        ended = _end_sessions(name)
    click.echo(f"{ended} sessions of {name} are over.")

"""`rahdar operator`: who may log in to the desk."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.commands.run import read_settings
from pipeline.desk.operators import Operators, OperatorsError
from pipeline.people.roles import ROLES, Role

_file = click.option(
    "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Default: RAHDAR_OPERATORS_FILE."
)


def _operators(path: Path | None) -> Operators:
    path = path or read_settings().operators_file
    if path is None:
        raise BadInput("RAHDAR_OPERATORS_FILE is not set; set it, or name the file by --file")
    return Operators(path)


@click.group()
def operator() -> None:
    """Who may log in to the desk: a file with argon2 hashes."""


@operator.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="A viewer looks; an operator acts.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its first line; else it is asked for.",
)
@_file
def add(name: str, role: Role, password_file: Path | None, path: Path | None) -> None:
    """Let NAME log in, or give NAME another role and password."""
    operators = _operators(path)
    if password_file is not None:
        lines = password_file.read_text(encoding="utf-8").splitlines()
        password = lines[0] if lines else ""
    else:
        password = click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
    try:
        operators.put(name, role, password)
    except OperatorsError as error:
        raise BadInput(str(error)) from error
    click.echo(f"{name} may log in as {role}.")


@operator.command("list")
@_file
def list_operators(path: Path | None) -> None:
    """Everybody who may log in, with their role."""
    try:
        known = _operators(path).all()
    except OperatorsError as error:
        raise BadInput(str(error)) from error
    for name in sorted(known):
        click.echo(f"{name}\t{known[name].role}")


@operator.command()
@click.argument("name")
@_file
def remove(name: str, path: Path | None) -> None:
    """Shut NAME out, at once."""
    try:
        known = _operators(path).remove(name)
    except OperatorsError as error:
        raise BadInput(str(error)) from error
    if not known:
        raise BadInput(f"no operator is called {name!r}")
    click.echo(f"{name} is shut out.")

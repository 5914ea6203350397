"""`rahdar token`: what programs come with when they ask the desk."""

from __future__ import annotations

import click

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.commands.people import as_regions, record, refusals, regions_option, shown_regions, var, when, whoever
from pipeline.desk.operators import FILE_NAME
from pipeline.people.tokens import ROLES_OF_TOKENS, TokenError, TokenStore


def _store() -> TokenStore:
    return TokenStore(var() / FILE_NAME)


@click.group()
def token() -> None:
    """Tokens for programs: `Authorization: Bearer TOKEN`. Named, scoped, with an end; kept only as hashes."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES_OF_TOKENS), default="viewer", show_default=True)
@regions_option
@click.option("--days", type=float, default=90, show_default=True, help="How long it is good.")
@click.option("--write", is_flag=True, help="It may act; without, it only reads.")
def create(name: str, role: str, regions: tuple[str, ...], days: float, write: bool) -> None:
    """Make a token. It is on stdout, once: nobody can show it again."""
    scope = f"{role}, {shown_regions(as_regions(regions))}, {'acts' if write else 'reads'}, {days:g} days"
    with refusals(TokenError):
        store = _store()
        try:
            store.check(name, role, days, as_regions(regions))
            record("token_made", name, scope)
            made = store.make(name, role, days, whoever(), as_regions(regions), read_only=not write)
        finally:
            store.close()
    click.echo(f"{name}: {scope}. Keep it now; it is not shown again.", err=True)
    click.echo(made)


@token.command("list")
def list_tokens() -> None:
    """Name, state, role, regions, what it may, end, last use and from where, who made it."""
    with refusals():
        store = _store()
        found = store.all()
        store.close()
    now_us = WallClock().now_us()
    for one in found:
        click.echo(
            "\t".join((
                one.name, one.state(now_us), one.role, shown_regions(one.regions), "reads" if one.read_only else "acts",
                f"until {when(one.expires_us)}", f"used {when(one.used_us)}", one.used_from or "-", f"by {one.made_by}",
            ))
        )  # fmt: skip


@token.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Shut the token NAME out, at once."""
    with refusals():
        store = _store()
        try:
            if not any(one.name == name and one.revoked_us is None for one in store.all()):
                raise BadInput(f"no token that is good is called {name!r}; `rahdar token list` says which there are")
            record("token_revoked", name)
            store.revoke(name)
        finally:
            store.close()
    click.echo(f"The token {name} is shut out.")

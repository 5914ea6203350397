"""`rahdar address`: where officers are reached, sealed in the addresses file and masked wherever it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.commands.people import record, refusals
from pipeline.commands.run import read_settings
from pipeline.notify.addresses import AddressesError, read_addresses
from pipeline.people.keyfile import write_over
from pipeline.people.secrets import FILE_NAME, SealError, Vault, is_sealed, mask, open_vault, rotate

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
HEAD = (
    "# Where people are reached. Written by `rahdar address`; sealed lines open with the key beside RAHDAR_VAR alone.\n"
)


def _file() -> Path:
    path = read_settings().addresses_file
    if path is None:
        raise BadInput("RAHDAR_ADDRESSES_FILE is not set; name the file that holds the addresses")
    return path


def _key() -> Path:
    settings = read_settings()
    return settings.addresses_key_file or settings.var / FILE_NAME


def _read(path: Path) -> dict[str, str]:
    return read_addresses(path) if path.exists() else {}


def _write(path: Path, known: dict[str, str]) -> None:
    write_over(path, (HEAD + "".join(f"{name}: {known[name]}\n" for name in sorted(known))).encode())


def _shown(vault: Vault, name: str, address: str) -> str:
    try:
        return str(vault.open(address, name)) if is_sealed(address) else mask(address)
    except SealError as error:
        return f"does not open: {error}"


@click.group()
def address() -> None:
    """Where officers are reached: phones, mail, webhooks. Sealed at rest, masked when shown; each change is on record."""


@address.command("set")
@click.argument("name")
def set_address(name: str) -> None:
    """Seal the address that the plan calls NAME. It is asked for, so that no shell remembers it."""
    if not NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot be a name: letters, digits, `_` and `-`, 64 at most")
    plain = click.prompt(f"Address of {name}", hide_input=True, confirmation_prompt=True, err=True).strip()
    with refusals(AddressesError, SealError):
        path = _file()
        known = {**_read(path), name: open_vault(_key()).seal(plain, name)}
        record("address_set", name)
        _write(path, known)
    click.echo(f"{name} is {mask(plain)}.")


@address.command("list")
def list_addresses() -> None:
    """Name, mask, and whether it lies sealed or plain."""
    with refusals(AddressesError):
        known = _read(_file())
        vault = open_vault(_key())
    for name in sorted(known):
        click.echo(f"{name}\t{_shown(vault, name, known[name])}\t{'sealed' if is_sealed(known[name]) else 'plain'}")


@address.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget the address of NAME."""
    with refusals(AddressesError):
        path = _file()
        known = _read(path)
        if known.pop(name, None) is None:
            raise BadInput(f"no address is called {name!r}; `rahdar address list` says which there are")
        record("address_removed", name)
        _write(path, known)
    click.echo(f"{name} has no address any more.")


@address.command()
@click.option("--new-key", is_flag=True, help="Make a new key first, and seal all of them with it.")
def seal(new_key: bool) -> None:
    """Seal every line that lies plain. With --new-key also those that are sealed already, anew."""
    with refusals(AddressesError, SealError):
        path = _file()
        known = _read(path)
        record("addresses_sealed", str(path), "with a new key" if new_key else "")
        vault = rotate(_key()) if new_key else open_vault(_key())
        sealed = {
            name: vault.seal_again(text, name) if is_sealed(text) else vault.seal(text, name)
            for name, text in known.items()
        }
        _write(path, sealed)
    click.echo(f"{sum(sealed[name] != known[name] for name in known)} of {len(known)} addresses were sealed.")

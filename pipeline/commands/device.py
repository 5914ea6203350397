"""`rahdar device`: which trackers, gateways and phones may come in, and with what."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from pipeline.cli import BadInput, Unreachable
from pipeline.clock import WallClock
from pipeline.commands.run import read_settings
from pipeline.ingest.acl import SHARDS
from pipeline.ingest.authority import AuthorityError, write_private
from pipeline.ingest.credentials import CredentialsError
from pipeline.ingest.devices import Devices, DevicesError, Kind

PID_FILE = Path("/run/mosquitto/rahdar.pid")
REREAD = "an embedded broker reads it within 2 s"
_F = TypeVar("_F", bound=Callable[..., Any])


def _common(command: _F) -> _F:
    command = click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where all of it lies. Default: devices in RAHDAR_VAR, and passwords in RAHDAR_MQTT_PASSWORDS_FILE.",
    )(command)
    return click.option(
        "--pid-file",
        type=click.Path(dir_okay=False, path_type=Path),
        default=PID_FILE,
        show_default=True,
        help="Mosquitto's; it is told to read its files again.",
    )(command)


def _devices(directory: Path | None) -> Devices:
    settings = read_settings()
    if directory is not None:
        return Devices(directory, WallClock())
    return Devices(settings.var / "devices", WallClock(), settings.mqtt_passwords_file)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (DevicesError, AuthorityError, CredentialsError) as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        raise BadInput(f"{error.filename or 'disk'}: {error.strerror}") from error


def reload_mosquitto(pid_file: Path) -> str:
    """SIGHUP to the Mosquitto that wrote this file; returns what was done. Raises Unreachable when it is there and cannot be told."""
    try:
        pid = int(pid_file.read_text().strip())
    except FileNotFoundError:
        return f"no Mosquitto runs by {pid_file}; {REREAD}"
    except (OSError, ValueError) as error:
        raise Unreachable(f"{pid_file}: {error}; tell Mosquitto yourself: kill -HUP") from error
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip() if pid > 1 else ""
        if name != "mosquitto":
            return f"{pid_file} is of no Mosquitto that runs; {REREAD}"
        os.kill(pid, signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid_file} is of no Mosquitto that runs; {REREAD}"
    except OSError as error:
        raise Unreachable(f"Mosquitto (process {pid}) was not told: {error.strerror}; kill -HUP it as root") from error
    return f"Mosquitto (process {pid}) was told; {REREAD}"


@click.group()
def device() -> None:
    """Which trackers, gateways and phones may come in, and with what."""


@device.command()
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    help="A name or address by which devices call the broker; repeat it.",
)
@click.option("--shards", default=",".join(SHARDS), show_default=True, help="Each is a login of the bridge's own.")
@_common
def setup(hosts: tuple[str, ...], shards: str, directory: Path | None, pid_file: Path) -> None:
    """Certificate authority, the broker's certificate, its ACL, and certificates for our own bridge and notifier.

    Again after an update (a new format is a line in the ACL), and once a year: the broker's certificate is renewed in time.
    """
    with _refusals():
        made = _devices(directory).setup(hosts, [s for s in shards.split(",") if s])
    for path in made:
        click.echo(f"made {path}")
    click.echo(f"rahdar: {'ready' if made else 'everything was there'}; {reload_mosquitto(pid_file)}", err=True)


@device.command()
@click.argument("login")
@click.option(
    "--certificate", "kind", flag_value="certificate", help="A certificate and its key, as files (the default)."
)
@click.option("--password", "kind", flag_value="password", help="A password, printed once.")
@click.option(
    "--owntracks",
    "owntracks",
    metavar="HOST[:PORT]",
    help="A password for the OwnTracks app, as a QR code; the broker is there.",
)
@click.option("--shard", default="0", show_default=True)
@click.option("--renew", is_flag=True, help="Another secret; the old one is no longer good.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Certificate: the directory. Else a new file for the secret, instead of showing it.",
)
@_common
def enrol(
    login: str,
    kind: Kind | None,
    owntracks: str | None,
    shard: str,
    renew: bool,
    out: Path | None,
    directory: Path | None,
    pid_file: Path,
) -> None:
    """Let LOGIN come in. It is the device's id in the plan. Done twice it changes nothing and shows nothing."""
    if owntracks is not None and kind == "certificate":
        raise click.UsageError("OwnTracks is given a password, not a certificate")
    host, port = _host_port(owntracks) if owntracks is not None else ("", 0)
    kind = "password" if owntracks is not None else kind or "certificate"
    if out is not None and kind == "password" and (out.exists() or not out.parent.is_dir()):
        raise BadInput(f"{out}: give a new file in a directory that is there")
    with _refusals():
        devices = _devices(directory)
        secret = devices.enrol(login, kind, shard, renew, out if kind == "certificate" else None)
        if secret is None:
            click.echo(
                f"rahdar: {login} is enrolled already; nothing was changed (--renew makes a new {kind})", err=True
            )
            return
        if secret.directory is not None:
            click.echo(f"{secret.directory}/device.pem\n{secret.directory}/device.key\n{secret.directory}/ca.pem")
        elif secret.password is not None:
            _show(login, secret.password, host, port, out)
    topic = f"owntracks/{login}/{login}" if owntracks is not None else f"v1/{shard}/{login}/<format>"
    click.echo(f"rahdar: {login} publishes to {topic}; {reload_mosquitto(pid_file)}", err=True)
    _warn_about_plan(login)


def _host_port(given: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{given}")
        host, port = parts.hostname, parts.port or 8884
    except ValueError:
        host, port = None, 0
    if not host or given != parts.netloc or "@" in given:
        raise click.UsageError(f"--owntracks {given!r}: give HOST or HOST:PORT")
    return host, port


def _show(login: str, password: str, host: str, port: int, out: Path | None) -> None:
    """Once: on the terminal, or in a file of one's own."""
    text = password
    if host:
        phone = importlib.import_module("agents.phone")  # it makes the demo's QR code as well
        configuration = phone.owntracks_configuration(host, port, login, password, tls=True)
        if out is None:
            import segno

            picture = io.StringIO()
            segno.make(phone.configuration_link(configuration), error="l").terminal(picture, compact=True)
            click.echo(picture.getvalue())
            return
        text = json.dumps(configuration, indent=1)
    if out is None:
        click.echo(text)
    else:
        write_private(out, text + "\n")
        click.echo(f"rahdar: the secret is in {out}, for its owner only", err=True)


def _warn_about_plan(login: str) -> None:
    from pipeline.plan.load import PlanError, load_plan

    try:
        plan = load_plan(read_settings().plan)
    except (PlanError, OSError):
        return  # the plan may be elsewhere: this is a hint
    if login not in plan.logins:
        click.echo(f"rahdar: the plan does not know {login} yet: what it sends is refused as unknown_device", err=True)


@device.command()
@click.argument("login")
@click.option("--shard", required=True, help="Where it publishes from now on.")
@_common
def move(login: str, shard: str, directory: Path | None, pid_file: Path) -> None:
    """LOGIN belongs to another shard. Its secret stays; which vehicle it is on is the plan's business."""
    with _refusals():
        moved = _devices(directory).move(login, shard)
    click.echo(f"v1/{shard}/{login}/<format>")
    click.echo(f"rahdar: {login} {'is now' if moved else 'was already'} in shard {shard}: set its topic", err=True)


@device.command()
@click.argument("login")
@_common
def revoke(login: str, directory: Path | None, pid_file: Path) -> None:
    """Shut LOGIN out, now: lost, stolen, sold. It is cut off on an open connection too."""
    with _refusals():
        done = _devices(directory).revoke(login)
    told = reload_mosquitto(pid_file)
    click.echo(f"rahdar: {login} {'is shut out' if done else 'was shut out already'}; {told}", err=True)


@device.command("list")
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
@_common
def list_devices(as_json: bool, directory: Path | None, pid_file: Path) -> None:
    """Every login: with what, in which shard, how it stands, until when."""
    with _refusals():
        register = _devices(directory).read()
    for login in sorted(register.devices):
        found = register.devices[login]
        if as_json:
            row = {"login": login, "kind": found.kind, "shard": found.shard, "state": found.state}
            click.echo(json.dumps({**row, "changed_at": found.changed_at, "until": found.until}))
        else:
            click.echo("\t".join((login, found.kind, found.shard, found.state, found.changed_at, found.until or "-")))

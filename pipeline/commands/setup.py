"""`rahdar setup`: the secrets of a deployment, made the first time, each readable by its one reader only."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import click
from cryptography import x509

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.ingest.acl import NOTIFY, SHARDS
from pipeline.ingest.authority import Authority, AuthorityError, utc, write_private
from pipeline.ingest.credentials import CredentialsError
from pipeline.ingest.devices import RENEW_BEFORE, Devices, DevicesError

MOSQUITTO, NGINX, GRAFANA, KAFKA, RAHDAR = 1883, 101, 472, 1000, 10001
"""Users of the containers in docker-compose.yml."""
FIRST_OPERATOR = "operator"
TOKENS = {"influx-writer.token": RAHDAR, "influx-reader.token": GRAFANA}
"""`rahdar influx setup` writes them once InfluxDB runs; here they only get their owner."""


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("deploy/secrets"),
    show_default=True,
    help="Where all of it lies.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    help="A name or address by which people and devices call this machine; repeat it.",
)
@click.option("--demo", is_flag=True, help="Passwords for the plan's devices too, for the simulators.")
@click.option(
    "--plan", type=click.Path(path_type=Path), default=Path("plans/hazara"), show_default=True, help="For --demo."
)
def setup(directory: Path, hosts: tuple[str, ...], demo: bool, plan: Path) -> None:
    """Certificates, passwords and tokens for a deployment. Running it again makes what is missing, renews what runs out, and changes
    nothing else. As root, each file is given to the container that reads it."""
    try:
        made = [
            *_devices(directory, hosts),
            *_stages(directory, hosts),
            *_web(directory, hosts),
            *_passwords(directory),
        ]
        if demo:
            made += _demo(directory, plan)
        for name, user in TOKENS.items():
            if (directory / name).exists():
                _give(directory / name, user)
    except (AuthorityError, DevicesError, CredentialsError) as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        raise BadInput(f"{error.filename or directory}: {error.strerror}") from error
    for path in made:
        click.echo(f"made {path}")
    click.echo(f"rahdar: {'ready' if made else 'everything was there'} in {directory}", err=True)


def _give(path: Path, user: int) -> None:
    """To its reader; where we are not root, whoever runs us reads it all."""
    if os.geteuid() == 0:
        os.chown(path, user, user)


def _folder(path: Path, user: int) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    _give(path, user)
    return path


def _once(path: Path, user: int, make: Callable[[], str]) -> Iterator[Path]:
    if not path.exists():
        write_private(path, make() + "\n")
        yield path
    _give(path, user)


def _copy(source: Path, target: Path, user: int) -> Iterator[Path]:
    content = source.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        write_private(target, content)
        yield target
    _give(target, user)


def _devices(directory: Path, hosts: tuple[str, ...]) -> Iterator[Path]:
    """What Mosquitto reads, and the certificates of our own bridge and notifier where only the stages look."""
    broker = _folder(directory / "mqtt", MOSQUITTO)
    yield from (Path(made) for made in Devices(broker, WallClock()).setup([*hosts, "mosquitto"], SHARDS))
    _folder(directory / "bridge", RAHDAR)
    for folder, login in [(f"bridge/{shard}", shard) for shard in SHARDS] + [("notify", NOTIFY)]:
        ours = _folder(directory / folder, RAHDAR)
        for name in ("device.pem", "device.key"):
            yield from _copy(broker / "issued" / login / name, ours / name, RAHDAR)
    for folder in ("bridge", "notify"):
        yield from _copy(broker / "ca.pem", directory / folder / "ca.pem", RAHDAR)


def _stages(directory: Path, hosts: tuple[str, ...]) -> Iterator[Path]:
    """What Kafka and the stages show one another. Of an authority of its own: with the devices' every tracker could write alerts."""
    now: datetime = utc(WallClock().now_us())
    broker, ours = _folder(directory / "kafka", KAFKA), _folder(directory / "stages", RAHDAR)
    authority = Authority(_folder(directory / "kafka-authority", os.geteuid()), now)
    if not authority.exists():
        authority.create("Rahdar stages")
        yield authority.certificate_path
    names = ("kafka", *hosts)
    certificate = broker / "server.pem"
    if not certificate.exists() or _is_due(certificate, authority, names, now):
        issued = authority.issue_server(names, also_client=True)
        write_private(certificate, issued.key_pem + issued.certificate_pem)  # one file: as Kafka reads it
        yield certificate
    _give(certificate, KAFKA)
    certificate, key = ours / "stage.pem", ours / "stage.key"
    if not (certificate.exists() and key.exists()) or _is_due(certificate, authority, (), now):
        issued = authority.issue("stage")
        write_private(key, issued.key_pem)
        write_private(certificate, issued.certificate_pem)
        yield certificate
    for path in (certificate, key):
        _give(path, RAHDAR)
    for folder, user in ((broker, KAFKA), (ours, RAHDAR)):
        yield from _copy(authority.certificate_path, folder / "ca.pem", user)


def _web(directory: Path, hosts: tuple[str, ...]) -> Iterator[Path]:
    """A certificate for people's browsers, of an authority of its own: who trusts it trusts no device. A certificate that is there
    and is of another authority, a public one, stays."""
    now: datetime = utc(WallClock().now_us())
    web = _folder(directory / "web", NGINX)
    authority = Authority(_folder(directory / "web-authority", os.geteuid()), now)
    if not authority.exists():
        authority.create("Rahdar desk")
        yield authority.certificate_path
    certificate = web / "server.pem"
    if not certificate.exists() or _is_due(certificate, authority, hosts, now):
        issued = authority.issue_server(hosts)
        write_private(web / "server.key", issued.key_pem)
        write_private(certificate, issued.certificate_pem, 0o644)
        yield certificate
    yield from _copy(authority.certificate_path, web / "ca.pem", NGINX)
    for path in (web / "server.key", certificate):
        _give(path, NGINX)


def _is_due(path: Path, authority: Authority, hosts: tuple[str, ...], now: datetime) -> bool:
    """Ours, and it ends soon or lacks a name."""
    found = x509.load_pem_x509_certificate(path.read_bytes())
    ours = x509.load_pem_x509_certificate(authority.certificate_path.read_bytes())
    if found.issuer != ours.subject:
        return False
    names = [e.value for e in found.extensions if isinstance(e.value, x509.SubjectAlternativeName)]
    known = {str(name.value) for several in names for name in several}
    soon: timedelta = RENEW_BEFORE
    return not set(hosts) <= known or found.not_valid_after_utc - now < soon


def _passwords(directory: Path) -> Iterator[Path]:
    from pipeline.desk.operators import Operators

    yield from _once(directory / "grafana-admin.password", GRAFANA, lambda: secrets.token_urlsafe(24))
    yield from _once(directory / "watchdog.token", GRAFANA, lambda: secrets.token_urlsafe(32))
    people = _folder(directory / "people", RAHDAR)
    yield from _once(
        people / "addresses", RAHDAR, lambda: "# NAME: ADDRESS, a line each; the names are those of the plan's roster"
    )
    desk = _folder(directory / "desk", RAHDAR)
    operators = desk / "operators.yaml"
    if not operators.exists():
        password = secrets.token_urlsafe(15)
        Operators(operators).put(FIRST_OPERATOR, "operator", password)
        write_private(directory / "first-operator.password", password + "\n")
        yield directory / "first-operator.password"
    _give(operators, RAHDAR)


def _demo(directory: Path, plan: Path) -> Iterator[Path]:
    """A password for every login of the plan, as JSON for the simulators; the broker knows their hashes."""
    from pipeline.plan.load import PlanError, load_plan

    path = directory / "demo-passwords.json"
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    try:
        missing = sorted(load_plan(plan).logins.keys() - known.keys())
    except PlanError as error:
        raise BadInput(str(error)) from error
    devices = Devices(directory / "mqtt", WallClock())
    for login in missing:
        secret = devices.enrol(login, "password", renew=True)
        assert secret is not None
        assert secret.password is not None
        known[login] = secret.password
    if missing:
        write_private(path, json.dumps(known) + "\n")
        yield path
    _give(path, RAHDAR)

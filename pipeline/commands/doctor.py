"""`rahdar doctor`: what is wrong with this deployment, and what to do about it."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.commands.run import read_settings
from pipeline.doctor import files, machine, servers
from pipeline.doctor.finding import Finding, away, exit_code, fault
from pipeline.ingest.authority import utc
from pipeline.settings import Settings

SIGNS = {"ok": "ok   ", "note": "note ", "fault": "FAULT", "away": "AWAY "}
OF_THE_LOG = ("ticks", "lag", "ports")
Check = Callable[[Settings], Iterator[Finding]]


def checks(secrets: Path | None, look: Callable[[], Any]) -> Mapping[str, Check]:
    """By name, in the order in which they are told. `look` is a look at the log, or None when it cannot be had."""
    now_us = WallClock().now_us

    def runs(s: Settings) -> bool:
        seen = look()
        tick = seen.tick if seen else None
        return tick is not None and now_us() - tick.at_us < servers.TICK_LATE_TIMES * s.tick_s * 1e6

    return {
        "settings": lambda s: machine.settings(s, os.environ),
        "plan": machine.plan,
        "versions": lambda s: machine.versions(),
        "secrets": files.secrets,
        "certificates": lambda s: files.certificates(s, secrets, utc(now_us())),
        "disk": machine.disk,
        "clock": lambda s: machine.clock(machine.kernel_clock()),
        "databases": servers.databases,
        "broker": servers.broker,
        "influx": lambda s: servers.influx(s, now_us()),
        "ticks": lambda s: servers.ticks(s, seen, now_us()) if (seen := look()) else iter(()),
        "lag": lambda s: servers.lag(seen, now_us()) if (seen := look()) else iter(()),
        "ports": lambda s: machine.ports(s, runs(s)),
    }


NAMES = tuple(checks(None, lambda: None))


class _Log:
    """Looked at once, when the first check asks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.findings: list[Finding] = []
        self._seen: Any = None
        self._looked = False

    def look(self) -> Any:
        if not self._looked:
            self._looked = True
            agents = importlib.import_module(
                "agents.look"
            )  # the agents stand over the pipeline: only the command line reaches up
            try:
                self._seen = asyncio.run(agents.look(self.url))
            except ConnectionError as error:
                cure = (
                    "start a stage; it makes the log"
                    if self.url.startswith("log://")
                    else "is Kafka up? RAHDAR_LOG_URL says where it should be"
                )
                self.findings.append(away("log", str(error), cure))
        return self._seen


def examine(s: Settings, only: tuple[str, ...], secrets: Path | None) -> list[Finding]:
    """All checks or those named. One that fails itself is a finding like any other."""
    log = _Log(s.log_url)
    found: list[Finding] = []
    for name, check in checks(secrets, log.look).items():
        if only and name not in only:
            continue
        try:
            found += check(s)
        except Exception as error:  # noqa: BLE001  # whatever it stumbled over, the other checks go on
            found.append(fault(name, f"the check itself failed: {type(error).__name__}: {error}", "please report this"))
    return found + log.findings


@click.command()
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="This check only; repeat it for several.")
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder whose certificates are looked at too, as deploy/secrets.",
)
@click.option("--json", "as_json", is_flag=True, help="One object a line: check, state, what, do.")
@click.option("--quiet", is_flag=True, help="Only what is wrong.")
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)
def doctor(only: tuple[str, ...], secrets: Path | None, as_json: bool, quiet: bool, env_file: Path | None) -> int:
    """Look at settings, plan, versions, secrets, certificates, disk, clock, databases, broker, InfluxDB, log and ports. Changes nothing.

    Exit code 0: nothing to do; 1: something is wrong; 3: the only thing wrong is that something does not answer.
    """
    try:
        settings = read_settings(env_file)
    except BadInput as error:
        _tell(fault("settings", error.message, "correct it; README.md lists the settings"), as_json)
        return 1
    found = examine(settings, only, secrets)
    for one in found:
        if not quiet or one.state in ("fault", "away"):
            _tell(one, as_json)
    wrong = sum(one.state in ("fault", "away") for one in found)
    if wrong:
        click.echo(f"rahdar: {wrong} of {len(found)} are not as they should be", err=True)
    return exit_code(found)


def _tell(one: Finding, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(one), ensure_ascii=False))
        return
    click.echo(f"{SIGNS[one.state]} {one.check}: {one.what}")
    if one.do and one.state != "ok":
        click.echo(f"        -> {one.do}")

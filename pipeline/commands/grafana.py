"""`rahdar grafana`: is the wall as it should be?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from pipeline.cli import BadInput, Unreachable
from pipeline.commands.run import read_settings

RULES = Path("deploy/grafana/alerting.yaml")
DASHBOARDS = Path("dashboards/json")


@click.group()
def grafana() -> None:
    """Ask a running Grafana whether it shows what it should."""


@grafana.command()
@click.option(
    "--root", type=click.Path(file_okay=False, exists=True, path_type=Path), default=Path(), help="Of the project."
)
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)
def check(root: Path, env_file: Path | None) -> None:
    """Health, version, data source, dashboards and watchdogs of RAHDAR_GRAFANA_URL. Exit code 1 when something is missing."""
    from pipeline.record.grafana import Grafana, UnreachableError

    settings = read_settings(env_file)
    if settings.grafana_token_file is None:
        raise BadInput(
            "RAHDAR_GRAFANA_TOKEN_FILE is not set; make a service account's token in Grafana and save it to a file"
        )
    try:
        token = settings.grafana_token_file.read_text(encoding="utf-8").strip()
        rules: Any = yaml.safe_load((root / RULES).read_text(encoding="utf-8"))
        uids = sorted(path.stem for path in (root / DASHBOARDS).glob("*.json"))
        findings = Grafana(settings.grafana_url, token).check(
            uids, [r["uid"] for g in rules["groups"] for r in g["rules"]]
        )
    except UnreachableError as error:
        raise Unreachable(str(error)) from error
    except (ValueError, OSError) as error:
        raise BadInput(str(error)) from error
    for one in findings:
        click.echo(f"{'ok  ' if one.good else 'MISS'} {one.what}" + ("" if one.good else f": {one.say}"))
    if not all(one.good for one in findings):
        raise BadInput(f"{sum(not one.good for one in findings)} of {len(findings)} are not as they should be")

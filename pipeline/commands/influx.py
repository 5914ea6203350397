"""`rahdar influx`: what an InfluxDB needs before it is recorded into."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from pipeline.cli import BadInput, Unreachable
from pipeline.commands.run import read_settings


@click.group()
def influx() -> None:
    """Set an InfluxDB 2 up; say what is written there."""


@influx.command()
@click.option(
    "--admin-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="An administrator's token. A new server has none: it is made and written here.",
)
@click.option(
    "--tokens",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("secrets"),
    show_default=True,
    help="Where the writer's and the reader's token go, each in a file that only its owner reads.",
)
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)
def setup(admin_token_file: Path, tokens: Path, env_file: Path | None) -> None:
    """Organisation, buckets with retention, downsampling tasks and two least-privilege tokens. Running it again changes nothing."""
    from pipeline.plan.load import PlanError, load_plan
    from pipeline.record.influx import AwayError, place_of
    from pipeline.record.setup import Setup, SetupError, Tokens, onboard, write_secret

    settings = read_settings(env_file)
    try:
        place = place_of(settings.record_url)
        regions = tuple(load_plan(settings.plan).regions)
        if not admin_token_file.exists():
            write_secret(admin_token_file, onboard(place, "rahdar-admin", secrets.token_urlsafe(24)))
            click.echo(
                f"a new server: its administrator's token is in {admin_token_file}; keep it away from the stages"
            )
        admin = admin_token_file.read_text(encoding="utf-8").strip()
        where = Tokens(tokens / "influx-writer.token", tokens / "influx-reader.token")
        Setup(place, admin, click.echo).run(regions, where)
    except AwayError as error:
        raise Unreachable(str(error)) from error
    except (ValueError, SetupError, PlanError, OSError) as error:
        raise BadInput(str(error)) from error
    click.echo(f"{place.url} is ready for {', '.join(regions)}. Set RAHDAR_INFLUX_TOKEN_FILE={where.writer}")


@influx.command()
def schema() -> None:
    """What is written: a line a measurement, with its tags and fields."""
    from pipeline.record.schema import MEASUREMENTS

    for m in MEASUREMENTS:
        click.echo(f"{m.name}\t{m.kind}\t{','.join(m.tags)}\t{','.join(m.fields)}")

"""`rahdar settle --day`: a day that nothing will be added to any more is told once more, out of `raw`; what differs is published."""

from __future__ import annotations

import importlib
from datetime import date, timedelta
from pathlib import Path

import click

from pipeline.cli import BadInput, Unreachable
from pipeline.clock import scaled_clock
from pipeline.commands.run import read_settings
from pipeline.model.times import format_us
from pipeline.plan.faults import PlanError
from pipeline.plan.load import load_plan
from pipeline.plan.times import ZONES, instant_us

SETTLED_AFTER_US = 6 * 3_600_000_000  # of the day after the next


@click.command()
@click.option("--day", required=True, help="In the region's time, as 2026-11-23.")
@click.option("--dry-run", is_flag=True, help="Say what differs, and publish nothing.")
@click.option("--early", is_flag=True, help="Although 06:00 of the second day after it has not come yet.")
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)
def settle(day: str, dry_run: bool, early: bool, env_file: Path | None) -> None:
    """Rebuild a day from raw, by the plans of that day, and publish how it differs from what was told."""
    settings = read_settings(env_file)
    try:
        plan = load_plan(settings.plan)
        of = date.fromisoformat(day)
    except PlanError as error:
        raise BadInput(str(error)) from error
    except ValueError as error:
        raise BadInput(f"--day {day}: write it as 2026-11-23") from error
    zone = ZONES[next(iter(plan.regions.values())).timezone]
    from_us, to_us = (instant_us(d.isoformat(), zone) for d in (of, of + timedelta(days=1)))
    due_us = instant_us((of + timedelta(days=2)).isoformat(), zone) + SETTLED_AFTER_US
    if not early and scaled_clock(settings.speed, settings.clock_anchor_us).now_us() < due_us:
        raise BadInput(f"{day} may be settled from {format_us(due_us)} on: until then its own partitions speak of it")
    agent = importlib.import_module("agents.settle")  # as `run` does: only the command line reaches up
    try:
        settled = agent.settle_day(settings, plan, from_us, to_us, not dry_run)
    except (ConnectionError, OSError) as error:
        raise Unreachable(str(error)) from error
    counts = ", ".join(f"{n} {kind}" for kind, n in settled.counts().items() if n) or "no difference"
    what = "would be published" if dry_run else "published"
    click.echo(
        f"{day}: {settled.episodes} episodes out of {settled.records} records; {counts}{'' if counts == 'no difference' else ' ' + what}; "
        f"{settled.waiting} open ones wait"
    )

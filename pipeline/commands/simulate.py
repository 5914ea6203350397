"""`rahdar simulate`: a story of the simulators as native lines, or live as devices on MQTT."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.cli import BadInput
from pipeline.clock import scaled_clock
from pipeline.commands.publishing import reach, read_passwords, say_what_became, stop_when_told
from pipeline.model.times import parse_us
from pipeline.plan.model import CompiledPlan


def _simulators() -> Any:
    # the simulators stand over the pipeline: only the command line reaches up to them
    return importlib.import_module("simulators.run")


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="The stories, a line each.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same bytes.")
@click.option("--vehicles", type=click.IntRange(min=1), help="How many vehicles, where the story leaves that open.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write native lines here; default: stdout."
)
@click.option("--mqtt", "mqtt_url", help="Play live to this broker: mqtt://HOST:PORT or mqtts://HOST:PORT.")
@click.option(
    "--passwords", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON: login -> password."
)
@click.option("--ca", "ca_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Who signed mqtts.")
@click.option("--plan", "plan_dir", type=click.Path(path_type=Path), help="Default: the story's own.")
@click.option("--start", help="When the story begins, e.g. 2026-11-23T10:00:00+05:00; live: now.")
@click.option(
    "--for", "seconds", type=click.IntRange(min=1), help="So many seconds of it; default: all, live for ever."
)
@click.option("--speed", default=1.0, show_default=True, help="Live: how much faster than the world.")
def simulate(
    name: str | None,
    listing: bool,
    seed: int,
    vehicles: int | None,
    out: Path | None,
    mqtt_url: str | None,
    passwords: Path | None,
    ca_file: Path | None,
    plan_dir: Path | None,
    start: str | None,
    seconds: int | None,
    speed: float,
) -> None:
    """Tell a story: vehicles on the plan's roads, with GPS noise, dead zones and faults; the same for the same seed."""
    run = _simulators()
    if listing:
        for story_name, sentence in run.catalogue():
            click.echo(f"{story_name}  {sentence}")
        return
    if name is None:
        raise click.UsageError("give the name of a story, or --list")
    try:
        story = run.story_named(name)
    except KeyError:
        known = ", ".join(known for known, _ in run.catalogue())
        raise click.UsageError(f"there is no story {name!r}; there are {known}") from None
    if mqtt_url and out:
        raise click.UsageError("give --out or --mqtt, not both")
    try:
        start_us = None if start is None else parse_us(start)
    except ValueError as error:
        raise click.UsageError(f"--start: {error}") from error
    plan = _plan(plan_dir or story.plan)
    if mqtt_url:
        _live(run, story, plan, seed, mqtt_url, passwords, ca_file, start_us, seconds, vehicles, speed)
        return
    lines = run.native_lines(story, plan, seed, start_us, seconds, vehicles)
    try:
        if out is None:
            for line in lines:
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        else:
            with out.open("wb") as file:
                file.writelines(lines)
    except ValueError as error:  # more vehicles than the plan has
        raise BadInput(str(error)) from error
    except BrokenPipeError:  # whoever read has had enough
        sys.stderr.close()
    except OSError as error:
        raise BadInput(str(error)) from error


def _plan(directory: Path) -> CompiledPlan:
    from pipeline.plan.load import PlanError, load_plan

    try:
        return load_plan(directory)
    except PlanError as error:
        raise BadInput(str(error)) from error


def _live(
    run: Any,
    story: Any,
    plan: CompiledPlan,
    seed: int,
    mqtt_url: str,
    passwords: Path | None,
    ca_file: Path | None,
    start_us: int | None,
    seconds: int | None,
    vehicles: int | None,
    speed: float,
) -> None:
    if passwords is None:
        raise click.UsageError("--mqtt needs --passwords FILE: what each device logs in with")
    credentials = read_passwords(passwords)
    try:
        where = run.endpoint(mqtt_url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    reach(where, mqtt_url)

    async def main() -> Any:
        stop = stop_when_told()
        clock = scaled_clock(speed)
        limits = {"start_us": start_us, "seconds": seconds, "vehicles": vehicles, "ca_file": ca_file}
        return await run.play(story, plan, seed, mqtt_url, credentials, clock, stop, **limits)

    try:
        done = asyncio.run(main())
    except ValueError as error:
        raise BadInput(str(error)) from error
    say_what_became(done, mqtt_url)

"""`rahdar bench`: what this machine reaches, a JSON object a row with `--json`, else a table."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import BadInput, Unreachable


def _show(rows: Iterable[Any], as_json: bool) -> None:
    for row in rows:
        if as_json:
            click.echo(orjson.dumps(asdict(row)))
            continue
        target = "" if row.target is None else f"  (target {row.target:,g})"
        click.echo(f"{row.name:44} {row.value:14,.2f} {row.unit}{target}  {row.conditions}")


as_json_option = click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
seed_option = click.option("--seed", default=1, show_default=True, help="Of the invented world.")


@click.group()
def bench() -> None:
    """Measure on this machine: core, worker, restart, region, latency, influx."""


@bench.command()
@as_json_option
@seed_option
@click.option("--vehicles", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--quick", is_flag=True, help="A fifth of the records: for a first look.")
def core(as_json: bool, seed: int, vehicles: int, quick: bool) -> None:
    """Detect's engine alone, in CPU time of one thread; in full also by the number of areas and vehicles and the size of records."""
    from pipeline.commands.bench_core import measure_core

    _show(measure_core(seed, vehicles, quick), as_json)
    if not quick:
        from pipeline.commands.bench_grid import DiffersError, measure_grid

        try:
            _show(measure_grid(seed), as_json)
        except DiffersError as error:
            raise click.ClickException(str(error)) from error


@bench.command()
@as_json_option
@seed_option
@click.option("--records", type=click.IntRange(min=10), default=400, show_default=True, help="Of 1,000 fixes each.")
def worker(as_json: bool, seed: int, records: int) -> None:
    """One Faust worker on the embedded log: records of observations in, changes out, checkpoints on the way."""
    measure = importlib.import_module("agents.bench_worker").measure_worker
    _show(asyncio.run(measure(seed=seed, records=records)), as_json)


@bench.command()
@as_json_option
@seed_option
@click.option("--vehicles", type=click.IntRange(min=1), default=10_000, show_default=True)
def restart(as_json: bool, seed: int, vehicles: int) -> None:
    """From the death of a worker by kill -9 to the first new change, with all vehicles in its checkpoint."""
    measure = importlib.import_module("agents.bench_restart").measure_restart
    try:
        rows = asyncio.run(measure(seed=seed, vehicles=vehicles))
    except TimeoutError as error:
        raise Unreachable("no new change within three minutes") from error
    _show(rows, as_json)


@bench.command()
@as_json_option
@seed_option
@click.option("--vehicles", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--sensors", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--for", "seconds", type=click.IntRange(min=10), default=300, show_default=True, help="Measured seconds.")
@click.option(
    "--plan", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("plans/hazara"),
    show_default=True, help="The region that is filled up.",
)  # fmt: skip
def region(as_json: bool, seed: int, vehicles: int, sensors: int, seconds: int, plan: Path) -> None:
    """Processor and memory of the whole system, embedded, in a region's quiet hour."""
    from pipeline.plan.load import PlanError

    measure = importlib.import_module("agents.bench_region").measure_region
    try:
        rows = asyncio.run(measure(plan, vehicles, sensors, seconds, seed))
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(str(error)) from error
    except PlanError as error:
        raise BadInput(str(error)) from error
    _show(rows, as_json)


@bench.command()
@as_json_option
@seed_option
@click.option("--rate", type=click.IntRange(1, 5000), default=500, show_default=True, help="Fixes per second.")
@click.option("--for", "seconds", type=click.IntRange(min=10), default=60, show_default=True, help="Seconds of load.")
def latency(as_json: bool, seed: int, rate: int, seconds: int) -> None:
    """From a vehicle's publish to the alert at the desk, the whole system embedded on this machine."""
    measure = importlib.import_module("agents.bench").measure_latency
    try:
        rows = asyncio.run(measure(fixes_per_second=rate, seconds=seconds, seed=seed))
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(str(error)) from error
    _show(rows, as_json)


@bench.command()
@as_json_option
@seed_option
@click.option("--vehicles", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--for", "seconds", type=click.IntRange(min=5), default=30, show_default=True, help="Seconds of load.")
@click.option(
    "--url",
    help="influx://HOST:PORT/ORG, set up for a region r; without it an influxd is started here and thrown away.",
)
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Of that server.")
def influx(as_json: bool, seed: int, vehicles: int, seconds: int, url: str | None, token_file: Path | None) -> None:
    """Fixes through the record's encoder and client into a real influxd, synchronously."""
    from pipeline.commands.bench_influx import measure_influx

    try:
        _show(measure_influx(seed, seconds, vehicles, url, token_file), as_json)
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(str(error)) from error
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(str(error)) from error

"""`rahdar order FILE`: a movement is created, delayed, diverted, cancelled, or gets another vehicle; checked whole, and durable once it is taken."""

from __future__ import annotations

import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import BadInput, Unreachable
from pipeline.clock import scaled_clock
from pipeline.commands.run import read_settings
from pipeline.model.times import format_us
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.faults import Fault, PlanError, shown
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.plan.times import ZONES, instant_us
from pipeline.plan.tree import read_file

LOOK_S = 0.05
HEAD = ("order", "effective_from")


def read_order(path: Path, plan: CompiledPlan, now_us: int) -> dict[str, Any]:
    """The native line that an order's file stands for. Raises PlanError with its faults."""
    _, tree = read_file(path, str(path))
    if tree.faults:
        raise PlanError(tree.faults)
    data = tree.data
    if not isinstance(data, dict) or not isinstance(data.get("order"), str):
        cure = "Begin it with order: create, delay, divert, swap or cancel"
        raise PlanError([Fault(str(path), "order", "", "the file says no order", cure, tree.line_of(("order",)))])
    line: dict[str, Any] = {"kind": "order", "what": data["order"], "seen_at": format_us(now_us)}
    if (told := data.get("effective_from")) is not None:
        zone = ZONES[next(iter(plan.regions.values())).timezone]
        try:
            line["effective_from"] = format_us(instant_us(str(told), zone))
        except (ValueError, OverflowError):
            cure = 'Write it in the region\'s time, "2026-11-23 21:30", or with a zone, "2026-11-23T16:30:00Z"'
            at = tree.line_of(("effective_from",))
            raise PlanError([Fault(str(path), "effective_from", shown(told), "this is no instant", cure, at)]) from None
    line["fields"] = {key: value for key, value in data.items() if key not in HEAD}
    number = blake2b(orjson.dumps(line, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
    line["fields"]["number"] = number
    return line


def ask(folder: Path, line: dict[str, Any], within_s: float) -> dict[str, Any]:
    """Put it where ingest looks, and wait for its answer. Raises Unreachable: then nothing was ordered."""
    name = str(line["fields"]["number"])
    asked, answer = folder / f"{name}.order", folder / f"{name}.answer"
    try:
        beside = folder / f"{name}.new"
        beside.write_bytes(orjson.dumps(line))
        beside.rename(asked)
    except OSError as error:
        raise Unreachable(f"{folder}: {error.strerror}; has ingest run with this RAHDAR_VAR?") from error
    deadline = time.monotonic() + within_s
    while not answer.exists():
        if time.monotonic() > deadline and asked.exists():
            asked.unlink(missing_ok=True)
            raise Unreachable(f"ingest took no order out of {folder} in {within_s:g} s: nothing was ordered")
        time.sleep(LOOK_S)
    found: dict[str, Any] = orjson.loads(answer.read_bytes())
    answer.unlink(missing_ok=True)
    return found


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)
@click.option("--within", type=float, default=10.0, show_default=True, help="Seconds to wait for ingest.")
def order(file: Path, env_file: Path | None, within: float) -> None:
    """Give a movement order (YAML or JSON) to the running ingest of this machine."""
    settings = read_settings(env_file)
    now_us = scaled_clock(settings.speed, settings.clock_anchor_us).now_us()
    try:
        line = read_order(file, load_plan(settings.plan), now_us)
    except PlanError as error:
        raise BadInput("\n".join(map(str, error.faults))) from error
    except (RefusedError, TypeError) as error:
        raise BadInput(f"{file}: {error}") from error
    told = ask(settings.var / "orders", line, within)
    if not told["taken"]:
        raise BadInput("the order is refused\n" + "\n".join(told["faults"]))
    cells = ", ".join(told["cells"]) or "nobody"
    click.echo(f"in force from {told['effective_from']}; it concerns {cells}")

"""`rahdar run STAGE...`: one or several stages in this process, or `all` of them in a few processes under a supervisor."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from pipeline.cli import BadInput, Unreachable
from pipeline.settings import Settings

STAGES = ("ingest", "normalise", "detect", "alert", "record", "notify", "desk", "all")


def read_settings(env_file: Path | None = None) -> Settings:
    """Settings from the environment and a file. Raises BadInput that names the variable to set."""
    try:
        where: dict[str, Any] = {"_env_file": env_file} if env_file else {}
        return Settings(**where)
    except ValidationError as error:
        first = error.errors()[0]
        name = "RAHDAR_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadInput(f"{name}: {first['msg']}") from error


def set_up_logging(level: str = "INFO") -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname).1s %(name)s %(message)s", datefmt="%H:%M:%S"
    )
    for chatty in ("aiokafka", "faust", "mode", "amqtt", "transitions", "uvicorn.access", "numba", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # a checkpoint that takes longer than its timer is no news


@click.command()
@click.argument("stages", nargs=-1, required=True, type=click.Choice(STAGES))
@click.option(
    "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings, one NAME=value a line."
)
def run(stages: tuple[str, ...], env_file: Path | None) -> None:
    """Run the stages of the pipeline: ingest, normalise, detect, alert, record, notify, desk; or all."""
    settings = read_settings(env_file)
    set_up_logging(settings.log_level)
    if "all" in stages:
        _run_all(settings)
        return
    runner = importlib.import_module(
        "agents.run"
    )  # the agents stand over the pipeline: only the command line reaches up to them
    from pipeline.plan.load import PlanError

    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(runner.run_stages(stages, settings))
    except PlanError as error:
        raise BadInput(str(error)) from error
    except ConnectionError as error:
        raise Unreachable(str(error)) from error


def _run_all(settings: Settings) -> None:
    supervise = importlib.import_module("agents.supervise")
    from pipeline.plan.load import PlanError, load_plan

    try:
        # a bad plan is refused once, here, and not by every child in turn
        load_plan(settings.plan, settings.plan_trees)
    except PlanError as error:
        raise BadInput(str(error)) from error
    supervisor = supervise.Supervisor(settings.environment())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.start()
    try:
        supervisor.run()
    finally:
        supervisor.close()

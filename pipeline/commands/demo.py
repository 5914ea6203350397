"""`rahdar demo`: everything on this machine, with simulated vehicles."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.commands.run import set_up_logging
from pipeline.plan.load import PlanError


def demo_plan(wanted: Path = Path("plans/hazara")) -> Path:
    """A story's plan: of the checkout when there is one, else the copy that the package carries."""
    packed = Path(__file__).resolve().parent.parent / "plan" / "demo"
    for candidate in (wanted, packed.joinpath(*wanted.parts[1:])):
        if candidate.is_dir():
            return candidate
    raise BadInput(f"the demo's plan is missing: neither {wanted} here nor in the package")


@click.command()
@click.option("--scenario", default="first-watch", show_default=True, help="Which story; see `rahdar simulate --list`.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 100), help="How fast time runs.")
@click.option("--for", "for_s", type=click.FloatRange(min=0), help="End after this many seconds of wall time.")
@click.option("--headless", is_flag=True, help="Alert transitions as JSON lines on stdout.")
@click.option(
    "--lan", is_flag=True, help="Let other machines and phones in: listens on every interface, shows a QR code."
)
@click.option("--seed", default=1, show_default=True, help="Of the simulated world.")
@click.option(
    "--plan",
    "plan_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another plan than the demo's.",
)
@click.option(
    "--dir",
    "directory",
    default=Path(".demo"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps its data.",
)
def demo(
    scenario: str,
    speed: float,
    for_s: float | None,
    headless: bool,
    lan: bool,
    seed: int,
    plan_dir: Path | None,
    directory: Path,
) -> int:
    """Broker, pipeline, simulated vehicles and the desk on this machine; Ctrl-C ends it."""
    set_up_logging("WARNING")
    module = importlib.import_module("agents.demo")
    simulators = importlib.import_module("simulators.run")
    try:
        story = simulators.story_named(scenario)
    except KeyError as error:
        raise BadInput(f"there is no story {scenario!r}; `rahdar simulate --list` names them") from error
    try:
        options = module.DemoOptions(
            scenario, speed, for_s, headless, lan, directory, plan_dir or demo_plan(story.plan), seed
        )
        code: int = module.run_demo(options)
    except PlanError as error:
        raise BadInput(str(error)) from error
    return code

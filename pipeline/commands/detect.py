"""`rahdar detect`: the ledger of recorded observations, through the same normalise and detect code as live."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.detect.engine import NeedHistoryError
from pipeline.detect.listening import ANY_SOURCE
from pipeline.detect.timed import Timed
from pipeline.model.episode import Ledger
from pipeline.model.observation import KEPT_OUT_OF_RULES, Fix, Other, Tick
from pipeline.model.times import parse_us
from pipeline.model.wire import BatchBuilder, ObservationBatch
from pipeline.normalise.files import read_observations
from pipeline.normalise.formats.native import TICK_SOURCE
from pipeline.normalise.gate import flagged
from pipeline.plan.faults import PlanError
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.plan.timeline import Timeline, UnknownPlanError

NO_HORIZON_US = 100 * 366 * 86_400_000_000


def ledger_of(
    plan: CompiledPlan, observations: list[Fix | Other], batch: int, later: Mapping[str, CompiledPlan] | None = None
) -> tuple[Ledger, Timeline]:
    """Fed in the given order, in records of this many observations. `later`: plans that orders may switch to, by hash. Raises
    UnknownPlanError."""
    engine = Timed(plan)
    ledger = Ledger()
    fed: list[ObservationBatch] = []
    source = source_of(observations)
    for start in range(0, len(observations), batch):
        builder = BatchBuilder(source=source)
        builder.extend(observations[start : start + batch])
        record = builder.build()
        while True:  # an order may ask for what a plan did not keep, and so may the fixes beside it
            try:
                ledger.apply(engine.feed(record, later))
                break
            except NeedHistoryError as need:
                engine.load_history(fed, need.from_us)
        fed.append(record)
    return ledger, engine.timeline


def source_of(observations: list[Fix | Other]) -> str:
    """Whose Ticks say how long nothing came. Files do not say who took a fix: where all Ticks are of one, it was that one."""
    ticking = {o.source for o in observations if isinstance(o, Tick)} - {ANY_SOURCE}
    return ticking.pop() if len(ticking) == 1 else TICK_SOURCE


@click.command()
@click.option(
    "--plan", "plan_dir", type=click.Path(path_type=Path), required=True, help="A region's folder, or a folder of them."
)
@click.option(
    "--later",
    "later_dirs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A plan that an order in the input switches to, by its hash.",
)
@click.option("--vehicle", help="Whose fixes they are, where a file does not say (GPX, NMEA).")
@click.option(
    "--until",
    help="A last instant up to which time passed, e.g. 2026-11-23T10:00:00Z: what is told by waiting (silence, sensors, convoys) is told up "
    "to then, or to the last Tick in the input.",
)
@click.option("--shuffle", type=int, help="Feed the whole input in another order: the ledger stays the same.")
@click.option("--batch", type=click.IntRange(min=1), default=1000, show_default=True, help="Observations in a record.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def detect(
    plan_dir: Path,
    later_dirs: tuple[Path, ...],
    vehicle: str | None,
    until: str | None,
    shuffle: int | None,
    batch: int,
    files: tuple[Path, ...],
) -> None:
    """Print the ledger of episodes, one JSON object a line; what was rejected is counted on stderr."""
    try:
        plan = load_plan(plan_dir)
        later = {known.hash: known for known in (plan, *map(load_plan, later_dirs))}
    except PlanError as error:
        raise BadInput(str(error)) from error
    if vehicle is not None and vehicle not in plan.vehicles:
        raise BadInput(f"vehicle {vehicle!r} is not in the plan")
    try:
        observations, rejected = read_observations(files, plan, vehicle, NO_HORIZON_US)
        if until is not None:
            observations.append(Tick(source="until", at_us=parse_us(until)))
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"--until: {error}") from error
    if shuffle is not None:
        random.Random(shuffle).shuffle(observations)  # noqa: S311  # an order, not a secret
    try:
        ledger, timeline = ledger_of(plan, observations, batch, later)
    except UnknownPlanError as error:
        raise BadInput(f"an order switches to plan {error.plan_hash}: give its folder with --later") from error
    sys.stdout.buffer.write(ledger.lines())
    sys.stdout.buffer.flush()
    for faults in timeline.refused.values():
        for fault in faults:
            click.echo(f"rahdar: order refused: {fault}", err=True)
    if rejected:
        reasons = sorted({r.reason or "" for r in rejected})
        click.echo(
            f"rahdar: {len(rejected)} of the messages were rejected ({', '.join(reasons)}); the first in {rejected[0].file}, "
            f"line {rejected[0].line}: {rejected[0].detail}",
            err=True,
        )
    out = Counter(flagged(o.flags)[0] for o in observations if isinstance(o, Fix) and o.flags & KEPT_OUT_OF_RULES)
    if out:
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(out.items()))
        click.echo(f"rahdar: {out.total()} of the fixes are kept out of the rules ({why})", err=True)

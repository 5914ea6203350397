"""`rahdar plan`: check a plan, show it, import what others drew."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli import BadInput

AREA_KINDS = (
    "site",
    "residence",
    "home",
    "safe_stop",
    "checkpoint",
    "depot",
    "forbidden",
    "no_stopping",
    "coverage_gap",
    "tunnel",
    "district",
    "zone",
)


@click.group()
def plan() -> None:
    """A region's plan: check it, draw it, import into it."""


@plan.command()
@click.argument("directory", type=click.Path(path_type=Path))
def check(directory: Path) -> None:
    """Name every fault of a plan: file, key, value, cure. Exit 0 when there is none, else 1."""
    from pipeline.plan.load import PlanError, load_plan
    from pipeline.plan.rules import RULES

    try:
        found = load_plan(directory)
    except PlanError as error:
        for fault in error.faults:
            click.echo(str(fault))
        count = len(error.faults)
        raise BadInput(f"{directory}: {count} fault{'s' if count != 1 else ''}") from None
    kilometres = sum(float(route.chainage_m[-1]) for route in found.routes.values()) / 1000
    running = [s.rule for region in found.regions.values() for s in region.rules.values() if s.mode == "live"]
    parts = [
        _count(len(found.regions), "region"),
        _count(len(found.areas), "area"),
        f"{_count(len(found.routes), 'route')} of {kilometres:.0f} km",
        _count(len(found.vehicles), "vehicle"),
        _count(len(found.convoys), "convoy"),
        _count(len(found.movements), "movement"),
        _count(len(found.sensors), "sensor"),
        f"{len(set(running))} of {len(RULES)} rules live",
    ]
    invented = " Invented." if any(region.invented for region in found.regions.values()) else ""
    click.echo(f"{directory}: no fault. {', '.join(parts)}; plan {found.hash}.{invented}")
    if found.left_out:
        told = ", ".join(sorted(found.left_out))
        click.echo(
            f"{directory}: left out, for their regions are not here: {told}. Check the folder of all regions as well."
        )


@plan.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--public", is_flag=True, help="Residences only roughly, for people who have no need of them.")
def geojson(directory: Path, public: bool) -> None:
    """The plan as GeoJSON on stdout: areas, routes, corridors, checkpoints, kilometre posts, places."""
    import orjson

    from pipeline.plan.geojson import plan_geojson
    from pipeline.plan.load import PlanError, load_plan

    try:
        found = load_plan(directory)
    except PlanError as error:
        first, more = error.faults[0], len(error.faults) - 1
        rest = f" (and {more} more: rahdar plan check {directory})" if more else ""
        raise BadInput(f"{first}{rest}") from None
    click.echo(orjson.dumps(plan_geojson(found, public=public)))


@plan.command()
def rules() -> None:
    """The rules that a plan may name: parameters, defaults, limits and the reason of each default."""
    from pipeline.plan.rules import table

    click.echo(table(), nl=False)


@plan.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--as", "what", type=click.Choice(["route", "areas"]), required=True, help="What the shapes are to become."
)
@click.option("--id", "name_id", required=True, help="Their id; several get -1, -2 and so on behind it.")
@click.option("--road", help="Of a route: the road's name on its posts, as N-35. Without: the id.")
@click.option(
    "--km",
    "km_at_start",
    type=float,
    default=0.0,
    show_default=True,
    help="Of a route: the road's kilometre at its first point.",
)
@click.option(
    "--kind", type=click.Choice(AREA_KINDS), default="site", show_default=True, help="Of areas: what they are."
)
@click.option(
    "--tolerance", type=click.FloatRange(0, 1000), default=5.0, show_default=True, help="Simplify by so many metres."
)
def import_(
    file: Path, what: str, name_id: str, road: str | None, km_at_start: float, kind: str, tolerance: float
) -> None:
    """Turn GPX or GeoJSON lines and areas into YAML on stdout, to paste into routes.yaml or areas.yaml."""
    from pipeline.plan.imports import MAX_BYTES, ImportRefusedError, areas_yaml, read_shapes, routes_yaml

    try:
        with file.open("rb") as source:
            shapes = read_shapes(source.read(MAX_BYTES + 1), closed=what == "areas")
        if what == "route":
            text = routes_yaml(shapes, name_id, road or name_id, km_at_start, tolerance, file.name)
        else:
            text = areas_yaml(shapes, name_id, kind, tolerance, file.name)
    except ImportRefusedError as error:
        raise BadInput(f"{file}: {error}") from None
    click.echo(text, nl=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"

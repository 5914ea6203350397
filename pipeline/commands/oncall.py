"""`rahdar oncall`: who is on call, now or at another time."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import click

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.commands.run import read_settings
from pipeline.model.times import from_us
from pipeline.notify.addresses import Addresses, AddressesError
from pipeline.people.secrets import FILE_NAME as ADDRESSES_KEY
from pipeline.people.secrets import mask
from pipeline.plan.load import PlanError, load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.plan.roster import on_call_rows
from pipeline.plan.times import ZONES, instant_us


@click.command()
@click.option("--at", "at", help='An instant: "2026-11-24 21:30" in the region\'s time, or with a zone. Default: now.')
@click.option(
    "--plan", "plan_dir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: RAHDAR_PLAN."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: region, post, officer, why, until, channels."
)
def oncall(at: str | None, plan_dir: Path | None, as_json: bool) -> int:
    """Who is on call on which post, until when, and by which channel; addresses are masked. Exit code 1: a post is empty."""
    settings = read_settings()
    try:
        plan = load_plan(plan_dir or settings.plan)
        addresses = Addresses(
            settings.addresses_file, key_file=settings.addresses_key_file or settings.var / ADDRESSES_KEY
        )
    except (PlanError, AddressesError, OSError) as why:
        raise BadInput(str(why)) from why
    if not plan.rosters:
        raise BadInput("no region of this plan has a roster.yaml; nobody is told outside the desk")
    empty = False
    for region in plan.rosters:
        zone = ZONES[plan.regions[region].timezone]
        for row in on_call_rows(plan, region, _instant(at, zone)):
            empty |= row["officer"] is None
            for channel in row["channels"]:
                address = addresses.find(channel.pop("address"))
                channel["address"] = mask(address) if address else None
            click.echo(json.dumps(row, ensure_ascii=False) if as_json else _line(plan, row, zone))
    return 1 if empty else 0


def _instant(at: str | None, zone: int) -> int:
    if at is None:
        return WallClock().now_us()
    try:
        return instant_us(at, zone)
    except (ValueError, OverflowError) as error:
        raise BadInput(f'--at {at!r} is no instant; write it as "2026-11-24 21:30"') from error


def _line(plan: CompiledPlan, row: dict[str, object], zone: int) -> str:
    post = plan.rosters[str(row["region"])].posts[str(row["post"])].name.get("en", "")
    head = f"{row['region']:<12} {post:<20} "
    if row["officer"] is None:
        return head + "NOBODY"
    until = from_us(int(str(row["until_us"]))) + timedelta(seconds=zone)
    channels = row["channels"]
    assert isinstance(channels, list)
    ways = ", ".join(
        f"{c['id']} {c['address'] or ('(this machine)' if c['kind'] == 'spool' else '(no address)')}" for c in channels
    )
    return f"{head}{row['name']:<24} until {until:%a %d %b %H:%M}  {row['why']:<9} {ways}"

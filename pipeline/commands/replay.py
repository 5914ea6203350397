"""`rahdar replay`: recorded observations into MQTT again, as the devices that they are from."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import BadInput
from pipeline.clock import WallClock
from pipeline.commands.decode import shown
from pipeline.commands.detect import NO_HORIZON_US
from pipeline.commands.publishing import reach, read_passwords, say_what_became, stop_when_told
from pipeline.commands.run import read_settings
from pipeline.model.observation import Fix, Other, Press, Reading
from pipeline.model.times import format_us
from pipeline.normalise.files import read_observations
from pipeline.plan.faults import PlanError
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan

Spoken = Fix | Reading | Press
TIMES = ("seen_at", "received_at")


def logins_by_device(plan: CompiledPlan) -> dict[str, str]:
    """Who speaks for each device."""
    return {device: login.login for login in plan.logins.values() for device in login.devices or (login.login,)}


def spoken(observations: Sequence[Fix | Other]) -> list[Spoken]:
    """What devices say, in the order of the instants: of links, orders and Ticks there is nothing to publish."""
    return sorted((o for o in observations if isinstance(o, Spoken)), key=lambda o: o.seen_at_us)


def schedule(
    observations: Sequence[Spoken], start_us: int, speed: float, keep_times: bool
) -> Iterator[tuple[int, int, Spoken]]:
    """(instant to publish at, instant to be seen at, observation). Above speed 1 what is told begins in the past, so that it ends now."""
    first, last = observations[0].seen_at_us, observations[-1].seen_at_us
    shift = 0 if keep_times else start_us + round((last - first) / speed) - last
    for o in observations:
        yield start_us + round((o.seen_at_us - first) / speed), o.seen_at_us + shift, o


def payload(observation: Spoken, seen_at_us: int) -> bytes:
    """Native JSON."""
    said = {name: value for name, value in (shown(observation) or {}).items() if name not in TIMES}
    return orjson.dumps({**said, "seen_at": format_us(seen_at_us)})


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 1000), help="How fast time runs.")
@click.option("--keep-times", is_flag=True, help="Leave the instants as they were recorded.")
@click.option("--vehicle", help="Whose fixes they are, where a file does not say (GPX, NMEA).")
@click.option("--mqtt", "mqtt_url", help="mqtt://HOST:PORT or mqtts://HOST:PORT; default: RAHDAR_MQTT_URL.")
@click.option(
    "--passwords",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON: login -> password; the demo's are in .demo/demo-passwords.json.",
)
@click.option("--ca", "ca_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Who signed mqtts.")
@click.option("--plan", "plan_dir", type=click.Path(path_type=Path), help="Default: RAHDAR_PLAN.")
@click.option("--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Settings.")
def replay(
    files: tuple[Path, ...],
    speed: float,
    keep_times: bool,
    vehicle: str | None,
    mqtt_url: str | None,
    passwords: Path,
    ca_file: Path | None,
    plan_dir: Path | None,
    env_file: Path | None,
) -> None:
    """Publish recorded observations as their devices would, the first one now."""
    settings = read_settings(env_file)
    url = mqtt_url or settings.mqtt_url
    publish: Any = importlib.import_module("simulators.publish")
    devices: Any = importlib.import_module("simulators.devices")
    try:
        plan = load_plan(plan_dir or settings.plan)
        where = publish.endpoint(url)
        credentials = read_passwords(passwords)
        observations, rejected = read_observations(files, plan, vehicle, NO_HORIZON_US)
    except PlanError as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(str(error)) from error
    told = spoken(observations)
    if not told:
        raise BadInput(f"nothing to replay: {len(rejected)} messages were rejected; `rahdar decode` says why")
    reach(where, url)
    speaks = logins_by_device(plan)
    clock = WallClock()

    def messages() -> Iterator[Any]:
        for at_us, seen_us, o in schedule(told, clock.now_us(), speed, keep_times):
            device = o.device or (plan.vehicles[o.subject].devices[0] if isinstance(o, Press) else "")
            login = speaks.get(device, device)
            yield devices.Message(at_us, login, f"v1/0/{login}/native", payload(o, seen_us))

    async def main() -> Any:
        publisher = publish.Publisher(url, credentials, clock, ca_file=ca_file)
        await publisher.run(messages(), stop_when_told())
        return publisher

    say_what_became(asyncio.run(main()), url, f", {len(rejected)} of the recording rejected")

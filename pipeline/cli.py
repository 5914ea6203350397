"""The command line: one table of commands, each in its own file, imported only when called."""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS: dict[str, str] = {
    "demo": "pipeline.commands.demo:demo",
    "simulate": "pipeline.commands.simulate:simulate",
    "replay": "pipeline.commands.replay:replay",
    "decode": "pipeline.commands.decode:decode",
    "detect": "pipeline.commands.detect:detect",
    "plan": "pipeline.commands.plan:plan",
    "run": "pipeline.commands.run:run",
    "order": "pipeline.commands.order:order",
    "settle": "pipeline.commands.settle:settle",
    "bench": "pipeline.commands.bench:bench",
    "influx": "pipeline.commands.influx:influx",
    "grafana": "pipeline.commands.grafana:grafana",
    "oncall": "pipeline.commands.oncall:oncall",
    "operator": "pipeline.commands.operator:operator",
    "address": "pipeline.commands.address:address",
    "token": "pipeline.commands.token:token",
    "audit": "pipeline.commands.audit:audit",
    "device": "pipeline.commands.device:device",
    "setup": "pipeline.commands.setup:setup",
    "doctor": "pipeline.commands.doctor:doctor",
    "backup": "pipeline.commands.backup:backup",
    "restore": "pipeline.commands.backup:restore",
}


class BadInput(click.ClickException):
    """Bad input, or a finding: one line of cause on stderr, exit code 1."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        click.echo(f"rahdar: {self.message}", err=True)


class Unreachable(BadInput):
    """Something could not be reached: exit code 3."""

    exit_code = 3


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rahdar")
def cli() -> None:
    """Rahdar, keeper of the road: telemetry and alerting for protected movements and sites."""


def main() -> None:
    """Exit codes: 0 done, 1 bad input or a finding, 2 usage, 3 something unreachable, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)

"""`rahdar decode`: what became of every message of some files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson

from pipeline.cli import BadInput
from pipeline.model.times import format_us
from pipeline.normalise.files import FILE_FORMATS, Outcome, Reader


def shown(observation: Any) -> dict[str, Any] | None:
    """An observation as native JSON: instants as text, nothing that is ours alone."""
    if observation is None:
        return None
    out: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(observation).items():
        if name in ("body", "flags"):
            continue
        if name.endswith("_us"):
            out[name.removesuffix("_us")] = format_us(value)
        elif value is not None:
            out[name] = value
    return out


def line_of(outcome: Outcome) -> bytes:
    """The contract's line."""
    return orjson.dumps(
        {
            "file": outcome.file.encode(errors="backslashreplace").decode(),  # a name need not be UTF-8
            "line": outcome.line,
            "outcome": outcome.outcome,
            "format": outcome.format,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "observation": shown(outcome.observation),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


@click.command()
@click.option("--format", "form", type=click.Choice(["auto", *FILE_FORMATS]), default="auto", show_default=True)
@click.option(
    "--topic", default="", help="The MQTT topic they came on: it tells the format where the payload does not."
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def decode(form: str, topic: str, files: tuple[Path, ...]) -> None:
    """Show, line by line, what is made of recorded messages: accepted, flagged or rejected, and why."""
    reader = Reader(form=form, topic=topic)
    for path in files:
        try:
            for outcome in reader.read(path):
                sys.stdout.buffer.write(line_of(outcome))
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror or error}") from error
    sys.stdout.buffer.flush()

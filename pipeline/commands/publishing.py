"""What `simulate` and `replay` share: who logs in how, whether a broker is there, and what became of it all."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import Any

import click

from pipeline.cli import BadInput, Unreachable


def read_passwords(path: Path) -> dict[str, str]:
    """Login -> password, from a JSON object. Raises BadInput."""
    try:
        return {str(login): str(password) for login, password in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{path}: not a JSON object of login -> password ({error})") from error


def reach(where: Any, mqtt_url: str) -> None:
    """Is anybody listening there? Raises Unreachable."""
    try:
        socket.create_connection((where.host, where.port), 5).close()
    except OSError as error:
        raise Unreachable(f"{mqtt_url}: {error}") from error


def stop_when_told() -> asyncio.Event:
    """Set at Ctrl-C or SIGTERM; from within the event loop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def say_what_became(publisher: Any, mqtt_url: str, more: str = "") -> None:
    """How many messages went out and were acknowledged. Raises Unreachable when none was."""
    click.echo(f"rahdar: {publisher.sent} messages sent, {publisher.acked} acknowledged{more}", err=True)
    if publisher.sent and not publisher.acked:
        raise Unreachable("; ".join(sorted(set(publisher.errors.values()))) or f"{mqtt_url} acknowledged nothing")

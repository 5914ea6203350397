"""Faust on two transports: `log://DIR`, embedded and durable on one machine, and `kafka://`. Stages cannot tell the
difference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from faust.transport import base
from yarl import URL

from agents.transport.address import directory_of
from agents.transport.consumer import Consumer
from agents.transport.guards import RAW_RECORDS, App, app_options, make_app, on_assigned, on_revoked, seek
from agents.transport.producer import Producer
from agents.transport.schema import FencedError, PartitionMismatchError, StoreClosedError, StoreError, UnknownTopicError
from agents.transport.store import LogStore
from agents.transport.topics import beyond_the_end, declare_topics, end_offset, read_topic

__all__ = [
    "RAW_RECORDS",
    "App",
    "FencedError",
    "LogStore",
    "PartitionMismatchError",
    "StoreClosedError",
    "StoreError",
    "Transport",
    "UnknownTopicError",
    "app_options",
    "beyond_the_end",
    "declare_topics",
    "end_offset",
    "make_app",
    "on_assigned",
    "on_revoked",
    "read_topic",
    "seek",
]


class Transport(base.Transport):
    """Registered under `faust.transports` as `log`."""

    Consumer = Consumer
    Producer = Producer
    driver_version = "log 1"

    def __init__(self, url: list[URL], app: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(url, app, loop)
        self.directory: Path = directory_of(url[0])

"""A file on this machine: one JSON object a line, synced before it counts as told.

For what needs no network: a wall printer, a sounder or a lamp whose program follows the file. The address is the file's name under
`var/notices`; without one in the addresses file it is the name in the plan.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson

from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Outcome, Passing, Permanent, Sent


class SpoolChannel:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, address: str, letter: Letter) -> Outcome:
        if not address or "/" in address or address.startswith("."):
            return Permanent("not a file's name")
        try:
            return await asyncio.to_thread(self._append, address, letter)
        except OSError as error:
            return Passing(error.strerror or "cannot be written")

    def _append(self, address: str, letter: Letter) -> Outcome:
        self._directory.mkdir(parents=True, exist_ok=True)
        line = {
            "id": letter.id, "alert": letter.alert, "revision": letter.revision, "person": letter.person,
            "severity": letter.severity, "kind": letter.kind, "repeat": letter.repeat, "text": letter.short,
        }  # fmt: skip
        handle = os.open(self._directory / f"{address}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, orjson.dumps(line) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        return Sent("written")

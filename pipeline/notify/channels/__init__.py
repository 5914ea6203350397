"""How a letter leaves the house: one file a channel, each with what to set up and what its failures mean (docs/alerts.md)."""

from __future__ import annotations

from typing import Protocol

from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Outcome


class Channel(Protocol):
    async def send(self, address: str, letter: Letter) -> Outcome:
        """Once, to one address. Never raises: what went wrong is an outcome."""
        ...

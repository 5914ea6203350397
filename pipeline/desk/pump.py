"""Turns what the live state learns into events: alerts at once, positions four times a second, convoys once."""

from __future__ import annotations

import asyncio
from typing import Any

from pipeline.desk.services import Services
from pipeline.model.alert import AlertEvent

POSITIONS_S = 0.25
CONVOYS_EVERY = 4


class Pump:
    def __init__(self, services: Services) -> None:
        self.s = services
        self._turn = 0
        self._convoys: list[dict[str, Any]] = []
        self._members = {vehicle for convoy in services.live.plan.convoys.values() for vehicle in convoy.members}
        self._convoy_moved = True

    def alert(self, event: AlertEvent) -> None:
        """Apply and tell, now."""
        view = self.s.live.apply_alert_event(event)
        if view is not None:
            self.s.feed.publish("alert", view)

    def turn(self) -> None:
        """One quarter of a second's work."""
        rows = self.s.live.take_positions()
        if rows:
            self.s.feed.publish("positions", rows)
            self._convoy_moved = self._convoy_moved or any(row[0] in self._members for row in rows)
        self._turn += 1
        if self._turn % CONVOYS_EVERY:
            return
        if self.s.story.refresh():
            self.s.feed.publish("story", self.s.story.view)
        if self._convoy_moved:
            self._convoy_moved = False
            convoys = self.s.where.convoys(self.s.live.positions, self.s.clock.now_us())
            if convoys != self._convoys:
                self._convoys = convoys
                self.s.feed.publish("convoys", convoys)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.turn()
            await asyncio.sleep(POSITIONS_S)

"""What a vehicle's state becomes when another plan comes into force: by the names of areas, rules and movements, not by their places.

What the new plan no longer has is ended at that instant; what it has, however its numbers were edited, goes on.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from pipeline.detect.form import AREA, BEGIN, DEVIATION, LEG, OUT, PAIR, ROW, STOPPED
from pipeline.detect.rules.areas import concerns
from pipeline.detect.state import NEW_HELD, new_legs
from pipeline.detect.tables import Tables
from pipeline.detect.translate import reproject

BEFORE_ALL = -1  # a device's place, in the key of a state that no fix has made


def _watches(tables: Tables) -> dict[tuple[str, str, int], int]:
    """Watches by rule, area, and which of an area's lines with the same rule it is."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for place, told in enumerate(tables.watches):
        name = told.rule, told.object
        found[*name, seen[name]] = place
        seen[name] += 1
    return found


class Carrier:
    """From one plan's tables to the next one's, at the instant from which that is in force."""

    def __init__(self, old: Tables, new: Tables, at_us: int) -> None:
        self.old, self.new, self.at_us = old, new, at_us
        self._reprojects = old.plan.projection != new.plan.projection
        now = _watches(new)
        self._watch = {place: now.get(name) for name, place in _watches(old).items()}

    def carry(self, vehicle: str, state: bytes) -> tuple[bytes | None, list[Any]]:
        """The state as the new plan's tables read it, None when it does not have the vehicle; and what ends here, as records of a scan
        in the old one's places. `state` has as many legs as the old plan's tables have room for."""
        row = np.frombuffer(state, ROW, 1).copy()
        pairs = np.frombuffer(state, PAIR, int(row["pairs"][0]), len(state) - int(row["pairs"][0]) * PAIR.itemsize)
        legs = np.frombuffer(state, LEG, (len(state) - ROW.itemsize - pairs.nbytes) // LEG.itemsize, ROW.itemsize)
        ended: list[Any] = []
        place = self.new.vehicle_place.get(vehicle, -1)
        v = self.new.static.vehicles[place] if place >= 0 else None
        kept = [self._pair(pair, place, v, ended) for pair in pairs]
        moved = self._legs(vehicle, legs, place, v, ended)
        if v is None or v["stop_on"] != 1:
            self._end(row["stop"]["held"][0], STOPPED, 0, ended)
            row["stop"]["held"] = NEW_HELD
        if v is None:
            return None, ended
        own = [pair for pair in kept if pair is not None]
        row["pairs"], row["vehicle"] = len(own), place
        row["seen"], row["device"], row["seq"], row["body"] = self.at_us, BEFORE_ALL, 0, 0
        self._ranks(vehicle, row)
        if self._reprojects:
            reproject(row, self.new.plan.projection, self.old.plan.projection)
        return b"".join([row.tobytes(), moved.tobytes(), *(pair.tobytes() for pair in own)]), ended

    def _pair(self, pair: Any, place: int, v: Any, ended: list[Any]) -> Any:
        now = self._watch[int(pair["watch"])]
        if now is not None and v is not None:
            st = self.new.static
            if concerns(st.watches[now], st.bound, place, v["role"]):
                moved = pair.copy()
                moved["watch"] = now
                return moved
        self._end(pair["held"], AREA, int(pair["watch"]), ended)
        return None

    def _legs(self, vehicle: str, legs: Any, place: int, v: Any, ended: list[Any]) -> Any:
        """A movement that takes another way begins anew; one whose way was drawn anew goes on."""
        moved = new_legs(self.new.most_legs)
        first, last = (int(k) for k in v["legs"]) if v is not None else (0, 0)
        theirs = {self._way(self.new, k): k - first for k in range(first, last)}
        first, last = (
            int(k) for k in self.old.static.vehicles["legs"][self.old.vehicle_place[vehicle]]
        )  # the old plan has it: it made the state
        for k in range(first, min(last, first + len(legs))):
            leg = legs[k - first]
            at = theirs.get(self._way(self.old, k))
            if at is not None:
                moved[at] = leg
                moved["segment"][at] = -1
            on = at is not None and v is not None and self._judged(place, k)
            if not on:
                self._end(leg["held"], DEVIATION, k, ended)
                if at is not None:
                    moved["held"][at] = NEW_HELD
        return moved

    @staticmethod
    def _way(tables: Tables, leg: int) -> Any:
        movement = tables.leg_movements[leg]
        return movement.id, tuple(way.route for way in movement.way)

    def _judged(self, place: int, leg: int) -> bool:
        """Does anybody judge deviations on this movement in the new plan?"""
        movement = self.old.leg_movements[leg].id
        first, last = (int(k) for k in self.new.static.vehicles["legs"][place])
        for k in range(first, last):
            if self.new.leg_movements[k].id == movement:
                return any(self.new.static.vehicles["off_on"][host] == 1 for host in self.new.leg_hosts[k])
        return False

    def _ranks(self, vehicle: str, row: Any) -> None:
        """When each of its devices was last heard, under the ranks that they have now."""
        before = self.old.plan.vehicles[vehicle].devices
        now = self.new.plan.vehicles[vehicle].devices
        if before == now:
            return
        heard = {device: int(row[f"rank{min(rank, 2)}"][0]) for rank, device in enumerate(before)}
        for rank in range(3):
            row[f"rank{rank}"] = heard.get(now[rank], 0) if rank < len(now) else 0

    def _end(self, held: Any, rule: int, place: int, ended: list[Any]) -> None:
        if not held["on"]:
            return
        said = np.zeros((), OUT)
        said["fix"], said["kind"], said["rule"], said["object"] = -1, BEGIN, rule, place
        said["ended"], said["peak"] = self.at_us, held["peak"]
        for name in ("severity", "began", "decided", "lat", "lon", "along"):
            said[name] = held[name]
        ended.append(said)

"""Names to places: a vehicle's slot, a device's place in the total order and its rank, packed into one number for the columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from pipeline.detect.arrive import pack_name
from pipeline.detect.compiled import bare
from pipeline.detect.tables import Tables

LATER_DEVICES = 1 << 27


class Names(dict[str, int]):
    """Fills itself. A device that the plan does not know stands behind those that it knows, in an order of its own."""

    def __init__(self, tables: Tables, slot_of: Callable[[str], int]) -> None:
        super().__init__()
        self._tables = tables
        self._slot_of = slot_of

    def __missing__(self, name: str) -> int:
        slot = self._slot_of(name) if name in self._tables.vehicle_place else -1
        known = self._tables.device_place.get(name)
        if known is None:
            digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
            known = LATER_DEVICES + int.from_bytes(digest, "big") % LATER_DEVICES, 0
        packed = self[name] = pack_name(slot, *known)
        return packed


@bare
def look_up(by_place: Any, places: Any, packed: Any) -> int:
    """Fill `packed` from the table of the plan's names; what is not in it yet is -1. Returns how many are; -1 when a place is none."""
    last = len(by_place) - 1
    unknown = 0
    for i in range(len(places)):
        place = places[i]
        if place < -1 or place >= last:
            return -1
        packed[i] = by_place[place] if place >= 0 else -1
        if packed[i] < 0:
            unknown += 1
    return unknown

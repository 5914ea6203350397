"""A state that was written under one plan, read under another: by the names of areas, rules and movements, not by their places."""

from __future__ import annotations

import msgspec
import numpy as np

from pipeline.detect.form import LEG, PAIR, ROW
from pipeline.detect.state import new_legs
from pipeline.detect.tables import Tables


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """What the places in a state mean: watches as (rule, area); of each vehicle its movements."""

    watches: list[tuple[str, str]]
    movements: dict[str, list[str]]
    most_legs: int


def layout_of(tables: Tables) -> Layout:
    movements = {}
    for place, vehicle in enumerate(tables.vehicle_ids):
        first, last = (int(k) for k in tables.static.vehicles["legs"][place])
        if first != last:
            movements[vehicle] = [tables.leg_movements[k].id for k in range(first, last)]
    return Layout([(w.rule, w.object) for w in tables.watches], movements, tables.most_legs)


def translate(tables: Tables, vehicle: str, old: Layout, state: bytes) -> bytes:
    """The same state in the places of another plan; what that plan no longer has is left out."""
    row = np.frombuffer(state, ROW, 1).copy()
    legs = np.frombuffer(state, LEG, old.most_legs, ROW.itemsize)
    pairs = np.frombuffer(state, PAIR, int(row["pairs"][0]), ROW.itemsize + old.most_legs * LEG.itemsize)
    place = {(w.rule, w.object): i for i, w in enumerate(tables.watches)}
    kept = pairs.copy()
    n = 0
    for pair in pairs:
        now = place.get(old.watches[int(pair["watch"])])
        if now is not None:
            kept[n] = pair
            kept[n]["watch"] = now
            n += 1
    row["pairs"] = n
    moved = new_legs(tables.most_legs)
    first, last = (int(k) for k in tables.static.vehicles["legs"][tables.vehicle_place[vehicle]])
    before = {movement: i for i, movement in enumerate(old.movements.get(vehicle, []))}
    for k in range(first, last):
        i = before.get(tables.leg_movements[k].id)
        if i is not None:
            moved[k - first] = legs[i]
            moved["segment"][k - first] = -1  # the road may have been drawn anew
    return row.tobytes() + moved.tobytes() + kept[:n].tobytes()

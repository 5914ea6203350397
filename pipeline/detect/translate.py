"""A state that was written under one plan, read under another: by the names of areas, rules and movements, not by their places."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.detect.form import LEG, NEVER, PAIR, ROW, UNKNOWN_ACCURACY_M
from pipeline.detect.state import new_legs
from pipeline.detect.tables import Tables
from pipeline.geo.projection import MAX_ERROR_M, Projection

Array = npt.NDArray[Any]


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


def points(row: Array) -> list[tuple[Array, Array, Array, Array]]:
    """What of a vehicle's row, shape (1,), is in metres of its plan's projection, where it is set: (x, y, latitude, longitude), to be
    written through. The degrees are those of a fix near by: a point may be the mean of many."""
    stop = row["stop"]
    named = (
        (row, "still_x", "still_y", "used", "used_lat", "used_lon"),
        (stop, "x", "y", "since", "lat", "lon"),
        (stop, "away_x", "away_y", "away_since", "away_lat", "away_lon"),
    )
    return [
        (of[x], of[y], of[lat], of[lon])
        for of, x, y, since, lat, lon in named
        if of[since][0] != NEVER and np.isfinite(of[x][0])
    ]


def reproject(row: Array, new: Projection, old: Projection | None) -> None:
    """The same places in metres of another projection. `old` None: nobody knows it; then, and beyond its bounds, where its metres cannot
    be taken back, each is where the fix near by is, and the mean begins anew."""
    for x, y, lat, lon in points(row):
        if old is not None and old.covers(float(lat[0]), float(lon[0])):
            lon, lat = old.to_lonlat(x, y)
        x[:], y[:] = new.to_xy(lat, lon)
    if old is None or not old.covers(float(row["used_lat"][0]), float(row["used_lon"][0])):
        row["still_weight"] = 0.0


def fits(row: Array, projection: Projection) -> bool:
    """May its metres be of this projection? While it moves they are its newest fix's own, else a mean from which that is not far."""
    if row["used"][0] == NEVER:
        return True
    x, y = projection.to_xy(row["used_lat"], row["used_lon"])
    reach = 3.0 * max(float(row["used_acc"][0]), UNKNOWN_ACCURACY_M) if row["still_weight"][0] > 0.0 else 0.0
    return math.hypot(row["still_x"][0] - x[0], row["still_y"][0] - y[0]) <= reach + MAX_ERROR_M


def translate(tables: Tables, vehicle: str, old: Layout, state: bytes) -> bytes:
    """The same state in the places of another plan; what that plan no longer has is left out. With which projection it was written is not
    said: a mean that lies by less than its reach beside the newest fix is taken as it is."""
    row = np.frombuffer(state, ROW, 1).copy()
    if not fits(row, tables.plan.projection):
        reproject(row, tables.plan.projection, None)
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

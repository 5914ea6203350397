"""Where the law is tried: a region of 24 cells, or only some of them, each with a convoy of three on a road of its own, a patrol that wanders between a lake that
is forbidden and a camp, and two sensors in that camp. Every rule that is judged is live."""

from __future__ import annotations

import functools
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from pipeline.detect.tables import Tables, build_tables
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan

CELLS = 24
ALL = tuple(range(CELLS))
WEST, SOUTH = 73.0, 34.55
ROW_M = 4000.0
METRE_LAT = 1 / 111_200.0
METRE_LON = METRE_LAT / math.cos(math.radians(35.0))
ROAD = (
    (0.0, 0.0),
    (1500.0, 0.0),
    (2600.0, 700.0),
    (5800.0, 700.0),
    (9000.0, 600.0),
)  # metres east and north of a cell's corner
LAKE = (900.0, -500.0, 160.0)  # east, north, radius
CAMP = (2000.0, -700.0, 250.0)
GAP_M, REACH_M = 300.0, 450.0
SILENT_S = 60


def place(cell: int, east_m: float, north_m: float) -> tuple[float, float]:
    """Latitude and longitude of a point of this cell."""
    return SOUTH + (cell * ROW_M + north_m) * METRE_LAT, WEST + east_m * METRE_LON


def _circle(cell: int, of: tuple[float, float, float]) -> dict[str, float]:
    lat, lon = place(cell, of[0], of[1])
    return {"lat": round(lat, 7), "lon": round(lon, 7), "radius_m": of[2]}


def _files(cells: tuple[int, ...], dry: bool) -> dict[str, dict[str, Any]]:
    words = {"en": "Trial", "ur": "آزمائش"}
    told = {"mode": "live", "severity": "high", "owner": "nobody", "respond_within": "5 min", "response": "A test."}
    parts: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("areas", "routes", "vehicles", "convoys", "movements", "sensors")
    }
    for n in cells:
        lake = [{"rule": "area.forbidden", "dwell": "5 s"}, {"rule": "area.left", "dwell": "0 s"}]
        camp = [{"rule": "area.entered", "dwell": "20 s"}, {"rule": "area.required", "vehicles": [f"w1-{n}"]}]
        parts["areas"] += [
            *(
                []
                if dry
                else [
                    {"id": f"lake-{n}", "name": words, "kind": "forbidden", "circle": _circle(n, LAKE), "rules": lake}
                ]
            ),
            {"id": f"camp-{n}", "name": words, "kind": "site", "circle": _circle(n, CAMP), "rules": camp},
        ]
        line = [[round(c, 7) for c in place(n, *point)] for point in ROAD]
        parts["routes"].append({"id": f"n-{n}", "name": words, "road": f"N-{n}", "half_width_m": 100, "line": line})
        for name, role, devices in (
            ("e1", "escort", ["e1"]),
            ("p1", "principal", ["p1", "p1-phone"]),
            ("e2", "escort", ["e2"]),
            ("w1", "patrol", ["w1"]),
        ):
            parts["vehicles"].append(
                {"id": f"{name}-{n}", "call_sign": f"{name}-{n}", "kind": "pickup", "role": role, "cell": f"c-{n}",
                 "devices": [f"{device}-{n}" for device in devices]}
            )  # fmt: skip
        members = [f"{name}-{n}" for name in ("e1", "p1", "e2")]
        parts["convoys"].append({"id": f"k-{n}", "name": words, "members": members, "max_gap_m": GAP_M})
        parts["movements"].append(
            {"id": f"m-{n}", "name": words, "convoy": f"k-{n}", "route": f"n-{n}", "always": True}
        )
        night = [{"from": "00:00", "to": "24:00"}]
        parts["sensors"] += [
            {"id": f"gate-{n}", "name": words, "kind": "door", "site": f"camp-{n}", "device": f"gate-d-{n}",
             "cell": f"c-{n}", "schedule": night, "agrees_with": f"pir-{n}"},
            {"id": f"pir-{n}", "name": words, "kind": "pir", "site": f"camp-{n}", "device": f"pir-d-{n}", "cell": f"c-{n}"},
        ]  # fmt: skip
    region = {
        "id": "trial", "name": words, "timezone": "UTC", "invented": True, "cells": [f"c-{n}" for n in cells],
        "bounds": {"west": WEST - 0.1, "south": SOUTH - 0.1, "east": WEST + 0.3, "north": SOUTH + 1.0},
    }  # fmt: skip
    grouped: dict[str, Any] = {"min_duration": "30 s", "stale_after": "60 s"}
    rules: dict[str, dict[str, Any]] = {
        "area.entered": {}, "area.left": {}, "area.required": {}, "area.forbidden": {},
        "route.deviation": {"min_duration": "10 s"},
        "stop.unscheduled": {"radius_m": 40 if dry else 50, "min_duration": "45 s"},
        "device.silent": {"expected_within": f"{SILENT_S} s"},
        "area.blackout": {"vehicles": 3, "silent_for": "40 s", "within": "60 s"},
        "clock.suspect": {},
        "convoy.separated": grouped,
        "escort.missing": {"max_distance_m": REACH_M} | grouped,
        "sensor.alarm": {"confirm_within": "40 s", "reset_for": "15 s", "reset_after": "90 s"},
        "sensor.tamper": {"reset_for": "20 s", "reset_after": "120 s"},
        "sensor.disagrees": {"for": "30 s", "reset_for": "10 s", "reset_after": "60 s"},
        "sos.pressed": {"severity": "critical"},
    }  # fmt: skip
    files: dict[str, dict[str, Any]] = {name: {name: entries} for name, entries in parts.items()}
    files["region"] = region
    files["rules"] = {"rules": {name: told | more for name, more in rules.items()}}
    return files


RULES = frozenset(_files(ALL, dry=False)["rules"]["rules"])


@functools.cache
def the_plan(cells: tuple[int, ...] = ALL, dry: bool = False) -> CompiledPlan:
    """Loaded from files, as any plan is. `dry`: the one that comes after it, without the lakes and with a narrower stop."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in _files(cells, dry).items():
            (Path(directory) / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
        return load_plan(Path(directory))


@functools.cache
def the_tables(cells: tuple[int, ...] = ALL) -> Tables:
    return build_tables(the_plan(cells))


@functools.cache
def the_plans() -> dict[str, CompiledPlan]:
    """What a switch may name."""
    return {plan.hash: plan for plan in (the_plan(), the_plan(dry=True))}


TABLES: dict[str, Tables] = {}
"""By plan, for all engines: most versions of a timeline are those of another engine as well."""

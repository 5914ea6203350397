"""A fleet in many cells, and what it sends: for the tests that share cells out among workers. The same for the same seed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.model.observation import Tick
from pipeline.model.times import format_us
from pipeline.model.wire import RAW_VERSION, RawBatch, RawItem

CELLS = 26
SOURCE = "feed"
START_US = 1_764_000_000_000_000
STEP_US = 5_000_000  # a fix of each vehicle, and a Tick
METRE_LAT = 1 / 111_200.0
METRE_LON = METRE_LAT / math.cos(math.radians(35.1))
KINDS = ("trespasser", "late", "hidden")
"""What the three vehicles of a cell do: go into a forbidden area and out again; the same, and send some of it late; come into
places without coverage, and are silent there."""


def home_of(cell: int, kind: int) -> tuple[float, float]:
    """A grid of 3 km."""
    n = cell * len(KINDS) + kind
    return 35.1 + (n % 10 - 5) * 3000 * METRE_LAT, 73.0 + (n // 10 - 5) * 3000 * METRE_LON


def write_plan(directory: Path) -> Path:
    """Each vehicle has a forbidden area of its own."""
    words = {"en": "Trial", "ur": "آزمائش"}
    told = {"mode": "live", "severity": "high", "owner": "nobody", "respond_within": "5 min", "response": "A test."}
    areas: list[dict[str, Any]] = []
    cars: list[dict[str, Any]] = []
    for cell in range(CELLS):
        for kind in range(len(KINDS)):
            name = f"{cell}-{kind}"
            lat, lon = home_of(cell, kind)
            areas.append(
                {
                    "id": f"a-{name}",
                    "name": words,
                    "kind": "forbidden",
                    "circle": {"lat": round(lat, 6), "lon": round(lon, 6), "radius_m": 200},
                    "rules": [{"rule": "area.forbidden"}],
                }
            )
            cars.append(
                {
                    "id": f"v-{name}",
                    "call_sign": f"V-{name}",
                    "kind": "pickup",
                    "role": "patrol",
                    "devices": [f"d-{name}"],
                    "cell": f"c-{cell}",
                }
            )
    region = {
        "id": "trial",
        "name": words,
        "timezone": "Asia/Karachi",
        "invented": True,
        "cells": [f"c-{cell}" for cell in range(CELLS)],
        "bounds": {"west": 72.5, "south": 34.5, "east": 73.5, "north": 35.7},
    }
    rules = {
        "area.forbidden": {**told, "dwell": "0 s"},
        "device.silent": {**told, "expected_within": "60 s"},
    }
    plan = directory / "plan"
    plan.mkdir(parents=True, exist_ok=True)
    files = {"region": region, "rules": {"rules": rules}, "areas": {"areas": areas}, "vehicles": {"vehicles": cars}}
    for name, content in files.items():
        (plan / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return plan


@dataclass
class Feed:
    """What ingest would write: for each step a record of each cell, and a Tick for each partition."""

    plan_hash: str
    seed: int = 1
    sent: int = 0
    _held: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._until: dict[str, int] = {}
        self._mood: dict[str, str] = {}

    def step(self, number: int) -> Iterator[tuple[str, RawBatch]]:
        """(cell, record)."""
        at_us = START_US + number * STEP_US
        for cell in range(CELLS):
            items = [
                RawItem(self._next(), login, f"v1/0/{login}/native", payload, at_us + 200_000)
                for kind in range(len(KINDS))
                for login, payload in self._says(cell, kind, number, at_us)
            ]
            if items:
                yield f"c-{cell}", RawBatch(RAW_VERSION, SOURCE, self.plan_hash, items, [])

    def tick(self, number: int) -> RawBatch:
        at_us = START_US + number * STEP_US + 300_000
        return RawBatch(RAW_VERSION, SOURCE, self.plan_hash, [], [Tick(source=SOURCE, at_us=at_us)])

    def _next(self) -> int:
        self.sent += 1
        return self.sent

    def _says(self, cell: int, kind: int, number: int, at_us: int) -> Iterator[tuple[str, bytes]]:
        name = f"{cell}-{kind}"
        if number >= self._until.get(name, 0):
            moods = {
                "trespasser": ("in", "out"),
                "late": ("in", "out", "late in", "late out"),
                "hidden": ("out", "late out", "dark"),
            }
            self._mood[name] = self._dice.choice(moods[KINDS[kind]])
            self._until[name] = number + self._dice.randint(4, 24)
        mood = self._mood[name]
        east_m = 0.0 if mood.endswith("in") else 600.0 + 150.0 * (number % 2)
        lat, lon = home_of(cell, kind)
        login = f"d-{name}"
        payload = json.dumps(
            {
                "kind": "fix",
                "vehicle": f"v-{name}",
                "device": login,
                "seq": number,
                "seen_at": format_us(at_us),
                "lat": round(lat, 7),
                "lon": round(lon + east_m * METRE_LON, 7),
                "speed_mps": 10.0,
                "accuracy_m": 5,
            }
        ).encode()
        if mood == "dark":
            return
        if mood.startswith("late") and number + 1 < self._until[name]:
            self._held.setdefault(name, []).append((login, payload))
            return
        yield from self._held.pop(name, [])
        yield login, payload

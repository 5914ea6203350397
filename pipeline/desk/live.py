"""What the desk knows now: the newest position of each vehicle, the alerts not closed, and how old all that is.

No web and no clock in here: it is fed with records, and asked for snapshots and for what changed since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.desk.budget import Budget
from pipeline.model.alert import Alert, AlertEvent, decode_event, encode_event
from pipeline.model.observation import Fix, Flag, Tick
from pipeline.model.wire import ObservationBatch
from pipeline.plan.model import CompiledPlan

CLOSED_KEPT = 30
TRAIL_KEPT = 120
TRAIL_SPACING_US = 5_000_000
HISTORY_KEPT = 100
HANDOVER_US = 60_000_000
NOT_ON_THE_MAP = Flag.IMPLAUSIBLE | Flag.OUTSIDE_PLAN


@dataclass(slots=True)
class Position:
    """Where a vehicle was last seen."""

    lat: float
    lon: float
    seen_at_us: int
    received_at_us: int
    course_deg: float | None
    speed_mps: float | None
    accuracy_m: float | None
    flags: int
    rank: int  # of the device that said it: 0 is the plan's first

    def row(self, vehicle: str) -> list[Any]:
        """As it goes to the page: short, since there may be thousands of them four times a second."""
        return [
            vehicle, round(self.lat, 6), round(self.lon, 6), self.course_deg, self.speed_mps, self.accuracy_m,
            self.seen_at_us, self.received_at_us, self.flags,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrailPoint:
    seen_at_us: int
    lat: float
    lon: float
    speed_mps: float | None
    accuracy_m: float | None

    def row(self) -> list[Any]:
        return [self.seen_at_us, round(self.lat, 6), round(self.lon, 6), self.speed_mps, self.accuracy_m]


def alert_view(event: AlertEvent) -> dict[str, Any]:
    """An alert as the page gets it: as it stands, and what happened to it last."""
    view: dict[str, Any] = msgspec.to_builtins(event.alert)
    view["transition"] = event.transition
    view["at_us"] = event.at_us
    view["seq"] = event.seq
    return view


class LiveState:
    """Feed it `rahdar.observations` and `rahdar.alerts`; order and repetition do not matter."""

    def __init__(self, plan: CompiledPlan) -> None:
        self.plan = plan
        self.positions: dict[str, Position] = {}
        self.trails: dict[str, deque[TrailPoint]] = {}
        self.tick_us = 0
        self.fix_received_us = 0
        self.healthy = True
        self.seq = 0
        self.budget = Budget()
        self._open: dict[str, dict[str, Any]] = {}
        self._closed: dict[str, dict[str, Any]] = {}
        self._history: dict[str, deque[bytes]] = {}  # as on the topic: a quarter of what the objects take
        self._alert_seq: dict[str, int] = {}
        self._moved: set[str] = set()
        self._rank = {device: i for v in plan.vehicles.values() for i, device in enumerate(v.devices)}

    # ---- feeding --------------------------------------------------------------------------------------------

    def load(self, fixes: Iterable[Fix], events: Iterable[AlertEvent]) -> None:
        """Begin from what is on record. `events`: of each alert the last one, or all of them."""
        for fix in fixes:
            self._see(
                fix.vehicle, fix.device, fix.lat, fix.lon, fix.seen_at_us, fix.received_at_us,
                fix.course_deg, fix.speed_mps, fix.accuracy_m, fix.flags,
            )  # fmt: skip
        for event in events:
            self.apply_alert_event(event)
        self._moved.clear()

    def apply_observations(self, batch: ObservationBatch) -> None:
        if batch.copy:
            return  # it stands in its home cell's record
        fixes = batch.fixes
        names = fixes.names
        columns = zip(
            fixes.vehicle.tolist(), fixes.device.tolist(), fixes.lat.tolist(), fixes.lon.tolist(),
            fixes.seen_at_us.tolist(), fixes.received_at_us.tolist(), fixes.course_deg.tolist(),
            fixes.speed_mps.tolist(), fixes.accuracy_m.tolist(), fixes.flags.tolist(), strict=True,
        )  # fmt: skip
        for vehicle, device, lat, lon, seen, received, course, speed, accuracy, flags in columns:
            self._see(
                names[vehicle],
                names[device],
                lat,
                lon,
                seen,
                received,
                _said(course),
                _said(speed),
                _said(accuracy),
                flags,
            )
        for placed in batch.others:
            if isinstance(placed.what, Tick):
                self.apply_tick(placed.what)

    def apply_tick(self, tick: Tick) -> None:
        if tick.at_us >= self.tick_us:
            self.tick_us = tick.at_us
            self.healthy = tick.healthy

    def apply_alert_event(self, event: AlertEvent) -> dict[str, Any] | None:
        """What the page must hear of it, or None when it is old news."""
        alert = event.alert
        self.budget.apply(event)
        if event.seq <= self._alert_seq.get(alert.id, -1):
            return None
        self._alert_seq[alert.id] = event.seq
        self.seq = max(self.seq, event.seq)
        self._history.setdefault(alert.id, deque(maxlen=HISTORY_KEPT)).append(encode_event(event))
        view = alert_view(event)
        if alert.closed_at_us is None and event.transition not in ("closed", "merged"):
            self._closed.pop(alert.id, None)
            self._open[alert.id] = view
        else:
            self._open.pop(alert.id, None)
            if alert.held:  # nobody was told of it: it takes no place from what people have closed
                self._history.pop(alert.id, None)
                return view
            self._closed[alert.id] = view
            while len(self._closed) > CLOSED_KEPT:
                gone = next(iter(self._closed))
                del self._closed[gone]
                self._history.pop(gone, None)
                # `_alert_seq` keeps the number: a repeated record must not bring a closed alert back
        return view

    def _see(
        self, vehicle: str, device: str, lat: float, lon: float, seen: int, received: int,
        course: float | None, speed: float | None, accuracy: float | None, flags: int,
    ) -> None:  # fmt: skip
        self.fix_received_us = max(self.fix_received_us, received)
        if flags & NOT_ON_THE_MAP:
            return
        rank = self._rank.get(device, 0)
        old = self.positions.get(vehicle)
        if old is not None:
            if seen < old.seen_at_us:
                return
            if rank > old.rank and seen - old.seen_at_us < HANDOVER_US:
                return
            if course is None and (speed is None or speed < 1.0):
                course = old.course_deg  # a vehicle that stands still points where it last went
        self.positions[vehicle] = Position(lat, lon, seen, received, course, speed, accuracy, flags, rank)
        self._moved.add(vehicle)
        trail = self.trails.get(vehicle)
        if trail is None:
            trail = self.trails[vehicle] = deque(maxlen=TRAIL_KEPT)
        if not trail or seen - trail[-1].seen_at_us >= TRAIL_SPACING_US:
            trail.append(TrailPoint(seen, lat, lon, speed, accuracy))

    # ---- asking ---------------------------------------------------------------------------------------------

    def take_positions(self) -> list[list[Any]]:
        """Rows of the vehicles that moved since the last call."""
        moved, self._moved = self._moved, set()
        return [self.positions[vehicle].row(vehicle) for vehicle in sorted(moved)]

    @property
    def newest_us(self) -> int:
        """When anything was last received, or ingest last said that time passes."""
        return max(self.tick_us, self.fix_received_us)

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        return self._open.get(alert_id) or self._closed.get(alert_id)

    def alert_object(self, alert_id: str) -> Alert | None:
        history = self._history.get(alert_id)
        return decode_event(history[-1]).alert if history else None

    def history(self, alert_id: str) -> list[AlertEvent]:
        return [decode_event(event) for event in self._history.get(alert_id, ())]

    def open_alerts(self) -> list[dict[str, Any]]:
        return list(self._open.values())

    def behind(self, alert_id: str) -> list[dict[str, Any]]:
        """Those that are held because this one speaks for them, the newest first."""
        found = [view for view in self._open.values() if view["under"] == alert_id and view["held"]]
        return sorted(found, key=lambda view: -int(view["opened_at_us"]))

    def trail(self, vehicle: str, from_us: int) -> list[TrailPoint]:
        """What is remembered of it, and its newest position as the last point."""
        points = [p for p in self.trails.get(vehicle, ()) if p.seen_at_us >= from_us]
        at = self.positions.get(vehicle)
        if at and at.seen_at_us >= from_us and (not points or points[-1].seen_at_us < at.seen_at_us):
            points.append(TrailPoint(at.seen_at_us, at.lat, at.lon, at.speed_mps, at.accuracy_m))
        return points

    def clock(self, now_us: int) -> dict[str, Any]:
        """How old everything is."""
        return {
            "now_us": now_us,
            "tick_us": self.tick_us,
            "fix_us": self.fix_received_us,
            "healthy": self.healthy,
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "positions": [position.row(vehicle) for vehicle, position in self.positions.items()],
            "alerts": [*self._open.values(), *self._closed.values()],
        }


def _said(value: float) -> float | None:
    """NaN in a column means: not said."""
    return None if value != value else round(value, 2)

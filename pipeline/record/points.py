"""Points for InfluxDB: records of the topics in, lines of its protocol out. Times come from the observations, never from now.

The same measurement, tags and time is the same point, so everything twice is the same as once. All times are in nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.model.alert import AlertEvent
from pipeline.model.episode import Change, Episode
from pipeline.model.observation import Link, Press, Reading, Tick
from pipeline.model.wire import ObservationBatch, Placed, Reject
from pipeline.plan.model import CompiledPlan
from pipeline.record.convoys import AlongTheRoad, Gap
from pipeline.record.schema import SYSTEM_BUCKET, bucket_of

MOST_TEXT = 4096
MOST_WHATS = 24
"""Words that one sensor may use; more are `other`, or a device could make series without end."""

Lines = dict[str, list[str]]
"""Bucket -> lines."""


@lru_cache(maxsize=65_536)
def tag(value: str) -> str:
    """A tag's value. Ids need no escaping; whatever else comes is escaped, and a tag is never empty."""
    text = value.replace("\\", "/").replace("\n", " ").replace("\r", " ").strip() or "-"
    return text[:128].replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ")


def text(value: str) -> str:
    """A string field, quoted."""
    kept = value[:MOST_TEXT].replace("\n", " ").replace("\r", " ").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{kept}"'


def fields(values: Mapping[str, Any]) -> str:
    """`a=1.5,b=3i,c=true,d="x"`; what is None or not finite was not said and is left out."""
    out = []
    for name, value in values.items():
        if isinstance(value, bool):
            out.append(f"{name}={'true' if value else 'false'}")
        elif isinstance(value, int):
            out.append(f"{name}={value}i")
        elif isinstance(value, float):
            if math.isfinite(value):
                out.append(f"{name}={value!r}")
        elif isinstance(value, str):
            out.append(f"{name}={text(value)}")
    return ",".join(out)


def line(measurement: str, tags: Mapping[str, str], values: Mapping[str, Any], at_ns: int) -> str:
    """One point. Tags in the order of their names: InfluxDB takes them as they are, and sorts the others of every point."""
    head = ",".join((measurement, *(f"{name}={tag(tags[name])}" for name in sorted(tags))))
    return f"{head} {fields(values)} {at_ns}"


def _said(name: str, column: Any, digits: int) -> list[str]:
    """`,speed_mps=1.5` for each row, or nothing where it was not said."""
    values = column.tolist()
    return [f",{name}={value:.{digits}f}" if value == value else "" for value in values]


_GONE = {"open": False, "gone": True}
GONE = fields(_GONE)
"""What marks an episode that was retracted or replaced; its other fields stay."""


class Points:
    """Knows the plan's subjects. Not thread-safe: it keeps where convoys' members were last."""

    def __init__(self, plan: CompiledPlan) -> None:
        self._plan = plan
        self._road = AlongTheRoad(plan)
        self._cells = {cell: region.id for region in plan.regions.values() for cell in region.cells}
        self._anywhere = next(iter(plan.regions))
        self._heads: dict[tuple[str, str], tuple[str, str]] = {}
        self._whats: dict[str, set[str]] = {}

    def region_of(self, subject: str, cell: str = "") -> str:
        for known in (self._plan.vehicles, self._plan.sensors, self._plan.convoys):
            if subject in known:
                return str(known[subject].region)
        return self._cells.get(cell, self._anywhere)

    # ---- observations -------------------------------------------------------------------------------------------------

    def observations(self, batch: ObservationBatch, out: Lines) -> int:
        """Returns how many lines were added. A copy only says where the other members of its vehicles' convoys are."""
        if batch.copy:
            return self._gaps(self._road.feed(batch.fixes)[1], out) if len(batch.fixes) else 0
        n = self._positions(batch, out) if len(batch.fixes) else 0
        for placed in batch.others:
            n += self._other(placed, batch.cell, out)
        return n

    def _head(self, vehicle: str, device: str, cell: str) -> tuple[str, str]:
        """The bucket, and the line up to its first field."""
        found = self._heads.get((vehicle, device))
        if found is None:
            known = self._plan.vehicles.get(vehicle)
            region = known.region if known else self.region_of(vehicle, cell)
            role = known.role if known else "unknown"
            found = (
                bucket_of(region, "raw"),
                f"positions,device={tag(device)},region={tag(region)},role={tag(role)},vehicle={tag(vehicle)} lat_deg=",
            )
            self._heads[vehicle, device] = found
        return found

    def _positions(self, batch: ObservationBatch, out: Lines) -> int:
        f = batch.fixes
        names = f.names
        km, gaps = self._road.feed(f)
        n = len(f)
        late = ((f.received_at_us - f.seen_at_us) / 1e6).tolist()
        road = [""] * n if km is None else _said("road_km", km, 3)
        pairs = (f.vehicle.astype(np.int64) << 32) | f.device.astype(np.int64)
        known = {
            int(pair): self._head(names[int(pair) >> 32], names[int(pair) & 0xFFFFFFFF], batch.cell)
            for pair in np.unique(pairs).tolist()
        }
        rows = zip(
            pairs.tolist(), f.lat.tolist(), f.lon.tolist(), _said("speed_mps", f.speed_mps, 2),
            _said("course_deg", f.course_deg, 1), _said("accuracy_m", f.accuracy_m, 1),
            _said("altitude_m", f.altitude_m, 1), road, late, f.flags.tolist(), f.seen_at_us.tolist(), strict=True,
        )  # fmt: skip
        if len({bucket for bucket, _ in known.values()}) == 1:
            bucket = next(iter(known.values()))[0]
            heads = {pair: head for pair, (_, head) in known.items()}
            out.setdefault(bucket, []).extend(
                [
                    f"{heads[p]}{lat:.6f},lon_deg={lon:.6f}{v}{c}{a}{h}{k},late_s={s:.1f},flags={g}i {t}000"
                    for p, lat, lon, v, c, a, h, k, s, g, t in rows
                ]
            )
        else:
            for p, lat, lon, v, c, a, h, k, s, g, t in rows:
                bucket, head = known[p]
                out.setdefault(bucket, []).append(
                    f"{head}{lat:.6f},lon_deg={lon:.6f}{v}{c}{a}{h}{k},late_s={s:.1f},flags={g}i {t}000"
                )
        return n + self._gaps(gaps, out)

    @staticmethod
    def _gaps(gaps: Iterable[Gap], out: Lines) -> int:
        n = 0
        for n, gap in enumerate(gaps, 1):  # noqa: B007  # the count is what is wanted
            tags = {"region": gap.region, "convoy": gap.convoy, "ahead": gap.ahead, "behind": gap.behind}
            out.setdefault(bucket_of(gap.region, "raw"), []).append(
                line("convoys", tags, {"gap_m": round(gap.gap_m, 1), "limit_m": gap.limit_m}, gap.at_us * 1000)
            )
        return n

    def _other(self, placed: Placed, cell: str, out: Lines) -> int:
        what = placed.what
        if isinstance(what, Reading):
            bucket, said = self._reading(what, cell)
        elif isinstance(what, Press):
            region = self.region_of(what.subject, cell)
            bucket = bucket_of(region, "events")
            said = line(
                "presses",
                {"region": region, "subject": what.subject, "what": what.what},
                {
                    "lat_deg": what.lat, "lon_deg": what.lon, "late_s": (what.received_at_us - what.seen_at_us) / 1e6,
                    "located": what.lat is not None,
                },
                what.seen_at_us * 1000,
            )  # fmt: skip
        elif isinstance(what, Link):
            region = self.region_of(self._plan.device_subject.get(what.device, ""), cell)
            bucket = bucket_of(region, "raw")
            said = line(
                "links", {"region": region, "device": what.device}, {"online": int(what.state == "online")},
                what.seen_at_us * 1000,
            )  # fmt: skip
        elif isinstance(what, Tick):
            bucket = SYSTEM_BUCKET
            said = line(
                "ticks", {"source": what.source}, {"healthy": int(what.healthy), "clock_trusted": int(what.clock_trusted)},
                what.at_us * 1000,
            )  # fmt: skip
        else:
            return 0  # statements and orders are papers, not measurements
        out.setdefault(bucket, []).append(said)
        return 1

    def _reading(self, what: Reading, cell: str) -> tuple[str, str]:
        sensor = self._plan.sensors.get(what.sensor)
        region = sensor.region if sensor else self.region_of(what.sensor, cell)
        words = self._whats.setdefault(what.sensor, set())
        if len(words) < MOST_WHATS:
            words.add(what.what)
        value: dict[str, Any] = {"late_s": (what.received_at_us - what.seen_at_us) / 1e6}
        if isinstance(what.value, str):
            value["text"] = what.value
        else:
            value["value"] = float(what.value)
        tags = {
            "region": region, "site": sensor.site if sensor else "unknown", "sensor": what.sensor,
            "kind": sensor.kind if sensor else "unknown", "what": what.what if what.what in words else "other",
        }  # fmt: skip
        return bucket_of(region, "raw"), line("sensors", tags, value, what.seen_at_us * 1000)

    # ---- episodes -----------------------------------------------------------------------------------------------------

    def _episode_tags(self, e: Episode, cell: str) -> dict[str, str]:
        return {"region": self.region_of(e.subject, cell), "rule": e.rule, "subject": e.subject, "object": e.object}

    def change(self, change: Change) -> tuple[str, str]:
        """Its bucket and the point as it stands after the change."""
        e = change.episode
        tags = self._episode_tags(e, change.cell)
        ended = e.ended_at_us
        values = {
            "id": e.id, "severity": e.severity, "mode": change.mode, "open": ended is None,
            "gone": False, "late": change.late, "ended_us": ended or 0,
            "duration_s": 0.0 if ended is None else (ended - e.began_at_us) / 1e6,
            "peak": 0.0 if e.peak is None else float(e.peak), "revision": change.revision,
            "waited_s": max(0, change.received_at_us - change.decided_at_us) / 1e6 if change.received_at_us else 0.0,
        }  # fmt: skip
        if change.kind == "retract":
            values |= {"open": False, "gone": True}
        return bucket_of(tags["region"], "events"), line("episodes", tags, values, e.began_at_us * 1000)

    def replaced(self, like: Change, began_at_us: int) -> tuple[str, str]:
        """The mark on an episode of the same rule, subject and object that a change replaces."""
        tags = self._episode_tags(like.episode, like.cell)
        return bucket_of(tags["region"], "events"), line("episodes", tags, _GONE, began_at_us * 1000)

    # ---- alerts, rejects ----------------------------------------------------------------------------------------------

    def alert(self, event: AlertEvent) -> tuple[str, str]:
        a = event.alert
        region = a.region if a.region in self._plan.regions else self._anywhere
        tags = {"region": region, "rule": a.rule, "severity": a.severity, "transition": event.transition}
        values: dict[str, Any] = {
            "alert": a.id, "subject": a.subject, "object": a.object, "text": a.text, "place": a.place,
            "reason": event.reason, "actor": event.actor, "detail": event.detail, "outcome": a.outcome or "", "seq": event.seq,
            "open": a.closed_at_us is None and not a.held, "active": a.cleared_at_us is None,
            "acknowledged": a.acknowledged_at_us is not None, "shelved": a.shelved_until_us is not None,
            "retracted": a.retracted, "lat_deg": a.lat, "lon_deg": a.lon, "opened_us": a.opened_at_us,
            "respond_within_s": a.respond_within_us / 1e6,
        }  # fmt: skip
        if event.received_at_us and event.transition == "opened":
            values["waited_s"] = (event.at_us - event.received_at_us) / 1e6
        answered = event.reason == "BY_OPERATOR" and a.acknowledged_at_us == event.at_us  # also who closes it at once
        if event.transition == "acknowledged" or (event.transition == "closed" and answered):
            values["acknowledge_s"] = (event.at_us - a.opened_at_us) / 1e6
        if event.transition == "told" and event.reason == "RECEIPT":
            values["told_s"] = (event.at_us - a.opened_at_us) / 1e6
        if event.transition == "closed" and not a.held:  # of a held one nobody was told
            values["close_s"] = (event.at_us - a.opened_at_us) / 1e6
        return bucket_of(region, "events"), line("alerts", tags, values, event.at_us * 1000 + event.seq % 1000)

    @staticmethod
    def reject(reject: Reject) -> tuple[str, str] | None:
        """None for what has no time of its own: it cannot be a point."""
        item = reject.item
        if item.received_at_us <= 0:
            return None
        tags = {"stage": reject.source.split("@")[0], "reason": reject.reason}
        values = {"login": item.login, "detail": reject.detail, "bytes": len(item.payload)}
        return SYSTEM_BUCKET, line("rejects", tags, values, item.received_at_us * 1000 + item.id % 1000)


def machine_lines(host: str, at_us: int, record: Mapping[str, Any], machine: Mapping[str, Any]) -> Iterable[str]:
    """The record's own health, and the machine's."""
    yield line("record", {"host": host}, record, at_us * 1000)
    yield line("machine", {"host": host}, machine, at_us * 1000)


def notify_line(host: str, at_us: int, figures: Mapping[str, Any]) -> str:
    """How telling goes."""
    return line("notify", {"host": host}, figures, at_us * 1000)

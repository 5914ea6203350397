"""From what the scan wrote down to what is published: episodes, and the changes between two accounts of the same stretch."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.detect.form import AREA, BEGIN, DEVIATION, END, OUT, STOPPED
from pipeline.detect.tables import RULE_NAMES, Tables
from pipeline.model.episode import SEVERITIES, Change, Episode, Mode, episode_id
from pipeline.model.observation import Press
from pipeline.model.times import format_us
from pipeline.plan.legs import spans, stretch_at

Array = npt.NDArray[Any]
LATE_US = 60_000_000
FIELDS = ("severity", "began", "decided", "ended", "lat", "lon", "along", "peak")


class Said(NamedTuple):
    """One record of a scan (form.OUT) as plain numbers: NumPy's own are slow to take apart one by one, even by NumPy."""

    fix: int
    slot: int
    kind: int
    rule: int
    object: int
    severity: int
    began: int
    decided: int
    ended: int
    lat: float
    lon: float
    along: float
    peak: float


_OUT = struct.Struct("=6i3q4d")
assert _OUT.size == OUT.itemsize


def all_said(records: Array) -> Iterator[Said]:
    """Of form.OUT, one behind the other."""
    return map(Said._make, _OUT.iter_unpack(records.data))


def said_of(record: Any) -> Said:
    return Said._make(record.item())


class Account(msgspec.Struct, frozen=True):
    """An episode as some sequence of fixes tells it, and the fix that decided its last word (None: an earlier record's)."""

    episode: Episode
    mode: Mode
    received_us: int
    seen_us: int

    def change(
        self,
        kind: Literal["begin", "amend", "end", "retract"],
        revision: int,
        cell: str,
        plan_hash: str,
        was: tuple[str, ...] = (),
    ) -> Change:
        decided = self.episode.ended_at_us if kind == "end" and self.episode.ended_at_us else self.seen_us
        return Change(
            kind=kind,
            episode=self.episode,
            revision=revision,
            was_ids=was,
            mode=self.mode,
            cell=cell,
            plan_hash=plan_hash,
            late=self.received_us - self.seen_us > LATE_US,
            decided_at_us=decided,
            received_at_us=self.received_us,
        )


def _said(value: float, digits: int) -> float | None:
    return round(value, digits) if value == value else None  # NaN: not said


def _degrees(value: float) -> float | None:
    """To a millionth, which is a tenth of a metre; `round` with digits takes ten times as long."""
    return round(value * 1e6) / 1e6 if value == value else None


def account(tables: Tables, vehicle: int, said: Said, received_us: int, seen_us: int) -> Account:
    """What was said of this vehicle (its place in the plan), as an episode."""
    place = said.object
    evidence: dict[str, Any] = {
        "decided_at": format_us(said.decided),
        "lat": _degrees(said.lat),
        "lon": _degrees(said.lon),
    }
    if said.rule == AREA:
        told = tables.watches[place]
        rule, obj, mode = told.rule, told.object, told.mode
        if not math.isnan(said.along):
            # crossing: nobody saw it inside, two fixes lie on either side; border: it was seen, but not for as long as it lasted
            evidence["inferred"] = "border" if math.copysign(1.0, said.along) < 0 else "crossing"
            evidence["crossed_m"] = abs(round(said.along))
    elif said.rule == DEVIATION:
        way, along = tables.leg_ways[place], said.along
        part = stretch_at(way, along)
        rule, obj, mode = RULE_NAMES[DEVIATION], way[part].route.id, tables.off_modes[tables.leg_hosts[place][part]]
        evidence["movement"] = tables.leg_movements[place].id
        evidence["road_km"] = _said(way[part].road_km(along), 1)
        if spans(way, tables.plan.vehicles[tables.vehicle_ids[vehicle]].region):
            evidence["region"] = way[part].region
    else:
        rule, obj, mode = RULE_NAMES[STOPPED], "", tables.stop_modes[vehicle]
    subject = tables.vehicle_ids[vehicle]
    episode = Episode(
        id=episode_id(rule, subject, obj, said.began),
        rule=rule,
        subject=subject,
        object=obj,
        began_at_us=said.began,
        ended_at_us=said.ended or None,
        severity=SEVERITIES[said.severity],
        peak=_said(said.peak, 1),
        evidence=evidence,
    )
    return Account(episode, mode, received_us, seen_us)


def kind_of(said: Said) -> Literal["begin", "amend", "end"]:
    return "begin" if said.kind == BEGIN else "end" if said.kind == END else "amend"


def still_open(rows: Array, pairs: Array, legs: Array, slot: int, first_leg: int) -> list[Any]:
    """What was told and not ended, as records of a scan, of a vehicle's state."""
    found = []

    def add(rule: int, place: int, held: Any) -> None:
        if held["on"]:
            said = np.zeros((), OUT)
            said["slot"], said["kind"], said["rule"], said["object"] = slot, BEGIN, rule, place
            said["fix"] = -1
            said["peak"] = held["told"]
            for name in ("severity", "began", "decided", "lat", "lon", "along"):
                said[name] = held[name]
            found.append(said)

    for k in range(int(rows[slot]["pairs"])):
        add(AREA, int(pairs[slot, k]["watch"]), pairs[slot, k]["held"])
    for k in range(legs.shape[1]):
        add(DEVIATION, first_leg + k, legs[slot, k]["held"])
    add(STOPPED, 0, rows[slot]["stop"]["held"])
    return found


def fold(said: Iterable[Any]) -> dict[tuple[int, int, int], Any]:
    """The last word on each episode: (rule, object, began) -> record."""
    return {(int(s["rule"]), int(s["object"]), int(s["began"])): s for s in said}


def same(a: Any, b: Any) -> bool:
    """Equal words; NaN equals NaN."""
    return all(a[name] == b[name] or (a[name] != a[name] and b[name] != b[name]) for name in FIELDS)


def overlap(a: Any, b: Any) -> bool:
    """Do two stretches share an instant?"""
    return (not b["ended"] or a["began"] <= b["ended"]) and (not a["ended"] or b["began"] <= a["ended"])


def press_episode(press: Press) -> Episode:
    """At once and instantaneous; the latch is the alert's."""
    obj = "" if press.what == "sos" else press.what
    evidence: dict[str, Any] = {"decided_at": format_us(press.seen_at_us), "device": press.device, "what": press.what}
    if press.lat is not None and press.lon is not None:
        evidence |= {"lat": round(press.lat, 6), "lon": round(press.lon, 6)}
    return Episode(
        id=episode_id("sos.pressed", press.subject, obj, press.seen_at_us),
        rule="sos.pressed",
        subject=press.subject,
        object=obj,
        began_at_us=press.seen_at_us,
        ended_at_us=press.seen_at_us,
        severity="critical",
        peak=None,
        evidence=evidence,
    )

"""A night shift, twelve hours and forty vehicles, through the same detect and alert code as live, as fast as it goes.

Eight convoys of five go up and down the road with tea at the stalls of the plan, tea where there is no stall, and a landslide that lets them
crawl for an hour at a time. Five things happen that people have to hear of. An operator takes each alert and closes it when it is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from pipeline.alert.sentence import words_for
from pipeline.alert.store import AlertStore
from pipeline.detect.engine import Engine
from pipeline.model.alert import AlertEvent, Command
from pipeline.model.episode import ChangeBatch, Ledger
from pipeline.model.observation import Press, Tick
from pipeline.model.wire import COLUMNS, Fixes, ObservationBatch, Placed
from pipeline.plan.model import Area, AreaRule, CompiledPlan, Convoy, Movement, RuleSetting, Schedule, Vehicle
from simulators.fleet import Journey, Track, follow
from simulators.gps import GpsQuality, Receiver
from simulators.world import World
from tests.accuracy import START_US, ground

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOURS, EVERY_S = 12, 10
CONVOYS, EACH = 8, 5
STALL_M = 250.0
MOST_ALERTS = 12
HAPPENS = ("area.forbidden", "device.silent", "route.deviation", "sos.pressed", "stop.unscheduled")


@dataclass(frozen=True)
class Incident:
    """What people have to hear of: the rule, whose it is, and when, in seconds of the night."""

    rule: str
    vehicle: str
    at_s: float


def night() -> tuple[CompiledPlan, World, str, float]:
    """The demonstration plan's longest road with tea stalls, one forbidden side valley, and rules as in earnest."""
    plan, _, road = ground(CONVOYS * EACH)
    length = float(plan.routes[road].chainage_m[-1])
    region = plan.regions[plan.routes[road].region]

    def rule(name: str, severity: Any, **params: float) -> RuleSetting:
        return RuleSetting(name, "live", severity, "post", "Call them.", 5 * MINUTE, params)

    rules = {
        "route.deviation": rule("route.deviation", "high", min_duration_us=20e6, high_at_m=300.0, critical_at_m=1000.0),
        "stop.unscheduled": rule("stop.unscheduled", "medium", radius_m=60.0, min_duration_us=180e6),
        "sos.pressed": rule("sos.pressed", "critical"),
        "area.forbidden": rule("area.forbidden", "high"),
        "device.silent": rule(
            "device.silent", "high", expected_within_us=300e6, reemerge_within_us=1200e6, coverage_margin_m=600.0
        ),
    }

    def circle(name: str, at_m: float, radius_m: float, *watches: AreaRule, stop: bool = False) -> Area:
        route = plan.routes[road]
        x, y = (float(np.interp(at_m, route.chainage_m, route.xy[:, k])) for k in (0, 1))
        polygon = shapely.Point(x, y).buffer(radius_m)
        return Area(name, route.region, {"en": name}, "zone", polygon, polygon, watches, stop)

    watch = AreaRule("area.forbidden", frozenset(), frozenset(), Schedule(), 15 * SECOND, 0.0, 30.0, "high", "live")
    stalls = [circle(f"stall-{n}", length * n / 10, STALL_M, stop=True) for n in range(11)]
    fleet = {
        f"v{n}": Vehicle(f"v{n}", plan.routes[road].region, region.cells[0], f"V-{n}", "car", "escort", (f"d{n}",))
        for n in range(CONVOYS * EACH)
    }
    convoys = {
        f"k{c}": Convoy(f"k{c}", plan.routes[road].region, {"en": f"K{c}"}, tuple(f"v{c * EACH + i}" for i in range(EACH)), (), (), 900.0)
        for c in range(CONVOYS)
    }  # fmt: skip
    moves = tuple(
        Movement(
            f"m{c}", plan.routes[road].region, {"en": "M"}, k.members, k.id, road, 0, 1 << 60, 0.0, length, frozenset()
        )
        for c, k in enumerate(convoys.values())
    )
    forbidden = circle("side valley", length * 0.55, 300.0, watch)
    made = replace(
        plan, regions={region.id: replace(region, rules=rules)}, areas=(*stalls, forbidden), vehicles=fleet, movements=moves,
        convoys=convoys, rosters={}, device_subject={f"d{n}": f"v{n}" for n in range(CONVOYS * EACH)},
    )  # fmt: skip
    return made, World(made, 1), road, length


def lead(world: World, road: str, length: float, number: int, incidents: list[Incident]) -> Track:
    """A convoy's first vehicle: from stall to stall, the road in the middle closed to everybody."""
    rng = world.rng("night", str(number))
    at_stall = [length * n / 10 for n in range(11)]
    low = number % 2 == 0  # some work the lower half of the road, some the upper one
    here, top, bottom, up = (1, 4, 1, True) if low else (6, 9, 6, True)
    journey = Journey(world, road, at_stall[here]).dwell(float(rng.uniform(600, 3600)))
    now_s, legs = float(journey.track().ends_s), 0
    while now_s < HOURS * 3600 - 4000:
        if legs == 4 and number == 3:  # past the last stall, into the valley that is closed, and back
            journey.drive(length * 0.55, 12.0)
            incidents.append(Incident("area.forbidden", f"v{number * EACH}", float(journey.track().ends_s)))
            journey.drive(at_stall[here], 12.0)
        following = here + (1 if up else -1)
        goal, sign = at_stall[following], 1.0 if up else -1.0
        middle = (at_stall[here] + goal) / 2
        journey.drive(middle - sign * 1500, float(rng.uniform(11, 16)))
        if legs % 3 == number % 3:
            journey.jam(sign * float(rng.uniform(1200, 2500)), rng)  # stop and go behind trucks
        if legs == 2 and number == 1:  # tea where there is no stall: the whole convoy
            incidents.append(Incident("stop.unscheduled", f"v{number * EACH}", float(journey.track().ends_s)))
            journey.dwell(1200)
        if legs == 3 and number == 2:  # the wrong track: a detour of the whole convoy
            incidents.append(Incident("route.deviation", f"v{number * EACH}", float(journey.track().ends_s)))
            journey.detour(600.0, 2500.0, 9.0, backwards=not up)
        journey.drive(goal, float(rng.uniform(11, 16)))
        journey.dwell(float(rng.uniform(900, 2400)))  # tea
        here, legs = following, legs + 1
        up = True if here == bottom else False if here == top else up
        now_s = float(journey.track().ends_s)
    return journey.track()


def tracks(world: World, road: str, length: float, incidents: list[Incident]) -> dict[str, Track]:
    found: dict[str, Track] = {}
    for c in range(CONVOYS):
        first = lead(world, road, length, c, incidents)
        begins = length * (1 if c % 2 == 0 else 6) / 10
        for i in range(EACH):
            found[f"v{c * EACH + i}"] = follow(world, road, first, begins, i * 35.0, i * 4.0) if i else first
    return found


def stands(track: Track) -> tuple[int, int]:
    """How often it stood for some seconds, as in a jam, and how often for ten minutes and more."""
    still = track.at(np.arange(HOURS * 3600, dtype=float)).speed_mps < 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
    for_s = edges[1::2] - edges[::2]
    return int(np.sum(for_s < 30)), int(np.sum(for_s >= 600))


def columns(world: World, track: Track, number: int, quiet: tuple[float, float]) -> dict[str, Any]:
    t = np.arange(number % EVERY_S, HOURS * 3600, EVERY_S, dtype=float)
    t = t[(t < quiet[0]) | (t > quiet[1])]
    seen = Receiver(world.rng("gps", str(number)), GpsQuality()).observe(track.at(t), np.zeros(len(t)))
    lat, lon = world.to_latlon(seen.x_m, seen.y_m)
    n, stamps = len(t), START_US + (t * SECOND).astype(np.int64)
    return {
        "vehicle": np.full(n, 2 * number), "device": np.full(n, 2 * number + 1), "seen_at_us": stamps, "received_at_us": stamps + SECOND,
        "lat": lat, "lon": lon, "seq": np.arange(n), "body": np.arange(1, n + 1) + number * 100_000, "speed_mps": seen.speed_mps,
        "course_deg": seen.course_deg, "accuracy_m": seen.accuracy_m, "altitude_m": np.full(n, np.nan), "flags": np.zeros(n),
    }  # fmt: skip


def records(
    plan: CompiledPlan, world: World, found: dict[str, Track], quiet: dict[str, tuple[float, float]], pressed: Press
) -> Iterator[ObservationBatch]:
    """The night a minute at a time, with the Ticks of its ingest."""
    names = tuple(name for n in range(CONVOYS * EACH) for name in (f"v{n}", f"d{n}"))
    rows = [columns(world, found[f"v{n}"], n, quiet.get(f"v{n}", (1e9, 1e9))) for n in range(CONVOYS * EACH)]
    whole = {name: np.concatenate([r[name] for r in rows]).astype(kind) for name, kind in COLUMNS}
    order = np.argsort(whole["received_at_us"], kind="stable")
    whole = {name: column[order] for name, column in whole.items()}
    edges = np.searchsorted(whole["received_at_us"], START_US + np.arange(HOURS * 60 + 1) * MINUTE)
    for minute in range(HOURS * 60):
        a, b = int(edges[minute]), int(edges[minute + 1])
        until_us = START_US + (minute + 1) * MINUTE
        ticks = until_us - MINUTE + np.arange(1, 13) * 5 * SECOND
        after = np.searchsorted(whole["received_at_us"][a:b], ticks)
        others = [Placed(int(k), Tick(source="i", at_us=int(at))) for k, at in zip(after, ticks, strict=True)]
        if until_us - MINUTE <= pressed.received_at_us < until_us:
            others.insert(0, Placed(0, pressed))
        fixes = Fixes(names, **{name: column[a:b] for name, column in whole.items()})
        yield ObservationBatch(fixes, tuple(others), "c", plan.hash, "i")


class Operator:
    """Takes each alert two minutes after it is told, and says what it was when it is over."""

    def __init__(self, store: AlertStore) -> None:
        self._store, self._n = store, 0

    def works(self, now_us: int) -> list[AlertEvent]:
        said: list[AlertEvent] = []
        for a in self._store.open_alerts():
            if a.held or now_us - a.opened_at_us < 2 * MINUTE:
                continue
            if a.acknowledged_at_us is None:
                said += self._do("acknowledge", a.id, now_us)
            elif a.severity == "critical" and now_us - a.opened_at_us > 20 * MINUTE:
                said += self._do("close", a.id, now_us, outcome="real")
        return said

    def _do(self, what: Any, alert: str, now_us: int, **more: Any) -> list[AlertEvent]:
        self._n += 1
        one = Command(version=1, id=f"o{self._n}", what=what, alert_id=alert, by="amina", at_us=now_us, **more)
        return self._store.take_commands([("commands", 0, self._n, one)], now_us)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_shift_has_at_most_twelve_alerts_and_all_that_happened_is_among_them(tmp_path: Path) -> None:
    plan, world, road, length = night()
    incidents: list[Incident] = []
    found = tracks(world, road, length, incidents)
    quiet = {"v17": (5 * 3600.0, 5 * 3600.0 + 1500)}
    incidents.append(Incident("device.silent", "v17", 5 * 3600.0))
    pressed = Press(
        subject="v31", what="sos", seen_at_us=START_US + 8 * 3600 * SECOND, received_at_us=START_US + 8 * 3600 * SECOND + SECOND,
        device="d31", seq=900_000, body=1,
    )  # fmt: skip
    incidents.append(Incident("sos.pressed", "v31", 8 * 3600.0))
    assert sorted(i.rule for i in incidents) == sorted(HAPPENS)
    short, long = zip(*(stands(found[f"v{c * EACH}"]) for c in range(CONVOYS)), strict=True)
    assert min(short) >= 10 and min(long) >= 5, "a night with traffic jams and tea, for everybody"
    engine, ledger = Engine(plan), Ledger()
    events: list[AlertEvent] = []
    with closing(AlertStore(f"sqlite:///{tmp_path}/a.db", plan, lambda e: words_for(plan, e))) as store:
        operator = Operator(store)
        for n, record in enumerate(records(plan, world, found, quiet, pressed)):
            now_us = START_US + (n + 1) * MINUTE
            changes = engine.feed(record)
            ledger.apply(changes)
            batch = ChangeBatch(version=1, partition=0, epoch=1, input_offset=n, changes=changes)
            events += store.take_changes([("episodes", 0, n, batch)], now_us)
            events += store.take_time(now_us, None)
            events += operator.works(now_us)
        alerts = store.alerts_of()
        reasons = store.held_reasons()
        kept = {name: store.alert(alert) for name, alert in alerts.items()}
    told = {e.alert.id: e for e in events if e.transition == "opened"}
    lines = [f"{(e.at_us - START_US) / 3.6e9:.2f} h {e.alert.rule} {e.alert.subject} {e.reason}" for e in told.values()]
    assert len(told) <= MOST_ALERTS, lines
    for incident in incidents:
        about_us = START_US + round(incident.at_s * SECOND)
        convoy = int(incident.vehicle[1:]) // EACH
        members = {f"v{convoy * EACH + i}" for i in range(EACH)}
        one_told = [
            e for e in told.values()
            if e.alert.rule == incident.rule and e.alert.subject in members and -2 * MINUTE < e.at_us - about_us < 20 * MINUTE
        ]  # fmt: skip
        assert one_told, (incident, lines)
    assert len(ledger.episodes) > len(told), "what a whole convoy did is told once"
    for name in ledger.episodes:  # and every row of the ledger has its alert or its reason
        alert = kept.get(name)
        assert (alert is not None and not alert.held) != (name in reasons), name

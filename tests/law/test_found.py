"""What readers found, each as small as it could be made: two orders of arrival of the same few observations."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.commands.detect import ledger_of
from pipeline.detect.engine import Engine
from pipeline.model.episode import Ledger
from pipeline.model.observation import Fix, Other, Reading, Tick
from pipeline.model.wire import BatchBuilder, ObservationBatch
from pipeline.plan.model import CompiledPlan, Convoy
from tests.detect.plans import SECOND, T0, plan, setting
from tests.detect.plans import fix as seen
from tests.detect.restarts import taken_over
from tests.law.ground import place
from tests.law.owners import Partition
from tests.law.switches import HORIZON_US, a_records, an_order, plans
from tests.law.worlds import START_US, Said


def us(at_s: float) -> int:
    return START_US + round(at_s * SECOND)


def fix(
    at_s: float,
    vehicle: str,
    east_m: float,
    north_m: float = 0.0,
    speed: float = 8.0,
    device: str = "",
    cell: str = "c-0",
) -> Said:
    lat, lon = place(0, east_m, north_m)
    body = zlib.crc32(f"{device or vehicle} {at_s}".encode())
    what = Fix(
        vehicle=vehicle, device=device or vehicle, seen_at_us=us(at_s), received_at_us=us(at_s + 1), lat=lat, lon=lon, seq=int(at_s),
        body=body, speed_mps=speed, accuracy_m=5.0,
    )  # fmt: skip
    return Said(cell, "north", what)


def tick(at_s: float) -> Said:
    return Said("", "north", Tick(source="north", at_us=us(at_s)))


def tampered(at_s: float) -> Said:
    return gate(at_s, "tamper", "detected")


def gate(at_s: float, what: str, value: str) -> Said:
    reading = Reading(
        sensor="gate-0", device="gate-d-0", seen_at_us=us(at_s), received_at_us=us(at_s + 1), what=what, value=value
    )
    return Said("c-0", "north", reading)


def order(what: str, from_s: float, given_s: float, **fields: str) -> Said:
    return Said("", "", an_order(what, from_s, given_s, **fields))


def told(
    records: Sequence[ObservationBatch], begins: str = "base", horizon_us: int = HORIZON_US, **more: CompiledPlan
) -> list[str]:
    of = plans() | more
    part, ledger = Partition(frozenset({"c-0"}), records, horizon_us, of[begins], of), Ledger()
    while not part.over:
        part.step()
    part.fold(ledger)
    return ledger.lines().decode().splitlines()


def one_by_one(said: Sequence[Said]) -> list[ObservationBatch]:
    return a_records(said, "c-0", random.Random(1), 1)


def together(said: Sequence[Said]) -> ObservationBatch:
    builder = BatchBuilder("c-0", source="north")
    builder.extend([one.what for one in said])
    return builder.build()


def test_an_order_and_the_tick_that_brings_its_time_in_one_record() -> None:
    """What only the new version asks for was not read back for it."""
    before = [tampered(10), *(tick(s) for s in range(10, 60, 10))]
    last = [order("plan", 500, 60, hash="base"), tick(500), tick(505)]
    apart = told(one_by_one([*before, *last]), "unguarded")
    assert told([*one_by_one(before), together(last)], "unguarded") == apart
    assert "sensor.tamper" in "".join(apart)


def test_files_may_ask_for_history_twice_in_one_record() -> None:
    said = [
        tampered(10), tick(100), order("plan", 50, 90, hash="base"), order("plan", 60, 90, hash="unguarded"),
        order("plan", 500, 90, hash="base"), fix(600, "w1-0", 400, -400),
    ]  # fmt: skip
    what: list[Fix | Other] = [one.what for one in said]
    ledgers = [ledger_of(plans()["unguarded"], what, size, plans())[0].lines() for size in (1, 2, 4)]
    assert ledgers[0] == ledgers[1] == ledgers[2]


def test_a_silent_phone_that_becomes_anothers_is_the_others_from_then_on() -> None:
    heard, given = fix(115, "p1-0", 900, device="p1-phone-0"), order("plan", 310, 330, hash="phone")
    early, late = (told(one_by_one(said)) for said in ([given, heard, tick(320)], [heard, tick(320), given]))
    assert early == late
    assert ["PLAN_REMOVED" in line for line in early if '"object":"p1-0"' in line] == [True]


def test_what_such_a_phone_says_is_not_its_former_owners() -> None:
    said = []
    for s in range(0, 400, 10):
        said += [fix(s, "e1-0", 1000), fix(s, "e2-0", 800, cell="c-1"), tick(s)]
        said += [fix(s + 1, "p1-0", 900) if s < 100 else fix(s + 1, "p1-0", 1480, device="p1-phone-0")]
    given = order("plan", 150, 390, hash="phone")
    assert told(one_by_one([given, *said])) == told(one_by_one([*said, given]))


def test_what_was_over_before_the_next_plan_lost_its_vehicle_was_over_then() -> None:
    """Time had passed the switch before its fixes came."""
    said = [*(fix(s, "e1-0", 1000, 3000, 0.0) for s in (58, 108)), *(fix(s, "e1-0", 1900, 3000) for s in (208, 218))]
    left = {k: v for k, v in plans()["no convoy"].vehicles.items() if k != "e1-0"}
    gone = replace(plans()["no convoy"], hash="gone", vehicles=left)
    given, late = order("plan", 248, 243, hash="gone"), tick(300)
    found = told(one_by_one([*said, given, late]), gone=gone)
    assert told(one_by_one([given, late, *said]), gone=gone) == found
    (stop,) = [line for line in found if '"stop.unscheduled"' in line]
    assert '"ended_at":null' not in stop and "PLAN_REMOVED" not in stop


def test_a_device_that_is_given_to_a_member_of_a_convoy_speaks_for_it_from_then_on() -> None:
    """Its fixes since were its former owner's by name."""
    said = []
    for s in range(0, 400, 10):
        said += [fix(s, "e1-0", 1000), fix(s, "e2-0", 800, cell="c-1"), tick(s)]
        said += [fix(s + 1, "w1-0", 900, device="w1-0")] if s < 100 else [fix(s + 1, "w1-0", 1480, device="p1-phone-0")]
    given = order("plan", 150, 390, hash="base")
    early, late = (told(one_by_one(mixed), "phone") for mixed in ([given, *said], [*said, given]))
    assert early == late
    assert '"convoy.separated"' in "".join(early)


def test_a_door_that_stood_open_for_long_when_one_door_came_to_be_enough() -> None:
    """A plan that needs no other sensor, announced or ordered half an hour late: what the door had said was known only as the old plan judged it."""
    none = {k: replace(v, schedule=None) for k, v in plans()["base"].sensors.items()}
    more = {"two": replace(plans()["base"], hash="two", sensors=none)}
    found = []
    for given_s in (60, 6790):
        said = [gate(1, "door", "closed"), gate(20, "door", "open"), *(tick(s) for s in range(0, 6900, 10))]
        said += [gate(s, "tamper", "clear") for s in range(5, 6900, 300)]
        said.sort(key=lambda one: one.what.at_us if isinstance(one.what, Tick) else one.what.received_at_us)
        at = next(n for n, one in enumerate(said) if isinstance(one.what, Tick) and one.what.at_us >= us(given_s))
        said.insert(at, order("plan", 5000, given_s, hash="base"))
        found.append(told(one_by_one(said), "two", 1800 * SECOND, **more))
    assert found[0] == found[1]
    assert ['"ended_at":null' in line for line in found[0] if '"sensor.alarm"' in line] == [True]


# ---- without orders


GROUPED = {"min_duration_us": 60e6, "rejoin_factor": 0.8, "stale_after_us": 120e6}
RULES = {
    "convoy.separated": setting("convoy.separated", **GROUPED),
    "escort.missing": setting("escort.missing", max_distance_m=800.0, **GROUPED),
}


def road(ends_s: float = 1e6, **rules: float) -> CompiledPlan:
    base = plan(line=[(0, 0), (40000, 0)], vehicles=("e1", "c1"), rules=RULES)
    convoy = Convoy("k", "r", {"en": "k"}, ("e1", "c1"), ("c1",), ("e1",), 500.0, "c")
    moving = replace(base.movements[0], convoy="k", ends_us=T0 + round(ends_s * SECOND))
    return replace(base, convoys={"k": convoy}, movements=(moving,))


def record(*what: Fix | Other) -> ObservationBatch:
    builder = BatchBuilder("c", source="a")
    builder.extend(what)
    return builder.build()


def ticked(at_s: float, trusted: bool = True) -> Tick:
    return Tick(source="a", at_us=T0 + round(at_s * SECOND), clock_trusted=trusted)


def by(engine: Engine, records: Sequence[ObservationBatch]) -> list[str]:
    ledger = Ledger()
    for one in records:
        ledger.apply(engine.feed(one))
    return ledger.lines().decode().splitlines()


def test_how_far_a_convoy_came_apart_by_its_end_is_known_of_late_fixes_too() -> None:
    said: list[tuple[float, Fix | Other]] = []
    for t in range(0, 700, 10):
        x = 2000 + 10 * t
        said += [(t, seen(t, x, 0, "c1")), (t, seen(t, x + 1000 + 5 * t, 0, "e1"))]
    said += [(t + 0.5, ticked(t)) for t in range(0, 700, 5)]
    in_order = by(Engine(road(600)), [record(what) for _, what in sorted(said, key=lambda s: s[0])])
    put_off = sorted(said, key=lambda s: s[0] + (0 if isinstance(s[1], Tick) else 30))
    assert by(Engine(road(600)), [record(what) for _, what in put_off]) == in_order
    assert len(in_order) == 2


def test_a_follower_who_was_silent_for_most_of_an_hour_is_the_same_after_a_restart() -> None:
    """The base from which its gap is told again stood before the silence, and what follows from it was given up."""
    records = []
    for t in range(0, 5600, 5):
        x, gap = 2000 + 2 * t, min(1000, max(100, 1000 - 20 * (t - 871)))
        own = [] if 905 < t < 3200 else [seen(t, x, 0, "c1")]
        records += [record(seen(t, x + gap, 0, "e1"), *own), record(ticked(t))]
    horizon_us = 600 * SECOND
    whole = by(Engine(road(), horizon_us), records)
    for at in (1500, 1700):
        engine, ledger = Engine(road(), horizon_us), Ledger()
        for one in records[:at]:
            ledger.apply(engine.feed(one))
        fresh = Engine(road(), horizon_us)
        taken_over(engine, fresh, at)
        for one in records[at:]:
            ledger.apply(fresh.feed(one))
        assert ledger.lines().decode().splitlines() == whole


@pytest.mark.parametrize("ahead_h", [7, 13])
def test_a_clock_in_doubt_that_is_far_ahead_makes_nobody_forget_what_is_recent(ahead_h: int) -> None:
    rules = RULES | {
        "device.silent": setting("device.silent", expected_within_us=60e6, reemerge_within_us=1200e6, coverage_margin_m=600.0),
        "clock.suspect": setting("clock.suspect"),
    }  # fmt: skip
    marching = replace(road(), regions={"r": replace(plan(rules=rules).regions["r"])})
    before, late, after = [], [], []
    for t in range(0, 1500, 10):
        x, gap = 2000 + 2 * t, 100 if t < 255 else min(1000, 20 * t - 5000) if t < 600 else max(100, 13000 - 20 * t)
        of = before if t <= 800 else after
        (late if 400 <= t < 780 else of).append(record(seen(t, x, 0, "c1", received_s=t)))
        of += [record(seen(t, x + gap, 0, "e1", received_s=t)), record(ticked(t, trusted=not 100 <= t < 220))]
    doubtful = [ticked(t, trusted=False) for t in (220, 230, 240)]
    jump = record(ticked(800 + ahead_h * 3600, trusted=False))
    found = [
        by(Engine(marching, HORIZON_US), [*first, *after])
        for first in ([*before, *late, record(*doubtful), jump], [*before, jump, *late, record(*doubtful)])
    ]
    assert found[0] == found[1]
    assert {"convoy.separated", "clock.suspect"} <= {line.split('"rule":"')[1].split('"')[0] for line in found[0]}

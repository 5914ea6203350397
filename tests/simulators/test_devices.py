"""What devices send: two formats, in order, with the backlog of a dead zone kept and sent when they are back."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest

from pipeline.model.times import parse_us
from pipeline.plan.model import CompiledPlan
from simulators.devices import BACKLOG_MESSAGE, SECOND_US, Device, DeviceSpec, Parcel, lines, messages
from simulators.fleet import Journey, Track
from simulators.gps import GpsQuality
from simulators.sensors import SensorSpec, SiteSensor
from simulators.world import World

START_US = parse_us("2026-11-23T05:00:00Z")
SPEC = DeviceSpec("d-a", "d-a", "a", interval_s=10)
END_S = 4000


@pytest.fixture(scope="module")
def drive(world: World) -> Track:
    """From before the coverage gap to beyond the tunnel."""
    return Journey(world, "r", 500.0).drive(world.roads["r"].path.length_m - 500.0, 16.0).track()


def _parcels(spec: DeviceSpec, track: Track, world: World, chunk_s: int = END_S) -> list[Parcel]:
    device = Device(spec, track, world, GpsQuality())
    return [p for a in range(0, END_S, chunk_s) for p in device.parcels(START_US, a, min(a + chunk_s, END_S))]


def test_a_dead_zone_delays_fixes_and_loses_none_of_them_but_a_tunnel_has_none(world: World, drive: Track) -> None:
    parcels = _parcels(SPEC, drive, world)
    fixes = [item for p in parcels for item in p.items]
    assert [f.seq for f in fixes] == list(range(1, len(fixes) + 1))
    assert fixes == sorted(fixes, key=lambda f: f.seen_at_us)
    backlog = max(parcels, key=lambda p: len(p.items))
    assert len(backlog.items) > 10
    assert backlog.at_us - backlog.items[0].seen_at_us > 100 * SECOND_US
    assert backlog.at_us >= backlog.items[-1].seen_at_us
    steps = {b.seen_at_us - a.seen_at_us for a, b in pairwise(fixes)}
    assert min(steps) == 10 * SECOND_US
    assert max(steps) > 40 * SECOND_US  # the tunnel: no sky, no fix


def test_arrivals_never_fall_and_come_after_what_they_tell(world: World, drive: Track) -> None:
    parcels = _parcels(SPEC, drive, world)
    assert all(a.at_us < b.at_us for a, b in pairwise(parcels))
    assert all(p.at_us > item.seen_at_us for p in parcels for item in p.items)


def test_asking_in_stretches_samples_the_same_instants(world: World, drive: Track) -> None:
    whole = [i.seen_at_us for p in _parcels(SPEC, drive, world) for i in p.items]
    pieces = [i.seen_at_us for p in _parcels(SPEC, drive, world, chunk_s=20) for i in p.items]
    assert whole == pieces


def test_native_lines_have_the_contracts_fields(world: World, drive: Track) -> None:
    line = orjson.loads(next(lines(_parcels(SPEC, drive, world)[20])))
    assert line["kind"] == "fix"
    assert line["vehicle"] == "a"
    assert line["device"] == "d-a"
    assert parse_us(line["seen_at"]) < parse_us(line["received_at"])
    assert {"lat", "lon", "speed_mps", "course_deg", "accuracy_m", "altitude_m", "seq"} <= line.keys()
    assert 34.5 < line["lat"] < 35.5
    assert 72.5 < line["lon"] < 73.5


def test_native_messages_are_an_object_or_for_a_backlog_arrays_and_do_not_say_when_they_arrived(
    world: World, drive: Track
) -> None:
    parcels = _parcels(SPEC, drive, world)
    single = next(messages(parcels[0]))
    assert single.topic == "v1/0/d-a/native"
    assert "received_at" not in orjson.loads(single.payload)
    backlog = max(parcels, key=lambda p: len(p.items))
    bodies = [orjson.loads(m.payload) for m in messages(backlog)]
    assert all(isinstance(body, list) and len(body) <= BACKLOG_MESSAGE for body in bodies)
    assert sum(map(len, bodies)) == len(backlog.items)


def test_owntracks_speaks_as_the_app_does(world: World, drive: Track) -> None:
    spec = DeviceSpec("d-b", "d-b", "b", format="owntracks", interval_s=10)
    backlog = max(_parcels(spec, drive, world), key=lambda p: len(p.items))
    sent = list(messages(backlog))
    assert len(sent) == len(backlog.items)
    assert {m.topic for m in sent} == {"owntracks/d-b/d-b"}
    first = orjson.loads(sent[0].payload)
    assert first["_type"] == "location"
    assert first["tst"] * SECOND_US == backlog.items[0].seen_at_us
    assert first["created_at"] > first["tst"]
    assert all(isinstance(first[key], int) for key in ("tst", "acc", "alt", "vel"))


def test_a_press_is_sent_between_fixes_or_kept_like_one(world: World, drive: Track) -> None:
    pressed = _parcels(DeviceSpec("d-a", "d-a", "a", interval_s=10, presses=((33.0, "sos"),)), drive, world)
    alone = next(p for p in pressed if any(getattr(i, "what", "") == "sos" for i in p.items))
    assert alone.items[0].seen_at_us == START_US + 33 * SECOND_US
    assert alone.at_us - alone.items[0].seen_at_us < 5 * SECOND_US
    muted = DeviceSpec("d-a", "d-a", "a", interval_s=10, presses=((33.0, "sos"),), silent=((20.0, 100.0),))
    kept = next(p for p in _parcels(muted, drive, world) if any(getattr(i, "what", "") == "sos" for i in p.items))
    assert kept.at_us > START_US + 100 * SECOND_US


def test_a_sensor_tells_its_changes_and_that_it_lives(world: World) -> None:
    spec = SensorSpec("s", "s", "door-1", "door", "closed", ((700.0, "open"), (760.0, "closed")), heartbeat_s=300)
    parcels = list(SiteSensor(spec, world).parcels(START_US, 0, 1800))
    said = [(round((i.seen_at_us - START_US) / 1e6), i.value) for p in parcels for i in p.items]
    assert (700, "open") in said
    assert (760, "closed") in said
    assert len(said) == 2 + 6
    line = orjson.loads(next(lines(parcels[0])))
    assert line["kind"] == "reading"
    assert line["sensor"] == "door-1"


def test_the_plan_fixture_is_what_the_devices_are_of(plan: CompiledPlan) -> None:
    assert plan.device_subject["d-a"] == "a"

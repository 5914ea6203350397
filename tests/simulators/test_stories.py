"""The stories repeat themselves, are in the contract's form, and what was written down is what happens on the road."""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest
import shapely

from pipeline.clock import WallClock
from pipeline.model.times import parse_us
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from simulators.fleet import Track
from simulators.run import mqtt_messages, native_lines, play
from simulators.scenarios import STORIES
from simulators.scenarios.calm import ROAD
from simulators.story import Expected, Story
from simulators.world import World
from tests.simulators.forgetful_broker import ForgetfulBroker

ROOT = Path(__file__).resolve().parents[2]


@cache
def plan_at(path: Path) -> CompiledPlan:
    """Read once: nobody changes it."""
    return load_plan(ROOT / path)


@pytest.fixture(scope="module")
def hazara() -> CompiledPlan:
    return plan_at(Path("plans/hazara"))


@pytest.fixture(params=STORIES.values(), ids=lambda s: s.name)
def story(request: pytest.FixtureRequest) -> Story:
    return request.param


@pytest.fixture
def plan(story: Story) -> CompiledPlan:
    """The story's own."""
    return plan_at(story.plan)


def test_the_same_seed_tells_the_same_story_and_another_seed_another(story: Story, plan: CompiledPlan) -> None:
    def told(seed: int) -> bytes:
        return b"".join(native_lines(story, plan, seed, seconds=60))

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_lines_come_in_order_of_arrival_from_devices_that_the_plan_knows(story: Story, plan: CompiledPlan) -> None:
    lines = [orjson.loads(line) for line in native_lines(story, plan, 1, seconds=150)]
    arrived = [parse_us(line["received_at"]) for line in lines]
    assert arrived == sorted(arrived)
    for line in lines:
        subject = line[{"fix": "vehicle", "press": "subject", "reading": "sensor"}[line["kind"]]]
        assert plan.device_subject[line["device"]] == subject


def test_messages_come_in_order_of_their_instants_under_logins_of_the_plan(story: Story, plan: CompiledPlan) -> None:
    sent = list(islice(mqtt_messages(story, plan, 1, parse_us(story.at)), 400))
    assert all(a.at_us <= b.at_us for a, b in pairwise(sent))
    assert {m.login for m in sent} <= set(plan.logins)
    assert all(m.topic.split("/")[1 if m.topic.startswith("owntracks") else 2] == m.login for m in sent)


def test_whoever_is_expected_to_do_something_is_in_the_cast(story: Story, plan: CompiledPlan) -> None:
    cast = story.cast(World(plan, 1), None)
    at_sites = {name for s in cast.sensors for name in (s.sensor, plan.sensors[s.sensor].site)}
    assert {e.subject for e in story.expected} <= {a.device.vehicle for a in cast.actors} | at_sites
    assert all(0 <= e.began_at_s < story.seconds for e in story.expected)


def test_fewer_vehicles_are_the_ones_that_the_story_is_about_and_more_than_the_plan_has_are_refused(
    hazara: CompiledPlan,
) -> None:
    world = World(hazara, 1)
    few = STORIES["first-watch"].cast(world, 7).actors
    assert {a.device.vehicle for a in few} == {"e-1", "c-1", "c-2", "c-3", "e-2", "s-1", "c-6"}
    with pytest.raises(ValueError, match="40 vehicles"):
        STORIES["quiet-hour"].cast(world, 41)


# ---- what really happens, by geometry alone: no rule is asked


class Road:
    """The true drives of a story, to be asked when something began and ended."""

    def __init__(self, story: Story, plan: CompiledPlan, seed: int) -> None:
        self.world = World(plan, seed)
        self.seconds = story.seconds
        self.line = shapely.LineString(plan.routes[ROAD].xy)
        self.lines = {route.id: shapely.LineString(route.xy) for route in plan.routes.values()}
        self.tracks: dict[str, Track] = {a.device.vehicle: a.track for a in story.cast(self.world, None).actors}

    def _spans(self, vehicle: str, true: np.ndarray) -> list[tuple[int, int]]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], true.astype(int), [0]])))
        return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]

    def off_road(self, vehicle: str, road: str, metres: float, about: Expected) -> list[tuple[int, int]]:
        """While what was written down is said to last: on another road it is far from this one, too."""
        truth = self.tracks[vehicle].at(np.arange(self.seconds))
        away = shapely.distance(self.lines[road], shapely.points(truth.x_m, truth.y_m))
        until_s = self.seconds if about.ended_at_s is None else about.ended_at_s
        return [s for s in self._spans(vehicle, away > metres) if s[0] <= until_s and s[1] >= about.began_at_s]

    def inside(self, vehicle: str, area: str) -> list[tuple[int, int]]:
        truth = self.tracks[vehicle].at(np.arange(self.seconds))
        polygon = self.world.areas[area].polygon
        return self._spans(vehicle, shapely.contains_xy(polygon, truth.x_m, truth.y_m))

    def standing(self, vehicle: str, at_least_s: int = 30) -> list[tuple[int, int]]:
        truth = self.tracks[vehicle].at(np.arange(self.seconds))
        return [s for s in self._spans(vehicle, truth.speed_mps < 0.1) if s[1] - s[0] >= at_least_s]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if story.expected])
def test_what_was_written_down_is_what_happens_on_the_road(name: str, seed: int) -> None:
    story = STORIES[name]
    plan = plan_at(story.plan)
    road = Road(story, plan, seed)
    for e in story.expected:
        if e.rule == "route.deviation":
            ((began, _),) = road.off_road(e.subject, e.object, plan.routes[e.object].half_width_m, e)
            ((_, ended),) = road.off_road(e.subject, e.object, plan.routes[e.object].exit_width_m, e)
        elif e.rule == "area.forbidden":
            ((began, ended),) = road.inside(e.subject, e.object)
        elif e.rule == "stop.unscheduled":
            ((began, ended),) = [s for s in road.standing(e.subject, 20) if abs(s[0] - e.began_at_s) < 30]
        else:
            assert e.rule in ("sos.pressed", "sensor.alarm")
            continue
        assert abs(began - e.began_at_s) <= 8
        assert e.ended_at_s is not None
        assert abs(ended - e.ended_at_s) <= 8


def _is_calm(story: Story, plan: CompiledPlan, seed: int, from_s: int, to_s: int) -> int:
    """Nobody leaves road and yards, nobody who is watched for it stands in the open. Returns how often one stood."""
    road = Road(story, plan, seed)
    road.seconds = to_s
    allowed = shapely.union_all([a.polygon for a in plan.areas if a.stop_allowed])
    corridor = shapely.union(road.line.buffer(plan.routes[ROAD].half_width_m), allowed)
    on_duty = {vehicle for movement in plan.movements for vehicle in movement.vehicles}
    stood = 0
    for vehicle in plan.vehicles.values():
        truth = road.tracks[vehicle.id].at(np.arange(from_s, to_s))
        if vehicle.id in on_duty:
            assert shapely.contains_xy(corridor, truth.x_m, truth.y_m).all(), vehicle.id
        if vehicle.role in ("principal", "logistics"):
            for began, ended in road.standing(vehicle.id, at_least_s=20):
                if ended <= from_s:
                    continue
                there = road.tracks[vehicle.id].at([began])
                assert shapely.contains_xy(allowed, there.x_m, there.y_m).all(), vehicle.id
                stood += 1
    return stood


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_the_quiet_hour_nobody_does_what_a_person_would_tell(seed: int, hazara: CompiledPlan) -> None:
    assert _is_calm(STORIES["quiet-hour"], hazara, seed, 0, 3600) > 6


def test_after_the_first_watch_traffic_goes_on_for_hours_and_is_calm(hazara: CompiledPlan) -> None:
    assert _is_calm(STORIES["first-watch"], hazara, 1, 240, 5 * 3600) > 6


async def test_a_story_is_played_live_over_mqtt_under_each_devices_login(hazara: CompiledPlan) -> None:
    broker = ForgetfulBroker()
    await broker.start()
    story, clock = STORIES["noisy-parking"], WallClock(speed=100.0, epoch_us=parse_us("2026-11-23T05:00:00Z"))
    credentials = dict.fromkeys(hazara.logins, "secret")
    url = f"embedded://127.0.0.1:{broker.port}"
    done = await play(story, hazara, 1, url, credentials, clock, asyncio.Event(), seconds=60)
    await broker.die()
    assert done.sent == done.acked == len(broker.received) == 18
    assert set(broker.logins) == {"s-3-tracker", "c-8-tracker", "c-9-tracker"}
    assert all(orjson.loads(body)["vehicle"] in ("s-3", "c-8", "c-9") for body, _ in broker.received)

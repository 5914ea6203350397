"""Vehicles move as vehicles do."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.fleet import ACCELERATION_MPS2, BRAKING_MPS2, Journey, follow
from simulators.world import CRAWL_MPS, LATERAL_MPS2, World, make_path


def test_speed_and_acceleration_stay_plausible_over_a_whole_journey(world: World) -> None:
    rng = world.rng("jam")
    track = Journey(world, "r", 500.0).drive(9000.0, 16.0).dwell(60).jam(600, rng).drive(20_000.0, 25.0).track()
    t = np.arange(0, track.ends_s + 60, 0.5)
    truth = track.at(t)
    assert truth.speed_mps.max() <= 25.0 + 1e-6
    gained = np.diff(truth.speed_mps) / 0.5
    assert gained.max() <= ACCELERATION_MPS2 + 0.05
    assert gained.min() >= -BRAKING_MPS2 - 0.05
    moved = np.hypot(np.diff(truth.x_m), np.diff(truth.y_m)) / 0.5
    assert (
        np.abs(moved - (truth.speed_mps[1:] + truth.speed_mps[:-1]) / 2).max() < 0.6
    )  # no leaps: position follows speed


def test_bends_are_taken_no_faster_than_passengers_bear(world: World) -> None:
    radius = 40.0
    angle = np.linspace(0, np.pi, 200)
    bend = make_path(radius * np.cos(angle), radius * np.sin(angle))
    middle = bend.limit_mps[len(bend.limit_mps) // 2]
    assert middle == pytest.approx(np.sqrt(LATERAL_MPS2 * radius), rel=0.1)
    assert make_path([0, 3000], [0, 0]).limit_mps.min() >= 30.0
    assert world.roads["r"].path.limit_mps.min() >= CRAWL_MPS


def test_a_journey_begins_and_ends_at_a_stand_and_is_parked_before_and_after(world: World) -> None:
    track = Journey(world, "r", 1000.0, begins_s=100.0).drive(3000.0, 15.0).track()
    truth = track.at(np.array([0.0, 100.0, track.ends_s, track.ends_s + 1e6]))
    assert truth.speed_mps == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert (truth.x_m[0], truth.y_m[0]) == pytest.approx((truth.x_m[1], truth.y_m[1]))
    assert (truth.x_m[2], truth.y_m[2]) == pytest.approx((truth.x_m[3], truth.y_m[3]))


def test_drive_until_is_where_it_says_at_that_instant_and_still_rolling(world: World) -> None:
    journey = Journey(world, "r", 1000.0).drive_until(40.0, 15.0)
    left = journey._chainage
    track = journey.drive(6000.0, 15.0).track()
    assert track.when_s(left - 1000.0) == pytest.approx(40.0, abs=1.0)
    assert track.at(np.array([40.0])).speed_mps[0] > 5.0


def test_a_detour_leaves_the_road_by_what_it_says_and_comes_back(world: World) -> None:
    track = Journey(world, "r", 1000.0).drive(2000.0, 15.0).detour(300.0, 400.0, 12.0).drive(5000.0, 15.0).track()
    road = np.column_stack([world.roads["r"].path.x_m, world.roads["r"].path.y_m])
    truth = track.at(np.arange(0, track.ends_s, 1.0))
    away = np.array([np.hypot(*(road - p).T).min() for p in np.column_stack([truth.x_m, truth.y_m])])
    assert 200.0 < away.max() < 320.0
    assert away[0] < 15.0
    assert away[-1] < 15.0


def test_a_jam_never_holds_anybody_for_minutes(world: World) -> None:
    track = Journey(world, "r", 1000.0).jam(1500.0, world.rng("jam")).track()
    t = np.arange(0, track.ends_s, 1.0)
    truth = track.at(t)
    for i in range(0, len(t) - 120, 10):
        assert np.hypot(truth.x_m[i + 120] - truth.x_m[i], truth.y_m[i + 120] - truth.y_m[i]) > 60.0


def test_a_follower_repeats_the_leader_later_and_behind_and_never_runs_into_it(world: World) -> None:
    leader = Journey(world, "r", 2000.0).drive(4000.0, 14.0).dwell(30.0).drive(8000.0, 14.0).track()
    follower = follow(world, "r", leader, 2000.0, behind_m=25.0, headway_s=3.0)
    t = np.arange(0, leader.ends_s, 1.0)
    ahead, behind = leader.at(t), follower.at(t)
    gap = np.hypot(ahead.x_m - behind.x_m, ahead.y_m - behind.y_m)
    assert gap.min() > 15.0
    assert gap.max() < 25.0 + 3.0 * 14.0 + 5.0


def test_a_journey_cannot_leap(world: World) -> None:
    journey = Journey(world, "r", 1000.0).drive(2000.0, 10.0)
    journey._chainage = 9000.0
    with pytest.raises(ValueError, match="leap"):
        journey.drive(9500.0, 10.0)

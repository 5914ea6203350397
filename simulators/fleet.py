"""How vehicles move: journeys along roads and off them, with braking and acceleration, stops, jams and convoys.

A `Journey` is written as a story is told (drive, leave the road, stop for a while) and becomes a `Track`: where the
vehicle truly is at any instant. Times are seconds since the story began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from simulators.world import Bools, Floats, Path, Road, World, make_path

ACCELERATION_MPS2 = 0.9
BRAKING_MPS2 = 1.4
FAR_S = 1e9


@dataclass(frozen=True, slots=True)
class Truth:
    """Where a vehicle truly is; all of shape (n,)."""

    t_s: Floats
    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    course_deg: Floats


@dataclass(frozen=True, slots=True)
class Track:
    """A path and when it is driven: knots of time, distance and speed; constant acceleration between, else parked."""

    path: Path
    t_s: Floats
    s_m: Floats
    v_mps: Floats

    @property
    def ends_s(self) -> float:
        return float(self.t_s[-1])

    def at(self, t_s: npt.ArrayLike) -> Truth:
        t = np.asarray(t_s, float)
        i = np.clip(np.searchsorted(self.t_s, t, side="right") - 1, 0, max(len(self.t_s) - 2, 0))
        if len(self.t_s) == 1:
            s, v = np.full(len(t), self.s_m[0]), np.zeros(len(t))
        else:
            span = self.t_s[i + 1] - self.t_s[i]
            since = np.clip(t - self.t_s[i], 0.0, span)
            slope = (self.v_mps[i + 1] - self.v_mps[i]) / span
            s = self.s_m[i] + self.v_mps[i] * since + slope * since**2 / 2
            v = np.where((t < self.t_s[0]) | (t > self.t_s[-1]), 0.0, self.v_mps[i] + slope * since)
        x, y = self.path.at(s)
        return Truth(t, x, y, v, self.path.course_deg(s))

    def when_s(self, s_m: float) -> float:
        """When it has driven this far."""
        return float(np.interp(s_m, self.s_m, self.t_s))


def speed_profile(s: Floats, limit: Floats, v0: float, v1: float) -> Floats:
    """The fastest speed at each sample that keeps to the limit, the acceleration and the braking: two passes on v²."""
    cap = limit**2
    cap = cap.copy()
    cap[0] = min(cap[0], v0**2)
    cap[-1] = min(cap[-1], v1**2)
    forward = 2 * ACCELERATION_MPS2 * s + np.minimum.accumulate(cap - 2 * ACCELERATION_MPS2 * s)
    behind = (s[-1] - s)[::-1]
    reach = 2 * BRAKING_MPS2 * behind + np.minimum.accumulate(forward[::-1] - 2 * BRAKING_MPS2 * behind)
    out: Floats = np.sqrt(np.maximum(reach[::-1], 0.0))
    return out


def _join(a: Path, b: Path) -> Path:
    if np.hypot(b.x_m[0] - a.x_m[-1], b.y_m[0] - a.y_m[-1]) > 50.0:
        raise ValueError("a journey cannot leap: its next leg begins elsewhere")
    return Path(
        np.concatenate([a.s_m, b.s_m[1:] + a.s_m[-1]]),
        np.concatenate([a.x_m, b.x_m[1:]]),
        np.concatenate([a.y_m, b.y_m[1:]]),
        np.concatenate([a.limit_mps, b.limit_mps[1:]]),
    )


def _slower(path: Path, speed_mps: float) -> Path:
    return Path(path.s_m, path.x_m, path.y_m, np.minimum(path.limit_mps, speed_mps))


class Journey:
    """Builds a track. `road` and `at_m` say where it begins; every step returns the journey itself."""

    def __init__(self, world: World, road: str, at_m: float, begins_s: float = 0.0, rolling_mps: float = 0.0) -> None:
        self._world = world
        self._road: Road = world.roads[road]
        self._chainage = at_m
        self._done: Path | None = None  # driven, with knots below
        self._t: list[Floats] = []
        self._s: list[Floats] = []
        self._v: list[Floats] = []
        self._pending: Path | None = None  # to be driven without a stop between
        self._now_s = begins_s
        self._rolling = rolling_mps
        self._here = self._road.path.at(np.array([at_m]))

    def drive(self, to_m: float, speed_mps: float) -> Self:
        """Along the road to a chainage, at most this fast."""
        if abs(to_m - self._chainage) < 1.0:
            return self
        self._push(_slower(self._road.section(self._chainage, to_m), speed_mps))
        self._chainage = to_m
        return self

    def drive_until(self, t_s: float, speed_mps: float, backwards: bool = False) -> Self:
        """Along the road until an instant of the story, still rolling then."""
        far = 0.0 if backwards else self._road.path.length_m
        road = _slower(self._road.section(self._chainage, far), speed_mps)
        driven = 0.0 if self._pending is None else self._pending.length_m
        trial = road if self._pending is None else _join(self._pending, road)
        t, _ = self._timed(trial, end_mps=speed_mps)
        metres = float(np.interp(t_s, t, trial.s_m)) - driven
        if metres <= 0:
            raise ValueError(f"{t_s} s has passed when this leg begins")
        return self.drive(self._chainage + (-metres if backwards else metres), speed_mps)

    def detour(
        self, left_m: float, along_m: float, speed_mps: float, ramp_m: float = 250.0, backwards: bool = False
    ) -> Self:
        """Leave the road to one side, run beside it for a while, come back: a driver who took the wrong track."""
        total = along_m + 2 * ramp_m
        end = self._chainage + (-total if backwards else total)
        base = self._road.section(self._chainage, end)
        s = base.s_m
        ramp = np.clip(np.minimum(s, s[-1] - s) / ramp_m, 0.0, 1.0)
        aside = left_m * (ramp * ramp * (3 - 2 * ramp))
        x0, y0 = base.at(np.clip(s - 100.0, 0.0, s[-1]))
        x1, y1 = base.at(np.clip(s + 100.0, 0.0, s[-1]))
        length = np.hypot(x1 - x0, y1 - y0)
        x = base.x_m - aside * (y1 - y0) / length
        y = base.y_m + aside * (x1 - x0) / length
        self._push(_slower(make_path(x, y), speed_mps))
        self._chainage = end
        return self

    def go(self, points: Sequence[tuple[float, float]], speed_mps: float) -> Self:
        """Off the road through these points (metres). The journey goes on from the last one; `back_on_road` returns."""
        x, y = [float(self._here[0][0])], [float(self._here[1][0])]
        for px, py in points:
            x.append(px)
            y.append(py)
        self._push(_slower(make_path(x, y), speed_mps))
        return self

    def back_on_road(self, at_m: float, speed_mps: float) -> Self:
        x, y = self._road.path.at(np.array([at_m]))
        self.go([(float(x[0]), float(y[0]))], speed_mps)
        self._chainage = at_m
        return self

    def onto(self, road: str) -> Self:
        """Go on along another road, which passes here."""
        self._road = self._world.roads[road]
        self._chainage = self._road.path.nearest_m(float(self._here[0][0]), float(self._here[1][0]))
        return self

    def into(self, area: str, speed_mps: float) -> Self:
        """Along the road to where one turns off to an area, and slowly to its middle."""
        turn_off, points = self._world.gate(self._road.id, area)
        return self.drive(turn_off, speed_mps).go(points, min(speed_mps, 7.0))

    def dwell(self, seconds: float) -> Self:
        """Brake to a stand at the end of what was driven, and stay."""
        self._stop()
        self._now_s += seconds
        return self

    def dwell_until(self, t_s: float) -> Self:
        self._stop()
        self._now_s = max(self._now_s, t_s)
        return self

    def jam(self, metres: float, rng: np.random.Generator) -> Self:
        """Stop-and-go (downhill: negative metres): a hundred metres or two, some seconds, and never long in one place."""
        end = float(np.clip(self._chainage + metres, 0.0, self._road.path.length_m))
        direction = 1.0 if metres > 0 else -1.0
        while abs(end - self._chainage) > 200.0:
            step = float(rng.uniform(120, 200))
            self.drive(self._chainage + direction * step, float(rng.uniform(6, 9)))
            self.dwell(float(rng.uniform(3, 9)))
        return self.drive(end, 8.0)

    def track(self) -> Track:
        self._stop()
        if self._done is None:
            x, y = float(self._here[0][0]), float(self._here[1][0])
            still = Path(np.array([0.0, 0.01]), np.array([x, x]), np.array([y, y + 0.01]), np.zeros(2))
            return Track(still, np.array([self._now_s]), np.zeros(1), np.zeros(1))
        return Track(self._done, np.concatenate(self._t), np.concatenate(self._s), np.concatenate(self._v))

    def _push(self, path: Path) -> None:
        self._pending = path if self._pending is None else _join(self._pending, path)
        self._here = (path.x_m[-1:], path.y_m[-1:])

    def _timed(self, path: Path, end_mps: float) -> tuple[Floats, Floats]:
        v = speed_profile(path.s_m, path.limit_mps, self._rolling, end_mps)
        steps = 2 * np.diff(path.s_m) / np.maximum(v[1:] + v[:-1], 0.2)
        return self._now_s + np.concatenate([[0.0], np.cumsum(steps)]), v

    def _stop(self) -> None:
        if self._pending is None:
            return
        path, self._pending = self._pending, None
        if len(path.s_m) < 3:  # it must come to a stand at both ends, so it needs a middle
            s = np.linspace(0.0, path.length_m, 3)
            x, y = path.at(s)
            path = Path(s, x, y, np.interp(s, path.s_m, path.limit_mps))
        t, v = self._timed(path, end_mps=0.0)
        offset = 0.0 if self._done is None else self._done.length_m
        if self._t and t[0] - self._t[-1][-1] < 1e-6:
            t = t + 1e-3
        self._t.append(t)
        self._s.append(path.s_m + offset)
        self._v.append(v)
        self._done = path if self._done is None else _join(self._done, path)
        self._now_s = float(t[-1])
        self._rolling = 0.0


def follow(
    world: World,
    road: str,
    leader: Track,
    starts_at_m: float,
    behind_m: float,
    headway_s: float,
    backwards: bool = False,
) -> Track:
    """A vehicle in the leader's wheel tracks, `headway_s` later and `behind_m` short (Newell's car-following, 2002).

    `starts_at_m` is the chainage at which the leader began; the follower begins `behind_m` before it on that road.
    """
    before = starts_at_m + (behind_m if backwards else -behind_m)
    if not 0.0 <= before <= world.roads[road].path.length_m:
        raise ValueError(f"no road {behind_m} m behind the leader")
    path = _join(world.roads[road].section(before, starts_at_m), leader.path)
    return Track(path, leader.t_s + headway_s, leader.s_m, leader.v_mps)


def moving(track: Track, t_s: Floats) -> Bools:
    return np.asarray(track.at(t_s).speed_mps > 0.3, bool)

"""What a receiver says instead of the truth: errors that hang together in time, larger between walls of rock.

Error per axis: a first-order Gauss-Markov process (e.g. Brown and Hwang, *Introduction to Random Signals*) of unit
variance, times a sigma that the view of the sky decides. Fixes a second apart are wrong in the same direction; a parked
vehicle drifts about instead of jumping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.fleet import Truth
from simulators.world import Bools, Floats


@dataclass(frozen=True, slots=True)
class GpsQuality:
    """`clear_m` and `gorge_m` are one axis' standard deviation under open sky and between walls."""

    clear_m: float = 3.5
    gorge_m: float = 14.0
    correlation_s: float = 60.0
    outlier_share: float = 0.002
    outlier_m: float = 150.0
    speed_mps: float = 0.25


@dataclass(frozen=True, slots=True)
class Observed:
    """What the receiver says; (n,). Speed and course come from Doppler: better than differences of positions."""

    t_s: Floats
    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    course_deg: Floats  # NaN: too slow to tell
    accuracy_m: Floats  # radius that holds 68 %
    outlier: Bools


RADIUS_OF_SIGMA = 1.51  # 68 % of a round normal distribution is within 1.51 sigma of one axis


class Receiver:
    """One receiver; it remembers its error, so it can be asked for one stretch of time after another."""

    def __init__(self, rng: np.random.Generator, quality: GpsQuality) -> None:
        self._rng = rng
        self._quality = quality
        self._error = rng.standard_normal(2)
        self._at_s: float | None = None

    def observe(self, truth: Truth, gorge: Floats) -> Observed:
        """`gorge` (n,) is 0 under open sky and 1 between walls."""
        q, rng, n = self._quality, self._rng, len(truth.t_s)
        if not n:
            none = np.zeros(0)
            return Observed(none, none, none, none, none, none, np.zeros(0, bool))
        before = float(truth.t_s[0]) if self._at_s is None else self._at_s
        steps = np.diff(truth.t_s, prepend=before)
        keep = np.exp(-np.maximum(steps, 0.0) / q.correlation_s)
        fresh = rng.standard_normal((n, 2)) * np.sqrt(1 - keep**2)[:, None]
        unit = np.empty((n, 2))
        error = self._error
        for i in range(n):
            error = error * keep[i] + fresh[i]
            unit[i] = error
        self._error = error
        self._at_s = float(truth.t_s[-1])

        sigma = q.clear_m + (q.gorge_m - q.clear_m) * gorge
        outlier = rng.random(n) < q.outlier_share
        thrown = rng.uniform(0.4, 1.6, n) * q.outlier_m
        towards = rng.uniform(0, 2 * np.pi, n)
        dx = sigma * unit[:, 0] + np.where(outlier, thrown * np.cos(towards), 0.0)
        dy = sigma * unit[:, 1] + np.where(outlier, thrown * np.sin(towards), 0.0)
        claimed = RADIUS_OF_SIGMA * sigma * rng.lognormal(0.0, 0.15, n)
        accuracy = np.where(outlier, np.maximum(claimed, thrown * rng.uniform(1.0, 1.4, n)), claimed)

        speed = np.abs(truth.speed_mps + rng.normal(0, q.speed_mps, n) * (1 + gorge))
        speed = np.where(speed < 0.4, 0.0, speed)  # receivers hold a standing vehicle at nought
        wobble = rng.normal(0, 1, n) * (2.0 + 20.0 / np.maximum(truth.speed_mps, 1.0))
        course = np.where(speed > 1.0, (truth.course_deg + wobble) % 360.0, np.nan)
        return Observed(truth.t_s, truth.x_m + dx, truth.y_m + dy, speed, course, accuracy, outlier)

"""The noise is of the size, the persistence and the honesty that it claims."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.fleet import Truth
from simulators.gps import GpsQuality, Receiver

N = 40_000


def _parked(gorge: float, quality: GpsQuality, step_s: float = 10.0):
    t = np.arange(N) * step_s
    zero = np.zeros(N)
    return Receiver(np.random.default_rng(5), quality).observe(Truth(t, zero, zero, zero, zero), np.full(N, gorge))


@pytest.mark.parametrize(("gorge", "sigma_m"), [(0.0, 3.5), (1.0, 14.0), (0.5, 8.75)])
def test_the_error_is_as_large_as_the_sky_makes_it(gorge: float, sigma_m: float) -> None:
    seen = _parked(gorge, GpsQuality(outlier_share=0.0))
    assert np.std(seen.x_m) == pytest.approx(sigma_m, rel=0.1)
    assert np.std(seen.y_m) == pytest.approx(sigma_m, rel=0.1)


def test_errors_hang_together_over_the_correlation_time_and_no_longer() -> None:
    seen = _parked(0.0, GpsQuality(outlier_share=0.0, correlation_s=60.0))
    x = seen.x_m

    def correlation(lag: int) -> float:
        return float(np.corrcoef(x[:-lag], x[lag:])[0, 1])

    assert correlation(1) == pytest.approx(np.exp(-10 / 60), abs=0.03)
    assert correlation(6) == pytest.approx(np.exp(-1), abs=0.07)
    assert abs(correlation(60)) < 0.1


def test_the_claimed_accuracy_holds_two_thirds_of_the_errors() -> None:
    seen = _parked(1.0, GpsQuality(outlier_share=0.0))
    assert np.mean(np.hypot(seen.x_m, seen.y_m) <= seen.accuracy_m) == pytest.approx(0.68, abs=0.04)


def test_outliers_are_rare_and_say_so() -> None:
    seen = _parked(0.0, GpsQuality(outlier_share=0.01))
    assert np.mean(seen.outlier) == pytest.approx(0.01, abs=0.003)
    far = np.hypot(seen.x_m, seen.y_m)[seen.outlier]
    assert far.min() > 40.0
    assert np.all(seen.accuracy_m[seen.outlier] >= far - 20.0)


def test_a_standing_vehicle_has_no_course_and_hardly_a_speed() -> None:
    seen = _parked(0.0, GpsQuality())
    assert np.isnan(seen.course_deg).mean() > 0.999
    assert seen.speed_mps.max() < 1.5


def test_asking_in_stretches_goes_on_with_the_same_error() -> None:
    quality = GpsQuality(outlier_share=0.0)
    receiver = Receiver(np.random.default_rng(5), quality)
    zero, sky = np.zeros(1), np.zeros(1)
    xs = [receiver.observe(Truth(np.array([float(t)]), zero, zero, zero, zero), sky).x_m[0] for t in range(2000)]
    assert np.std(np.diff(xs)) < 0.3 * np.std(xs)
    assert len(receiver.observe(Truth(*[np.zeros(0)] * 5), np.zeros(0)).t_s) == 0

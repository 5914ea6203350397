"""The fitted projection against PROJ: less than a centimetre over the plan's bounds, and there and back again."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geo.projection import Projection, fit

HAZARA = (72.3, 33.7, 74.7, 36.1)


@pytest.fixture(scope="module")
def hazara() -> Projection:
    return fit(*HAZARA)


@pytest.mark.parametrize(
    "bounds", [HAZARA, (69.2, 31.0, 74.7, 37.1), (60.8, 24.0, 72.7, 35.9), (73.0, 35.0, 73.01, 35.01)]
)
def test_it_agrees_with_proj_within_a_centimetre(bounds: tuple[float, float, float, float]) -> None:
    projection = fit(*bounds)
    west, south, east, north = bounds
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(west, east, 20_000), rng.uniform(south, north, 20_000)
    x, y = projection.to_xy(lat, lon)
    true_x, true_y = pyproj.Transformer.from_crs("EPSG:4326", projection.definition, always_xy=True).transform(lon, lat)
    assert np.hypot(x - true_x, y - true_y).max() < 0.01


@settings(max_examples=50)
@given(lat=st.floats(33.7, 36.1), lon=st.floats(72.3, 74.7))
def test_there_and_back(hazara: Projection, lat: float, lon: float) -> None:
    x, y = hazara.to_xy(lat, lon)
    back_lon, back_lat = hazara.to_lonlat(x, y)
    assert float(back_lat) == pytest.approx(lat, abs=2e-7) and float(back_lon) == pytest.approx(lon, abs=2e-7)


def test_distances_are_true_near_the_middle(hazara: Projection) -> None:
    geod = pyproj.Geod(ellps="WGS84")
    _, _, metres = geod.inv(73.4, 34.8, 73.5, 34.9)
    x, y = hazara.to_xy([34.8, 34.9], [73.4, 73.5])
    assert np.hypot(np.diff(x), np.diff(y))[0] == pytest.approx(metres, rel=5e-5)


def test_x_is_east_and_y_is_north(hazara: Projection) -> None:
    x, y = hazara.to_xy([34.9, 34.9, 35.0], [73.5, 73.6, 73.5])
    assert x[1] > x[0] and y[2] > y[0]


@pytest.mark.parametrize(
    ("lat", "lon", "covered"),
    [(33.701, 72.301, True), (36.099, 74.699, True), (36.11, 73.0, False), (35.0, 72.29, False)],
)
def test_it_knows_what_it_covers(hazara: Projection, lat: float, lon: float, covered: bool) -> None:
    assert hazara.covers(lat, lon) is covered


@pytest.mark.parametrize(
    "bounds",
    [
        (74.0, 34.0, 73.0, 35.0),
        (73.0, 35.0, 74.0, 35.0),
        (60.0, 24.0, 72.1, 30.0),
        (-181.0, 0.0, -180.0, 1.0),
        (0.0, 89.0, 1.0, 90.0),
    ],
)
def test_bounds_that_make_no_plan_are_refused(bounds: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        fit(*bounds)


def test_two_of_the_same_bounds_are_equal_and_of_others_are_not() -> None:
    assert fit(*HAZARA) == fit(*HAZARA)
    assert fit(*HAZARA) != fit(72.3, 33.7, 74.7, 36.2)

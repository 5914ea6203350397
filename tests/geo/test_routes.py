"""Roads as lines: along, across, which way."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.geo.routes import chainage, heading_at, point_at, project_point, section

L = np.array([[0.0, 0.0], [0.0, 100.0], [50.0, 100.0]])
S = chainage(L)


def test_chainage() -> None:
    assert S.tolist() == [0, 100, 150]


@pytest.mark.parametrize(
    ("s", "point"),
    [(-5, (0, 0)), (0, (0, 0)), (40, (0, 40)), (100, (0, 100)), (120, (20, 100)), (150, (50, 100)), (999, (50, 100))],
)
def test_a_point_along(s: float, point: tuple[float, float]) -> None:
    assert tuple(point_at(L, S, s)) == point


def test_points_along_come_as_an_array() -> None:
    assert point_at(L, S, [0, 40, 120]).tolist() == [[0, 0], [0, 40], [20, 100]]


@pytest.mark.parametrize(("s", "heading"), [(-1, 0), (50, 0), (99.9, 0), (100, 90), (150, 90), (200, 90)])
def test_heading(s: float, heading: float) -> None:
    assert heading_at(L, S, s) == heading


@pytest.mark.parametrize(
    ("x", "y", "distance", "s"),
    [
        (10, 40, 10, 40),
        (-10, -10, 200**0.5, 0),
        (20, 130, 30, 120),
        (60, 100, 10, 150),
        (0, 100, 0, 100),
        (5, 95, 5, 95),
    ],
)
def test_a_point_beside_the_road(x: float, y: float, distance: float, s: float) -> None:
    assert project_point(L, S, x, y) == pytest.approx((distance, s))


_coordinate = st.integers(-1000, 1000).map(float)


@given(
    line=st.lists(st.tuples(_coordinate, _coordinate), min_size=2, max_size=8, unique=True),
    x=_coordinate,
    y=_coordinate,
)
def test_the_distance_is_shapelys(line: list[tuple[float, float]], x: float, y: float) -> None:
    xy = np.array(line)
    s = chainage(xy)
    distance, along = project_point(xy, s, x, y)
    assert distance == pytest.approx(shapely.LineString(xy).distance(shapely.Point(x, y)), abs=1e-6)
    assert np.hypot(*(point_at(xy, s, along) - (x, y))) == pytest.approx(distance, abs=1e-6)


def test_a_section_keeps_its_inner_corners_and_its_direction() -> None:
    assert section(L, S, 50, 120).tolist() == [[0, 50], [0, 100], [20, 100]]
    assert section(L, S, 120, 50).tolist() == [[20, 100], [0, 100], [0, 50]]
    assert section(L, S, 10, 20).tolist() == [[0, 10], [0, 20]]

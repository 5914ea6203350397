"""Sentences for people: the road's kilometre, the nearest place, the direction."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.geo.routes import point_at
from pipeline.plan.describe import direction_of, where
from pipeline.plan.model import CompiledPlan


def at(plan: CompiledPlan, lat: float, lon: float) -> tuple[float, float]:
    x, y = plan.projection.to_xy(lat, lon)
    return float(x), float(y)


@pytest.mark.parametrize(
    ("lat", "lon", "text"),
    [
        (35.000, 73.000, "R-1 km 10, Alder"),
        (35.008, 73.000, "R-1 km 11, Alder"),                        # 890 m from Alder
        (35.010, 73.000, "R-1 km 11, 1 km north of Alder"),
        (35.035, 73.000, "R-1 km 14, 4 km north of Alder"),
        (35.065, 73.000, "R-1 km 17, 4 km south of Birch"),
        (35.130, 73.030, "R-1 km 21, 4 km north-east of Birch"),     # beyond the road's end, but near it
        (35.000, 73.300, "27 km east of Alder"),                     # far from every road
        (35.000, 72.700, "27 km west of Alder"),
    ],
)  # fmt: skip
def test_where(vale: CompiledPlan, lat: float, lon: float, text: str) -> None:
    assert where(vale, at(vale, lat, lon)).text == text


def test_where_in_urdu_falls_back_to_the_name_that_there_is(vale: CompiledPlan) -> None:
    assert where(vale, at(vale, 35.035, 73.0), language="ur").text == "R-1 کلومیٹر 14، الڈر سے 4 کلومیٹر شمال"
    assert "Birch" in where(vale, at(vale, 35.09, 73.0), language="ur").text


def test_an_unknown_language_is_english(vale: CompiledPlan) -> None:
    assert where(vale, at(vale, 35.0, 73.0), language="xx").text == "R-1 km 10, Alder"


def test_far_from_everything_are_coordinates(vale: CompiledPlan) -> None:
    assert where(vale, at(vale, 34.0, 72.0)).text == "34.0000, 72.0000"


def test_the_parts_come_along(vale: CompiledPlan) -> None:
    found = where(vale, at(vale, 35.035, 73.005))
    assert (found.road, found.route, found.place_name, found.direction) == ("R-1", "spine", "Alder", "north")
    assert found.km == pytest.approx(13.88, abs=0.01)
    assert found.off_road_m == pytest.approx(456, abs=2)
    assert found.distance_km == pytest.approx(3.91, abs=0.01)


def test_beside_two_roads_the_highway_is_named_unless_the_movement_is_on_the_other(hazara: CompiledPlan) -> None:
    spur = hazara.routes["quarry-spur"]
    x, y = point_at(spur.xy, spur.chainage_m, spur.chainage_m[-1])
    assert where(hazara, (x, y)).text == "N-35 km 214, 3 km north-east of Pattan"
    assert where(hazara, (x, y), route_hint="quarry-spur").text == "Quarry track km 2, 3 km north-east of Pattan"
    assert where(hazara, (x, y), route_hint="no-such-route").road == "N-35"


@pytest.mark.parametrize(
    ("degrees", "word"),
    [(0, "north"), (22.4, "north"), (22.6, "north-east"), (45, "north-east"), (90, "east"), (135, "south-east"), (180, "south"),
     (225, "south-west"), (270, "west"), (315, "north-west"), (337.4, "north-west"), (337.6, "north")],
)  # fmt: skip
def test_eight_directions(degrees: float, word: str) -> None:
    assert direction_of(np.sin(np.radians(degrees)), np.cos(np.radians(degrees))) == word

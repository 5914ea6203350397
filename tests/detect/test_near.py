"""What the scan passes over for speed changes no answer: the rest of a road that keeps clear of itself, borders far from a cell."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from pipeline.detect.corridor import WINDOW, build_lines, nearest
from pipeline.detect.engine import Engine
from pipeline.detect.ground import build_ground, cell_at, depth, from_centre, roughly
from pipeline.geo.routes import chainage
from tests.detect.plans import area, feed, fix, plan, square, watch


def test_a_hairpin_road_is_searched_as_if_nothing_were_known_of_it() -> None:
    rng = np.random.default_rng(4)
    east = np.arange(0.0, 4000.0, 50.0)
    legs = [np.c_[east if i % 2 == 0 else east[::-1], np.full(len(east), 120.0 * i)] for i in range(4)]
    wide = np.c_[np.full(60, 4000.0), np.linspace(400.0, 6000.0, 60)]  # and then away from itself
    xy = np.concatenate([*legs, wide]) + rng.normal(0, 4.0, (4 * len(east) + 60, 2))
    known = build_lines([(xy, chainage(xy))])
    unknown = known.vertices.copy()
    unknown[:, 7] = 0.0
    spared = 0
    for _ in range(2000):
        last = int(rng.integers(len(xy) - 1))
        x, y = xy[last] + rng.normal(0, rng.choice([5.0, 60.0, 400.0]), 2)
        said = nearest(known.vertices, known.boxes, known.big, known.ranges, 0, last, x, y)
        assert said == nearest(unknown, known.boxes, known.big, known.ranges, 0, last, x, y)
        assert abs(said[0] - shapely.LineString(xy).distance(shapely.Point(x, y))) < 1e-6
        spared += abs(said[1] - last) <= WINDOW and said[0] ** 2 < known.vertices[said[1], 7]
    assert 200 < spared < 1900


def test_what_a_cell_says_of_a_border_is_never_deeper_than_the_truth() -> None:
    rng = np.random.default_rng(5)
    around = np.linspace(0, 2 * np.pi, 17, endpoint=False)
    ring = np.c_[np.cos(around), np.sin(around)] * (1500.0 + 900.0 * rng.random(17))[:, None]
    lake = shapely.Polygon(ring, [ring[::-1] * 0.3])
    ground = build_ground([lake], 560.0)
    reach = float(ground.box[5])
    farther = [np.diff(ground.near["away"][e["first"] : e["last"]]) for e in ground.entries]
    assert all((f >= 0).all() for f in farther)  # the nearest first
    enough = 0
    for x, y in rng.uniform(-3500.0, 3500.0, (3000, 2)):
        cell = cell_at(ground.box, x, y)
        for e in range(ground.starts[cell], ground.starts[cell + 1]) if cell >= 0 else ():
            far = shapely.Point(x, y).distance(lake.boundary)
            true = min(far, reach) if lake.contains(shapely.Point(x, y)) else -min(far, reach)
            entry, aside = ground.entries[e], from_centre(ground.box, x, y)
            deep = depth(ground.edges, ground.near, entry, reach, aside, x, y)
            assert abs(deep - true) < 1e-6
            # as if no edge could be passed over
            assert deep == depth(ground.edges, ground.near, entry, reach, 1e9, x, y)
            need = float(rng.choice([20.0, 100.0, 500.0]))
            rough = roughly(entry, aside, need)
            if rough != 0.0:
                enough += 1
                assert need < abs(rough) <= abs(true) + 1e-6
                assert (rough > 0.0) == (true > 0.0)
    assert enough > 300


@pytest.mark.parametrize("accuracy", [5.0, 200.0, 300.0, 374.0, 500.0])
def test_who_is_deep_inside_is_so_by_a_poor_fix_too(accuracy: float) -> None:
    """Inside by twice the accuracy: to the metre, however far the border is."""
    margin_m, half_m = 10.0, 6000.0
    world = plan([area("a", square(0, 0, half_m), watch("area.forbidden", 0, enter=margin_m))])
    for deep, inside in ((half_m, True), (2 * accuracy + margin_m + 1, True), (2 * accuracy + margin_m - 1, False)):
        said = feed(Engine(world), [fix(at, half_m - deep, 0, accuracy=accuracy) for at in (0, 10)])
        assert [e.rule for e in said.sorted()] == ["area.forbidden"] * inside, deep

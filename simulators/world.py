"""The ground the stories happen on: the plan's roads with bends, grades and gorges, seeded, and where no signal is.

The plan gives the line of a road. How fast a bend can be taken follows from the line; hills and the view of the sky are
invented, from a seed, along its chainage, since a plan does not know them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from pipeline.plan.model import CompiledPlan, Route

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STEP_M = 20.0
"""Roads and paths are sampled this finely; a vehicle's speed is limited at every sample."""

LATERAL_MPS2 = 1.8  # what passengers of a coach bear in a bend
BEND_WINDOW_M = 60.0  # a bend is the turn over this length: the vertices' own angles are the digitiser's
CRAWL_MPS = 4.0  # no bend of a public road is slower


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for everything that has a name: adding one vehicle does not change the others."""
    digest = hashlib.blake2b("\0".join((str(seed), *names)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


@dataclass(frozen=True, slots=True)
class Path:
    """A line to drive on: samples with a limit of speed each. All of shape (n,); `s_m` grows strictly."""

    s_m: Floats
    x_m: Floats
    y_m: Floats
    limit_mps: Floats

    @property
    def length_m(self) -> float:
        return float(self.s_m[-1])

    def at(self, s_m: npt.ArrayLike) -> tuple[Floats, Floats]:
        s = np.asarray(s_m, float)
        return np.interp(s, self.s_m, self.x_m), np.interp(s, self.s_m, self.y_m)

    def nearest_m(self, x_m: float, y_m: float) -> float:
        """How far along the sample nearest to a point is."""
        return float(self.s_m[np.argmin(np.hypot(self.x_m - x_m, self.y_m - y_m))])

    def course_deg(self, s_m: npt.ArrayLike) -> Floats:
        """Clockwise from north, over the next and last few metres."""
        s = np.asarray(s_m, float)
        x0, y0 = self.at(np.clip(s - 5.0, 0.0, self.length_m))
        x1, y1 = self.at(np.clip(s + 5.0, 0.0, self.length_m))
        return np.degrees(np.arctan2(x1 - x0, y1 - y0)) % 360.0


def make_path(x_m: npt.ArrayLike, y_m: npt.ArrayLike) -> Path:
    """A path through these points, resampled every `STEP_M`, as fast as its bends allow: v = sqrt(a_lateral * r)."""
    xs, ys = np.asarray(x_m, float), np.asarray(y_m, float)
    steps = np.hypot(np.diff(xs), np.diff(ys))
    keep = np.concatenate([[True], steps > 1e-3])
    xs, ys = xs[keep], ys[keep]
    if len(xs) < 2:
        raise ValueError("a path needs two points that are apart")
    s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(xs), np.diff(ys)))])
    n = max(int(np.ceil(s[-1] / STEP_M)), 1) + 1
    grid = np.linspace(0.0, s[-1], n)
    gx, gy = np.interp(grid, s, xs), np.interp(grid, s, ys)
    return Path(grid, gx, gy, _bend_limit(grid, gx, gy))


def _bend_limit(s: Floats, x: Floats, y: Floats) -> Floats:
    if len(s) < 3:
        return np.full(len(s), 40.0)
    heading = np.unwrap(np.arctan2(np.diff(y), np.diff(x)))
    middle = (s[1:] + s[:-1]) / 2
    half = BEND_WINDOW_M / 2
    turn = np.interp(s + half, middle, heading) - np.interp(s - half, middle, heading)
    curvature = np.abs(turn) / BEND_WINDOW_M
    limit: Floats = np.clip(np.sqrt(LATERAL_MPS2 / np.maximum(curvature, 1e-6)), CRAWL_MPS, 40.0)
    return limit


def _rolling(length_m: float, wave_m: float, rng: np.random.Generator, s: Floats) -> Floats:
    """Smooth noise in [0, 1] along a line: random values every `wave_m`, joined by cosines."""
    knots = rng.random(int(length_m / wave_m) + 3)
    place = s / wave_m
    i = place.astype(int)
    w = (1 - np.cos(np.pi * (place - i))) / 2
    out: Floats = knots[i] * (1 - w) + knots[i + 1] * w
    return out


@dataclass(frozen=True, slots=True)
class Road:
    """A route of the plan with its ground. `gorge` is 0 in an open valley and 1 between walls; both are invented."""

    id: str
    path: Path
    gorge: Floats
    altitude_m: Floats

    def gorge_at(self, chainage_m: npt.ArrayLike) -> Floats:
        out: Floats = np.interp(np.asarray(chainage_m, float), self.path.s_m, self.gorge)
        return out

    def altitude_at(self, chainage_m: npt.ArrayLike) -> Floats:
        out: Floats = np.interp(np.asarray(chainage_m, float), self.path.s_m, self.altitude_m)
        return out

    def section(self, from_m: float, to_m: float) -> Path:
        """The road between two chainages, driven in that direction."""
        low, high = sorted((max(from_m, 0.0), min(max(to_m, 0.0), self.path.length_m)))
        inner = self.path.s_m[(self.path.s_m > low + 1) & (self.path.s_m < high - 1)]
        s = np.concatenate([[low], inner, [high]])
        x, y = self.path.at(s)
        limit = np.interp(s, self.path.s_m, self.path.limit_mps)
        slope = np.gradient(self.altitude_at(s), s) if len(s) > 1 else np.zeros(1)
        if to_m < from_m:
            x, y, limit, slope, s = x[::-1], y[::-1], limit[::-1], -slope[::-1], high + low - s[::-1]
        climbing = np.clip(1.0 - 4.0 * np.maximum(slope, 0.0), 0.6, 1.0)  # a 5 % climb takes a fifth of the speed
        return Path(s - s[0], x, y, limit * climbing)

    def offset_point(self, chainage_m: float, left_m: float) -> tuple[float, float]:
        """A point beside the road: `left_m` to the left of its direction, negative to the right."""
        s = np.array([chainage_m])
        x, y = self.path.at(s)
        course = np.radians(self.path.course_deg(s))
        return float(x[0] - left_m * np.cos(course[0])), float(y[0] + left_m * np.sin(course[0]))


def make_road(route: Route, seed: int) -> Road:
    path = make_path(route.xy[:, 0], route.xy[:, 1])
    # the plan's chainage and the resampled length differ by what the corners cut: follow the plan's
    scale = float(route.chainage_m[-1]) / path.length_m
    path = Path(path.s_m * scale, path.x_m, path.y_m, path.limit_mps)
    rng = generator(seed, "road", route.id)
    narrow = _rolling(path.length_m, 2500.0, rng, path.s_m)
    bends = np.convolve(path.limit_mps < 14.0, np.ones(51) / 51, mode="same")
    gorge = np.clip(2.5 * (0.85 * narrow + 0.5 * bends) - 1.0, 0.0, 1.0)
    hills = 500.0 * _rolling(path.length_m, 20_000.0, rng, path.s_m) + 40.0 * _rolling(
        path.length_m, 1500.0, rng, path.s_m
    )
    return Road(route.id, path, gorge, 700.0 + hills)


class World:
    """A plan's ground for one seed."""

    def __init__(self, plan: CompiledPlan, seed: int = 1) -> None:
        self.plan = plan
        self.seed = seed
        self.roads = {route.id: make_road(route, seed) for route in plan.routes.values()}
        self.areas = {area.id: area for area in plan.areas}
        self._silent = shapely.union_all([a.polygon for a in plan.areas if a.kind in ("coverage_gap", "tunnel")])
        self._tunnels = shapely.union_all([a.polygon for a in plan.areas if a.kind == "tunnel"])
        shapely.prepare(self._silent)
        shapely.prepare(self._tunnels)

    @cached_property
    def _back(self) -> pyproj.Transformer:
        return pyproj.Transformer.from_crs(self.plan.projection.definition, "EPSG:4326", always_xy=True)

    def rng(self, *names: str) -> np.random.Generator:
        return generator(self.seed, *names)

    def to_latlon(self, x_m: npt.ArrayLike, y_m: npt.ArrayLike) -> tuple[Floats, Floats]:
        lon, lat = self._back.transform(np.asarray(x_m, float), np.asarray(y_m, float))
        return np.asarray(lat, float), np.asarray(lon, float)

    def no_signal(self, x_m: Floats, y_m: Floats) -> Bools:
        """Where nothing can be sent: coverage gaps and tunnels."""
        return np.asarray(shapely.contains_xy(self._silent, x_m, y_m), bool)

    def no_sky(self, x_m: Floats, y_m: Floats) -> Bools:
        """Where there is no position either: tunnels."""
        return np.asarray(shapely.contains_xy(self._tunnels, x_m, y_m), bool)

    def at_km(self, road: str, km: float) -> float:
        """The chainage (m) of a road's own kilometre."""
        route = self.plan.routes[road]
        return (km - route.km_at_start) * 1000.0 * route.km_sign

    def chainage(self, road: str, area: str) -> float:
        """The road's chainage nearest to an area's middle."""
        centre = self.areas[area].polygon.centroid
        return self.roads[road].path.nearest_m(centre.x, centre.y)

    def gate(self, road: str, area: str) -> tuple[float, list[tuple[float, float]]]:
        """The shortest way in: the chainage at which one turns off, and points, by the nearest edge, to the middle."""
        polygon = self.areas[area].polygon
        path = self.roads[road].path
        points = shapely.points(path.x_m, path.y_m)
        nearest = int(np.argmin(shapely.distance(points, polygon)))
        edge = polygon.exterior.interpolate(polygon.exterior.project(points[nearest]))
        return float(path.s_m[nearest]), [(float(edge.x), float(edge.y)), self.centre(area)]

    def centre(self, area: str) -> tuple[float, float]:
        inside = self.areas[area].polygon.representative_point()
        return float(inside.x), float(inside.y)

    def gorge_at(self, x_m: Floats, y_m: Floats) -> Floats:
        """How narrow the sky is at points: that of the nearest road, fading to open ground 500 m from it."""
        out = np.zeros(len(x_m))
        best = np.full(len(x_m), np.inf)
        for road in self.roads.values():
            tree = self._tree(road.id)
            nearest = tree.nearest(shapely.points(x_m, y_m))
            away = np.hypot(road.path.x_m[nearest] - x_m, road.path.y_m[nearest] - y_m)
            nearer = away < best
            best[nearer] = away[nearer]
            out[nearer] = road.gorge[nearest[nearer]]
        return out * np.clip(1.5 - best / 500.0, 0.0, 1.0)

    def altitude_at(self, x_m: Floats, y_m: Floats) -> Floats:
        out = np.full(len(x_m), 700.0)
        best = np.full(len(x_m), np.inf)
        for road in self.roads.values():
            nearest = self._tree(road.id).nearest(shapely.points(x_m, y_m))
            away = np.hypot(road.path.x_m[nearest] - x_m, road.path.y_m[nearest] - y_m)
            nearer = away < best
            best[nearer] = away[nearer]
            out[nearer] = road.altitude_m[nearest[nearer]]
        return out

    def _tree(self, road: str) -> shapely.STRtree:
        trees = self.__dict__.setdefault("_trees", {})
        if road not in trees:
            path = self.roads[road].path
            trees[road] = shapely.STRtree(shapely.points(path.x_m, path.y_m))
        tree: shapely.STRtree = trees[road]
        return tree

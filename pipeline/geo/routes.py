"""Roads as lines: how far along, which point, which way. Plain numpy, for drawing, sentences and simulators; detect
has its own.

A line is an array (n, 2) of metres. Its chainage is the length along it from its first vertex, in projected metres:
the transverse
Mercator of a plan that spans 2 degrees stretches lengths by at most 1 part in 25,000 (k = 1 + x^2 / 2 R^2), 4 m in
100 km.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def chainage(xy: Floats) -> Floats:
    """Metres along the line at each vertex, shape (n,)."""
    steps = np.diff(xy, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def point_at(route_xy: Floats, route_chainage: Floats, s: npt.ArrayLike) -> Floats:
    """Points at these chainages; shape of `s` plus (2,). Beyond the ends: the ends."""
    where = np.asarray(s, float)
    return np.stack([np.interp(where, route_chainage, route_xy[:, k]) for k in (0, 1)], axis=-1)


def heading_at(route_xy: Floats, route_chainage: Floats, s: float) -> float:
    """Degrees clockwise from grid north, of the segment at this chainage, in the direction of growing chainage."""
    i = int(np.clip(np.searchsorted(route_chainage, s, side="right") - 1, 0, len(route_xy) - 2))
    dx, dy = route_xy[i + 1] - route_xy[i]
    return float(np.degrees(np.arctan2(dx, dy)) % 360.0)


def project_point(route_xy: Floats, route_chainage: Floats, x: float, y: float) -> tuple[float, float]:
    """Distance from the line in metres, and the chainage of its nearest point (the first, when several are equally
    near)."""
    a, d = route_xy[:-1], np.diff(route_xy, axis=0)
    dx, dy = x - a[:, 0], y - a[:, 1]
    length2 = np.maximum(d[:, 0] ** 2 + d[:, 1] ** 2, 1e-12)
    t = np.clip((dx * d[:, 0] + dy * d[:, 1]) / length2, 0.0, 1.0)
    away = np.hypot(dx - t * d[:, 0], dy - t * d[:, 1])
    i = int(np.argmin(away))
    return float(away[i]), float(route_chainage[i] + t[i] * (route_chainage[i + 1] - route_chainage[i]))


def section(route_xy: Floats, route_chainage: Floats, from_s: float, to_s: float) -> Floats:
    """The line between two chainages, (m, 2); reversed when `to_s` is the smaller."""
    low, high = sorted((from_s, to_s))
    inner = route_xy[(route_chainage > low) & (route_chainage < high)]
    ends = point_at(route_xy, route_chainage, [low, high])
    line = np.concatenate([ends[:1], inner, ends[1:]])
    return line if from_s <= to_s else line[::-1]

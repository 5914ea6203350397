"""How far a point is from a road, and how far along: exact over the whole road, quick because boxes of segments are passed over.

The nearest segment is looked for around the last one first; that bounds the search of everything else, and where the road keeps
clear of itself it ends it. Among places that are equally near (a hairpin's two legs) the one near the last chainage wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detect.compiled import bare, compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 16  # segments in a box, and boxes in a box of boxes
WINDOW = 4
MOST_CLEAR2 = 2_000.0**2  # m²: nobody asks how much farther than that a road is from itself
CONTINUITY_M = 5.0  # another leg has to be nearer than the last one by this before the chainage jumps to it


@dataclass(frozen=True, slots=True)
class Lines:
    """All lines one after the other. `ranges` (n, 6): first and last vertex, first and last small box, first and last big box."""

    # (m, 8): x, y, chainage; then of the segment from here: dx, dy, 1 / length², chainage to its end, and the square of how near to it
    # a point has to be for no segment but its neighbours to be nearer
    vertices: Floats
    boxes: Floats  # (k, 4): west, south, east, north
    big: Floats
    ranges: Ints


def build_lines(lines: Sequence[tuple[Floats, Floats]]) -> Lines:
    """`lines`: (n, 2) metres and (n,) chainage each."""
    vertices, boxes, big, ranges = [], [], [], []
    v = b = g = 0
    for xy, chainage in lines:
        segments = len(xy) - 1
        small = [_box(xy[i : min(i + BLOCK, segments) + 1]) for i in range(0, segments, BLOCK)]
        large = [_hull(small[i : i + BLOCK]) for i in range(0, len(small), BLOCK)]
        step = np.diff(xy, axis=0, append=xy[-1:])
        length2 = (step**2).sum(axis=1)
        inverse = np.divide(1.0, length2, out=np.zeros(len(xy)), where=length2 > 0.0)
        along = np.diff(chainage, append=chainage[-1])
        vertices.append(np.column_stack([xy, chainage, step, inverse, along, np.zeros(len(xy))]))
        boxes += small
        big += large
        ranges.append((v, v + len(xy), b, b + len(small), g, g + len(large)))
        v, b, g = v + len(xy), b + len(small), g + len(large)
    built = Lines(
        np.ascontiguousarray(np.concatenate(vertices)) if vertices else np.zeros((0, 8)),
        np.array(boxes).reshape(-1, 4),
        np.array(big).reshape(-1, 4),
        np.array(ranges, np.int64).reshape(-1, 6),
    )
    _keep_clear(built.vertices, built.boxes, built.big, built.ranges)
    return built


def _box(xy: Floats) -> list[float]:
    return [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()]


def _hull(boxes: list[list[float]]) -> list[float]:
    b = np.array(boxes)
    return [*b[:, :2].min(axis=0).tolist(), *b[:, 2:].max(axis=0).tolist()]


@bare
def _to_box2(boxes: Floats, k: int, x: float, y: float) -> float:
    dx = max(boxes[k, 0] - x, 0.0, x - boxes[k, 2])
    dy = max(boxes[k, 1] - y, 0.0, y - boxes[k, 3])
    return float(dx * dx + dy * dy)


@bare
def nearest(
    vertices: Floats, boxes: Floats, big: Floats, ranges: Ints, line: int, last: int, x: float, y: float
) -> tuple[float, int, float]:
    """Distance in metres, segment (counted from the line's first) and chainage. `last`: the segment before, or -1."""
    v0 = ranges[line, 0]
    segments = ranges[line, 1] - v0 - 1
    first = max(0, last - WINDOW)
    end = min(segments, last + WINDOW + 1) if last >= 0 else 0
    best, found, at = _among(vertices, v0, first, end, 1e300, -1, 0.0, x, y)
    keep = -1.0 if found < 0 else max(0.0, np.sqrt(best) - CONTINUITY_M)
    far_found, far_at = found, at
    if found >= 0 and best < vertices[v0 + found, 7]:
        low, high = max(0, found - WINDOW), min(segments, found + WINDOW + 1)
        best, far_found, far_at = _among(vertices, v0, low, first, best, far_found, far_at, x, y)
        best, far_found, far_at = _among(vertices, v0, end, high, best, far_found, far_at, x, y)
    else:
        best, far_found, far_at = _elsewhere(
            vertices, boxes, big, ranges, line, first, end, best, far_found, far_at, x, y
        )
    distance = np.sqrt(best)
    if found < 0 or distance < keep:
        found, at = far_found, far_at
    return distance, found, at


@bare
def _among(
    vertices: Floats, v0: int, first: int, end: int, best: float, found: int, at: float, x: float, y: float
) -> tuple[float, int, float]:
    """The nearest of the line's segments from `first` to before `end`, if one is nearer than `best` (squared)."""
    for k in range(first, end):
        q, s = _to_segment2(vertices, v0 + k, x, y)
        if q < best:
            best, found, at = q, k, s
    return best, found, at


@bare
def _elsewhere(
    vertices: Floats, boxes: Floats, big: Floats, ranges: Ints, line: int, first: int, end: int,
    best: float, found: int, at: float, x: float, y: float,
) -> tuple[float, int, float]:  # fmt: skip
    """The nearest of all segments but those from `first` to before `end`, if one is nearer than `best` (squared)."""
    v0, v1, b0, b1, g0, g1 = ranges[line]
    segments = v1 - v0 - 1
    for g in range(g0, g1):
        if _to_box2(big, g, x, y) >= best:
            continue
        b2 = b0 + (g - g0) * BLOCK
        for b in range(b2, min(b2 + BLOCK, b1)):
            if _to_box2(boxes, b, x, y) >= best:
                continue
            k0 = (b - b0) * BLOCK
            for k in range(k0, min(k0 + BLOCK, segments)):
                if first <= k < end:
                    continue
                q, s = _to_segment2(vertices, v0 + k, x, y)
                if q < best:
                    best, found, at = q, k, s
    return best, found, at


@compiled
def _keep_clear(vertices: Floats, boxes: Floats, big: Floats, ranges: Ints) -> None:
    """Of every segment: from its middle the rest of the road is d away, so from a point that is r away from the segment the rest is at
    least d - length / 2 - r away; where that is more than r, none of the rest is nearer."""
    for line in range(len(ranges)):
        v0 = ranges[line, 0]
        segments = ranges[line, 1] - v0 - 1
        for k in range(segments):
            i = v0 + k
            x, y = vertices[i, 0] + vertices[i, 3] / 2.0, vertices[i, 1] + vertices[i, 4] / 2.0
            half = np.hypot(vertices[i, 3], vertices[i, 4]) / 2.0
            first, end = max(0, k - WINDOW), min(segments, k + WINDOW + 1)
            rest2, _, _ = _elsewhere(vertices, boxes, big, ranges, line, first, end, MOST_CLEAR2, -1, 0.0, x, y)
            vertices[i, 7] = max(0.0, (np.sqrt(rest2) - half) / 2.0 - 1e-3) ** 2


@bare
def part_at(parts: Any, first: int, last: int, along: float) -> int:
    """The place in `parts` (`tables.PART`) of the piece of the way that this metre of it lies in."""
    k = first
    while k + 1 < last and along >= parts[k + 1].starts:
        k += 1
    return k


@bare
def _to_segment2(vertices: Floats, i: int, x: float, y: float) -> tuple[float, float]:
    """Squared distance to a segment, and the chainage of its nearest point."""
    px, py = x - vertices[i, 0], y - vertices[i, 1]
    dx, dy = vertices[i, 3], vertices[i, 4]
    t = min(1.0, max(0.0, (px * dx + py * dy) * vertices[i, 5]))
    ex, ey = px - t * dx, py - t * dy
    return ex * ex + ey * ey, vertices[i, 2] + t * vertices[i, 6]

"""How far a point is from a road, and how far along: exact over the whole road, quick because boxes of segments are passed over.

The nearest segment is looked for around the last one first; that bounds the search of everything else. Among places that are
equally near (a hairpin's two legs) the one near the last chainage wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.detect.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 16  # segments in a box, and boxes in a box of boxes
WINDOW = 4
CONTINUITY_M = 5.0  # another leg has to be nearer than the last one by this before the chainage jumps to it


@dataclass(frozen=True, slots=True)
class Lines:
    """All lines one after the other. `ranges` (n, 6): first and last vertex, first and last small box, first and last big box."""

    vertices: Floats  # (m, 7): x, y, chainage; then of the segment from here: dx, dy, 1 / length², chainage to its end
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
        vertices.append(np.column_stack([xy, chainage, step, inverse, along]))
        boxes += small
        big += large
        ranges.append((v, v + len(xy), b, b + len(small), g, g + len(large)))
        v, b, g = v + len(xy), b + len(small), g + len(large)
    return Lines(
        np.ascontiguousarray(np.concatenate(vertices)) if vertices else np.zeros((0, 7)),
        np.array(boxes).reshape(-1, 4),
        np.array(big).reshape(-1, 4),
        np.array(ranges, np.int64).reshape(-1, 6),
    )


def _box(xy: Floats) -> list[float]:
    return [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()]


def _hull(boxes: list[list[float]]) -> list[float]:
    b = np.array(boxes)
    return [*b[:, :2].min(axis=0).tolist(), *b[:, 2:].max(axis=0).tolist()]


@compiled
def _to_box2(boxes: Floats, k: int, x: float, y: float) -> float:
    dx = max(boxes[k, 0] - x, 0.0, x - boxes[k, 2])
    dy = max(boxes[k, 1] - y, 0.0, y - boxes[k, 3])
    return float(dx * dx + dy * dy)


@compiled
def nearest(
    vertices: Floats, boxes: Floats, big: Floats, ranges: Ints, line: int, last: int, x: float, y: float
) -> tuple[float, int, float]:
    """Distance in metres, segment (counted from the line's first) and chainage. `last`: the segment before, or -1."""
    v0, v1, b0, b1, g0, g1 = ranges[line]
    segments = v1 - v0 - 1
    best = 1e300
    found = -1
    at = 0.0
    if last >= 0:
        for k in range(max(0, last - WINDOW), min(segments, last + WINDOW + 1)):
            q, s = _to_segment2(vertices, v0 + k, x, y)
            if q < best:
                best, found, at = q, k, s
    keep = -1.0 if found < 0 else max(0.0, np.sqrt(best) - CONTINUITY_M)
    far_found, far_at = found, at
    for g in range(g0, g1):
        if _to_box2(big, g, x, y) >= best:
            continue
        first = b0 + (g - g0) * BLOCK
        for b in range(first, min(first + BLOCK, b1)):
            if _to_box2(boxes, b, x, y) >= best:
                continue
            k0 = (b - b0) * BLOCK
            for k in range(k0, min(k0 + BLOCK, segments)):
                if last >= 0 and last - WINDOW <= k <= last + WINDOW:
                    continue  # looked at first
                q, s = _to_segment2(vertices, v0 + k, x, y)
                if q < best:
                    best, far_found, far_at = q, k, s
    distance = np.sqrt(best)
    if found < 0 or distance < keep:
        found, at = far_found, far_at
    return distance, found, at


@compiled
def part_at(parts: Any, first: int, last: int, along: float) -> int:
    """The place in `parts` (`tables.PART`) of the piece of the way that this metre of it lies in."""
    k = first
    while k + 1 < last and along >= parts[k + 1].starts:
        k += 1
    return k


@compiled
def _to_segment2(vertices: Floats, i: int, x: float, y: float) -> tuple[float, float]:
    """Squared distance to a segment, and the chainage of its nearest point."""
    px, py = x - vertices[i, 0], y - vertices[i, 1]
    dx, dy = vertices[i, 3], vertices[i, 4]
    t = min(1.0, max(0.0, (px * dx + py * dy) * vertices[i, 5]))
    ex, ey = px - t * dx, py - t * dy
    return ex * ex + ey * ey, vertices[i, 2] + t * vertices[i, 6]

"""Where a point lies with respect to every area near it: a grid of cells over the plan, built once.

A cell lists the areas whose border comes within `reach` of it, with those edges, the nearest to its centre first, and the areas that it
lies wholly inside. So a fix looks at what is near and not at what exists. Which side of a border a point is on is told by the nearest edge or corner
(signed distance with pseudo-normals: Baerentzen and Aanaes 2005); where no border is near, by the cell's centre. How deep the
centre itself lies is known: that says enough of a point whose border is farther away than anybody asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.detect.compiled import bare, compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SMALLEST_CELL_M = 350.0
MOST_CELLS = 1_000_000
SLACK_M = 1e-3  # far more than sums of metres are wrong by


ENTRY = np.dtype(
    [
        ("area", "i4"),
        ("first", "i4"),  # of `near`
        ("last", "i4"),
        ("inside", "i4"),  # 1: the cell's centre is
        ("centre", "f8"),  # depth of the cell's centre
    ],
    align=True,
)
NEAR = np.dtype([("edge", "i4"), ("away", "f4")], align=True)  # `away` from the cell's centre: never more than it is


@dataclass(frozen=True, slots=True)
class Ground:
    """`box`: west, south, cell size, columns, rows, reach. `edges`: (n, 8) ax ay bx by, and the normals at a and b."""

    box: Floats
    edges: Floats
    starts: Ints  # (cells + 1,) into entries
    entries: npt.NDArray[np.void]  # of ENTRY
    near: npt.NDArray[np.void]  # of NEAR
    outlines: Ints  # (areas + 1,) into edges
    area_boxes: Floats  # (areas, 4): west, south, east, north


def _rings(polygon: shapely.Polygon) -> list[Floats]:
    """Rings with the inside on their left, without repeated points."""
    rings = []
    for ring in shapely.get_rings(shapely.orient_polygons(polygon)):
        xy = shapely.get_coordinates(ring)
        step = xy[1:] - xy[:-1]
        keep = np.ones(len(xy), bool)
        np.greater(step[:, 0] ** 2 + step[:, 1] ** 2, 1e-18, out=keep[1:])
        rings.append(xy[keep])
    return rings


def _edges_of(polygon: shapely.Polygon) -> Floats:
    """(n, 8): each edge, with the outward pseudo-normals of its two corners."""
    parts = []
    for ring in _rings(polygon):
        a, b = ring[:-1], ring[1:]
        d = b - a
        normal = np.empty_like(d)
        normal[:, 0], normal[:, 1] = d[:, 1], -d[:, 0]
        normal /= np.hypot(d[:, 0], d[:, 1])[:, None]
        part = np.empty((len(d), 8))
        part[:, 0:2], part[:, 2:4] = a, b
        part[1:, 4:6] = normal[1:] + normal[:-1]
        part[0, 4:6] = normal[0] + normal[-1]
        part[:-1, 6:8], part[-1, 6:8] = part[1:, 4:6], part[0, 4:6]
        parts.append(part)
    return np.concatenate(parts)


def build_ground(polygons: Sequence[shapely.Polygon], reach_m: float) -> Ground:
    """`reach_m`: within this distance of a border the distance is exact, beyond it only the side is known."""
    if not polygons:
        box = np.array([0.0, 0.0, 1.0, 0.0, 0.0, reach_m])
        nowhere = np.zeros(1, np.int64)
        return Ground(box, np.zeros((0, 8)), nowhere, np.zeros(0, ENTRY), np.zeros(0, NEAR), nowhere, np.zeros((0, 4)))
    bounds = shapely.bounds(np.array(polygons, object))
    west, south, east, north = (
        bounds[:, 0].min(), bounds[:, 1].min(), bounds[:, 2].max(), bounds[:, 3].max()
    )  # fmt: skip
    covered = (east - west + 2.0 * reach_m) * (north - south + 2.0 * reach_m)
    cell = max(SMALLEST_CELL_M, math.sqrt(covered / MOST_CELLS))
    # a border that runs through a cell must be near every point of it, or the centre would not speak for the cell
    reach = max(reach_m, cell * 1.5)
    # beyond the grid nothing is within reach
    west, south, east, north = west - reach, south - reach, east + reach, north + reach
    columns, rows = int((east - west) / cell) + 1, int((north - south) / cell) + 1
    box = np.array([west, south, cell, float(columns), float(rows), reach])
    edge_parts, cells, areas, firsts, lasts, inside, near_parts = [], [], [], [], [], [], []
    outlines = [0]
    n_edges = n_near = 0
    for index, polygon in enumerate(polygons):
        edges = _edges_of(polygon)
        found_cell, found_edge, found_away = _mark(box, edges)
        order = np.lexsort((found_away, found_cell))
        found_cell = found_cell[order]
        border_cells, first = np.unique(found_cell, return_index=True)
        last = np.r_[first[1:], len(found_cell)]
        all_cells, within = _inside_cells(box, edges, border_cells)
        where = np.searchsorted(border_cells, all_cells)
        where_in = np.minimum(where, len(border_cells) - 1)
        has = border_cells[where_in] == all_cells
        cells.append(all_cells)
        areas.append(np.full(len(all_cells), index))
        firsts.append(np.where(has, first[where_in] + n_near, 0))
        lasts.append(np.where(has, last[where_in] + n_near, 0))
        inside.append(within)
        near = np.empty(len(order), NEAR)
        near["edge"] = found_edge[order] + n_edges
        near["away"] = np.nextafter(found_away[order].astype(np.float32), np.float32(-1))
        near_parts.append(near)
        edge_parts.append(edges)
        n_edges += len(edges)
        outlines.append(n_edges)
        n_near += len(near)
    cell_of = np.concatenate(cells)
    order = np.argsort(cell_of, kind="stable")
    entries = np.zeros(len(cell_of), ENTRY)
    for name, parts in (("area", areas), ("first", firsts), ("last", lasts), ("inside", inside)):
        entries[name] = np.concatenate(parts)[order]
    starts = np.searchsorted(cell_of[order], np.arange(columns * rows + 1)).astype(np.int64)
    all_edges, all_near = np.concatenate(edge_parts), np.concatenate(near_parts)
    _centres(box, all_edges, all_near, starts, entries)
    return Ground(box, all_edges, starts, entries, all_near, np.array(outlines, np.int64), np.ascontiguousarray(bounds))


@bare
def metres(dx: float, dy: float) -> float:
    """How long that is. A square root is the same everywhere, and quick; a library's hypot is neither."""
    return math.sqrt(dx * dx + dy * dy)


@bare
def _segment_to_point(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> float:
    dx, dy = bx - ax, by - ay
    t = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)
    t = min(1.0, max(0.0, t))
    return math.hypot(x - ax - t * dx, y - ay - t * dy)


@compiled
def _mark(box: Floats, edges: Floats) -> tuple[Ints, Ints, Floats]:
    """(cell, edge, metres from the cell's centre) for every edge within reach of any point of the cell, or a little farther."""
    west, south, cell, columns, rows, reach = box
    limit = reach + cell * 0.7072
    count = 0
    cells = np.empty(1024, np.int64)
    which = np.empty(1024, np.int64)
    away = np.empty(1024)
    for e in range(len(edges)):
        ax, ay, bx, by = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
        c0 = max(0, int((min(ax, bx) - reach - west) / cell))
        c1 = min(int(columns) - 1, int((max(ax, bx) + reach - west) / cell))
        r0 = max(0, int((min(ay, by) - reach - south) / cell))
        r1 = min(int(rows) - 1, int((max(ay, by) + reach - south) / cell))
        for r in range(r0, r1 + 1):
            for c in range(c0, c1 + 1):
                x, y = west + (c + 0.5) * cell, south + (r + 0.5) * cell
                metres_off = _segment_to_point(ax, ay, bx, by, x, y)
                if metres_off <= limit:
                    if count == len(cells):
                        cells = np.concatenate((cells, np.empty(count, np.int64)))
                        which = np.concatenate((which, np.empty(count, np.int64)))
                        away = np.concatenate((away, np.empty(count)))
                    cells[count] = r * int(columns) + c
                    which[count] = e
                    away[count] = metres_off
                    count += 1
    return cells[:count].copy(), which[:count].copy(), away[:count].copy()


@compiled
def _inside_cells(box: Floats, edges: Floats, border: Ints) -> tuple[Ints, Ints]:
    """All cells with a border near or whose centre is inside, sorted, and whether the centre is (even-odd, row by row)."""
    west, south, cell, columns, rows, reach = box
    n_columns = int(columns)
    r0 = max(0, int((edges[:, 1].min() - reach - south) / cell))
    r1 = min(int(rows) - 1, int((edges[:, 1].max() + reach - south) / cell))
    out = np.empty(1024, np.int64)
    within = np.empty(1024, np.int64)
    count = 0
    b = 0
    crossings = np.empty(len(edges))
    for r in range(r0, r1 + 1):
        y = south + (r + 0.5) * cell
        n = 0
        for e in range(len(edges)):
            ay, by = edges[e, 1], edges[e, 3]
            if (ay > y) != (by > y):
                crossings[n] = edges[e, 0] + (y - ay) / (by - ay) * (edges[e, 2] - edges[e, 0])
                n += 1
        xs = np.sort(crossings[:n])
        k = 0
        for c in range(n_columns):
            x = west + (c + 0.5) * cell
            while k < n and xs[k] <= x:
                k += 1
            here = r * n_columns + c
            is_border = b < len(border) and border[b] == here
            if is_border:
                b += 1
            if is_border or k % 2 == 1:
                if count == len(out):
                    out = np.concatenate((out, np.empty(count, np.int64)))
                    within = np.concatenate((within, np.empty(count, np.int64)))
                out[count] = here
                within[count] = k % 2
                count += 1
    return out[:count].copy(), within[:count].copy()


@bare
def cell_at(box: Floats, x: float, y: float) -> int:
    """The cell of a point, or -1: nothing is near."""
    column, row = math.floor((x - box[0]) / box[2]), math.floor((y - box[1]) / box[2])
    if column < 0 or row < 0 or column >= box[3] or row >= box[4]:
        return -1
    return int(row * box[3] + column)


@bare
def from_centre(box: Floats, x: float, y: float) -> float:
    """How far a point is from the middle of its cell."""
    across, up = (x - box[0]) / box[2], (y - box[1]) / box[2]
    return metres(across - math.floor(across) - 0.5, up - math.floor(up) - 0.5) * float(box[2])


@bare
def roughly(entry: Any, aside: float, need: float) -> float:
    """A depth with the right sign, no deeper than the true one, but more than `need`, of a point that is so far `aside` from the middle
    of its cell; 0: look closer."""
    left: float = abs(entry.centre) - aside
    if left <= need + SLACK_M:
        return 0.0
    return left if entry.centre > 0.0 else -left


@bare
def nearer(edges: Floats, e: int, x: float, y: float, best: float, side: float) -> tuple[float, float]:
    """(square of the distance, side) of this edge where it is nearer than `best`, else what was given. A side below zero: inside."""
    ax, ay = edges[e, 0], edges[e, 1]
    dx, dy = edges[e, 2] - ax, edges[e, 3] - ay
    px, py = x - ax, y - ay
    t = (px * dx + py * dy) / (dx * dx + dy * dy)
    if t <= 0.0:
        q = px * px + py * py
        if q < best:
            return q, px * edges[e, 4] + py * edges[e, 5]
    elif t >= 1.0:
        qx, qy = px - dx, py - dy
        q = qx * qx + qy * qy
        if q < best:
            return q, qx * edges[e, 6] + qy * edges[e, 7]
    else:
        qx, qy = px - t * dx, py - t * dy
        q = qx * qx + qy * qy
        if q < best:
            return q, px * dy - py * dx
    return best, side


@bare
def depth(edges: Floats, near: Any, entry: Any, reach: float, aside: float, x: float, y: float) -> float:
    """Signed distance to the border in metres, positive inside; exact within reach of it, else plus or minus reach. `aside`: how far the
    point is from the middle of the entry's cell, so that no edge is nearer to it than to the middle by more than that."""
    best = reach * reach
    side = 0.0
    for k in range(entry.first, entry.last):
        left = near[k].away - aside - SLACK_M
        if left > 0.0 and left * left >= best:
            break  # nor is any of the rest
        best, side = nearer(edges, near[k].edge, x, y, best, side)
    if best >= reach * reach:
        return reach if entry.inside else -reach
    return -math.sqrt(best) if side > 0.0 else math.sqrt(best)


@bare
def whole_depth(edges: Floats, first: int, last: int, x: float, y: float) -> float:
    """The same of all edges of an area, exact however far they are: for fixes so poor that to be inside takes more than `reach`."""
    best = math.inf
    side = 0.0
    for e in range(first, last):
        best, side = nearer(edges, e, x, y, best, side)
    return -math.sqrt(best) if side > 0.0 else math.sqrt(best)


@compiled
def _centres(box: Floats, edges: Floats, near: Any, starts: Ints, entries: Any) -> None:
    """Fill in how deep the middle of every cell lies."""
    columns = int(box[3])
    for cell in range(len(starts) - 1):
        x, y = box[0] + (cell % columns + 0.5) * box[2], box[1] + (cell // columns + 0.5) * box[2]
        for e in range(starts[cell], starts[cell + 1]):
            entries[e].centre = depth(edges, near, entries[e], box[5], 0.0, x, y)

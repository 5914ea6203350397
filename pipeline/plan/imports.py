"""Lines and areas that others drew or drove (GPX, GeoJSON) as YAML for a plan: a fragment to read, name and paste."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, radians
from typing import Any

import gpxpy
import gpxpy.gpx
import orjson
import shapely

from pipeline.plan.ground import MAX_STEP_M, distance_m, open_ring

MAX_BYTES = 50_000_000
DEFAULT_TOLERANCE_M = 5.0
_PER_LINE = 8
_DEGREE_M = 111_320.0

Point = tuple[float, float]


class ImportRefusedError(ValueError):
    """The file does not have what was asked for, or not in a form that a plan can take."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A line or a ring, as (lat, lon), and what its file calls it."""

    points: tuple[Point, ...]
    name: str
    closed: bool


def read_shapes(data: bytes, *, closed: bool) -> list[Shape]:
    """All lines of a file (`closed`: all rings; a line of three points or more counts as one). GPX or GeoJSON, by
    its first sign."""
    if len(data) > MAX_BYTES:
        raise ImportRefusedError(f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        shapes = list(_gpx(data))
    elif start in (b"{", b"["):
        shapes = list(_geojson(data))
    else:
        raise ImportRefusedError("the file is neither GPX (<) nor GeoJSON ({)")
    wanted = [s for s in shapes if (len(open_ring(s.points)) >= 3 if closed else not s.closed and len(s.points) >= 2)]
    if not wanted:
        raise ImportRefusedError(
            "the file has no area (polygon, or line around one)"
            if closed
            else "the file has no line of two points or more"
        )
    return wanted


def _gpx(data: bytes) -> Iterator[Shape]:
    try:
        gpx = gpxpy.parse(data.decode("utf-8-sig"))
    except (gpxpy.gpx.GPXException, UnicodeDecodeError) as error:
        raise ImportRefusedError(f"this is no GPX: {error}") from error
    for track in gpx.tracks:
        points: list[Point] = []
        for segment in track.segments:  # segments are one drive with pauses of the receiver, unless the gap is wide
            run = [(p.latitude, p.longitude) for p in segment.points]
            if points and run and distance_m(points[-1], run[0]) > MAX_STEP_M:
                yield Shape(tuple(points), track.name or "", closed=False)
                points = []
            points += run
        yield Shape(tuple(points), track.name or "", closed=False)
    for route in gpx.routes:
        yield Shape(tuple((p.latitude, p.longitude) for p in route.points), route.name or "", closed=False)


def _geojson(data: bytes) -> Iterator[Shape]:
    try:
        root = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ImportRefusedError(f"this is no JSON: {error}") from error
    if not isinstance(root, dict):
        raise ImportRefusedError("this is no GeoJSON: it is a list")
    features = root.get("features") if root.get("type") == "FeatureCollection" else [root]
    if not isinstance(features, list):
        raise ImportRefusedError("this is no GeoJSON: its features are no list")
    for feature in features:
        if not isinstance(feature, dict):
            raise ImportRefusedError("this is no GeoJSON: a feature is no object")
        properties = feature.get("properties") or {}
        name = properties.get("name") or properties.get("id") or "" if isinstance(properties, dict) else ""
        geometry = feature.get("geometry") if feature.get("type") == "Feature" else feature
        try:
            if isinstance(geometry, dict):  # null is a feature without a place
                yield from _geometry(geometry, str(name))
        except (TypeError, ValueError, KeyError) as error:
            if isinstance(error, ImportRefusedError):
                raise
            raise ImportRefusedError(f"this is no GeoJSON geometry: {error}") from error


def _geometry(geometry: dict[str, Any], name: str) -> Iterator[Shape]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates", [])
    if kind == "LineString":
        yield Shape(_points(coordinates), name, closed=False)
    elif kind == "MultiLineString":
        for line in coordinates:
            yield Shape(_points(line), name, closed=False)
    elif kind in ("Polygon", "MultiPolygon"):
        for rings in [coordinates] if kind == "Polygon" else coordinates:
            if len(rings) > 1:
                raise ImportRefusedError(f'the polygon "{name}" has a hole; areas of a plan have none: draw two areas')
            yield Shape(_points(rings[0]), name, closed=True)
    elif kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _geometry(part, name)


def _points(coordinates: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    points = tuple((float(c[1]), float(c[0])) for c in coordinates)
    for lat, lon in points:
        if not (abs(lat) <= 90 and abs(lon) <= 180):
            raise ImportRefusedError(f"{lon:g}, {lat:g} is no longitude, latitude in degrees (WGS 84)")
    return points


def simplified(points: Sequence[Point], tolerance_m: float, *, closed: bool) -> list[Point]:
    """Fewer points, none farther than the tolerance from the line; repeated points go in any case."""
    kept = [p for p, before in zip(points, [None, *points], strict=False) if p != before]
    if closed:
        kept = open_ring(kept)
    if tolerance_m <= 0 or len(kept) < 3:
        return kept
    scale = cos(radians(kept[0][0]))
    flat = [(lon * scale, lat) for lat, lon in kept]
    shape = shapely.Polygon(flat) if closed else shapely.LineString(flat)
    simple = shapely.simplify(shape, tolerance_m / _DEGREE_M, preserve_topology=True)
    line = simple.exterior.coords if closed else simple.coords
    back = [(y, x / scale) for x, y in line]
    return open_ring(back) if closed else back


def routes_yaml(
    shapes: Sequence[Shape], name_id: str, road: str, km_at_start: float, tolerance_m: float, origin: str
) -> str:
    """A `routes:` fragment. Widths are the defaults; they and the names are for the planner to settle."""
    out = [_head(origin, tolerance_m), "routes:"]
    for one, shape in zip(_ids(shapes, name_id), shapes, strict=True):
        points = [f"{lat:.5f},{lon:.5f}" for lat, lon in simplified(shape.points, tolerance_m, closed=False)]
        points = [p for p, before in zip(points, ["", *points], strict=False) if p != before]
        out += [
            f"  - id: {one}",
            f"    name: {{en: {_text(shape.name or one)}}}",
            f"    road: {_text(road)}",
            f"    km_at_start: {km_at_start:g}",
            "    half_width_m: 150",
            "    line: |",
            *("      " + " ".join(points[i : i + _PER_LINE]) for i in range(0, len(points), _PER_LINE)),
        ]
    return "\n".join(out) + "\n"


def areas_yaml(shapes: Sequence[Shape], name_id: str, kind: str, tolerance_m: float, origin: str) -> str:
    """An `areas:` fragment."""
    out = [_head(origin, tolerance_m), "areas:"]
    for one, shape in zip(_ids(shapes, name_id), shapes, strict=True):
        corners = simplified(shape.points, tolerance_m, closed=True)
        out += [
            f"  - id: {one}",
            f"    name: {{en: {_text(shape.name or one)}}}",
            f"    kind: {kind}",
            f"    polygon: [{', '.join(f'[{lat:.5f}, {lon:.5f}]' for lat, lon in corners)}]",
        ]
    return "\n".join(out) + "\n"


def _head(origin: str, tolerance_m: float) -> str:
    return f"# imported from {' '.join(origin.split())}, simplified to {tolerance_m:g} m"


def _ids(shapes: Sequence[Shape], name_id: str) -> list[str]:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,27}", name_id):
        raise ImportRefusedError(f'the id "{name_id}" is not of 1 to 27 letters A-Z and a-z, digits, _ and -')
    return [name_id] if len(shapes) == 1 else [f"{name_id}-{n}" for n in range(1, len(shapes) + 1)]


def _text(text: str) -> str:
    """A double-quoted scalar: JSON's strings are YAML's."""
    return json.dumps(" ".join(text.split())[:120], ensure_ascii=False)

"""What others drew or drove becomes YAML that the plan takes as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.plan.imports import ImportRefusedError, areas_yaml, read_shapes, routes_yaml, simplified
from pipeline.plan.load import load_plan
from tests.plan.overlay import SOUND

GPX = """<?xml version="1.0"?>
<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">
 <trk><name>Up &amp; "over"</name>
  <trkseg><trkpt lat="35.0" lon="73.0"/><trkpt lat="35.01" lon="73.0"/><trkpt lat="35.01" lon="73.0"/></trkseg>
  <trkseg><trkpt lat="35.02" lon="73.0"/><trkpt lat="35.02" lon="73.02"/></trkseg>
  <trkseg><trkpt lat="35.3" lon="73.0"/><trkpt lat="35.31" lon="73.0"/></trkseg>
 </trk>
 <rte><name>A route</name><rtept lat="35.1" lon="73.1"/><rtept lat="35.12" lon="73.1"/></rte>
</gpx>"""

POLYGON = {
    "type": "Feature",
    "properties": {"name": "Yard: the old one"},
    "geometry": {"type": "Polygon", "coordinates": [[[73.1, 35.1], [73.11, 35.1], [73.11, 35.11], [73.1, 35.1]]]},
}
LINE = {"type": "LineString", "coordinates": [[73.2, 35.2], [73.21, 35.2, 900], [73.22, 35.21]]}


def collection(*features: object) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def test_a_track_is_one_line_over_short_pauses_and_two_over_a_wide_gap() -> None:
    shapes = read_shapes(GPX.encode(), closed=False)
    assert [len(s.points) for s in shapes] == [5, 2, 2]
    assert [s.name for s in shapes] == ['Up & "over"', 'Up & "over"', "A route"]


@pytest.mark.parametrize(
    "data", [GPX.encode(), b"\xef\xbb\xbf" + GPX.encode(), collection(LINE)], ids=["gpx", "gpx with BOM", "geojson"]
)
def test_an_imported_route_is_taken_by_the_plan(data: bytes, tmp_path: Path) -> None:
    shapes = read_shapes(data, closed=False)
    shutil.copytree(SOUND, tmp_path / "vale")
    text = routes_yaml(shapes, "new", "R-2", 7, 5, "a\nfile.gpx")
    routes = tmp_path / "vale" / "routes.yaml"
    routes.write_text(routes.read_text() + text.partition("routes:\n")[2])
    plan = load_plan(tmp_path)
    imported = [r for r in plan.routes.values() if r.road == "R-2"]
    assert len(imported) == len(shapes)
    assert imported[0].km_at_start == 7
    assert imported[0].name["en"] == (shapes[0].name or "new")


def test_an_imported_area_is_taken_by_the_plan(tmp_path: Path) -> None:
    shapes = read_shapes(collection(POLYGON, LINE), closed=True)
    assert len(shapes) == 2, "a line of three corners counts as a border that was walked"
    shutil.copytree(SOUND, tmp_path / "vale")
    file = tmp_path / "vale" / "areas.yaml"
    file.write_text(file.read_text() + areas_yaml(shapes, "yard", "depot", 1, "f").partition("areas:\n")[2])
    areas = {a.id: a for a in load_plan(tmp_path).areas}
    assert areas["yard-1"].name == {"en": "Yard: the old one"}
    assert areas["yard-1"].kind == "depot"
    assert areas["yard-1"].lonlat.bounds == pytest.approx((73.1, 35.1, 73.11, 35.11))


@pytest.mark.parametrize(("tolerance_m", "points"), [(0, 4), (8, 4), (10, 3), (500, 2)])
def test_simplifying_drops_what_lies_within_the_tolerance(tolerance_m: float, points: int) -> None:
    """The second point is 9 m beside the line to the third, the third 450 m beside the line to the last."""
    line = [(35.0, 73.0), (35.002, 73.0001), (35.004, 73.0), (35.004, 73.01)]
    kept = simplified(line, tolerance_m, closed=False)
    assert len(kept) == points
    assert kept[0] == pytest.approx(line[0]) and kept[-1] == pytest.approx(line[-1])


@pytest.mark.parametrize(
    ("data", "closed"),
    [
        (b"", False), (b"hello", False), (b"<gpx>", False), (b"<html></html>", False), (b"{", False), (b"{}", False), (b"[]", False),
        (b"\xff<gpx/>", False), (collection(POLYGON), False), (collection({"type": "Point", "coordinates": [1, 2]}), True),
        (collection({"type": "LineString", "coordinates": [[735, 35], [73, 35]]}), False),
        (collection({"type": "LineString", "coordinates": [["a", "b"]]}), False),
        (collection({"type": "LineString", "coordinates": 5}), False), (collection(None), False), (collection(7), False),
        (b'{"type":"FeatureCollection","features":5}', False), (b'{"type":"Feature","geometry":5}', False),
        (collection({"type": "GeometryCollection"}), False), (collection({"type": "Polygon", "coordinates": [[]]}), True),
        (b'{"type":"FeatureCollection","features":null}', False),
        (collection({**POLYGON["geometry"], "coordinates": POLYGON["geometry"]["coordinates"] * 2}), True),  # type: ignore[dict-item, index]
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_refused_with_a_reason(data: bytes, closed: bool) -> None:
    with pytest.raises(ImportRefusedError, match=r"\w+"):
        read_shapes(data, closed=closed)


def test_a_bad_id_is_refused() -> None:
    with pytest.raises(ImportRefusedError):
        areas_yaml(read_shapes(collection(POLYGON), closed=True), "no spaces", "site", 5, "f")


@pytest.mark.shared
def test_recorded_drives_become_routes(shared: Path) -> None:
    data = (shared / "data/tracks/gpxpy/around-visnjan-with-car.gpx").read_bytes()
    (shape,) = read_shapes(data, closed=False)
    kept = simplified(shape.points, 10, closed=False)
    assert 10 < len(kept) < len(shape.points) / 2

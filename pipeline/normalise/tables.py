"""Files that are tables or tracks: GPX (gpxpy) and CSV with our own names as headers.

GPX: degrees, metres; a time without a zone is UTC, as its standard says. Speed (m/s) and course stand beside the point in GPX 1.0
and in its extensions in 1.1 (Garmin's TrackPointExtension and its cousins, whose unit is m/s as well); `hdop` is taken as 5 m each.
Track points are read; waypoints and routes are places that somebody meant to go to. A point without a time is `malformed`.
A document that declares a type is refused: nothing that writes tracks needs one, and it can be made to grow without end.

CSV: the header has native names. `kind` may be a column; without it every row is a fix, and needs seen_at, lat and lon. An empty
field was not said. A semicolon parts the fields where the header has no comma.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import gpxpy
import gpxpy.gpx
import orjson

from pipeline.model.times import parse_us, to_us
from pipeline.normalise.formats import native
from pipeline.normalise.formats.said import MOST_SEQ, Said, in_calendar, maybe, number
from pipeline.normalise.reasons import RefusedError

CSV_NUMBERS = ("lat", "lon", "speed_mps", "course_deg", "accuracy_m", "altitude_m")
MOST_FILE_BYTES = 256 << 20
METRES_PER_HDOP = 5.0
_DOCTYPE = re.compile(r"<!\s*DOCTYPE", re.IGNORECASE)


def _text(data: bytes) -> str:
    if len(data) > MOST_FILE_BYTES:
        raise RefusedError("oversized", f"{len(data)} bytes; at most {MOST_FILE_BYTES}: cut it into days")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError("malformed", str(error)) from None


def gpx(data: bytes) -> Iterator[tuple[int, Said | RefusedError]]:
    """Every track point, numbered from 1. Raises RefusedError when the document is none."""
    text = _text(data)
    if _DOCTYPE.search(text):
        raise RefusedError("malformed", "a GPX with a document type")
    try:
        document = gpxpy.parse(text)
    except RecursionError:
        raise RefusedError("malformed", "nested too deeply") from None
    except (gpxpy.gpx.GPXException, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise RefusedError("malformed", str(error)) from None
    points = (point for track in document.tracks for segment in track.segments for point in segment.points)
    for n, point in enumerate(points, 1):
        try:
            yield n, _point(point)
        except RefusedError as refused:
            yield n, refused
        except (ValueError, TypeError, OverflowError) as error:
            yield n, RefusedError("malformed", str(error))


def _point(point: Any) -> Said:
    if point.time is None:
        raise RefusedError("malformed", "a point without a time")
    moment = point.time if point.time.tzinfo else point.time.replace(tzinfo=UTC)
    beside = _extensions(point.extensions)
    speed = beside.get("speed") if point.speed is None else point.speed
    course = beside.get("course") if point.course is None else point.course
    hdop = maybe(point.horizontal_dilution)
    return Said(
        seen_at_us=in_calendar(to_us(moment), str(moment)),
        lat=number(point.latitude, "lat"),
        lon=number(point.longitude, "lon"),
        altitude_m=maybe(point.elevation),
        speed_mps=maybe(speed),
        course_deg=maybe(course),
        accuracy_m=hdop * METRES_PER_HDOP if hdop else None,
    )


def _extensions(elements: Any) -> dict[str, str]:
    """What the extensions say, one level of containers down."""
    found: dict[str, str] = {}
    for element in list(elements)[:32]:
        for leaf in (element, *list(element)[:32]):
            if leaf.text and isinstance(leaf.tag, str):
                found.setdefault(leaf.tag.rsplit("}", 1)[-1].lower(), leaf.text.strip())
    return found


def table(data: bytes) -> Iterator[tuple[int, Said | RefusedError]]:
    """Every row, numbered as the lines of the file. Raises RefusedError when the header lacks what a fix needs."""
    text = _text(data)
    head = text.split("\n", 1)[0]
    try:
        rows = csv.DictReader(io.StringIO(text), strict=True, delimiter=";" if ";" in head and "," not in head else ",")
        header = [name.strip() for name in rows.fieldnames or []]
        rows.fieldnames = header
    except csv.Error as error:
        raise RefusedError("malformed", str(error)) from None
    needed = {"seen_at"} if "kind" in header else {"seen_at", "lat", "lon"}
    if missing := needed - set(header):
        raise RefusedError("malformed", f"the header lacks {', '.join(sorted(missing))}")
    try:
        for row in rows:
            yield rows.line_num, _row(row) if row.get("kind") in (None, "", "fix") else _other(row)
    except csv.Error as error:
        yield rows.line_num, RefusedError("malformed", str(error))


def _other(row: dict[str, Any]) -> Said | RefusedError:
    """A row of another kind than a fix, through the native form that its names are of."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(name, str) and value not in (None, ""):
            told = maybe(value) if name in (*CSV_NUMBERS, "seq", "value") else None
            found[name] = value if told is None else int(told) if name == "seq" and abs(told) <= MOST_SEQ else told
    try:
        told_all = native.decode(orjson.dumps(found))
    except RefusedError as refused:
        return refused
    except TypeError as error:
        return RefusedError("malformed", str(error))
    return told_all[0] if isinstance(told_all, list) else told_all or RefusedError("malformed", "nothing in it")


def _row(row: dict[str, str]) -> Said | RefusedError:
    try:
        numbers: dict[str, Any] = {name: number(row.get(name) or None, name) for name in CSV_NUMBERS}
        seq = number(row.get("seq") or None, "seq")
        if abs(seq or 0) > MOST_SEQ:
            raise RefusedError("out_of_range", f"seq {seq:g}")
        received = row.get("received_at")
        return Said(
            seen_at_us=in_calendar(parse_us(row["seen_at"]), row["seen_at"]),
            received_at_us=in_calendar(parse_us(received), received) if received else None,
            subject=row.get("vehicle") or None,
            device=row.get("device") or None,
            seq=int(seq or 0),
            **numbers,
        )
    except RefusedError as refused:
        return refused
    except (ValueError, TypeError) as error:
        return RefusedError("malformed", str(error))

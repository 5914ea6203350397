"""Files that are tables or tracks: GPX (gpxpy) and CSV with our own names as headers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import gpxpy
import gpxpy.gpx

from pipeline.model.times import parse_us, to_us
from pipeline.normalise.formats.said import Said, in_calendar, number
from pipeline.normalise.reasons import RefusedError

MOST_SEQ = 1 << 62
CSV_NUMBERS = ("lat", "lon", "speed_mps", "course_deg", "accuracy_m", "altitude_m")


def gpx(data: bytes) -> Iterator[tuple[int, Said | RefusedError]]:
    """Every track point, numbered from 1. Raises RefusedError when the document is none."""
    try:
        document = gpxpy.parse(data.decode("utf-8-sig"))
    except (gpxpy.gpx.GPXException, UnicodeDecodeError, ValueError, TypeError) as error:
        raise RefusedError("malformed", str(error)) from None
    n = 0
    for track in document.tracks:
        for segment in track.segments:
            for point in segment.points:
                n += 1
                if point.time is None:
                    yield n, RefusedError("malformed", "a point without a time")
                    continue
                moment = point.time if point.time.tzinfo else point.time.replace(tzinfo=UTC)
                yield (
                    n,
                    Said(
                        seen_at_us=to_us(moment),
                        lat=point.latitude,
                        lon=point.longitude,
                        altitude_m=point.elevation,
                        speed_mps=point.speed,
                        course_deg=point.course,
                    ),
                )


def table(data: bytes) -> Iterator[tuple[int, Said | RefusedError]]:
    """Every row, numbered as the lines of the file. Raises RefusedError when the header lacks what a fix needs."""
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        header = rows.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefusedError("malformed", str(error)) from None
    if missing := {"seen_at", "lat", "lon"} - set(header):
        raise RefusedError("malformed", f"the header lacks {', '.join(sorted(missing))}")
    try:
        for row in rows:
            yield rows.line_num, _row(row)
    except csv.Error as error:
        yield rows.line_num, RefusedError("malformed", str(error))


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

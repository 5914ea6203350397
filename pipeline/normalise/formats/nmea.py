"""NMEA 0183 sentences (GGA, RMC, GLL; ZDA for the date). A message may hold the sentences of one epoch.

`EpochReader` goes through a receiver's log: one observation per epoch, on its last position sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import pynmea2

from pipeline.model.times import to_us
from pipeline.normalise.formats.said import Format, Said
from pipeline.normalise.reasons import RefusedError

KNOT = 1852 / 3600
POSITIONS = ("GGA", "RMC", "GLL")
METRES_PER_HDOP = 5.0  # one sigma of a civil receiver under open sky
LONGEST = 200  # the standard says 82; receivers take liberties


def parse(line: bytes) -> Any:
    """A sentence. Raises RefusedError: malformed (also a wrong checksum) or unsupported."""
    text = line.decode("ascii", "replace").strip()
    if len(text) > LONGEST:
        raise RefusedError("oversized", f"a sentence of {len(text)} characters")
    try:
        return pynmea2.parse(text, check=True)
    except pynmea2.SentenceTypeError as error:
        raise RefusedError("unsupported", str(error)) from None
    except (pynmea2.ParseError, ValueError, TypeError, IndexError, KeyError) as error:
        raise RefusedError("malformed", str(error)) from None


@dataclass
class Epoch:
    """What the sentences of one instant of the day add up to."""

    clock: time | None = None
    day: date | None = None
    lat: float | None = None
    lon: float | None = None
    valid: bool = True
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None
    altitude_m: float | None = None
    sentences: int = field(default=0)

    def add(self, s: Any) -> None:
        kind = s.sentence_type
        self.clock = getattr(s, "timestamp", None) or self.clock
        self.sentences += 1
        if kind == "RMC":
            self.day = s.datestamp or self.day
            self.valid = s.status == "A"
            self.speed_mps = None if s.spd_over_grnd is None else float(s.spd_over_grnd) * KNOT
            self.course_deg = None if s.true_course is None else float(s.true_course)
        elif kind == "GGA":
            self.valid = bool(s.gps_qual)
            self.altitude_m = None if s.altitude is None else float(s.altitude)
            self.accuracy_m = float(s.horizontal_dil) * METRES_PER_HDOP if s.horizontal_dil else None
        elif kind == "GLL":
            self.valid = s.status == "A"
        if s.lat and s.lon:
            self.lat, self.lon = float(s.latitude), float(s.longitude)

    def said(self, day: date | None) -> Said:
        if not self.valid or self.lat is None or self.lon is None:
            raise RefusedError("no_position", "the receiver has no fix")
        if self.clock is None:
            raise RefusedError("malformed", "no time of day")
        found = self.day or day
        if found is None:
            raise RefusedError("undecoded", "no date: neither RMC nor ZDA came before")
        clock = self.clock if self.clock.tzinfo else self.clock.replace(tzinfo=UTC)
        return Said(
            seen_at_us=to_us(datetime.combine(found, clock)),
            lat=self.lat,
            lon=self.lon,
            speed_mps=self.speed_mps,
            course_deg=self.course_deg,
            accuracy_m=self.accuracy_m,
            altitude_m=self.altitude_m,
        )


def take(epoch: Epoch, sentence: Any) -> None:
    """Raises RefusedError where a field cannot be read."""
    try:
        epoch.add(sentence)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RefusedError("malformed", str(error)) from None


def dated(sentence: Any) -> date | None:
    """The date that a sentence of another kind tells (ZDA)."""
    try:
        return date(int(sentence.year), int(sentence.month), int(sentence.day))
    except (ValueError, TypeError, AttributeError):
        return None


def decode(payload: bytes, topic: str = "") -> Said | None:
    """The sentences of one message. None: read, and nothing of it is a position. Raises RefusedError."""
    epoch = Epoch()
    day: date | None = None
    refused: RefusedError | None = None
    positions = 0
    for line in payload.splitlines():
        if not line.strip():
            continue
        try:
            sentence = parse(line)
            if sentence.sentence_type == "ZDA":
                day = dated(sentence)
            if sentence.sentence_type in POSITIONS:
                take(epoch, sentence)
                positions += 1
        except RefusedError as error:
            refused = refused or error
    if not positions:
        if refused:
            raise refused
        return None
    return epoch.said(day)


FORMAT = Format(decode, arrays=False)

"""NMEA 0183 sentences: positions (GGA, RMC, GLL, GNS), speed and course (VTG), the date (RMC, ZDA). A message holds an epoch's, or several.

The sentences of one instant of the day make one observation; in a receiver's log it stands on its last position sentence.

Units: knots, degrees and minutes in one number (3512.5 is 35 degrees 12.5 minutes), metres; HDOP is taken as 5 m each.

Traps:
- A sentence without its checksum, or with a wrong one, is `malformed`: serial lines lose letters, and a lost digit is kilometres.
- No fix: RMC and GLL say V, GGA quality 0 or nothing; many repeat the last place all the same (`no_position`). The mode that
  newer sentences end with is not asked: it contradicts the status in receivers that fill it with a constant.
- Only RMC and ZDA have a date. Until the first of them there is none (`undecoded`); after midnight an undated sentence is of the
  next day, before any RMC has said so.
- Receivers lose 1,024 weeks when their week number rolls over (2019, and 2038 to come): 19.6 years back. It is told in the reason
  (`too_old`) and never mended: a date that is guessed is no evidence.
- Receivers that hear several constellations say GNS for GGA: a letter of its mode for each, all N without a fix.
- Loggers put a time of their own before a sentence, or behind it: what stands outside of `$...*hh` is not read.
- VTG has no time: it belongs to the epoch that it stands in. Where RMC tells speed and course, RMC counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pynmea2

from pipeline.model.times import to_us
from pipeline.normalise.formats.said import Format, Said
from pipeline.normalise.reasons import RefusedError

KNOT = 1852 / 3600
KMH = 1 / 3.6
POSITIONS = ("GGA", "RMC", "GLL", "GNS")
_FRAMED = re.compile(rb"[^$!]{0,80}([$!][^$!*]{6,}\*[0-9A-Fa-f]{2})(?:[,;\s][^$!]{0,40})?\Z")
METRES_PER_HDOP = 5.0  # one sigma of a civil receiver under open sky
LONGEST = 256  # the standard says 82; receivers take liberties
MOST_SENTENCES = 4000
BACK_S = 12 * 3600  # so far back is no disorder: it is another day


def parse(line: bytes) -> Any:
    """A sentence. Raises RefusedError: malformed (also a wrong checksum) or unsupported."""
    line = line.strip()
    framed = _FRAMED.match(line)
    text = (framed[1] if framed else line).decode("ascii", "replace")
    if len(text) > LONGEST:
        raise RefusedError("oversized", f"a sentence of {len(text)} characters")
    try:
        return pynmea2.parse(text, check=True)
    except pynmea2.SentenceTypeError as error:
        raise RefusedError("unsupported", _said_by(error)) from None
    except (pynmea2.ParseError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise RefusedError("malformed", _said_by(error)) from None


def kind_of(sentence: Any) -> str:
    """RMC, GGA and so on; nothing for a maker's own ($P...), which has no such name."""
    return str(getattr(sentence, "sentence_type", ""))


def _said_by(error: Exception) -> str:
    """The library's sentence, without the fields that it puts behind it."""
    first = error.args[0] if error.args else error
    return str(first[0] if isinstance(first, tuple) and first else first)


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
    moves: bool = False  # RMC told speed and course

    def add(self, s: Any) -> None:
        kind = kind_of(s)
        if kind == "VTG":
            self._vtg(s)
            return
        clock = getattr(s, "timestamp", None)
        if isinstance(clock, time):
            self.clock = clock
        if kind == "RMC":
            if isinstance(s.datestamp, date):
                self.day = s.datestamp
            self.valid = s.status == "A"
            self.moves = s.spd_over_grnd is not None
            self.speed_mps = None if s.spd_over_grnd is None else float(s.spd_over_grnd) * KNOT
            self.course_deg = None if s.true_course is None else float(s.true_course)
        elif kind == "GGA":
            self.valid = isinstance(s.gps_qual, int) and s.gps_qual > 0
            self.altitude_m = None if s.altitude is None else float(s.altitude)
            self.accuracy_m = float(s.horizontal_dil) * METRES_PER_HDOP if s.horizontal_dil else None
        elif kind == "GNS":
            self.valid = bool((s.mode_indicator or "").strip("N"))
            self.altitude_m = float(s.altitude) if s.altitude else None
            self.accuracy_m = float(s.hdop) * METRES_PER_HDOP if s.hdop else None
        elif kind == "GLL":
            self.valid = s.status == "A"
        if self.valid and s.lat and s.lon:
            self.lat = _degrees(s.lat, s.lat_dir, 2, "NS")
            self.lon = _degrees(s.lon, s.lon_dir, 3, "EW")

    def _vtg(self, s: Any) -> None:
        if self.moves:
            return
        if s.spd_over_grnd_kts is not None:
            self.speed_mps = float(s.spd_over_grnd_kts) * KNOT
        elif s.spd_over_grnd_kmph is not None:
            self.speed_mps = float(s.spd_over_grnd_kmph) * KMH
        if s.true_track is not None:
            self.course_deg = float(s.true_track)

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


def _degrees(text: str, direction: str, digits: int, signs: str) -> float:
    """Of degrees and minutes in one number. Raises ValueError."""
    whole = text.split(".")[0]
    minutes = float(text[len(whole) - 2 :])
    if not whole.isdigit() or len(whole) > digits + 2 or not minutes < 60:
        raise ValueError(f"{text[:20]!r} is no degrees and minutes")
    if direction not in tuple(signs):
        raise ValueError(f"{direction[:5]!r} is neither {signs[0]} nor {signs[1]}")
    found = int(whole[:-2] or "0") + minutes / 60
    return found if direction == signs[0] else -found


class Calendar:
    """Which day it is while a log is read: what was last said, and one more when the clock begins again."""

    def __init__(self) -> None:
        self.day: date | None = None
        self._clock: time | None = None

    def told(self, day: date | None) -> None:
        """ZDA, which stands before or behind the positions of its instant."""
        if day is not None:
            self.day, self._clock = day, None

    def of(self, epoch: Epoch) -> date | None:
        """The day of this epoch, which comes after those that were asked for before."""
        before, self._clock = self._clock, epoch.clock or self._clock
        if epoch.day is not None:
            self.day = epoch.day
        elif self.day is not None and before and epoch.clock and _second(before) - _second(epoch.clock) > BACK_S:
            try:
                self.day += timedelta(days=1)
            except OverflowError:
                self.day = None
        return self.day


def _second(clock: time) -> int:
    return clock.hour * 3600 + clock.minute * 60 + clock.second


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


def decode(payload: bytes, topic: str = "") -> list[Said]:
    """The sentences of one message, an observation an epoch. Empty: read, and nothing of it is a position. Raises RefusedError."""
    calendar = Calendar()
    out: list[Said] = []
    refused: RefusedError | None = None
    epoch: Epoch | None = None

    def close() -> None:
        nonlocal epoch, refused
        if epoch is not None:
            try:
                out.append(epoch.said(calendar.of(epoch)))
            except RefusedError as error:
                refused = refused or error
        epoch = None

    for line in _lines(payload):
        try:
            sentence = parse(line)
            kind = kind_of(sentence)
            if kind == "ZDA":
                calendar.told(dated(sentence))
            elif kind in POSITIONS:
                if epoch is not None and another(epoch, sentence):
                    close()
                epoch = epoch or Epoch()
                take(epoch, sentence)
            elif kind == "VTG" and epoch is not None:
                take(epoch, sentence)
        except RefusedError as error:
            refused = refused or error
    close()
    if not out and refused is not None:
        raise refused
    return out


def another(epoch: Epoch, sentence: Any) -> bool:
    """Whether a sentence is of another instant than the epoch."""
    clock = getattr(sentence, "timestamp", None)
    return epoch.clock is not None and clock != epoch.clock


_SENTENCE = re.compile(rb"[$!](?:[A-Z]{5}|P[A-Z]{3})[0-9A-Z]*,[^*\r\n]*\*[0-9A-Fa-f]{2}")


def looks(lines: list[bytes]) -> bool:
    """Whether most of a file's lines are sentences, bare or between what a logger wrote."""
    return 2 * sum(_SENTENCE.search(line) is not None for line in lines) > len(lines)


def _lines(payload: bytes) -> Iterable[bytes]:
    lines = [line for line in payload.splitlines() if line.strip()]
    if len(lines) > MOST_SENTENCES:
        raise RefusedError("oversized", f"{len(lines)} sentences in one message; at most {MOST_SENTENCES}")
    return lines


FORMAT = Format(decode, arrays=False)

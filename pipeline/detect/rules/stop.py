"""stop.unscheduled: stayed within a radius for long enough, where stopping is not allowed.

The place where it stands is the first fix of its stay. A fix that is surely elsewhere is remembered as a second place; only when
the next one is not back at the first is the first given up. So one stray fix neither ends a stop nor hides one, and slow driving
never becomes a stop. A gap in the data is no stop: the time before it does not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import bare
from pipeline.detect.form import BEGIN, END
from pipeline.detect.ground import metres
from pipeline.detect.rules.held import hold_false


@bare
def stand(s: Any, f: Any, x: float, y: float, exempt: int) -> None:
    """It stands here since now."""
    s.x = x
    s.y = y
    s.since = f.seen
    s.lat = f.lat
    s.lon = f.lon
    s.exempt = exempt
    s.away_since = 0


@bare
def stand_where_it_went(s: Any) -> None:
    s.x = s.away_x
    s.y = s.away_y
    s.since = s.away_since
    s.lat = s.away_lat
    s.lon = s.away_lon
    s.exempt = s.away_exempt
    s.away_since = 0


@bare
def stop_step(
    v: Any, s: Any, judged: bool, exempt: int, gap: bool, f: Any, x: float, y: float, accuracy_m: float
) -> tuple[int, int]:
    """(BEGIN, END or 0, instant of the end). `judged`: on a movement. `gap`: nothing was heard for long before this fix.

    Beyond the radius it is elsewhere; once a stop was told, only beyond the radius and twice its accuracy.
    """
    h = s.held
    if not judged:
        kind = hold_false(h)
        s.since = 0
        s.away_since = 0
        return kind, f.seen
    if s.since == 0:
        stand(s, f, x, y, exempt)
        return 0, 0
    radius = v.stop_radius
    if gap and h.on == 0:
        stand(s, f, x, y, exempt)
        return 0, 0
    away = metres(x - s.x, y - s.y)
    kind = 0
    at = 0
    if away <= radius:
        s.away_since = 0
        s.exempt = max(s.exempt, exempt)
    elif h.on == 1 and away <= radius + 2.0 * accuracy_m:
        return 0, 0
    elif s.away_since == 0:
        s.away_x = x
        s.away_y = y
        s.away_since = f.seen
        s.away_lat = f.lat
        s.away_lon = f.lon
        s.away_exempt = exempt
        return 0, 0
    else:
        at = s.away_since
        kind = hold_false(h)
        if metres(x - s.away_x, y - s.away_y) <= radius:
            s.away_exempt = max(s.away_exempt, exempt)
            stand_where_it_went(s)
        else:
            stand(s, f, x, y, exempt)
        if kind == END:
            return kind, at
    if h.on == 0 and s.exempt == 0 and f.seen - s.since >= v.stop_after:
        h.on = 1
        h.since = s.since
        h.began = s.since
        h.decided = f.seen
        h.severity = v.stop_severity
        h.lat = s.lat
        h.lon = s.lon
        h.along = np.nan
        h.peak = np.nan
        h.told = np.nan
        return BEGIN, 0
    return kind, at

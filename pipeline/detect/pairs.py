"""A vehicle's pairs: one for every watched area of which something has to be remembered."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.detect.compiled import bare


@bare
def find_pair(pairs: Any, slot: int, used: int, watch: int) -> int:
    for k in range(used):
        if pairs[slot, k].watch == watch:
            return k
    return -1


@bare
def new_pair(pairs: Any, slot: int, k: int, watch: int) -> None:
    p = pairs[slot, k]
    p.watch = watch
    p.armed = 0
    p.stamp = 0
    p.came = 0
    p.went = 0
    p.metres = 0.0
    h = p.held
    h.on = 0
    h.since = 0
    h.began = 0
    h.decided = 0
    h.severity = 3
    h.lat = np.nan
    h.lon = np.nan
    h.along = np.nan
    h.peak = np.nan
    h.told = np.nan

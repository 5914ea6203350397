"""The forms that the compiled code works on: structured rows, so that a vehicle's whole state can be copied in one move.

Instants are microseconds (`i8`); 0 means never. Lengths are metres. NaN means not said.
"""

from __future__ import annotations

import numpy as np

NEVER = 0

FIX = np.dtype(
    [
        ("slot", "i4"),
        ("device", "i4"),  # its place among all device ids, sorted: part of the total order
        ("rank", "i4"),  # among the vehicle's devices, 0 is the plan's first
        ("flags", "i4"),
        ("seen", "i8"),
        ("received", "i8"),
        ("seq", "i8"),
        ("body", "u8"),
        ("x", "f8"),
        ("y", "f8"),
        ("lat", "f8"),
        ("lon", "f8"),
        ("acc", "f8"),
        ("speed", "f8"),
    ],
    align=True,
)

# One condition that is held against time: it begins when it has been true for long enough, and says since when.
HELD = np.dtype(
    [
        ("on", "i4"),
        ("severity", "i4"),
        ("since", "i8"),  # of the stretch under way, told or not
        ("began", "i8"),
        ("decided", "i8"),
        ("lat", "f8"),  # where the vehicle was when the stretch began
        ("lon", "f8"),
        # chainage; of an area NaN, or the metres that nobody saw: of a passage, or below zero of the ways at both ends of a short visit
        ("along", "f8"),
        ("peak", "f8"),
        ("told", "f8"),  # the peak when it was last told
    ],
    align=True,
)

# A vehicle and one watched area.
PAIR = np.dtype(
    [
        ("watch", "i4"),
        ("armed", "i4"),
        ("stamp", "i8"),
        ("came", "i8"),  # over the border, into the stretch that is not told yet; 0: that cannot be said
        ("went", "i8"),  # and out of it, while no fix says for sure that it is over
        ("metres", "f8"),  # of the ways at its two ends
        ("held", HELD),
    ],
    align=True,
)

# A vehicle and one of its movements.
LEG = np.dtype([("joined", "i4"), ("segment", "i4"), ("along", "f8"), ("held", HELD)], align=True)

# Where it stands, and where it may have gone since.
STOP = np.dtype(
    [
        ("x", "f8"),
        ("y", "f8"),
        ("since", "i8"),
        ("lat", "f8"),
        ("lon", "f8"),
        ("exempt", "i4"),
        ("away_exempt", "i4"),
        ("away_x", "f8"),
        ("away_y", "f8"),
        ("away_since", "i8"),
        ("away_lat", "f8"),
        ("away_lon", "f8"),
        ("held", HELD),
    ],
    align=True,
)

ROW = np.dtype(
    [
        ("vehicle", "i4"),  # its place in the plan
        ("pairs", "i4"),  # how many of its pairs are in use
        ("seen", "i8"),  # the order's key of its newest fix
        ("device", "i8"),
        ("seq", "i8"),
        ("body", "u8"),
        ("used", "i8"),  # seen_at of the newest fix that the rules used, then what else the way from there needs
        ("used_acc", "f8"),
        ("used_lat", "f8"),
        ("used_lon", "f8"),
        ("used_speed", "f8"),
        ("n", "i8"),  # fixes admitted
        ("rank0", "i8"),  # seen_at of the newest plausible fix of its devices, by rank
        ("rank1", "i8"),
        ("rank2", "i8"),
        ("still_x", "f8"),  # where it stands: the mean of its fixes since its receiver last said that it moved
        ("still_y", "f8"),
        ("still_weight", "f8"),
        ("stop", STOP),
    ],
    align=True,
)

# What a scan says. The whole episode is in it, so that nothing else has to be remembered.
OUT = np.dtype(
    [
        ("fix", "i4"),
        ("slot", "i4"),
        ("kind", "i4"),
        ("rule", "i4"),
        ("object", "i4"),
        ("severity", "i4"),
        ("began", "i8"),
        ("decided", "i8"),
        ("ended", "i8"),
        ("lat", "f8"),
        ("lon", "f8"),
        ("along", "f8"),
        ("peak", "f8"),
    ],
    align=True,
)

BEGIN, GROW, END = 1, 2, 3
AREA, DEVIATION, STOPPED = 1, 2, 3
IN, UNSURE, OUTSIDE = 1, 0, -1

UNKNOWN_ACCURACY_M = 10.0  # a receiver under open sky that does not say
HANDOVER_US = 60_000_000
STILL_MPS = 1.5  # slower than a walk: speed is measured by Doppler, far better than position

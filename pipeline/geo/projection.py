"""Degrees to metres: a transverse Mercator centred on the plan, fitted by polynomials so that the compiled scan can
afford it.

PROJ computes the projection once, when a plan is compiled; a two-dimensional Chebyshev series of degree 9 stands in
for it at
run time. The fit's largest error over the plan's bounds is measured on a finer grid and must stay below 1 cm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyproj
from numpy.polynomial import chebyshev

DEGREE = 9
MAX_ERROR_M = 0.01
MAX_SPAN_DEG = 12.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Projection:
    """`to_xy` takes arrays of latitude and longitude, shape (n,), WGS 84 degrees, and gives x (east) and y (north)
    in metres. Two of the same bounds are equal: the coefficients follow from these."""

    lat0: float
    lon0: float
    half_lat: float
    half_lon: float
    coefficients_x: Floats = field(compare=False)  # (DEGREE + 1, DEGREE + 1): [i, j] belongs to T_i(lat') T_j(lon')
    coefficients_y: Floats = field(compare=False)
    definition: str  # PROJ string, for the way back and for other programs

    def to_xy(self, lat: npt.ArrayLike, lon: npt.ArrayLike) -> tuple[Floats, Floats]:
        u = (np.asarray(lat, float) - self.lat0) / self.half_lat
        v = (np.asarray(lon, float) - self.lon0) / self.half_lon
        x, y = (chebyshev.chebval2d(u, v, c) for c in (self.coefficients_x, self.coefficients_y))
        return np.asarray(x, float), np.asarray(y, float)

    def to_lonlat(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """The way back, as (longitude, latitude), exact, by PROJ: for drawing, not for the hot path."""
        lon, lat = _back(self.definition).transform(np.asarray(x, float), np.asarray(y, float))
        return np.asarray(lon, float), np.asarray(lat, float)

    def covers(self, lat: float, lon: float) -> bool:
        return abs(lat - self.lat0) <= self.half_lat and abs(lon - self.lon0) <= self.half_lon


@lru_cache(maxsize=64)
def _back(definition: str) -> pyproj.Transformer:
    """Making one costs as much as ten thousand points through it. Threads may share it: pyproj keeps a context for each."""
    return pyproj.Transformer.from_crs(definition, "EPSG:4326", always_xy=True)


def fit(west: float, south: float, east: float, north: float) -> Projection:
    """A projection for these bounds (degrees). Raises ValueError when they span more than 12 degrees or cross the
    antimeridian."""
    if not (-180 <= west < east <= 180 and -90 < south < north < 90):
        raise ValueError(f"bounds {west}, {south}, {east}, {north} are not west < east and south < north")
    if max(east - west, north - south) > MAX_SPAN_DEG:
        raise ValueError(
            f"bounds span {max(east - west, north - south):.1f} degrees; at most {MAX_SPAN_DEG:.0f} make one plan"
        )
    lat0, lon0 = (south + north) / 2, (west + east) / 2
    half_lat, half_lon = max((north - south) / 2, 0.05), max((east - west) / 2, 0.05)
    definition = f"+proj=tmerc +lat_0={lat0!r} +lon_0={lon0!r} +k=1 +ellps=WGS84 +units=m +type=crs"
    forward = pyproj.Transformer.from_crs("EPSG:4326", definition, always_xy=True)

    nodes = chebyshev.chebpts1(2 * DEGREE + 2)
    u, v = (grid.ravel() for grid in np.meshgrid(nodes, nodes, indexing="ij"))
    x, y = forward.transform(lon0 + v * half_lon, lat0 + u * half_lat)
    basis = chebyshev.chebvander2d(u, v, [DEGREE, DEGREE])
    solved, *_ = np.linalg.lstsq(basis, np.column_stack([x, y]), rcond=None)
    shape = (DEGREE + 1, DEGREE + 1)
    projection = Projection(
        lat0,
        lon0,
        half_lat,
        half_lon,
        np.ascontiguousarray(solved[:, 0].reshape(shape)),
        np.ascontiguousarray(solved[:, 1].reshape(shape)),
        definition,
    )

    side = np.linspace(-1, 1, 41)
    u, v = (grid.ravel() for grid in np.meshgrid(side, side, indexing="ij"))
    lat, lon = lat0 + u * half_lat, lon0 + v * half_lon
    x, y = forward.transform(lon, lat)
    fitted_x, fitted_y = projection.to_xy(lat, lon)
    error = float(np.hypot(fitted_x - x, fitted_y - y).max())
    if error > MAX_ERROR_M:
        raise ValueError(f"the projection's fit is off by {error:.3f} m over these bounds")
    return projection

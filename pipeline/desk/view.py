"""What one kind of person sees of the plan and of what happens: their regions, and where people live only roughly.

A vehicle is seen by its own region and by those that it may serve or drive through: a convoy that crosses a border does not vanish. An alert is
seen where its region or its vehicle is. What is about ourselves everybody sees.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import shapely

from pipeline.desk.live import TrailPoint
from pipeline.model.alert import Alert
from pipeline.people.roles import may
from pipeline.plan.geojson import COARSE_M, coarse_centre
from pipeline.plan.model import CompiledPlan

OURSELVES = "pipeline"
LAT, LON, COURSE, ACCURACY = 1, 2, 3, 5  # in a position's row
FRAMES_KEPT = 32
FOR_ALL = ("clock", "story")
"""Parts of a snapshot and events that tell of no region. What is new and unknown here only those get who see everything."""
OpenAlerts = Callable[[], Iterable[Mapping[str, Any]]]


class Homes:
    """Where people live, and the point that stands for it."""

    def __init__(self, plan: CompiledPlan) -> None:
        areas = [area for area in plan.areas if area.kind == "residence"]
        self._tree = shapely.STRtree([area.lonlat for area in areas])
        self._centres = [coarse_centre(area, plan.projection) for area in areas]  # (lat, lon)

    def centres(self, latlon: Sequence[tuple[float, float]]) -> dict[int, tuple[float, float]]:
        """Of the points that lie in a residence, by their number: the point to show in their stead."""
        if not self._centres or not latlon:
            return {}
        points = shapely.points([lon for _, lon in latlon], [lat for lat, _ in latlon])
        inputs, homes = self._tree.query(points, predicate="intersects")
        return {int(i): self._centres[int(home)] for i, home in zip(inputs, homes, strict=True)}


class View:
    """Of a role and its regions (None: all)."""

    def __init__(
        self, plan: CompiledPlan, homes: Homes, open_alerts: OpenAlerts, role: str, regions: frozenset[str] | None
    ) -> None:
        self.plan, self.regions, self.role = plan, regions, role
        self.exact = may(role, "residence")
        self._everything = self.exact and regions is None
        self._handles = may(role, "act")  # whoever sends help must know where to
        self._homes = homes
        self._vehicles = None if regions is None else frozenset(_seen_from(plan, regions))
        self._open_alerts = open_alerts
        self._frames: OrderedDict[int, bytes | None] = OrderedDict()

    # ---- may it be seen at all --------------------------------------------------------------------------------------

    def region(self, region: str) -> bool:
        return self.regions is None or region in self.regions

    def vehicle(self, vehicle: str) -> bool:
        """Of a vehicle that the plan does not know, only those who see everything learn."""
        return self._vehicles is None or vehicle in self._vehicles

    def subject(self, subject: str) -> bool:
        """A vehicle, sensor, convoy or site."""
        if self.regions is None or subject == OURSELVES or self.vehicle(subject):
            return True
        known = self.plan.sensors.get(subject) or self.plan.convoys.get(subject)
        found = known.region if known else next((a.region for a in self.plan.areas if a.id == subject), None)
        return found in self.regions

    def alert(self, alert: Alert | Mapping[str, Any]) -> bool:
        region, subject = (
            (alert.region, alert.subject) if isinstance(alert, Alert) else (alert["region"], alert["subject"])
        )
        return subject == OURSELVES or self.region(region) or self.vehicle(subject)

    # ---- what is left of it -----------------------------------------------------------------------------------------

    def alert_view(self, view: dict[str, Any]) -> dict[str, Any]:
        """An alert's own place is exact for whoever handles alerts."""
        if self._handles or view.get("lat") is None or view.get("lon") is None:
            return view
        centre = self._homes.centres([(view["lat"], view["lon"])]).get(0)
        if centre is None:
            return view
        placed = {key: value for key, value in view["evidence"].items() if key not in ("lat", "lon")}
        return {**view, "lat": centre[0], "lon": centre[1], "evidence": placed}

    def positions(self, rows: Iterable[list[Any]]) -> list[list[Any]]:
        """Rows as `Position.row` makes them. A vehicle at home is shown near it, unless an alert of it stands and we handle alerts."""
        kept = [row for row in rows if self.vehicle(row[0])]
        if self.exact:
            return kept
        at_home = self._homes.centres([(row[LAT], row[LON]) for row in kept])
        needed = {alert["subject"] for alert in self._open_alerts()} if at_home and self._handles else set()
        for i, centre in at_home.items():
            if kept[i][0] not in needed:
                kept[i] = _coarse_row(kept[i], centre)
        return kept

    def place(self, lat: float, lon: float) -> tuple[float, float]:
        """Where this may be said to be."""
        return (lat, lon) if self.exact else self._homes.centres([(lat, lon)]).get(0, (lat, lon))

    def trail(self, points: Sequence[TrailPoint]) -> list[TrailPoint]:
        if self.exact:
            return list(points)
        home = self._homes.centres([(p.lat, p.lon) for p in points])
        return [
            replace(p, lat=home[i][0], lon=home[i][1], accuracy_m=COARSE_M) if i in home else p
            for i, p in enumerate(points)
        ]

    def convoys(self, convoys: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Whole or not at all: half a convoy would look like a gap."""
        return [c for c in convoys if any(self.vehicle(unit["id"]) for unit in c["units"])]

    def snapshot(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        if self._everything:
            return dict(whole)
        return {
            **{key: whole[key] for key in FOR_ALL if key in whole},
            "positions": self.positions(whole["positions"]),
            "alerts": [self.alert_view(a) for a in whole["alerts"] if self.alert(a)],
            "convoys": self.convoys(whole["convoys"]),
        }

    def frame(self, number: int, name: str, data: bytes) -> bytes | None:
        """The data of a numbered event as this view has it; None: nothing of it is for these eyes. Made once for all who share the view."""
        if self._everything or name in FOR_ALL:
            return data
        if number not in self._frames:
            self._frames[number] = self._cut(name, data)
            while len(self._frames) > FRAMES_KEPT:
                self._frames.popitem(last=False)
        return self._frames[number]

    def _cut(self, name: str, data: bytes) -> bytes | None:
        whole = orjson.loads(data)
        if name == "alert":
            return orjson.dumps(self.alert_view(whole)) if self.alert(whole) else None
        if name == "convoys":
            return orjson.dumps(self.convoys(whole))
        rows = self.positions(whole) if name == "positions" else []
        return orjson.dumps(rows) if rows else None

    def homes(self) -> list[str]:
        """The residences of these regions."""
        return [area.id for area in self.plan.areas if area.kind == "residence" and self.region(area.region)]

    def geojson(self, exact: bytes, coarse: bytes) -> bytes:
        """The plan's geometry, of these regions."""
        body = exact if self.exact else coarse
        if self.regions is None:
            return body
        whole = orjson.loads(body)
        whole["regions"] = [r for r in whole["regions"] if r["id"] in self.regions]
        whole["features"] = [f for f in whole["features"] if self._feature(f["properties"])]
        return orjson.dumps(whole)

    def _feature(self, properties: Mapping[str, Any]) -> bool:
        region = properties.get("region")
        if region is None and (route := self.plan.routes.get(properties.get("route", ""))) is not None:
            region = route.region
        return region is None or self.region(region)  # towns are on any map


class Views:
    """One for each role and set of regions that is in use."""

    MOST = 200

    def __init__(self, plan: CompiledPlan, open_alerts: OpenAlerts) -> None:
        self.plan = plan
        self._open_alerts = open_alerts
        self._homes = Homes(plan)
        self._made: OrderedDict[tuple[str, frozenset[str] | None], View] = OrderedDict()

    def of(self, role: str, regions: Iterable[str] | None) -> View:
        key = role, None if regions is None else frozenset(regions)
        if key not in self._made:
            self._made[key] = View(self.plan, self._homes, self._open_alerts, *key)
            while len(self._made) > self.MOST:
                self._made.popitem(last=False)
        return self._made[key]


def _seen_from(plan: CompiledPlan, regions: frozenset[str]) -> set[str]:
    seen = {v.id for v in plan.vehicles.values() if v.region in regions or not regions.isdisjoint(v.cells_served)}
    for convoy in plan.convoys.values():
        if convoy.region in regions:
            seen.update(convoy.members)
    for movement in plan.movements:
        route = plan.routes.get(movement.route)
        if movement.region in regions or (route is not None and route.region in regions):
            seen.update(movement.vehicles)
    return seen


def _coarse_row(row: list[Any], centre: tuple[float, float]) -> list[Any]:
    out = list(row)
    out[LAT], out[LON] = round(centre[0], 6), round(centre[1], 6)
    out[COURSE], out[ACCURACY] = None, COARSE_M
    return out

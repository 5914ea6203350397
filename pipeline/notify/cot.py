"""Cursor-on-Target, the language of TAK: where our vehicles are, and alerts until a person has acknowledged them. Pure: it is told the time.

An emergency is sent once by most clients and is stale after seconds; so ours is repeated with a fresh `stale` for as long as it asks for
people, and taken back (`b-a-o-can`) when it does not.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from pipeline.model.alert import Alert, AlertEvent
from pipeline.model.times import from_us
from pipeline.notify.escalate import asks_for_people
from pipeline.notify.message import silent_for
from pipeline.plan.model import CompiledPlan

ROLES = {
    "principal": "a-f-G-E-V-C", "escort": "a-f-G-E-V", "patrol": "a-f-G-E-V", "ambulance": "a-f-G-E-V-m",
    "command": "a-f-G-U-C-H",
}  # fmt: skip
"""Types of friendly ground units; any other role is a civilian vehicle."""
CANCEL = "b-a-o-can"
POSITION_STALE_US = 120_000_000
ALERT_STALE_US = 60_000_000
NO_HEIGHT = "9999999.0"
FORWARDED = ("critical", "high")
_SIGNS = str.maketrans("", "", "".join(map(chr, [*range(9), 11, 12, *range(14, 32)])))


@dataclass(frozen=True, slots=True)
class Place:
    lat: float
    lon: float
    seen_at_us: int
    speed_mps: float | None = None
    course_deg: float | None = None
    accuracy_m: float | None = None


def _time(us: int) -> str:
    return from_us(us).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _event(
    uid: str, kind: str, lat: float, lon: float, time_us: int, stale_us: int, ce: float | None = None
) -> ET.Element:
    event = ET.Element("event", version="2.0", uid=uid, type=kind, how="m-g")
    event.set("time", _time(time_us))
    event.set("start", _time(time_us))
    event.set("stale", _time(stale_us))
    radius = NO_HEIGHT if ce is None else f"{ce:.1f}"
    ET.SubElement(event, "point", lat=f"{lat:.6f}", lon=f"{lon:.6f}", hae=NO_HEIGHT, ce=radius, le=NO_HEIGHT)
    return event


def _bytes(event: ET.Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>' + bytes(ET.tostring(event, encoding="utf-8")) + b"\n"


def position(plan: CompiledPlan, vehicle: str, at: Place, now_us: int) -> bytes:
    """One vehicle, as of its last fix."""
    known = plan.vehicles.get(vehicle)
    kind = ROLES.get(known.role, "a-f-G-E-V-C") if known else "a-f-G-E-V-C"
    event = _event(f"rahdar.{vehicle}", kind, at.lat, at.lon, at.seen_at_us, now_us + POSITION_STALE_US, at.accuracy_m)
    detail = ET.SubElement(event, "detail")
    ET.SubElement(detail, "contact", callsign=known.call_sign if known else vehicle)
    if at.speed_mps is not None and at.course_deg is not None:
        ET.SubElement(detail, "track", speed=f"{at.speed_mps:.1f}", course=f"{at.course_deg:.0f}")
    return _bytes(event)


def emergency_kind(alert: Alert) -> tuple[str, str]:
    """Type of the event, and what TAK calls this emergency."""
    if alert.rule == "sos.pressed":
        return "b-a-o-tbl", "911 Alert"
    if alert.rule.startswith("area."):
        return "b-a-g", "Geo-fence Breached"
    return "b-a-o-pan", "Ring The Bell"


def alert_event(plan: CompiledPlan, alert: Alert, now_us: int, *, cancel: bool = False) -> bytes | None:
    """None: it has no place."""
    if alert.lat is None or alert.lon is None:
        return None
    kind, words = (CANCEL, "") if cancel else emergency_kind(alert)
    event = _event(f"rahdar.alert.{alert.id}", kind, alert.lat, alert.lon, now_us, now_us + ALERT_STALE_US)
    known = plan.vehicles.get(alert.subject)
    sign = known.call_sign if known else alert.subject
    detail = ET.SubElement(event, "detail")
    ET.SubElement(detail, "contact", callsign=f"{sign} {alert.severity}")
    if cancel:
        emergency = ET.SubElement(detail, "emergency", cancel="true")
        emergency.text = sign
    else:
        emergency = ET.SubElement(detail, "emergency", type=words)
        emergency.text = sign
    ET.SubElement(detail, "link", uid=f"rahdar.{alert.subject}", type="a-f-G-E-V", relation="p-p")
    ET.SubElement(detail, "remarks").text = alert.text.translate(_SIGNS)
    return _bytes(event)


@dataclass
class Picture:
    """What a TAK server is to show: the last place of every vehicle, and the alerts that ask for people."""

    plan: CompiledPlan
    places: dict[str, Place] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    alerts: dict[str, Alert] = field(default_factory=dict)
    over: dict[str, Alert] = field(default_factory=dict)  # to be taken back
    _seq: int = -1

    def see(self, vehicle: str, at: Place) -> None:
        known = self.places.get(vehicle)
        if known is None or at.seen_at_us > known.seen_at_us:
            self.places[vehicle] = at
            self.moved.add(vehicle)

    def hear(self, event: AlertEvent) -> None:
        """Events in their order; one that comes again changes nothing."""
        if event.seq <= self._seq:
            return
        self._seq = event.seq
        alert = event.alert
        # of duress nothing: a server shows it to all, and so in the vehicle itself
        wanted = alert.severity in FORWARDED and not silent_for(alert) and alert.lat is not None
        if wanted and asks_for_people(alert):
            self.alerts[alert.id] = alert
            self.over.pop(alert.id, None)
        elif alert.id in self.alerts:
            self.over[alert.id] = alert if alert.lat is not None else self.alerts[alert.id]
            del self.alerts[alert.id]

    def news(self, now_us: int) -> list[bytes]:
        """Who has moved since the last call, and what is over. Alerts come with `standing`."""
        out = [position(self.plan, vehicle, self.places[vehicle], now_us) for vehicle in sorted(self.moved)]
        self.moved.clear()
        out += [e for a in self.over.values() if (e := alert_event(self.plan, a, now_us, cancel=True)) is not None]
        self.over.clear()
        return out

    def standing(self, now_us: int) -> list[bytes]:
        """Every alert that asks for people, with a fresh `stale`."""
        return [e for a in self.alerts.values() if (e := alert_event(self.plan, a, now_us)) is not None]

    def whole(self) -> None:
        """A server that has just come sees everything once."""
        self.moved.update(self.places)

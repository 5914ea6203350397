"""The gate: from what was said, by whom and when it came, to an observation or a reason. No memory, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model.observation import Fix, Flag, Link, Order, Other, Press, Reading, Statement, Tick
from pipeline.normalise.formats.said import Said
from pipeline.normalise.reasons import MARKS, Mark, RefusedError
from pipeline.plan.model import CompiledPlan

FUTURE_US = 120_000_000
TOO_OLD_US = 30 * 86_400_000_000
WEEKS_1024_US = 1024 * 7 * 86_400_000_000
LATE_US = 60_000_000
HORIZON_US = 6 * 3_600_000_000
INACCURATE_M = 500.0
FASTEST_MPS = 70.0  # 250 km/h: nothing on these roads
MOST = 1e9  # of any number: more is not even implausible, and the columns hold 32 bits
HIGHEST_M, LOWEST_M = 9000.0, -500.0
MARK_FLAGS: dict[Mark, Flag] = {
    "outside_plan": Flag.OUTSIDE_PLAN,
    "implausible": Flag.IMPLAUSIBLE,
    "inaccurate": Flag.INACCURATE,
}


@dataclass(frozen=True, slots=True)
class Who:
    """Whom the broker let in, as the plan knows it."""

    device: str
    subject: str
    cell: str = ""


def flagged(flags: int) -> list[Mark]:
    """The marks that keep a fix out of the rules."""
    return [mark for mark in MARKS if flags & MARK_FLAGS[mark]]


def gate(
    said: Said, who: Who, received_at_us: int, trusted: bool, plan: CompiledPlan | None, horizon_us: int = HORIZON_US
) -> Fix | Other:
    """Raises RefusedError; never for a press."""
    if said.kind == "press":
        return _press(said, who, received_at_us)
    seen = said.seen_at_us
    if seen is None:
        seen = received_at_us  # its format dates nothing; one that does has refused it by now
    if trusted:
        if seen - received_at_us > FUTURE_US:
            raise RefusedError("future", f"seen {(seen - received_at_us) / 1e6:.0f} s after it was received")
        if received_at_us - seen > TOO_OLD_US:
            raise RefusedError(
                "too_old",
                f"seen {(received_at_us - seen) / 86_400e6:.1f} days before it was received{_rolled(received_at_us - seen)}",
            )
    if said.kind == "fix":
        return _fix(said, who, seen, received_at_us, trusted, plan, horizon_us)
    body = said.body()
    if said.kind == "reading":
        return Reading(
            sensor=who.subject, what=said.what, value=said.value, seen_at_us=seen, received_at_us=received_at_us,
            device=who.device, seq=said.seq, body=body, flags=_times(seen, received_at_us, trusted, horizon_us),
        )  # fmt: skip
    if said.kind == "link":
        return Link(device=who.device, state=said.what, seen_at_us=seen, received_at_us=received_at_us, body=body)
    if said.kind == "statement":
        return Statement(
            subject=said.subject or who.subject, what=said.what, by=said.by, seen_at_us=seen,
            received_at_us=received_at_us, fields=said.fields, body=body,
        )  # fmt: skip
    if said.kind == "order":
        fields = dict(said.fields)
        effective_us = int(fields.pop("effective_from_us"))
        plan_hash = str(fields.get("hash", "")) if said.what == "plan" else ""
        return Order(
            what=said.what, effective_from_us=effective_us, seen_at_us=seen, received_at_us=received_at_us,
            plan_hash=plan_hash, fields=fields, body=body,
        )  # fmt: skip
    return Tick(source=said.what, at_us=seen)


def _rolled(age_us: int) -> str:
    """A GPS receiver whose week number began again is 1,024 weeks late, or twice that. It is told, and not mended."""
    rest = (age_us + TOO_OLD_US) % WEEKS_1024_US
    return ": its week number has rolled over" if age_us > WEEKS_1024_US // 2 and rest <= 2 * TOO_OLD_US else ""


def _press(said: Said, who: Who, received_at_us: int) -> Press:
    """Whatever is wrong with its position or time: somebody pressed."""
    seen = said.seen_at_us
    if seen is None or not received_at_us - TOO_OLD_US <= seen <= received_at_us + FUTURE_US:
        seen = received_at_us
    lat, lon = said.lat, said.lon
    if lat is None or lon is None or not (-90 <= lat <= 90 and -180 <= lon <= 180) or (lat == 0 and lon == 0):
        lat = lon = None
    late = int(Flag.LATE) if received_at_us - seen > LATE_US else 0
    return Press(
        subject=who.subject, what=said.what, seen_at_us=seen, received_at_us=received_at_us, lat=lat, lon=lon,
        device=who.device, seq=said.seq, body=said.body(), flags=late,
    )  # fmt: skip


def _times(seen: int, received: int, trusted: bool, horizon_us: int) -> int:
    if not trusted:
        return int(Flag.CLOCK_UNTRUSTED)
    flags = 0
    if received - seen > LATE_US:
        flags |= Flag.LATE
        if received - seen > horizon_us:
            flags |= Flag.BEYOND_HORIZON
    return int(flags)


def _fix(
    said: Said, who: Who, seen: int, received: int, trusted: bool, plan: CompiledPlan | None, horizon_us: int
) -> Fix:
    lat, lon = said.lat, said.lon
    if lat is None or lon is None:
        raise RefusedError("no_position", "no lat and lon")
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        raise RefusedError("out_of_range", f"lat {lat:g}, lon {lon:g}")
    if lat == 0.0 and lon == 0.0:
        raise RefusedError("zero_island", "0, 0: a receiver without a fix")
    flags = _times(seen, received, trusted, horizon_us)
    if plan is not None and not _within(plan, who, lat, lon):
        flags |= Flag.OUTSIDE_PLAN
    speed, course, accuracy, altitude = said.speed_mps, said.course_deg, said.accuracy_m, said.altitude_m
    for name, value in (("speed_mps", speed), ("accuracy_m", accuracy), ("altitude_m", altitude)):
        if value is not None and not -MOST <= value <= MOST:
            raise RefusedError("out_of_range", f"{name} {value:g}")
    if accuracy is not None:
        if accuracy < 0:
            accuracy = None  # some receivers' word for: not known
        elif accuracy > INACCURATE_M:
            flags |= Flag.INACCURATE
    if (speed is not None and not 0 <= speed <= FASTEST_MPS) or (
        altitude is not None and not LOWEST_M <= altitude <= HIGHEST_M
    ):
        flags |= Flag.IMPLAUSIBLE
    if course is not None:
        course = course % 360.0 if 0 <= course <= 360 else None
    return Fix(
        vehicle=who.subject, device=who.device, seen_at_us=seen, received_at_us=received, lat=lat, lon=lon,
        speed_mps=speed, course_deg=course, accuracy_m=accuracy, altitude_m=altitude, seq=said.seq, body=said.body(),
        flags=int(flags),
    )  # fmt: skip


def _within(plan: CompiledPlan, who: Who, lat: float, lon: float) -> bool:
    vehicle = plan.vehicles.get(who.subject)
    regions = list(plan.regions.values())
    if vehicle is not None:  # its own, and those whose cells it may serve
        served = frozenset(vehicle.cells_served)
        regions = [r for r in regions if r.id == vehicle.region or not served.isdisjoint(r.cells)]
    for region in regions:
        west, south, east, north = region.bounds_lonlat
        if south <= lat <= north and west <= lon <= east:
            return True
    return False

"""One sentence for people, in one SMS: what, where, since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pipeline.alert.book import Words
from pipeline.model.alert import Alert
from pipeline.model.episode import Episode
from pipeline.model.times import from_us
from pipeline.plan.describe import where
from pipeline.plan.model import Area, CompiledPlan

LONGEST = 160
PKT = timedelta(hours=5)
LEADS = {
    "area.entered": "{who} entered {area}",
    "area.left": "{who} left {area}",
    "area.forbidden": "{who} is inside {area}, which is forbidden",
    "area.required": "{who} is not in {area}, where it has to be",
    "route.deviation": "{who} is {peak} off {road}",
    "stop.unscheduled": "{who} has stopped where no stop is planned",
    "device.silent": "{who} has not been heard",
    "area.blackout": "{silent} vehicles fell silent together, last heard near one another",
    "clock.suspect": "The clock of {who} is wrong: the devices agree on another time",
    "convoy.separated": "Convoy {who} has come apart: {member} is {peak} by road from {ahead}",
    "escort.missing": "Convoy {who}: {member} is {peak} by road from the nearest escort",
    "sensor.tamper": "Somebody tampers with {who}",
    "sensor.disagrees": "{who} and {other} do not agree",
    "pipeline.stalled": "No data is coming in",
    "pipeline.notifier": "Officers are not being told: no message leaves",
    "alerts.flood": "More alerts than one person can take in",
    "alerts.digest": "Alerts began and ended while none were handled",
    "roster.unreachable": "Nobody can be reached for {who}",
}
AT_ONCE = {"smoke": "Smoke", "gas": "Gas", "water": "Water", "interconnect": "A smoke alarm"}
PRESSES = {"sos": "SOS from {who}", "duress": "DURESS from {who}, do not call back on speech"}


def local_time(at_us: int) -> str:
    """The clock on the wall of the control room, PKT."""
    return (from_us(at_us) + PKT).strftime("%H:%M:%S")


def _metres(value: float | None) -> str:
    if value is None:
        return "far"
    return f"{value / 1000:.1f} km" if value >= 1000 else f"{value:.0f} m"


def _site(plan: CompiledPlan, episode: Episode) -> Area | None:
    """Where the sensors are that an episode is about."""
    sensor = plan.sensors.get(episode.subject)
    wanted = sensor.site if sensor else str(episode.evidence.get("site", ""))
    return next((a for a in plan.areas if a.id == wanted), None)


def _sensor(plan: CompiledPlan, name: str) -> str:
    sensor = plan.sensors.get(name)
    return sensor.name.get("en", name) if sensor else name


def _who(plan: CompiledPlan, name: str) -> str:
    """A vehicle's call sign, a convoy's or a sensor's name."""
    if (vehicle := plan.vehicles.get(name)) is not None:
        return vehicle.call_sign
    if (convoy := plan.convoys.get(name)) is not None:
        return convoy.name.get("en", name)
    return _sensor(plan, name)


def _alarm(plan: CompiledPlan, episode: Episode) -> str:
    """Smoke at Dasu camp, store. Or: Intrusion at Dasu camp: gate, fence F-12."""
    area = _site(plan, episode)
    site = area.name.get("en", area.id) if area else ""
    names = [_sensor(plan, name) for name in episode.evidence.get("sensors", [episode.subject])]
    if episode.object in AT_ONCE:
        at = ", ".join(dict.fromkeys(names))
        return f"{AT_ONCE[episode.object]} at {at if site in at else f'{at}, {site}'}"
    seen = ", ".join(name.removeprefix(f"{site}, ") for name in names)
    return f"Intrusion at {site or episode.subject}: {seen}"


def _where(plan: CompiledPlan, episode: Episode) -> tuple[Any, Any]:
    """Latitude and longitude of what the episode is about; of sensors those of their site."""
    if episode.rule.startswith("sensor.") and (area := _site(plan, episode)) is not None:
        inside = area.polygon.representative_point()
        lon, lat = plan.projection.to_lonlat(inside.x, inside.y)
        return float(lat), float(lon)
    return episode.evidence.get("lat"), episode.evidence.get("lon")


def words_for(plan: CompiledPlan, episode: Episode) -> Words:
    """What is told about this episode as it now stands."""
    who = _who(plan, episode.subject)
    area = next((a.name.get("en", a.id) for a in plan.areas if a.id == episode.object), episode.object)
    route = plan.routes.get(episode.object)
    road = route.road if route else "the road"
    if episode.rule == "sos.pressed":
        pattern = PRESSES.get(str(episode.evidence.get("what", "sos")), PRESSES["sos"])
    else:
        pattern = LEADS.get(episode.rule, episode.rule + ": {who}")
    other = _sensor(plan, episode.object)
    member, ahead = _who(plan, episode.object), _who(plan, str(episode.evidence.get("ahead", "the one before it")))
    peak = _metres(episode.peak)
    lead = pattern.format(
        who=who, area=area, road=road, other=other, member=member, ahead=ahead, peak=peak,
        silent=episode.evidence.get("silent", "Several"),
    )  # fmt: skip
    if episode.rule == "sensor.alarm":
        lead = _alarm(plan, episode)
    lat, lon = _where(plan, episode)
    since = f"since {local_time(episode.began_at_us)}"
    if episode.ended_at_us == episode.began_at_us:
        since = f"at {local_time(episode.began_at_us)}"
    place = since
    if isinstance(lat, float) and isinstance(lon, float):
        x, y = plan.projection.to_xy([lat], [lon])
        hint = episode.object if episode.object in plan.routes else episode.evidence.get("route")
        place = f"{where(plan, (float(x[0]), float(y[0])), hint).text}, {since}"
    else:
        lat = lon = None
    said = place[0].upper() + place[1:]
    text = f"{lead}. {said}."
    if len(text) > LONGEST:
        room = LONGEST - len(said) - 3 - len("..")
        text = f"{lead[: max(room, 20)]}... {said}."[:LONGEST]  # "…" is no sign of GSM: it would make three SMS of one
    return Words(lead, place, text, lat, lon)


NAMED = 6


def others(
    plan: CompiledPlan, lead: Alert, group: Sequence[Alert], count: int, rules: Sequence[tuple[str, int]]
) -> str:
    """Whom else an alert speaks for: of its group by name, of the rest how many of which rule."""
    if not count:
        return ""
    if group:
        if len(group) == 1:
            return f"Also: {group[0].lead}"
        names = [_who(plan, a.subject) for a in group]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"Also {', '.join(names[:NAMED])}{more}"
    if lead.rule not in ("alerts.flood", "alerts.digest") and all(rule == lead.rule for rule, _ in rules):
        return f"With it {count} more, now over"
    return f"{count} held: " + ", ".join(f"{n} {rule.replace('.', ' ')}" for rule, n in rules[:NAMED])

"""One sentence for people, in one SMS: what, where, since when."""

from __future__ import annotations

from datetime import timedelta

from pipeline.alert.book import Words
from pipeline.model.episode import Episode
from pipeline.model.times import from_us
from pipeline.plan.describe import where
from pipeline.plan.model import CompiledPlan

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
    "pipeline.stalled": "No data is coming in",
}
PRESSES = {"sos": "SOS from {who}", "duress": "DURESS from {who}, do not call back on speech"}


def local_time(at_us: int) -> str:
    """The clock on the wall of the control room, PKT."""
    return (from_us(at_us) + PKT).strftime("%H:%M:%S")


def _metres(value: float | None) -> str:
    if value is None:
        return "far"
    return f"{value / 1000:.1f} km" if value >= 1000 else f"{value:.0f} m"


def words_for(plan: CompiledPlan, episode: Episode) -> Words:
    """What is told about this episode as it now stands."""
    vehicle = plan.vehicles.get(episode.subject)
    who = vehicle.call_sign if vehicle else episode.subject
    area = next((a.name.get("en", a.id) for a in plan.areas if a.id == episode.object), episode.object)
    route = plan.routes.get(episode.object)
    road = route.road if route else "the road"
    if episode.rule == "sos.pressed":
        pattern = PRESSES.get(str(episode.evidence.get("what", "sos")), PRESSES["sos"])
    else:
        pattern = LEADS.get(episode.rule, episode.rule + ": {who}")
    lead = pattern.format(who=who, area=area, road=road, peak=_metres(episode.peak))
    lat, lon = episode.evidence.get("lat"), episode.evidence.get("lon")
    since = f"since {local_time(episode.began_at_us)}"
    if episode.ended_at_us == episode.began_at_us:
        since = f"at {local_time(episode.began_at_us)}"
    place = since
    if isinstance(lat, float) and isinstance(lon, float):
        x, y = plan.projection.to_xy([lat], [lon])
        hint = episode.object if episode.object in plan.routes else None
        place = f"{where(plan, (float(x[0]), float(y[0])), hint).text}, {since}"
    else:
        lat = lon = None
    said = place[0].upper() + place[1:]
    text = f"{lead}. {said}."
    if len(text) > LONGEST:
        room = LONGEST - len(said) - 3 - len("..")
        text = f"{lead[: max(room, 20)]}... {said}."[:LONGEST]  # "…" is no sign of GSM: it would make three SMS of one
    return Words(lead, place, text, lat, lon)

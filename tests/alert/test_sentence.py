"""The sentence for people: what, where, since when, in one SMS. On the demonstration's plan, 5 km below Pattan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import shapely

from pipeline.alert.sentence import LONGEST, local_time, words_for
from pipeline.model.episode import Episode
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from tests.alert.builders import at, episode

PLACE = "N-35 km 209, 5 km south-east of Pattan"
SINCE = "since 01:26:40"  # T0 is 20:26:40 UTC
# of GSM 03.38: any other sign makes an SMS of 70
GSM = set(
    "@£$¥èéùìòÇØøÅå_ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà\n"
)


@pytest.fixture(scope="module")
def hazara(root: Path) -> CompiledPlan:
    return load_plan(root / "plans" / "hazara")


@pytest.fixture(scope="module")
def here(hazara: CompiledPlan) -> dict[str, float]:
    (pattan,) = (p for p in hazara.places if p.name["en"] == "Pattan")
    lon, lat = hazara.projection.to_lonlat(pattan.xy[0] + 3000, pattan.xy[1] - 4000)
    return {"lat": float(lat), "lon": float(lon)}


def of(rule: str, obj: str = "", ended: float | None = None, subject: str = "e-1", **more: Any) -> Episode:
    return episode(0, ended, rule=rule, obj=obj, subject=subject, **more)


RULES = [
    ("area.entered", "dasu-camp", None, "E-1 entered Dasu camp"),
    ("area.left", "dasu-camp", None, "E-1 left Dasu camp"),
    ("area.forbidden", "quarry-track", None, "E-1 is inside Quarry track, which is forbidden"),
    ("area.required", "dasu-camp", None, "E-1 is not in Dasu camp, where it has to be"),
    ("route.deviation", "n-35", 412.4, "E-1 is 412 m off N-35"),
    ("route.deviation", "n-35", 999.6, "E-1 is 1000 m off N-35"),
    ("route.deviation", "n-35", 1480.0, "E-1 is 1.5 km off N-35"),
    ("route.deviation", "n-35", None, "E-1 is far off N-35"),
    ("stop.unscheduled", "", None, "E-1 has stopped where no stop is planned"),
    ("some.other", "", None, "some.other: E-1"),
]


@pytest.mark.parametrize(("rule", "obj", "peak", "lead"), RULES)
def test_a_rule_says_what_where_and_since_when(hazara: CompiledPlan, here: dict[str, float], rule: str, obj: str, peak: float | None, lead: str) -> None:  # fmt: skip
    words = words_for(hazara, of(rule, obj, peak=peak, **here))
    assert (words.lead, words.place) == (lead, f"{PLACE}, {SINCE}")
    assert words.text == f"{lead}. {PLACE}, {SINCE}."
    assert (words.lat, words.lon) == (here["lat"], here["lon"])


def test_every_rule_of_the_plan_has_a_sentence_of_its_own(hazara: CompiledPlan) -> None:
    for rule in hazara.regions["hazara"].rules:
        assert not words_for(hazara, of(rule)).lead.startswith(rule), rule


CONVOYS = [
    ("convoy.separated", "c-2", 1115.0, {"ahead": "c-1"}, "Convoy Alpha has come apart: C-2 is 1.1 km by road from C-1"),
    ("convoy.separated", "c-2", 612.0, {}, "Convoy Alpha has come apart: C-2 is 612 m by road from the one before it"),
    ("escort.missing", "c-2", 1600.0, {}, "Convoy Alpha: C-2 is 1.6 km by road from the nearest escort"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "obj", "peak", "more", "lead"), CONVOYS)
def test_of_a_convoy_it_says_who_is_too_far_from_whom(hazara: CompiledPlan, here: dict[str, float], rule: str, obj: str, peak: float, more: dict[str, str], lead: str) -> None:  # fmt: skip
    words = words_for(hazara, of(rule, obj, subject="alpha", peak=peak, **here, **more))
    assert words.text == f"{lead}. {PLACE}, {SINCE}."
    assert len(words.text) <= LONGEST and set(words.text) <= GSM


SENSORS = [
    ("sensor.alarm", "dasu-store-smoke", "smoke", ["dasu-store-smoke"], "Smoke at Dasu camp, store"),
    ("sensor.alarm", "dasu-camp", "", ["dasu-fence-12", "dasu-gate-pir"], "Intrusion at Dasu camp: fence F-12, gate passage"),
    ("sensor.alarm", "pattan-yard-pir", "", ["pattan-yard-pir"], "Intrusion at Pattan depot: yard"),
    ("sensor.alarm", "gone", "", ["gone"], "Intrusion at gone: gone"),
    ("sensor.tamper", "dasu-gate-pir", "tamper", ["dasu-gate-pir"], "Somebody tampers with Dasu camp, gate passage"),
    ("sensor.disagrees", "dasu-store-door", "dasu-store-bolt", [], "Dasu camp, store and Dasu camp, store bolt do not agree"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "subject", "obj", "sensors", "lead"), SENSORS)
def test_of_a_sensor_it_says_which_at_which_site(hazara: CompiledPlan, rule: str, subject: str, obj: str, sensors: list[str], lead: str) -> None:  # fmt: skip
    known = hazara.sensors.get(subject)
    site = known.site if known else subject
    words = words_for(hazara, of(rule, obj, subject=subject, sensors=sensors, site=site))
    assert words.lead == lead
    if site == "gone":
        assert words.lat is None
    else:
        (area,) = (a for a in hazara.areas if a.id == site)
        assert words.place.startswith("N-35 km ") and words.place.endswith(SINCE)
        x, y = hazara.projection.to_xy([words.lat], [words.lon])
        assert area.polygon.contains(shapely.Point(x[0], y[0]))
    assert len(words.text) <= LONGEST and set(words.text) <= GSM


@pytest.mark.parametrize(
    ("what", "lead"),
    [
        ("sos", "SOS from E-1"),
        ("duress", "DURESS from E-1, do not call back on speech"),
        ("unheard of", "SOS from E-1"),
    ],
)
def test_a_press_says_when_it_was(hazara: CompiledPlan, here: dict[str, float], what: str, lead: str) -> None:
    words = words_for(hazara, of("sos.pressed", ended=0, what=what, **here))
    assert words.text == f"{lead}. {PLACE}, at 01:26:40."


@pytest.mark.parametrize("lat", [None, "35.1"])
def test_where_is_left_out_when_nobody_knows(hazara: CompiledPlan, lat: Any) -> None:
    words = words_for(hazara, of("sos.pressed", ended=0, lat=lat, lon=73.0))
    assert (words.text, words.lat, words.lon) == ("SOS from E-1. At 01:26:40.", None, None)


def test_silence_is_nobodys(hazara: CompiledPlan) -> None:
    assert words_for(hazara, of("pipeline.stalled", subject="pipeline")).text == "No data is coming in. Since 01:26:40."


def test_a_stranger_and_an_unknown_area_are_told_by_their_ids(hazara: CompiledPlan) -> None:
    assert words_for(hazara, of("area.entered", "nowhere", subject="x-9")).lead == "x-9 entered nowhere"


@pytest.mark.parametrize("length", [1, 80, 110, 111, 112, 150, 400])
def test_it_fits_into_one_sms_and_keeps_where_and_when(
    hazara: CompiledPlan, here: dict[str, float], length: int
) -> None:
    words = words_for(hazara, of("sos.pressed", ended=0, subject="x" * length, **here))
    assert len(words.text) <= LONGEST
    assert words.text.endswith(f". {PLACE}, at 01:26:40.")
    assert words.text.startswith("SOS from x")
    assert set(words.text) <= GSM, "a sign that would make three SMS of it"


def test_the_clock_is_that_of_the_control_room() -> None:
    assert (local_time(at(0)), local_time(at(60 * 24))) == ("01:26:40", "01:26:40")
    assert local_time(0) == "05:00:00"

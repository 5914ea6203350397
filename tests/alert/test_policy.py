"""Few, true, ordered: what is told in a storm, of a convoy, behind a blackout and after an outage; and where everything else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pipeline.alert.policy import CATCH_UP_US, FLOOD, OUTAGE_US, WINDOW_US
from pipeline.alert.store import AlertStore
from pipeline.model.alert import AlertEvent
from pipeline.model.episode import Change, Episode
from pipeline.plan.model import CompiledPlan, Convoy, Sensor
from tests.alert.builders import HOUR, MINUTE, WORDS, at, batch, change, command, episode, sos
from tests.detect.plans import RULES, plan, setting

CONVOY = ("v1", "v2", "v3", "v4", "v5", "v6")


def world(**rules: Any) -> CompiledPlan:
    of = plan(vehicles=(*CONVOY, "v7", "v8"), rules={**RULES, **rules})
    return replace(of, convoys={"k1": Convoy("k1", "r", {"en": "K"}, CONVOY, ("v1",), (), 500.0)})


class Shift:
    """A store, a clock in minutes, and a place in the input."""

    def __init__(self, url: str, of: CompiledPlan) -> None:
        self.url, self.plan = url, of
        self.store = AlertStore(url, of, lambda _: WORDS)
        self.offset = 0
        self.events: list[AlertEvent] = []

    def say(self, minute: float, *changes: Change) -> list[AlertEvent]:
        return self._took(self.store.take_changes([("episodes", 0, self._next(), batch(*changes))], at(minute)))

    def begin(self, minute: float, *episodes: Episode, **more: Any) -> list[AlertEvent]:
        return self.say(minute, *(change("begin", e, **more) for e in episodes))

    def end(self, minute: float, e: Episode) -> list[AlertEvent]:
        return self.say(minute, change("end", structs.replace(e, ended_at_us=at(minute))))

    def order(self, minute: float, what: Any, of: Episode, **more: Any) -> list[AlertEvent]:
        n = self._next()
        return self._took(
            self.store.take_commands([("commands", 0, n, command(what, of.id, id=f"c{n}", **more))], at(minute))
        )

    def time(self, minute: float) -> list[AlertEvent]:
        return self._took(self.store.take_time(at(minute), None))

    def reason(self, e: Episode) -> str:
        return self.store.held_reasons().get(e.id, "")

    def _next(self) -> int:
        self.offset += 1
        return self.offset

    def _took(self, told: list[AlertEvent]) -> list[AlertEvent]:
        self.events += told
        return told


@pytest.fixture
def shift(tmp_path: Path) -> Iterator[Callable[..., Shift]]:
    made: list[Shift] = []

    def one(**rules: Any) -> Shift:
        made.append(Shift(f"sqlite:///{tmp_path}/a{len(made)}.db", world(**rules)))
        return made[-1]

    yield one
    for each in made:
        each.store.close()


def edges(events: list[AlertEvent]) -> list[tuple[str, str]]:
    return [(e.transition, e.reason) for e in events]


def told(events: list[AlertEvent]) -> list[str]:
    return [e.alert.id for e in events if e.transition == "opened"]


# ---- a storm -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", ["high", "low"])
def test_a_storm_of_200_and_one_sos_is_ten_lines_and_nothing_is_lost(
    shift: Callable[..., Shift], severity: Any
) -> None:
    s = shift()
    storm = [episode(n / 30, severity=severity, subject=f"x{n}") for n in range(200)]  # within seven minutes
    for n, e in enumerate(storm):
        s.begin(n / 30, e)
        if n == 150:
            (first, *_) = s.begin(n / 30, sos(n / 30))
            assert (first.transition, first.reason, first.alert.severity) == ("opened", "BEGAN", "critical")
        if n % 10 == 0:
            s.time(n / 30)
    lines = told(s.events)
    assert len(lines) <= 10
    assert sos(150 / 30).id in lines
    reasons = s.store.held_reasons()
    for e in storm:
        assert (e.id in lines) != (reasons.get(e.id) == "HELD_FLOOD"), "each has its line or its reason"
    flood = [a for a in s.store.open_alerts() if a.rule == FLOOD]
    assert len(flood) == 1
    assert flood[0].others.startswith(f"{flood[0].count} held: ")
    assert {a.id for a in s.store.open_alerts()} >= {e.id for e in storm}


def test_a_storm_keeps_room_for_what_is_graver(shift: Callable[..., Shift]) -> None:
    s = shift()
    s.begin(1, *(episode(1, severity="low", subject=f"x{n}") for n in range(50)))
    high = episode(2, severity="high", subject="v7")
    assert edges(s.begin(2, high))[0] == ("opened", "BEGAN")


def test_a_line_once_read_counts_whatever_becomes_of_it(shift: Callable[..., Shift]) -> None:
    """What goes behind its cause later, or grows critical, has been read all the same."""
    s = shift(**{"device.silent": replace(setting("device.silent"), on_delay_us=0)})
    quiet = [silent(0, "v7", "high"), silent(0, "v8", "high")]
    read = [*quiet, *(episode(0, severity="high", subject=f"x{n}") for n in range(5))]
    s.begin(0, *read)
    dark = episode(1, severity="high", subject="c", rule="area.blackout")
    s.begin(1, dark)
    assert [s.reason(e) for e in quiet] == ["HELD_INHIBITED"] * 2
    s.say(2, change("amend", structs.replace(read[-1], severity="critical"), revision=2))
    assert told(s.events) == [e.id for e in (*read, dark)]
    ninth = episode(3, severity="high", subject="x9")
    s.begin(3, ninth)
    assert s.reason(ninth) == "HELD_FLOOD"
    s.begin(11, later := episode(11, severity="high", subject="x10"))
    assert s.reason(later) == "", "ten minutes later there is room"


def test_what_is_told_and_held_in_one_breath_takes_no_room(shift: Callable[..., Shift]) -> None:
    s = shift(**{"device.silent": replace(setting("device.silent"), on_delay_us=0)})
    dark = episode(0, severity="high", subject="c", rule="area.blackout")
    s.begin(0, silent(0, "v7", "high"), silent(0, "v8", "high"), dark)
    s.begin(1, *(many := [episode(1, severity="high", subject=f"x{n}") for n in range(8)]))
    assert [s.reason(e) for e in many] == [*[""] * 7, "HELD_FLOOD"]


def test_when_a_flood_abates_what_is_still_there_is_told_the_gravest_first(shift: Callable[..., Shift]) -> None:
    s = shift()
    storm = [episode(1, severity="medium" if n < 30 else "high", subject=f"x{n}") for n in range(40)]
    s.begin(1, *storm)
    for e in storm[:28]:
        s.end(3, e)
    assert told(s.time(5)) == []
    later = s.time(1 + WINDOW_US / MINUTE + 0.1)
    told_then = [e.alert.severity for e in later if e.transition == "opened"]
    assert told_then == sorted(told_then)  # high before medium
    assert {e.reason for e in later if e.transition == "opened"} == {"AFTER_FLOOD"}
    for e in storm[28:]:
        s.end(13, e)
    s.time(40)
    assert [a.rule for a in s.store.open_alerts() if a.cleared_at_us is None] == []
    assert all(s.reason(e) or e.id in told(s.events) for e in storm)


# ---- one cause, one alert --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", ["critical", "high", "medium"])
def test_six_vehicles_of_one_convoy_off_the_road_are_one_alert(shift: Callable[..., Shift], severity: Any) -> None:
    s = shift()
    off = [
        episode(n / 10, severity=severity, subject=v, rule="route.deviation", obj="n1") for n, v in enumerate(CONVOY)
    ]
    for n, e in enumerate(off):
        s.begin(n / 10 + 0.5, e)
    assert told(s.events) == [off[0].id]
    assert [s.reason(e) for e in off] == ["", *["HELD_GROUPED"] * 5]
    (lead,) = [a for a in s.store.open_alerts() if not a.held]
    assert lead.count == 5
    assert lead.others == "Also v2, v3, v4, v5, v6"
    closed = s.order(3, "close", off[0], outcome="real")
    assert [e.transition for e in closed].count("closed") == 6
    assert s.store.open_alerts() == []


def test_a_graver_one_of_the_group_makes_the_alert_graver_while_nobody_has_it(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, second = (episode(m, severity=g, subject=v) for m, g, v in ((0, "medium", "v1"), (1, "high", "v2")))
    s.begin(0, first)
    assert edges(s.begin(1, second)) == [("held", "HELD_GROUPED"), ("grew", "GRAVER_IN_GROUP")]
    s.order(2, "acknowledge", first)
    graver = episode(3, severity="critical", subject="v3")
    assert edges(s.begin(3, graver))[0] == ("opened", "BEGAN"), "who has taken a lesser one would not hear of it"


def test_when_the_one_that_is_told_is_over_another_takes_its_place(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, second = episode(0, subject="v1"), episode(1, subject="v2")
    s.begin(0, first)
    s.begin(1, second)
    s.end(2, first)
    assert s.time(2.5) == [], "the others have a minute to be over too"
    assert [(e.alert.id, e.reason) for e in s.time(3.1) if e.transition == "opened"] == [(second.id, "LEAD_OVER")]


def test_one_on_the_shelf_speaks_for_nobody_else(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, second = episode(0, subject="v1"), episode(2, subject="v2")
    s.begin(0, first)
    s.order(1, "shelve", first, until_us=at(1) + HOUR)
    assert edges(s.begin(2, second)) == [("opened", "BEGAN")]


def test_who_shelves_an_alert_shelves_none_that_it_spoke_for(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, second = episode(0, subject="v1"), episode(1, subject="v2")
    s.begin(0, first)
    s.begin(1, second)
    s.order(2, "shelve", first, until_us=at(2) + HOUR)
    assert [(e.alert.id, e.reason) for e in s.time(2.1) if e.transition == "opened"] == [(second.id, "LEAD_OVER")]


def test_an_sos_is_never_held_whatever_else_goes_on(shift: Callable[..., Shift]) -> None:
    s = shift()
    s.begin(1, *(episode(1, severity="high", subject=f"x{n}") for n in range(60)))
    for n, v in enumerate(CONVOY):
        assert edges(s.begin(2, sos(2 + n / 100, subject=v), received_at_us=at(-9)))[0] == ("opened", "BEGAN")


# ---- what makes another needless ---------------------------------------------------------------------------------------------------


def silent(minute: float, vehicle: str, severity: str = "medium") -> Episode:
    return episode(minute, severity=severity, subject=f"{vehicle}-d0", obj=vehicle, rule="device.silent")


def test_a_blackout_speaks_for_the_silence_of_its_cell(shift: Callable[..., Shift]) -> None:
    s = shift()
    quiet = [silent(0, "v7"), silent(0, "v8")]
    s.begin(0.1, *quiet)
    assert [s.reason(e) for e in quiet] == ["HELD_ON_DELAY"] * 2
    dark = episode(0.2, severity="high", subject="c", rule="area.blackout")
    s.begin(0.3, dark)
    s.time(1)
    assert [s.reason(e) for e in quiet] == ["HELD_INHIBITED"] * 2
    assert told(s.events) == [dark.id]
    s.end(20, dark)
    s.end(20.2, quiet[0])
    late = s.time(21.1)
    assert [(e.alert.subject, e.reason) for e in late if e.transition == "opened"] == [("v8", "LEAD_OVER")]


def test_what_was_told_before_its_cause_goes_behind_it_unless_somebody_has_it(shift: Callable[..., Shift]) -> None:
    s = shift(**{"device.silent": replace(setting("device.silent"), on_delay_us=0)})
    first, second = silent(0, "v7"), silent(0, "v8")
    s.begin(0, first, second)
    s.order(1, "acknowledge", first)
    s.begin(2, episode(2, severity="high", subject="c", rule="area.blackout"))
    assert [s.reason(first), s.reason(second)] == ["", "HELD_INHIBITED"]


@pytest.mark.parametrize(("site", "held"), [("camp", True), ("other", False)])
def test_a_site_without_power_speaks_for_its_cameras(tmp_path: Path, site: str, held: bool) -> None:
    sensors = {
        "mains": Sensor("mains", "r", "c", {"en": "Mains"}, "mains", "camp", "d1"),
        "cam": Sensor("cam", "r", "c", {"en": "Camera"}, "camera", site, "d2"),
    }
    s = Shift(f"sqlite:///{tmp_path}/a.db", replace(world(), sensors=sensors))
    try:
        s.begin(0, episode(0, severity="high", subject="mains", rule="sensor.alarm", obj="power"))
        camera = episode(1, subject="cam", rule="sensor.tamper")
        s.begin(1, camera)
        assert (s.reason(camera) == "HELD_INHIBITED") == held
    finally:
        s.store.close()


# ---- on and off ------------------------------------------------------------------------------------------------------------------------


def test_an_on_delay_is_waited_for_and_what_is_over_by_then_is_never_told(shift: Callable[..., Shift]) -> None:
    s = shift(**{"stop.unscheduled": replace(RULES["stop.unscheduled"], on_delay_us=2 * MINUTE)})
    short, long = episode(0, subject="v7"), episode(0, subject="v8")
    s.begin(0, short, long)
    assert edges(s.end(1, short)) == [("cleared", "ENDED"), ("closed", "NEVER_TOLD")]
    assert s.time(1.9) == []
    assert [(e.transition, e.alert.id) for e in s.time(2)] == [("opened", long.id)]
    assert s.reason(short) == "HELD_ON_DELAY"


def test_an_off_delay_keeps_one_alert_for_what_comes_back(shift: Callable[..., Shift]) -> None:
    s = shift(**{"stop.unscheduled": replace(RULES["stop.unscheduled"], off_delay_us=2 * MINUTE)})
    first, again = episode(0, subject="v7"), episode(3, subject="v7")
    s.begin(0, first)
    assert edges(s.end(2, first)) == [("amended", "OFF_DELAY")]
    assert edges(s.begin(3, again)) == [("amended", "WITHIN_OFF_DELAY")]
    s.end(5, again)
    assert s.time(6.9) == []
    assert edges(s.time(7)) == [("cleared", "STAYED_AWAY")]
    assert len(told(s.events)) == 1


def test_what_comes_and_goes_is_one_alert_and_keeps_who_has_it(shift: Callable[..., Shift]) -> None:
    s = shift()
    for n in range(12):
        e = episode(2 * n, subject="v7")
        s.begin(2 * n, e)
        s.end(2 * n + 1, e)
        if n == 3:
            (lead,) = [a for a in s.store.open_alerts() if a.chattering]
            s.order(2 * n + 1.5, "acknowledge", episode(2, subject="v7"))
    assert len(told(s.events)) == 2
    (open_one,) = [a for a in s.store.open_alerts() if a.id == lead.id]
    assert (open_one.acknowledged_by, open_one.chattering) == ("amina", True)
    assert ("closed", "CLEARED_AND_ACKNOWLEDGED") in edges(s.time(33.1))


def test_who_took_it_is_asked_again_when_it_is_still_there(shift: Callable[..., Shift]) -> None:
    s = shift(**{"stop.unscheduled": replace(RULES["stop.unscheduled"], realarm_after_us=30 * MINUTE)})
    e = episode(0, subject="v7")
    s.begin(0, e)
    s.order(1, "acknowledge", e)
    assert s.time(30.9) == []
    (again,) = s.time(31)
    assert (again.transition, again.detail, again.alert.acknowledged_at_us, again.alert.realarms) == (
        "realarmed",
        "amina",
        None,
        1,
    )
    s.order(32, "acknowledge", e)
    s.order(33, "shelve", e, until_us=at(33) + 2 * HOUR)
    assert s.time(63) == [], "it lies on the shelf"
    assert edges(s.time(153)) == [("unshelved", "TIME_OVER"), ("realarmed", "REALARM")]


def test_a_shelf_holds_what_begins_again_of_the_same(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, again, other = episode(0, subject="v7"), episode(20, subject="v7"), episode(20, subject="v8")
    s.begin(0, first)
    (on_shelf,) = s.order(1, "shelve", first, until_us=at(1) + HOUR, text="goats")
    assert (on_shelf.alert.shelved_by, on_shelf.alert.shelved_why) == ("amina", "goats")
    s.end(2, first)
    s.begin(20, again, other)
    assert [s.reason(again), s.reason(other)] == ["HELD_SHELVED", ""]
    assert {(e.alert.id, e.transition) for e in s.time(61)} == {(first.id, "unshelved"), (again.id, "opened")}


# ---- after an outage -------------------------------------------------------------------------------------------------------------------


def test_after_an_outage_what_began_and_ended_is_one_line_and_what_goes_on_is_told(shift: Callable[..., Shift]) -> None:
    s = shift()
    missed = [episode(n, subject=f"x{n}") for n in range(20)]
    going_on, pressed = episode(5, subject="v7"), sos(6, subject="v8")
    now = 60.0
    for e in missed:
        s.begin(now, e, received_at_us=e.began_at_us)
    s.begin(now, going_on, received_at_us=at(5))
    assert edges(s.begin(now, pressed, received_at_us=at(6))) == [("opened", "BEGAN")], "it waits for nothing"
    for e in missed:
        s.end(now, e)
    later = s.time(now + CATCH_UP_US / MINUTE)
    assert told(s.events) == [pressed.id, going_on.id, *told(later)[1:]]
    (digest,) = [e.alert for e in later if e.reason == "AFTER_OUTAGE"]
    assert digest.severity == "low"
    found = s.store.alert(digest.id)
    assert found is not None and found.count == 20
    assert {s.reason(e) for e in missed} == {"HELD_DIGEST"}


@pytest.mark.parametrize(
    ("age_us", "edge"), [(OUTAGE_US, ("opened", "BEGAN")), (OUTAGE_US + 1, ("held", "HELD_CATCHING_UP"))]
)
def test_news_is_of_an_outage_after_two_minutes(
    shift: Callable[..., Shift], age_us: int, edge: tuple[str, str]
) -> None:
    s = shift()
    assert edges(s.begin(10, episode(0, subject="v7"), received_at_us=at(10) - age_us))[0] == edge


# ---- a split, a correction ---------------------------------------------------------------------------------------------------------------


def test_of_a_split_episode_the_first_part_keeps_the_alert(shift: Callable[..., Shift]) -> None:
    s = shift()
    whole, first, second = episode(0, subject="v7"), episode(0.5, 2, subject="v7"), episode(5, subject="v7")
    s.begin(1, whole)
    s.order(2, "acknowledge", whole)
    s.say(6, change("amend", first, whole), change("amend", second, whole))
    assert [(e.alert.id, e.transition) for e in s.events if e.transition == "opened"] == [
        (whole.id, "opened"),
        (second.id, "opened"),
    ]
    kept = s.store.alert(whole.id)
    assert kept is not None and kept.acknowledged_by == "amina"


def test_one_that_was_never_told_is_taken_back_in_silence(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, second = episode(0, subject="v1"), episode(1, subject="v2")
    s.begin(0, first)
    s.begin(1, second)
    assert edges(s.say(2, change("retract", second)))[:2] == [("retracted", "EPISODE_GONE"), ("closed", "NEVER_TOLD")]
    assert edges(s.say(3, change("retract", first)))[0] == ("retracted", "EPISODE_GONE")
    (left,) = s.store.open_alerts()
    assert (left.id, left.retracted) == (first.id, True), "who was told has to see it"


def test_who_takes_a_held_one_has_it(shift: Callable[..., Shift]) -> None:
    s = shift()
    first, second = episode(0, subject="v1"), episode(1, subject="v2")
    s.begin(0, first)
    s.begin(1, second)
    (taken, *_) = s.order(2, "acknowledge", second)
    assert (taken.alert.held, taken.alert.owner) == ("", "amina")
    assert s.reason(second) == ""


# ---- a day that was settled -------------------------------------------------------------------------------------------------------------


def test_what_a_settled_day_finds_is_for_the_record_and_a_press_is_told(shift: Callable[..., Shift]) -> None:
    s = shift()
    found, pressed = episode(0, 5, severity="critical", subject="v7"), sos(6, subject="v8")
    assert edges(s.say(2000, change("end", found, settled=True)))[0] == ("held", "HELD_SETTLED")
    assert s.reason(found) == "HELD_SETTLED"
    assert edges(s.say(2000, change("begin", pressed, settled=True))) == [("opened", "BEGAN")]

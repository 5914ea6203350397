"""The alarm budget: figures just at and just over what the standards name, whatever the order of the events."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from pipeline.desk.budget import KEPT_US, WINDOW_US, Budget
from pipeline.desk.live import alert_view
from pipeline.model.alert import AlertEvent
from tests.alert.builders import MINUTE, alert, at, episode
from tests.desk.conftest import Desk

NOW = at(600)


def event(
    minute: float, subject: str = "v1", transition: Any = "opened", reason: str = "BEGAN", **state: Any
) -> AlertEvent:
    of = episode(minute, subject=subject)
    known = msgspec.structs.replace(alert(of, minute), **state)
    return AlertEvent(
        version=1,
        seq=round(minute * 1000),
        at_us=at(minute),
        transition=transition,
        reason=reason,
        actor="policy",
        alert=known,
    )


def view(events: list[AlertEvent], now_us: int = NOW, opened: Any = (), **more: Any) -> dict[str, Any]:
    budget = Budget()
    for one in events:
        budget.apply(one)
    return budget.view(now_us, opened, **more)


@pytest.mark.parametrize(("n", "over"), [(10, False), (11, True)])
def test_ten_in_ten_minutes_is_what_people_can_handle(n: int, over: bool) -> None:
    found = view([event(595 + k / 10, f"v{k}") for k in range(n)])
    assert found["last_10_min"] == {"value": n, "most": 10, "over": over}
    assert found["peak_10_min"]["value"] == n


def test_a_window_is_half_open() -> None:
    assert view([event(0, "a"), event(WINDOW_US / MINUTE, "b")])["peak_10_min"]["value"] == 1
    assert view([event(0, "a"), event(WINDOW_US / MINUTE - 0.01, "b")])["peak_10_min"]["value"] == 2


def test_held_ones_are_no_lines_and_are_counted_by_their_reason() -> None:
    found = view([event(590, "a"), event(591, "b", "held", "HELD_FLOOD", held="HELD_FLOOD")])
    assert (found["alerts"], found["held"]) == (1, {"HELD_FLOOD": 1})


def test_order_and_repetition_do_not_matter() -> None:
    events = [event(500 + k, f"v{k % 3}") for k in range(40)]
    mixed = [*events, *events]
    random.Random(1).shuffle(mixed)
    assert view(mixed) == view(events)


def test_what_comes_and_goes_and_what_comes_most_often() -> None:
    found = view([*(event(590 + k, "goat") for k in range(3)), event(595, "calm")])
    assert [(row["subject"], row["n"]) for row in found["chattering"]] == [("goat", 3)]
    assert [(row["subject"], row["n"], row["share"]) for row in found["top"]] == [("goat", 3, 0.75), ("calm", 1, 0.25)]


def test_what_stands_and_for_how_long() -> None:
    old, new, over = event(-900), event(599, "v2"), event(598, "v3", cleared_at_us=at(599))
    found = view([], opened=[alert_view(e) for e in (old, new, over)])
    assert (found["standing"]["value"], found["stale"]["value"]) == (2, 1)


def test_a_day_later_it_is_forgotten() -> None:
    assert view([event(0)], at(0) + KEPT_US)["alerts"] == 1
    assert view([event(0)], at(0) + KEPT_US + 1)["alerts"] == 0


def test_a_region_sees_its_own_figures() -> None:
    mine, other = event(590, region="hazara"), event(591, "v2", region="swat")
    assert view([mine, other], seen=lambda region: region == "hazara")["alerts"] == 1


@pytest.fixture
async def web(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=desk.app), base_url="http://desk") as client:
        yield client


async def test_the_desk_serves_it_to_who_is_logged_in(desk: Desk, web: httpx.AsyncClient) -> None:
    assert (await web.get("/api/budget")).status_code == 401
    desk.alert("a1", 1)
    token = desk.s.sessions.make_link("amina", "viewer", 60)
    await web.post("/enter", data={"token": token})
    said = (await web.get("/api/budget")).json()
    assert (said["alerts"], said["standing"]["value"]) == (1, 1)


async def test_an_alerts_page_names_those_that_it_speaks_for(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert("a1", 1)
    desk.alert("a2", 2, transition="held", held="HELD_GROUPED", under="a1")
    token = desk.s.sessions.make_link("amina", "operator", 60)
    await web.post("/enter", data={"token": token})
    behind = (await web.get("/api/alerts/a1")).json()["behind"]
    assert [(b["id"], b["held"]) for b in behind] == [("a2", "HELD_GROUPED")]
    desk.alert("a2", 3, transition="closed", held="HELD_GROUPED", under="a1", closed_at_us=1)
    assert (await web.get("/api/alerts/a1")).json()["behind"] == []

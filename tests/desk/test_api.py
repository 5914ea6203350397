"""Who gets in, what a person may do, and what a page is told after it was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from pipeline.desk.server import DeskServer
from pipeline.model.alert import Command
from pipeline.people.lockout import Lockout
from tests.desk.conftest import PASSWORD, Desk

ACKNOWLEDGE = "/api/alerts/a1/acknowledge"


@pytest.fixture
async def web(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=desk.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        yield client


async def enter(desk: Desk, web: httpx.AsyncClient, role: str = "operator") -> dict[str, str]:
    """Log in by a link; the headers that the page sends with an act."""
    token = desk.s.sessions.make_link("amina", role, 60)
    assert (await web.post("/enter", data={"token": token})).status_code == 303
    csrf = (await web.get("/api/session")).json()["csrf"]
    return {"X-CSRF-Token": csrf, "Idempotency-Key": "key-00000001"}


async def test_the_right_password_lets_in_and_a_wrong_one_does_not(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.s.operators.put("amina", "operator", PASSWORD)
    assert (await web.post("/login", data={"name": "amina", "password": "wrong"})).status_code == 401
    assert (await web.get("/api/session")).status_code == 401
    assert (await web.post("/login", data={"name": "amina", "password": PASSWORD})).status_code == 303
    assert (await web.get("/api/session")).json()["login"] == "amina"


async def test_after_too_many_failures_even_the_right_password_waits(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.s.operators.put("amina", "operator", PASSWORD)
    for _ in range(Lockout.FREE):
        assert (await web.post("/login", data={"name": "amina", "password": "wrong"})).status_code == 401
    locked = await web.post("/login", data={"name": "amina", "password": PASSWORD})
    assert locked.status_code == 429
    assert int(locked.headers["Retry-After"]) > 0


async def test_a_link_works_once_and_looking_at_it_does_not_use_it_up(desk: Desk, web: httpx.AsyncClient) -> None:
    token = desk.s.sessions.make_link("amina", "operator", 60)
    assert (await web.get("/enter", params={"token": token})).status_code == 200
    assert (await web.post("/enter", data={"token": token})).status_code == 303
    web.cookies.clear()
    assert (await web.post("/enter", data={"token": token})).status_code == 410
    assert (await web.get("/api/session")).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["session", "plan.geojson", "snapshot", "story", "events", "vehicles/c-1", "vehicles/c-1/trail", "alerts/a1",
     "openapi.json", "docs"],
)  # fmt: skip
async def test_a_stranger_is_told_nothing(path: str, desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    assert (await web.get(f"/api/{path}")).status_code == 401


@pytest.mark.parametrize(
    "wrong", [{"X-CSRF-Token": "guess"}, {"Origin": "http://elsewhere"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_an_act_from_another_page_is_refused(wrong: dict[str, str], desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    headers = await enter(desk, web)
    assert (await web.post(ACKNOWLEDGE, headers=headers | wrong)).status_code == 403
    assert desk.log.commands == []


async def test_who_may_only_look_cannot_acknowledge(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    assert (await web.post(ACKNOWLEDGE, headers=await enter(desk, web, "viewer"))).status_code == 403
    assert desk.log.commands == []


async def test_a_get_never_acknowledges(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    assert (await web.get(ACKNOWLEDGE, headers=await enter(desk, web))).status_code == 405
    assert desk.log.commands == []


async def test_an_acknowledgement_is_the_operators_and_once_however_often_sent(
    desk: Desk, web: httpx.AsyncClient
) -> None:
    desk.alert()
    headers = await enter(desk, web)
    for _ in range(2):
        assert (await web.post(ACKNOWLEDGE, headers=headers)).status_code == 200
    assert [(c.what, c.alert_id, c.by) for c in desk.log.commands] == [("acknowledge", "a1", "amina")]


async def test_it_is_answered_only_when_the_log_has_it(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    headers = await enter(desk, web)
    asked, durable = asyncio.Event(), asyncio.Event()

    async def slowly(command: Command) -> None:
        asked.set()
        await durable.wait()

    desk.s.send_command = slowly
    answer = asyncio.ensure_future(web.post(ACKNOWLEDGE, headers=headers))
    await asked.wait()
    done, _ = await asyncio.wait({answer}, timeout=0.1)
    assert not done
    durable.set()
    assert (await answer).status_code == 200


async def test_what_could_not_be_recorded_is_said_and_may_be_sent_again(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    headers = await enter(desk, web)
    desk.log.down = True
    assert (await web.post(ACKNOWLEDGE, headers=headers)).status_code == 503
    desk.log.down = False
    assert (await web.post(ACKNOWLEDGE, headers=headers)).status_code == 200
    assert len(desk.log.commands) == 1


@pytest.mark.parametrize(("age_s", "ok"), [(0, True), (14, True), (16, False)])
async def test_health_goes_bad_when_nothing_has_come_for_15_s(
    age_s: float, ok: bool, desk: Desk, web: httpx.AsyncClient
) -> None:
    desk.tick(age_s)
    said = (await web.get("/api/health")).json()
    assert said["ok"] is ok
    assert said["data_age_s"] == pytest.approx(age_s, abs=0.9)


async def test_a_receiver_in_trouble_is_passed_on(desk: Desk, web: httpx.AsyncClient) -> None:
    await enter(desk, web)
    desk.tick(healthy=False)
    assert (await web.get("/api/snapshot")).json()["clock"]["healthy"] is False
    assert (await web.get("/api/health")).json()["listening"] is False


async def test_the_server_ends_when_it_is_told_and_not_when_it_next_looks(desk: Desk) -> None:
    server = DeskServer(desk.app, desk.s, "http://127.0.0.1:0")
    port = await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web:
        assert "date" in (await web.get("/api/health")).headers
    loop = asyncio.get_running_loop()
    began = loop.time()
    await server.stop()
    assert loop.time() - began < 0.5


@pytest.mark.parametrize(("last", "first"), [("abcd-1", "alert"), ("other-1", "snapshot"), ("abcd-99", "snapshot")])
async def test_a_page_that_was_away_is_told_the_rest_or_everything(last: str, first: str, desk: Desk) -> None:
    desk.alert("a1", 1)
    desk.alert("a2", 2)
    server = DeskServer(desk.app, desk.s, "http://127.0.0.1:0")
    port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web:
            await enter(desk, web)
            async with web.stream("GET", "/api/events", headers={"Last-Event-ID": last}) as stream:
                told: list[str] = []
                async for line in stream.aiter_lines():
                    told.append(line)
                    if line.startswith("data:"):
                        break
    finally:
        await server.stop()
    assert f"event: {first}" in told
    assert "id: abcd-2" in told
    assert ('"id":"a1"' in told[-1]) is (first == "snapshot")
    assert '"id":"a2"' in told[-1]

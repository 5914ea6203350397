"""Every route asks the table; regions limit what is seen and done; people's homes are seen roughly, and looking is on record."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import shapely
from fastapi.routing import APIRoute

from pipeline.desk.live import Position
from pipeline.desk.pump import Pump
from pipeline.desk.server import DeskServer
from pipeline.model.alert import Alert, AlertEvent
from pipeline.people.audit import Entry
from pipeline.people.roles import PERMISSIONS, ROLES, ROUTES, may, without_a_row
from pipeline.plan.geojson import COARSE_M, plan_geojson
from pipeline.plan.model import CompiledPlan
from tests.desk.conftest import Desk, demo_plan

HOME = "residence-7"
SOMEBODY = "c-9"  # lives there
FAR = "far-1"  # a vehicle of the other region


def two_regions(plan: CompiledPlan) -> CompiledPlan:
    """The demo's region, and `dale` beside it with one vehicle and one residence."""
    dale = dataclasses.replace(plan.regions["hazara"], id="dale", cells=("dale",))
    vehicle = dataclasses.replace(plan.vehicles["c-11"], id=FAR, region="dale", cell="dale", cells_served=("dale",))
    home = next(area for area in plan.areas if area.id == "residence-2")
    moved = dataclasses.replace(home, id="dale-home", region="dale")
    return dataclasses.replace(
        plan, regions={**plan.regions, "dale": dale}, vehicles={**plan.vehicles, FAR: vehicle},
        areas=(*plan.areas, moved),
    )  # fmt: skip


@pytest.fixture
def plan(root: Path) -> CompiledPlan:
    return two_regions(demo_plan(root))


@pytest.fixture
def desk(root: Path, tmp_path: Path, plan: CompiledPlan) -> Iterator[Desk]:
    made = Desk(root, tmp_path, plan)
    made.s.plan_geojson = orjson.dumps(plan_geojson(plan))
    made.s.plan_geojson_public = orjson.dumps(plan_geojson(plan, public=True))
    for vehicle in (SOMEBODY, FAR):
        put(made, vehicle, *centre_of(plan, HOME))
    alert(made, "near", "hazara", SOMEBODY)
    alert(made, "far", "dale", FAR)
    yield made
    made.close()


@pytest.fixture
async def web(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=desk.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        yield client


def centre_of(plan: CompiledPlan, area_id: str) -> tuple[float, float]:
    point = next(area.lonlat for area in plan.areas if area.id == area_id).centroid
    return point.y, point.x


def put(desk: Desk, vehicle: str, lat: float, lon: float) -> None:
    at_us = desk.clock.now_us()
    desk.s.live.positions[vehicle] = Position(lat, lon, at_us, at_us, 90.0, 0.0, 5.0, 0, 0)


def alert(desk: Desk, alert_id: str, region: str, subject: str, *, seq: int = 1, closed: bool = False) -> None:
    now_us = desk.clock.now_us()
    lat, lon = centre_of(desk.s.live.plan, HOME)
    made = Alert(
        id=alert_id, rule="sos.pressed", subject=subject, object="", region=region, cell="", severity="critical",
        text="SOS.", lead="SOS", place="", response="Call.", owner_post="desk", respond_within_us=60_000_000,
        began_at_us=now_us, opened_at_us=now_us, lat=lat, lon=lon, evidence={"lat": lat, "lon": lon, "what": "sos"},
        closed_at_us=now_us if closed else None,
    )  # fmt: skip
    Pump(desk.s).alert(
        AlertEvent(
            version=1, seq=seq, at_us=now_us, transition="closed" if closed else "opened", reason="BEGAN",
            actor="policy", alert=made,
        )
    )  # fmt: skip


async def enter(
    desk: Desk, web: httpx.AsyncClient, role: str, regions: tuple[str, ...] | None = None
) -> dict[str, str]:
    """Log in by a link; the headers that the page sends with an act."""
    link = desk.s.sessions.make_link("amina", role, 60, regions)
    assert (await web.post("/enter", data={"token": link})).status_code == 303
    csrf = (await web.get("/api/session")).json()["csrf"]
    return {"X-CSRF-Token": csrf, "Idempotency-Key": "key-00000001"}


def looks(desk: Desk) -> list[Entry]:
    return [entry for entry in desk.s.audit.entries() if entry.what in ("trail", "residence")]


# ---- every route ----------------------------------------------------------------------------------------------------


def routes(desk: Desk) -> list[tuple[str, str]]:
    return [(method, r.path) for r in all_routes(desk.app.router) for method in sorted(r.methods)]


def all_routes(router: Any) -> list[APIRoute]:
    """Also those of routers that are included, however FastAPI keeps them."""
    found: list[APIRoute] = []
    for route in router.routes:
        if isinstance(route, APIRoute):
            found.append(route)
        elif hasattr(route, "original_router"):
            found += all_routes(route.original_router)
        else:
            raise AssertionError(f"{route!r} is a route that nobody asks who may use it; make it one of FastAPI's")
    return found


def test_every_route_has_a_row_and_every_row_a_route(desk: Desk) -> None:
    assert without_a_row(routes(desk)) == [], "add a row for it to pipeline/people/roles.py"
    assert sorted(ROUTES) == sorted(routes(desk))


async def test_every_route_lets_in_whom_the_table_says_and_nobody_else(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.tick()
    fill = {"{alert}": "near", "{vehicle}": SOMEBODY, "{name:path}": "desk.css", "{session_id}": "0" * 12}
    for role in ("", *ROLES):
        for (method, path), name in ROUTES.items():
            if path in ("/api/events", "/logout", "/login", "/enter", "/a/{token}"):
                continue  # a stream without end, and the door itself: below, in test_entry and in test_answer
            web.cookies.clear()
            headers = await enter(desk, web, role) if role else {}
            where = path
            for key, value in fill.items():
                where = where.replace(key, value)
            answer = await web.request(method, where, headers=headers, json={"text": "x", "outcome": "test"})
            open_to_all = PERMISSIONS[name].least is None
            wanted = 0 if open_to_all or (role and may(role, name)) else 403 if role else 401
            if wanted:
                assert answer.status_code == wanted, (role, method, path, answer.text)
            else:
                assert answer.status_code in (200, 204, 301, 303, 404, 409), (role, method, path, answer.text)


async def test_a_route_that_nobody_wrote_a_row_for_is_shut_even_to_an_admin(desk: Desk, web: httpx.AsyncClient) -> None:
    @desk.app.get("/api/forgotten")
    def forgotten() -> str:
        return "open"

    await enter(desk, web, "admin")
    answer = await web.get("/api/forgotten")
    assert answer.status_code == 403
    assert "roles.py" in answer.json()["detail"]


async def test_every_act_needs_the_pages_token(desk: Desk, web: httpx.AsyncClient) -> None:
    headers = await enter(desk, web, "admin")
    for (method, path), name in ROUTES.items():
        if PERMISSIONS[name].acts:
            where = path.replace("{alert}", "near").replace("{session_id}", "0" * 12)
            for wrong in ({}, headers | {"X-CSRF-Token": "guess"}, headers | {"Origin": "http://elsewhere"}):
                assert (await web.request(method, where, headers=wrong)).status_code == 403, (path, wrong)
    assert desk.log.commands == []
    assert (await web.get("/api/session")).status_code == 200, "nobody was logged out by it"


# ---- regions --------------------------------------------------------------------------------------------------------


async def test_a_region_is_all_that_its_people_see(desk: Desk, web: httpx.AsyncClient) -> None:
    await enter(desk, web, "operator", ("hazara",))
    told = (await web.get("/api/session")).json()
    assert [r["id"] for r in told["regions"]] == ["hazara"]
    assert SOMEBODY in told["vehicles"] and FAR not in told["vehicles"]
    snapshot = (await web.get("/api/snapshot")).json()
    assert [a["id"] for a in snapshot["alerts"]] == ["near"]
    assert [row[0] for row in snapshot["positions"]] == [SOMEBODY]
    plan = (await web.get("/api/plan.geojson")).json()
    assert {f["properties"].get("region") for f in plan["features"]} == {"hazara", None}
    assert [r["id"] for r in plan["regions"]] == ["hazara"]


async def test_the_other_region_sees_the_other_half(desk: Desk, web: httpx.AsyncClient) -> None:
    await enter(desk, web, "operator", ("dale",))
    snapshot = (await web.get("/api/snapshot")).json()
    assert [a["id"] for a in snapshot["alerts"]] == ["far"]
    assert [row[0] for row in snapshot["positions"]] == [FAR]
    assert snapshot["convoys"] == []
    plan = (await web.get("/api/plan.geojson")).json()
    assert {f["properties"]["id"] for f in plan["features"] if f["properties"]["layer"] == "area"} == {"dale-home"}
    assert not [f for f in plan["features"] if f["properties"]["layer"] in ("route", "corridor", "km_post")]


async def test_what_is_named_in_an_address_is_not_there_for_another_region(desk: Desk, web: httpx.AsyncClient) -> None:
    """Every route that names a vehicle or an alert, also those that are written tomorrow."""
    headers = await enter(desk, web, "admin", ("dale",))
    tried = 0
    for method, path in routes(desk):
        if "{alert}" not in path and "{vehicle}" not in path:
            continue
        where = path.replace("{alert}", "near").replace("{vehicle}", SOMEBODY)
        answer = await web.request(method, where, headers=headers, json={"text": "x", "outcome": "test"})
        assert answer.status_code == 404, (method, path)
        tried += 1
    assert tried >= 10
    assert desk.log.commands == []
    assert looks(desk) == [], "what was not shown was not looked at"


async def test_a_closed_alert_of_another_region_is_not_there_either(desk: Desk, web: httpx.AsyncClient) -> None:
    alert(desk, "near", "hazara", SOMEBODY, seq=2, closed=True)
    await enter(desk, web, "admin", ("dale",))
    assert (await web.get("/api/alerts/near")).status_code == 404


async def test_a_vehicle_that_drives_through_a_region_is_seen_there(
    root: Path, tmp_path: Path, plan: CompiledPlan
) -> None:
    through = dataclasses.replace(plan.movements[0], id="through", region="hazara", vehicles=(FAR,), convoy=None)
    desk = Desk(root, tmp_path, dataclasses.replace(plan, movements=(*plan.movements, through)))
    view = desk.s.views.of("operator", ("hazara",))
    assert view.vehicle(FAR)
    assert view.alert({"region": "dale", "subject": FAR})
    assert not view.region("dale")
    desk.close()


@pytest.mark.parametrize("regions", [None, ("hazara",), ("dale",), ("nowhere",)])
def test_what_is_about_ourselves_everybody_sees(regions: tuple[str, ...] | None, desk: Desk) -> None:
    assert desk.s.views.of("viewer", regions).alert({"region": "hazara", "subject": "pipeline"})


def test_of_a_vehicle_outside_the_plan_only_those_learn_who_see_everything(desk: Desk) -> None:
    assert desk.s.views.of("operator", None).vehicle("stranger")
    assert not desk.s.views.of("admin", ("hazara", "dale")).vehicle("stranger")


async def test_a_stream_tells_each_region_its_own(desk: Desk) -> None:
    """Both resume from the beginning of the ring, which holds an alert and positions of each region."""
    desk.s.live._moved.update((SOMEBODY, FAR))
    Pump(desk.s).turn()
    alert(desk, "far", "dale", FAR, seq=2)  # the last word, for the other region
    alert(desk, "near", "hazara", SOMEBODY, seq=3)
    server = DeskServer(desk.app, desk.s, "http://127.0.0.1:0")
    port = await server.start()
    told: dict[str, str] = {}
    try:
        for region, last in (("hazara", '"seq":3'), ("dale", '"seq":2')):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web:
                await enter(desk, web, "operator", (region,))
                told[region] = ""
                async with web.stream("GET", "/api/events", headers={"Last-Event-ID": "abcd-0"}) as stream:
                    async for line in stream.aiter_lines():
                        told[region] += line + "\n"
                        if last in line:
                            break
    finally:
        await server.stop()
    assert "event: positions" in told["hazara"] and "event: positions" in told["dale"]
    assert SOMEBODY in told["hazara"] and FAR not in told["hazara"]
    assert FAR in told["dale"] and SOMEBODY not in told["dale"]


def test_an_event_that_the_view_does_not_know_goes_to_those_who_see_everything(desk: Desk) -> None:
    for role, regions, told in (("admin", None, True), ("admin", ("hazara",), False), ("operator", None, False)):
        view = desk.s.views.of(role, regions)
        assert (view.frame(7, "something new", b"[1]") == b"[1]") is told
        whole = {**desk.s.snapshot(), "something new": 1}
        assert ("something new" in view.snapshot(whole)) is told
        assert {"positions", "alerts", "convoys", "clock", "story"} <= view.snapshot(whole).keys()


# ---- where people live ----------------------------------------------------------------------------------------------


def feature(body: dict[str, Any], area: str) -> dict[str, Any]:
    return next(f for f in body["features"] if f["properties"]["id"] == area)


@pytest.mark.parametrize("role", ROLES)
async def test_homes_are_exact_from_a_supervisor_on_and_then_looking_is_on_record(
    role: str, desk: Desk, web: httpx.AsyncClient, plan: CompiledPlan
) -> None:
    exact = role in ("supervisor", "admin")
    await enter(desk, web, role)
    body = (await web.get("/api/plan.geojson")).json()
    homes = [area for area in plan.areas if area.kind == "residence"]
    assert homes
    for home in homes:
        found = feature(body, home.id)
        shape = shapely.geometry.shape(found["geometry"])
        assert found["properties"]["coarse"] is not exact
        assert shape.equals_exact(home.lonlat, 1e-5) is exact
    assert [(e.who, e.what, e.subject) for e in looks(desk)] == (
        [("amina", "residence", " ".join(home.id for home in homes))] if exact else []
    )


@pytest.mark.parametrize(
    ("role", "standing", "shown"),
    [("viewer", True, "near"), ("viewer", False, "near"), ("operator", False, "near"), ("operator", True, "there"),
     ("supervisor", False, "there"), ("admin", False, "there")],
)  # fmt: skip
async def test_a_vehicle_at_home_is_shown_near_it_unless_help_must_go_there(
    role: str, standing: bool, shown: str, desk: Desk, web: httpx.AsyncClient, plan: CompiledPlan
) -> None:
    if not standing:
        alert(desk, "near", "hazara", SOMEBODY, seq=2, closed=True)
        desk.s.live._closed.clear()
    await enter(desk, web, role, ("hazara",))
    (row,) = (await web.get("/api/snapshot")).json()["positions"]
    at = centre_of(plan, HOME)
    assert ((row[1], row[2]) == pytest.approx(at, abs=1e-5)) is (shown == "there")
    assert (row[5] == COARSE_M) is (shown == "near")


@pytest.mark.parametrize(("role", "exact"), [("viewer", False), ("operator", True)])
async def test_an_alert_at_a_home_says_where_only_to_those_who_send_help(
    role: str, exact: bool, desk: Desk, web: httpx.AsyncClient, plan: CompiledPlan
) -> None:
    await enter(desk, web, role)
    lat, _ = centre_of(plan, HOME)
    for one in (
        (await web.get("/api/alerts/near")).json()["alert"],
        *(await web.get("/api/snapshot")).json()["alerts"],
    ):
        assert (one["lat"] == pytest.approx(lat, abs=1e-6)) is exact
        assert ("lat" in one["evidence"]) is exact
        assert one["evidence"]["what"] == "sos"


async def test_a_trail_does_not_lead_into_a_home_and_reading_it_is_on_record(
    desk: Desk, web: httpx.AsyncClient, plan: CompiledPlan
) -> None:
    lat, lon = centre_of(plan, HOME)
    await enter(desk, web, "operator")
    points = (await web.get(f"/api/vehicles/{SOMEBODY}/trail", params={"minutes": 45})).json()["points"]
    assert points
    for point in points:
        assert (point[1], point[2]) != pytest.approx((lat, lon), abs=1e-5)
    (entry,) = looks(desk)
    assert (entry.who, entry.what, entry.subject, entry.detail) == ("amina", "trail", SOMEBODY, "minutes=45")
    assert entry.address == "127.0.0.1"
    assert abs(entry.at_us - desk.clock.now_us()) < 60_000_000


async def test_what_cannot_be_put_on_record_is_not_shown(desk: Desk, web: httpx.AsyncClient) -> None:
    await enter(desk, web, "supervisor")
    desk.s.audit.close()
    for path in (f"/api/vehicles/{SOMEBODY}/trail", "/api/plan.geojson"):
        answer = await web.get(path)
        assert answer.status_code == 503
        assert "record" in answer.json()["detail"]

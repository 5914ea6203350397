"""The door: who is let in, for how long, by which cookie; and what programs may do with a token."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from argon2 import extract_parameters

from pipeline.clock import SetClock
from pipeline.desk import operators as operators_module
from pipeline.desk.lanes import Lane
from pipeline.desk.operators import LONGEST_PASSWORD, NOBODY, Operators, OperatorsError
from pipeline.desk.sessions import IDLE_S, MOST_OF_ONE, SESSION_S, SessionStore
from tests.desk.conftest import PASSWORD, Desk

T0, SECOND_US = 1_795_000_000_000_000, 1_000_000


@pytest.fixture
async def web(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=desk.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        yield client


def enlist(desk: Desk, name: str = "amina", role: str = "operator", regions: tuple[str, ...] | None = None) -> None:
    desk.s.operators.put(name, role, PASSWORD, regions)  # type: ignore[arg-type]  # the tests' own roles


async def log_in(web: httpx.AsyncClient, name: str = "amina", password: str = PASSWORD) -> httpx.Response:
    return await web.post("/login", data={"name": name, "password": password})


async def inside(web: httpx.AsyncClient) -> bool:
    return (await web.get("/api/session")).status_code == 200


# ---- the cookie -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
async def test_a_cookie_is_for_our_pages_only(secure: bool, desk: Desk, web: httpx.AsyncClient) -> None:
    desk.s.secure = secure
    enlist(desk)
    cookies = (await log_in(web)).headers.get_list("set-cookie")
    assert len(cookies) == 2  # the session, and the browser's mark
    for cookie in cookies:
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= parts
        assert ("secure" in parts) is secure
        assert cookie.startswith("__Host-rahdar") is secure
        assert not any(part.startswith("domain") for part in parts)


async def test_each_login_is_a_new_session_and_ends_the_one_before_it(desk: Desk, web: httpx.AsyncClient) -> None:
    enlist(desk)
    await log_in(web)
    first = web.cookies["rahdar"]
    await log_in(web)
    assert web.cookies["rahdar"] != first
    assert await inside(web)
    stale = httpx.AsyncClient(transport=web._transport, base_url="http://desk", cookies={"rahdar": first})
    assert not await inside(stale)


async def test_a_cookie_that_a_stranger_planted_is_not_taken_over(desk: Desk) -> None:
    enlist(desk)
    transport = httpx.ASGITransport(app=desk.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk", cookies={"rahdar": "planted"}) as web:
        answer = await log_in(web)
        assert "rahdar=planted" not in "".join(answer.headers.get_list("set-cookie"))
        assert desk.s.sessions.find("planted") is None


# ---- sessions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> SetClock:
    return SetClock(T0)


@pytest.fixture
def sessions(tmp_path: Path, clock: SetClock) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.sqlite", clock)
    yield store
    store.close()


@pytest.mark.parametrize(("idle_s", "good"), [(IDLE_S - 1, True), (IDLE_S, False)])
def test_a_session_that_nobody_uses_ends(idle_s: float, good: bool, sessions: SessionStore, clock: SetClock) -> None:
    token, _ = sessions.begin("amina", "operator", "password")
    clock.put(T0 + int(idle_s * SECOND_US))
    assert (sessions.find(token) is not None) is good
    assert bool(sessions.all()) is good


@pytest.mark.parametrize(("age_s", "good"), [(SESSION_S - 1, True), (SESSION_S, False)])
def test_a_session_ends_with_the_shift_however_much_it_is_used(
    age_s: float, good: bool, sessions: SessionStore, clock: SetClock
) -> None:
    token, _ = sessions.begin("amina", "operator", "password")
    for minute in range(0, int(age_s / 60), 10):
        clock.put(T0 + minute * 60 * SECOND_US)
        assert sessions.find(token) is not None
    clock.put(T0 + int(age_s * SECOND_US))
    assert (sessions.find(token) is not None) is good


def test_of_one_login_the_oldest_session_ends_when_there_are_too_many(sessions: SessionStore, clock: SetClock) -> None:
    tokens = []
    for i in range(MOST_OF_ONE + 1):
        clock.put(T0 + i * SECOND_US)
        tokens.append(sessions.begin("amina", "operator", "password")[0])
    other, _ = sessions.begin("bilal", "viewer", "password")
    assert sessions.find(tokens[0]) is None
    assert all(sessions.find(token) for token in [*tokens[1:], other])


def test_an_older_files_sessions_are_over(tmp_path: Path) -> None:
    import sqlite3

    old = sqlite3.connect(tmp_path / "desk.sqlite")
    old.execute("CREATE TABLE session (token_hash BLOB PRIMARY KEY, login TEXT)")
    old.commit()
    old.close()
    store = SessionStore(tmp_path / "desk.sqlite")
    assert store.all() == []
    assert store.find(store.begin("amina", "viewer", "password")[0]) is not None
    store.close()


async def test_people_see_and_end_their_own_sessions_and_an_admin_everybodys(
    desk: Desk, web: httpx.AsyncClient
) -> None:
    theirs, session = desk.s.sessions.begin("bilal", "viewer", "link", address="10.0.0.9", agent="Firefox")
    assert (await web.post("/enter", data={"token": desk.s.sessions.make_link("amina", "operator", 60)})).is_redirect
    headers = {"X-CSRF-Token": (await web.get("/api/session")).json()["csrf"]}
    (mine,) = (await web.get("/api/sessions")).json()
    assert mine["this"] and mine["login"] == "amina" and mine["address"] == "127.0.0.1"
    assert (await web.post(f"/api/sessions/{session.id}/end", headers=headers)).status_code == 404
    assert (await web.get("/api/people/sessions")).status_code == 403
    assert desk.s.sessions.find(theirs) is not None
    assert (await web.post(f"/api/sessions/{mine['id']}/end", headers=headers)).status_code == 204
    assert not await inside(web)
    assert (await web.post("/enter", data={"token": desk.s.sessions.make_link("root", "admin", 60)})).is_redirect
    headers = {"X-CSRF-Token": (await web.get("/api/session")).json()["csrf"]}
    assert {row["login"] for row in (await web.get("/api/people/sessions")).json()} == {"bilal", "root"}
    assert (await web.post(f"/api/people/sessions/{session.id}/end", headers=headers)).status_code == 204
    assert desk.s.sessions.find(theirs) is None
    ended = [(e.who, e.subject) for e in desk.s.audit.entries() if e.what == "session_ended"]
    assert ended == [("amina", mine["id"]), ("root", session.id)]


@pytest.mark.parametrize("change", ["password", "role", "regions", "disabled", "removed"])
async def test_a_changed_account_is_out_at_once(change: str, desk: Desk, web: httpx.AsyncClient) -> None:
    enlist(desk)
    await log_in(web)
    assert await inside(web)
    match change:
        case "password":
            desk.s.operators.change_password("amina", PASSWORD + "!")
        case "role":
            desk.s.operators.change_role("amina", "viewer", None)
        case "regions":
            desk.s.operators.change_role("amina", "operator", ("hazara",))
        case "disabled":
            desk.s.operators.disable("amina")
        case "removed":
            desk.s.operators.remove("amina")
    assert not await inside(web)
    if change == "disabled":
        assert (await log_in(web)).status_code == 401
        desk.s.operators.disable("amina", False)
        assert (await log_in(web)).status_code == 303


# ---- the password ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["short", "amina12345", "a" * 30, "x" * (LONGEST_PASSWORD + 1)])
def test_a_password_that_is_none_is_refused(password: str, tmp_path: Path) -> None:
    with pytest.raises(OperatorsError):
        Operators(tmp_path / "operators.yaml").put("amina", "viewer", password)
    assert not (tmp_path / "operators.yaml").exists()


def test_a_name_that_nobody_has_costs_what_a_known_one_costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both go through one verification of the same costs: nobody learns from the time who is known, or shut out."""
    operators = Operators(tmp_path / "operators.yaml")
    operators.put("amina", "operator", PASSWORD)
    operators.put("gone", "operator", PASSWORD)
    operators.disable("gone")
    asked: list[str] = []
    real = operators_module._hasher.verify

    class Counting:
        def verify(self, hashed: str, password: str) -> bool:
            asked.append(hashed)
            return real(hashed, password)

    monkeypatch.setattr(operators_module, "_hasher", Counting())
    for name in ("amina", "nobody", "gone", "", "x" * 5000):
        asked.clear()
        assert operators.verify(name, "a wrong password") is None
        assert len(asked) == 1
        assert extract_parameters(asked[0]) == extract_parameters(NOBODY)
    assert operators.verify("gone", PASSWORD) is None
    assert operators.verify("amina", PASSWORD) is not None


def test_two_who_change_the_file_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "operators.yaml"
    threads = [
        threading.Thread(target=Operators(file).put, args=(f"n{i}", "viewer", PASSWORD, ("hazara",))) for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Operators(file).all()) == [f"n{i}" for i in range(6)]
    assert file.stat().st_mode & 0o077 == 0


async def test_a_flood_of_strangers_is_told_to_wait_and_does_not_hold_up_who_was_here_before(
    desk: Desk, web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlist(desk)
    await log_in(web)  # this browser has the mark now
    hold, real = threading.Event(), desk.s.operators.verify

    def slowly(name: str, password: str) -> object:
        if name.startswith("stranger"):
            hold.wait(20)
            return None
        return real(name, password)

    monkeypatch.setattr(desk.s.operators, "verify", slowly)
    answers: list[httpx.Response] = []
    refused = asyncio.Event()

    async def knock(i: int) -> None:
        transport = httpx.ASGITransport(app=desk.app, client=(f"203.0.113.{i}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as stranger:
            answers.append(await log_in(stranger, f"stranger-{i}", "guess"))
            if len(answers) == 40 - Lane.MOST:
                refused.set()

    async with asyncio.TaskGroup() as group:
        for i in range(40):
            group.create_task(knock(i))
        await refused.wait()
        assert {answer.status_code for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert (await log_in(web)).status_code == 303
        hold.set()
    assert sorted(answer.status_code for answer in answers) == [401] * Lane.MOST + [503] * (40 - Lane.MOST)


async def test_who_guesses_elsewhere_does_not_keep_out_who_was_here_before(desk: Desk, web: httpx.AsyncClient) -> None:
    enlist(desk)
    await log_in(web)
    for i in range(60):
        desk.s.lockout.failed("amina", f"203.0.113.{i}")
        desk.s.lockout.failed("amina", "127.0.0.1")
    fresh = httpx.AsyncClient(transport=web._transport, base_url="http://desk")
    assert (await log_in(fresh)).status_code == 429
    assert (await log_in(web)).status_code == 303


async def test_log_ins_and_failed_ones_are_on_record_and_what_was_typed_for_a_name_is_not(
    desk: Desk, web: httpx.AsyncClient
) -> None:
    enlist(desk)
    await log_in(web, password="wrong password")
    await log_in(web, "my secret password", "x")
    await log_in(web)
    headers = {"X-CSRF-Token": (await web.get("/api/session")).json()["csrf"]}
    assert (await web.post("/logout", headers=headers)).status_code == 204
    told = [(e.who, e.what, e.address) for e in desk.s.audit.entries()]
    assert told == [
        ("amina", "login_failed", "127.0.0.1"), ("?", "login_failed", "127.0.0.1"), ("amina", "login", "127.0.0.1"),
        ("amina", "logout", "127.0.0.1"),
    ]  # fmt: skip
    assert not any("secret" in str(e) for e in desk.s.audit.entries())


# ---- tokens ---------------------------------------------------------------------------------------------------------


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", "Idempotency-Key": "key-00000001"}


@pytest.mark.parametrize(
    ("role", "read_only", "acts"),
    [("viewer", True, 403), ("viewer", False, 403), ("operator", True, 403), ("operator", False, 200)],
)
async def test_a_token_may_what_its_scope_says(
    role: str, read_only: bool, acts: int, desk: Desk, web: httpx.AsyncClient
) -> None:
    desk.alert()
    token = desk.s.tokens.make("grafana", role, 1, "root", read_only=read_only)
    assert (await web.get("/api/snapshot", headers=bearer(token))).status_code == 200
    assert (await web.post("/api/alerts/a1/acknowledge", headers=bearer(token))).status_code == acts
    assert [c.by for c in desk.log.commands] == (["token:grafana"] if acts == 200 else [])


async def test_a_token_of_one_region_sees_one_region(desk: Desk, web: httpx.AsyncClient) -> None:
    desk.alert()
    token = desk.s.tokens.make("dale", "operator", 1, "root", regions=("dale",), read_only=False)
    assert (await web.get("/api/snapshot", headers=bearer(token))).json()["alerts"] == []
    assert (await web.post("/api/alerts/a1/acknowledge", headers=bearer(token))).status_code == 404


async def test_a_token_counts_only_where_tokens_belong(desk: Desk, web: httpx.AsyncClient) -> None:
    token = desk.s.tokens.make("grafana", "supervisor", 1, "root", read_only=False)
    assert (await web.get("/api/snapshot", params={"token": token})).status_code == 401
    assert (await web.get("/api/snapshot", params={"access_token": token})).status_code == 401
    in_a_cookie = httpx.AsyncClient(transport=web._transport, base_url="http://desk", cookies={"rahdar": token})
    assert not await inside(in_a_cookie)
    for method, path in (("GET", "/api/sessions"), ("POST", "/logout"), ("GET", "/api/people/sessions")):
        assert (await web.request(method, path, headers=bearer(token))).status_code == 403
    assert (await web.get("/api/alerts/a1/acknowledge", headers=bearer(token))).status_code == 405
    assert desk.log.commands == []


async def test_a_bad_token_is_not_mended_by_a_good_cookie(desk: Desk, web: httpx.AsyncClient) -> None:
    enlist(desk)
    await log_in(web)
    desk.s.tokens.make("grafana", "viewer", 1, "root")
    desk.s.tokens.revoke("grafana")
    assert (await web.get("/api/snapshot", headers=bearer("rahdar_000000000000_" + "A" * 43))).status_code == 401
    assert await inside(web)


async def test_what_a_token_reads_of_trails_is_on_record_under_its_name(desk: Desk, web: httpx.AsyncClient) -> None:
    token = desk.s.tokens.make("report", "operator", 1, "root")
    assert (await web.get("/api/vehicles/c-1/trail", headers=bearer(token))).status_code == 200
    assert [(e.who, e.what, e.subject) for e in desk.s.audit.entries()] == [("token:report", "trail", "c-1")]

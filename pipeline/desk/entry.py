"""The door: log in with a password or a link that works once, log out. A GET never changes anything, not even here."""

from __future__ import annotations

import asyncio
import html
from importlib.resources import files
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipeline.desk.operators import Operator
from pipeline.desk.security import acting, address_of, find_session, same_origin
from pipeline.desk.services import Services, services
from pipeline.desk.sessions import SESSION_S, Link, Session
from pipeline.people.lockout import DEVICE_S

router = APIRouter(include_in_schema=False)
Desk = Annotated[Services, Depends(services)]

LARGEST_FORM = 4096
BUSY_S = 3.0


def _page(page: str, status: int = 200, **words: str) -> HTMLResponse:
    text = (files("pipeline.desk") / "static" / page).read_text(encoding="utf-8")
    for key, value in words.items():
        text = text.replace("{{" + key + "}}", html.escape(value))
    return HTMLResponse(text, status)


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            return {}
    try:
        return {
            key: values[-1] for key, values in parse_qs(body.decode(), max_num_fields=8, keep_blank_values=True).items()
        }
    except ValueError:
        return {}


def _let_in(request: Request, s: Services, found: Operator | Link, by: str) -> Response:
    """A session of its own for each login: what the browser carried before ends here. On record before it begins."""
    address, agent = address_of(request), request.headers.get("user-agent", "")
    s.audit.write(found.name, "login", found.role, address, f"by {by}; {agent}")
    if old := request.cookies.get(s.cookie):
        s.sessions.end(old)
    token, _ = s.sessions.begin(found.name, found.role, by, found.regions, found.stamp, address, agent)
    answer = RedirectResponse("/", 303)
    _set_cookie(answer, s, s.cookie, token, SESSION_S)
    return answer


def _set_cookie(answer: Response, s: Services, name: str, value: str, for_s: float) -> None:
    answer.set_cookie(name, value, max_age=int(for_s), httponly=True, samesite="strict", secure=s.secure, path="/")


@router.get("/")
def desk(request: Request, s: Desk) -> Response:
    if find_session(request, s) is None:
        return RedirectResponse("/login", 303)
    return _page("index.html")


@router.get("/login")
def login_page(request: Request, s: Desk) -> Response:
    if find_session(request, s) is not None:
        return RedirectResponse("/", 303)
    return _page("login.html", fault="", name="")


@router.post("/login")
async def login(request: Request, s: Desk) -> Response:
    if not same_origin(request):
        return _page("login.html", 403, fault="This form came from another page. Log in here.", name="")
    form = await _form(request)
    name, password, address = form.get("name", "").strip(), form.get("password", ""), address_of(request)
    device = request.cookies.get(s.device_cookie, "")
    if (wait_s := s.lockout.locked_for_s(name, address, device)) > 0:
        return _wait(f"Too many failed attempts. Try again in {_minutes(wait_s)}.", wait_s, 429, name)
    lane = s.known if s.lockout.knows(device, name) else s.strangers
    if lane.full:
        return _wait("Many are logging in at the moment. Try again in a few seconds.", BUSY_S, 503, name)
    s.lockout.failed(name, address, device)  # counted before the slow part, so that attempts at the same time count too
    async with lane:
        operator = await asyncio.to_thread(s.operators.verify, name, password)
    if operator is None:
        await asyncio.to_thread(_record_failure, s, name, address, device)  # a disk that is slow holds up nobody else
        return _page("login.html", 401, fault="Name or password is wrong.", name=name)
    mark = s.lockout.succeeded(name, address, device)
    answer = await asyncio.to_thread(_let_in, request, s, operator, "password")
    _set_cookie(answer, s, s.device_cookie, mark, DEVICE_S)
    return answer


def _record_failure(s: Services, name: str, address: str, device: str) -> None:
    """A name that nobody has is not written down: people type their password there."""
    known = name in s.operators.all()
    s.audit.write(name if known else "?", "login_failed", "", address, "" if known else "a name that nobody has")
    if (locked_s := s.lockout.locked_for_s(name, address, device)) > 0:
        s.audit.write(name if known else "?", "login_locked", "", address, f"for {locked_s:.0f} s")


def _wait(words: str, wait_s: float, status: int, name: str) -> Response:
    answer = _page("login.html", status, fault=words, name=name)
    answer.headers["Retry-After"] = str(int(wait_s) + 1)
    return answer


@router.get("/enter")
def enter_page(s: Desk, token: str = "") -> Response:
    if len(token) > 100 or not s.sessions.link_is_good(token):
        return _page("login.html", 410, fault="This link has been used or is too old. Log in with a password.", name="")
    return _page("enter.html", token=token)


@router.post("/enter")
async def enter(request: Request, s: Desk) -> Response:
    found = s.sessions.use_link((await _form(request)).get("token", "")) if same_origin(request) else None
    if found is None:
        return _page("login.html", 410, fault="This link has been used or is too old. Log in with a password.", name="")
    return await asyncio.to_thread(_let_in, request, s, found, "link")


@router.post("/logout", status_code=204)
def logout(request: Request, s: Desk, session: Annotated[Session, Depends(acting)]) -> Response:
    s.audit.write(session.login, "logout", "", address_of(request))
    s.sessions.end(request.cookies.get(s.cookie, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(s.cookie, path="/", secure=s.secure, httponly=True, samesite="strict")
    return answer


def _minutes(seconds: float) -> str:
    return f"{int(seconds) + 1} s" if seconds < 90 else f"{round(seconds / 60)} min"

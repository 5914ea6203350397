"""Who is asking, may they, and what a browser may do with the answer."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import compare_digest
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.desk.services import Services, services
from pipeline.desk.sessions import Session
from pipeline.desk.view import View
from pipeline.people.roles import PERMISSIONS, Permission, permission_of, ranks

CSRF_HEADER = "X-CSRF-Token"


def content_policy(map_origins: Iterable[str] = ()) -> str:
    """Nothing leaves this host, except to a map source that the settings name. MapLibre runs its worker from a blob."""
    more = "".join(f" {origin}" for origin in map_origins)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; worker-src blob:; child-src blob:; "
        f"img-src 'self' data: blob:{more}; connect-src 'self'{more}; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


class SecurityHeaders:
    """On every answer. What is not static is not stored."""

    def __init__(self, app: ASGIApp, policy: str, secure: bool) -> None:
        self.app = app
        self.fixed = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",  # under no-referrer a form of our own page says `Origin: null`
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        }
        if secure:
            self.fixed["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.fixed.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


def same_origin(request: Request) -> bool:
    """Whether a browser says that our own page sent this. What sends neither header is no browser, and has no cookie of
    one."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def find_session(request: Request, s: Services) -> Session | None:
    """Who asks: a program by its token, else a person by the page's cookie."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _program(token.strip(), request, s)  # a bad token is not mended by a cookie
    cookie = request.cookies.get(s.cookie)
    session = s.sessions.find(cookie) if cookie else None
    if session is None or session.by != "password":
        return session
    known = s.operators.all().get(session.login)
    # shut out, or another password, role or region: log in again
    return session if known and not known.disabled and known.stamp == session.stamp else None


def _program(text: str, request: Request, s: Services) -> Session | None:
    token = s.tokens.find(text, address_of(request))
    if token is None:
        return None
    return Session(
        id=token.id, login=f"token:{token.name}", role=token.role, regions=token.regions, by="token", stamp="", csrf="",
        address=address_of(request), agent="", began_us=token.made_us, used_us=token.used_us or token.made_us,
        expires_us=token.expires_us, read_only=token.read_only,
    )  # fmt: skip


def address_of(request: Request) -> str:
    return request.client.host if request.client else "?"


def allowed(request: Request, s: Annotated[Services, Depends(services)]) -> Session | None:
    """Every route asks here, before anything else of it runs: by the tables of `pipeline.people.roles`, and by regions."""
    route = request.scope["route"].path
    permission = permission_of(request.method, route)
    if permission is None:
        raise HTTPException(403, f"no row of pipeline/people/roles.py says who may {request.method} {route}")
    if permission.least is None:
        return None
    person = find_session(request, s)
    if person is None:
        raise HTTPException(401, "log in first")
    if not ranks(person.role, permission.least):
        raise HTTPException(403, _refusal(person, permission))
    if person.by == "token":
        _for_programs(person, permission)
    elif permission.acts:
        _from_our_page(request, person)
    _in_sight(request, s, s.views.of(person.role, person.regions))
    if permission.looks_at:
        subject = " ".join(str(value) for value in request.path_params.values())
        s.audit.write(person.login, permission.looks_at, subject, address_of(request), request.url.query)
    return person


def _refusal(person: Session, permission: Permission) -> str:
    if permission is PERMISSIONS["act"]:
        return f"{person.login} may look, not act; ask for the role `operator`"
    return f"{person.login} may not {permission.what}; ask for the role `{permission.least}`"


def _from_our_page(request: Request, person: Session) -> None:
    if not same_origin(request) or not compare_digest(
        request.headers.get(CSRF_HEADER, "").encode(), person.csrf.encode()
    ):
        raise HTTPException(403, f"the request lacks the page's token ({CSRF_HEADER}); reload the page")


def _for_programs(person: Session, permission: Permission) -> None:
    """A token is no ambient thing that another page could use: it needs no page's token."""
    if not permission.bearer:
        raise HTTPException(403, f"no token may {permission.what}; a person logs in for that")
    if permission.acts and person.read_only:
        raise HTTPException(403, f"{person.login} may only read; `rahdar token create --write` makes one that acts")


def _in_sight(request: Request, s: Services, view: View) -> None:
    """What is named in the address is in these regions. What is not, is not there."""
    vehicle, alert = request.path_params.get("vehicle"), request.path_params.get("alert")
    if vehicle is not None and not view.vehicle(vehicle):
        raise HTTPException(404, f"the plan has no vehicle {vehicle!r}")
    known = s.live.alert(alert) if alert is not None else None
    if known is not None and not view.alert(known):
        raise HTTPException(404, f"no alert {alert!r}")


def logged_in(person: Annotated[Session | None, Depends(allowed)]) -> Session:
    if person is None:
        raise HTTPException(401, "log in first")
    return person


Person = Annotated[Session, Depends(logged_in)]


def viewing(person: Person, s: Annotated[Services, Depends(services)]) -> View:
    """What this person sees."""
    return s.views.of(person.role, person.regions)


acting = operating = logged_in
"""That an act is one, and whose it may be, `allowed` has judged by the route's row."""

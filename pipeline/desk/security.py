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
    token = request.cookies.get(s.cookie)
    session = s.sessions.find(token) if token else None
    if session is None or session.by != "password":
        return session
    known = s.operators.all().get(session.login)
    return session if known and known.role == session.role else None  # removed, or another role: log in again


def logged_in(request: Request, s: Annotated[Services, Depends(services)]) -> Session:
    session = find_session(request, s)
    if session is None:
        raise HTTPException(401, "log in first")
    return session


def acting(request: Request, session: Annotated[Session, Depends(logged_in)]) -> Session:
    """Somebody who changes something: from our own page, with its token."""
    if not same_origin(request) or not compare_digest(
        request.headers.get(CSRF_HEADER, "").encode(), session.csrf.encode()
    ):
        raise HTTPException(403, f"the request lacks the page's token ({CSRF_HEADER}); reload the page")
    return session


def operating(session: Annotated[Session, Depends(acting)]) -> Session:
    if session.role != "operator":
        raise HTTPException(403, f"{session.login} may look, not act; ask for the role `operator`")
    return session

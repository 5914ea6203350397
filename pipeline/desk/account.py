"""Sessions: everybody sees and ends their own, an admin everybody's."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request

from pipeline.desk.security import Person, address_of
from pipeline.desk.services import Services, services
from pipeline.desk.sessions import Session

router = APIRouter(prefix="/api")
Desk = Annotated[Services, Depends(services)]
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]


def _row(session: Session, mine: str) -> dict[str, Any]:
    return {
        "id": session.id, "login": session.login, "role": session.role, "regions": session.regions, "by": session.by,
        "address": session.address, "agent": session.agent, "began_us": session.began_us, "used_us": session.used_us,
        "expires_us": session.expires_us, "this": session.id == mine,
    }  # fmt: skip


@router.get("/sessions")
def sessions(s: Desk, me: Person) -> list[dict[str, Any]]:
    """Where I am logged in; `this` is the one that asks. `used_us` is exact to a minute."""
    return [_row(one, me.id) for one in s.sessions.all(me.login)]


@router.post("/sessions/{session_id}/end", status_code=204)
def end_session(request: Request, session_id: Id, s: Desk, me: Person) -> None:
    """One of mine."""
    _end(request, s, me, session_id, me.login)


@router.get("/people/sessions")
def everybodys_sessions(s: Desk, me: Person) -> list[dict[str, Any]]:
    return [_row(one, me.id) for one in s.sessions.all()]


@router.post("/people/sessions/{session_id}/end", status_code=204)
def end_somebodys_session(request: Request, session_id: Id, s: Desk, me: Person) -> None:
    _end(request, s, me, session_id, None)


def _end(request: Request, s: Services, me: Session, session_id: str, login: str | None) -> None:
    if not any(one.id == session_id for one in s.sessions.all(login)):
        raise HTTPException(404, "no such session, or it has ended")
    s.audit.write(me.login, "session_ended", session_id, address_of(request))
    s.sessions.end_id(session_id, login)

"""Who may do what: two tables, and nothing but tables. A route of the desk without a row is closed to everybody.

Each role may do what the roles before it may. Regions are judged beside this (pipeline.desk.view): a role says what, a region says where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "operator", "supervisor", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "supervisor", "admin")
DUTIES: Mapping[Role, str] = {
    "viewer": "looks: a wall, a guest, a planner who reviews",
    "operator": "handles alerts: acknowledges, shelves, notes, hands over, closes",
    "supervisor": "answers for the shift: sees where people live",
    "admin": "looks after the people who log in",
}


@dataclass(frozen=True, slots=True)
class Permission:
    """`acts`: it changes something, so it needs the page's token, or an API token that may write. `looks_at`: using it is on record, as
    a look at this. `bearer`: an API token will do."""

    least: Role | None  # None: everybody, logged in or not
    what: str
    acts: bool = False
    looks_at: str = ""
    bearer: bool = True


PERMISSIONS: Mapping[str, Permission] = {
    "door": Permission(None, "reach the page of the login, and learn whether data flows", bearer=False),
    "answer": Permission(None, "take the one alert that a message's signed link names", bearer=False),
    "look": Permission("viewer", "see the queue, an alert's page, the map, positions and convoys"),
    "leave": Permission("viewer", "log out, see and end one's own sessions", acts=True, bearer=False),
    "own": Permission("viewer", "see one's own sessions", bearer=False),
    "trail": Permission("operator", "draw where a vehicle has been", looks_at="trail"),
    "act": Permission("operator", "acknowledge, note, shelve, hand over and close an alert", acts=True),
    "residence": Permission("supervisor", "see exactly where people live"),
    "people": Permission("admin", "see everybody's sessions", bearer=False),
    "shut_out": Permission("admin", "end somebody else's session", acts=True, bearer=False),
}
"""What a permission beyond the routes guards (`residence`) asks with `may`."""

ROUTES: Mapping[tuple[str, str], str] = {
    ("GET", "/"): "door",
    ("GET", "/login"): "door",
    ("POST", "/login"): "door",
    ("GET", "/enter"): "door",
    ("POST", "/enter"): "door",
    ("GET", "/a/{token}"): "answer",
    ("POST", "/a/{token}"): "answer",
    ("GET", "/static/{name:path}"): "door",
    ("GET", "/favicon.ico"): "door",
    ("GET", "/api/health"): "door",
    ("POST", "/logout"): "leave",
    ("GET", "/api/sessions"): "own",
    ("POST", "/api/sessions/{session_id}/end"): "leave",
    ("GET", "/api/people/sessions"): "people",
    ("POST", "/api/people/sessions/{session_id}/end"): "shut_out",
    ("GET", "/api/session"): "look",
    ("GET", "/api/plan.geojson"): "look",
    ("GET", "/api/snapshot"): "look",
    ("GET", "/api/story"): "look",
    ("GET", "/api/budget"): "look",
    ("GET", "/api/events"): "look",
    ("GET", "/api/openapi.json"): "look",
    ("GET", "/api/docs"): "look",
    ("GET", "/api/vehicles/{vehicle}"): "look",
    ("GET", "/api/vehicles/{vehicle}/trail"): "trail",
    ("GET", "/api/alerts/{alert}"): "look",
    ("POST", "/api/alerts/{alert}/acknowledge"): "act",
    ("POST", "/api/alerts/{alert}/unacknowledge"): "act",
    ("POST", "/api/alerts/{alert}/note"): "act",
    ("POST", "/api/alerts/{alert}/shelve"): "act",
    ("POST", "/api/alerts/{alert}/unshelve"): "act",
    ("POST", "/api/alerts/{alert}/hand_over"): "act",
    ("POST", "/api/alerts/{alert}/close"): "act",
}


def permission_of(method: str, route: str) -> Permission | None:
    """Of this route; None: it has no row, and stays shut."""
    name = ROUTES.get((method, route))
    return PERMISSIONS[name] if name else None


def ranks(role: str, least: Role) -> bool:
    """Whether `role` is `least` or more. A role that nobody knows is less than any."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(least)


def may(role: str, permission: str) -> bool:
    least = PERMISSIONS[permission].least
    return least is None or ranks(role, least)


def as_markdown() -> str:
    """The tables as docs/people.md shows them."""
    lines = ["| may | " + " | ".join(ROLES) + " | API token | on record |", "|---|" + ":-:|" * (len(ROLES) + 2)]
    for name, p in PERMISSIONS.items():
        if p.least is None:
            continue
        marks = ["yes" if may(role, name) else "" for role in ROLES]
        recorded = "as the alert's event" if name == "act" else "yes" if p.looks_at or name in RECORDED else ""
        lines.append(f"| {p.what} | {' | '.join(marks)} | {'yes' if p.bearer else ''} | {recorded} |")
    return "\n".join(lines)


RECORDED = frozenset({"residence", "leave", "shut_out"})
"""Written down by whoever serves them, since what was seen or ended is only known there."""


def without_a_row(routes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that nobody has thought about."""
    return sorted(route for route in routes if route not in ROUTES)

"""The tables say all of it: every permission, every role, every route."""

from __future__ import annotations

from pathlib import Path

from pipeline.people.lockout import PATIENCE
from pipeline.people.roles import (
    DUTIES,
    PERMISSIONS,
    ROLES,
    ROUTES,
    as_markdown,
    may,
    permission_of,
    ranks,
    without_a_row,
)


def test_each_role_may_what_the_one_before_it_may() -> None:
    for name in PERMISSIONS:
        allowed = [may(role, name) for role in ROLES]
        assert allowed == sorted(allowed)
        assert allowed[-1], "an admin may everything"


def test_who_may_what_as_it_was_decided() -> None:
    assert {name: next((role for role in ROLES if may(role, name)), None) for name in PERMISSIONS} == {
        "door": "viewer", "answer": "viewer", "look": "viewer", "leave": "viewer", "own": "viewer", "trail": "operator", "act": "operator",
        "residence": "supervisor", "people": "admin", "shut_out": "admin",
    }  # fmt: skip


def test_a_role_that_nobody_knows_may_nothing() -> None:
    for unknown in ("", "root", "Admin", "operator "):
        assert not any(may(unknown, name) for name, p in PERMISSIONS.items() if p.least is not None)
        assert not ranks(unknown, "viewer")


def test_what_changes_something_is_no_get_and_what_is_a_get_changes_nothing() -> None:
    for (method, path), name in ROUTES.items():
        if PERMISSIONS[name].least is None:
            continue  # the door: nobody is logged in there yet, and its forms are judged by their origin
        assert PERMISSIONS[name].acts == (method != "GET"), (method, path)


def test_the_page_about_people_shows_these_tables(root: Path) -> None:
    page = (root / "docs" / "people.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- roles -->\n")[2].partition("\n<!-- /roles -->")[0]
    duties = "\n".join(f"- **{role}** {duty}" for role, duty in DUTIES.items())
    assert shown == f"{duties}\n\n{as_markdown()}"


def test_the_page_about_people_says_how_long_one_waits(root: Path) -> None:
    page = (root / "docs" / "people.md").read_text(encoding="utf-8")
    free = {row.split("|")[1].strip(): int(row.split("|")[2]) for row in page.splitlines() if "doubling to" in row}
    assert list(free.values()) == [PATIENCE[scope].free for scope in ("pair", "address", "name", "device")]


def test_a_route_without_a_row_has_no_permission() -> None:
    assert permission_of("POST", "/api/new") is None
    assert permission_of("DELETE", "/api/session") is None
    assert without_a_row([("GET", "/"), ("POST", "/api/new")]) == [("POST", "/api/new")]

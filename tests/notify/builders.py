"""A small roster, an alert store over it, and what stands in its outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.alert.store import AlertStore
from pipeline.model.alert import AlertEvent
from pipeline.model.episode import Change
from pipeline.plan.model import CompiledPlan, Convoy, Login, RuleSetting, Schedule, Vehicle
from pipeline.plan.roster import Channel, ChannelKind, Ladder, Officer, Post, Roster, Rung, Shift, Span
from tests.alert.builders import WORDS, at, batch, change, command
from tests.detect.plans import RULES, plan

MINUTE_US = 60_000_000
ALWAYS = Schedule()


def officer(name: str, *kinds: ChannelKind, most: int = 6, language: str = "en") -> Officer:
    """With a channel of each kind, called like the kind; its address is `NAME-KIND`."""
    return Officer(
        name, "r", {"en": name}, language, tuple(Channel(k, k, f"{name}-{k}") for k in kinds or ("webhook",)), most
    )


def post(name: str, *officers: str, schedule: Schedule = ALWAYS) -> Post:
    return Post(name, "r", {"en": name}, (Shift(officers, schedule),) if officers else ())


def rung(minute: float, *posts: str, by: Sequence[str] = ()) -> Rung:
    return Rung(round(minute * MINUTE_US), posts, tuple(by))


def ladder(
    *rungs: Rung, severities: Sequence[str] = ("critical", "high", "medium", "low"), again: float | None = None
) -> Ladder:
    return Ladder("l", frozenset(severities), frozenset(), rungs, None if again is None else round(again * MINUTE_US))


def roster(
    posts: Sequence[Post] = (post("post", "amina"), post("chief", "bilal")),
    officers: Sequence[Officer] = (officer("amina"), officer("bilal")),
    ladders: Sequence[Ladder] = (ladder(rung(0, "owner"), rung(5, "chief")),),
    overrides: Sequence[Span] = (),
    leave: Sequence[Span] = (),
) -> Roster:
    return Roster(
        "r", {p.id: p for p in posts}, {o.id: o for o in officers}, tuple(overrides), tuple(leave), tuple(ladders)
    )


def manned(of: Roster | None = None, vehicles: Sequence[str] = ("v1",), **rules: RuleSetting) -> CompiledPlan:
    made = plan(vehicles=vehicles, rules={**RULES, "sos.pressed": sos_setting(), **rules})
    return replace(made, rosters={"r": of or roster()})


def sos_setting() -> RuleSetting:
    return RuleSetting("sos.pressed", "live", "critical", "post", "go", MINUTE_US, {})


def convoyed(of: CompiledPlan, convoy: Convoy, *more: Vehicle) -> CompiledPlan:
    """With this convoy, and devices that may log in: without logins the road hears nothing."""
    vehicles = {**of.vehicles, **{v.id: v for v in more}}
    logins = {d: Login(d, "device", (d,), "c") for v in vehicles.values() for d in v.devices}
    return replace(of, convoys={convoy.id: convoy}, vehicles=vehicles, logins=logins)


class Stage:
    """The alert stage's store, spoken to in minutes."""

    def __init__(self, file: Path, of: CompiledPlan | None = None, patience_us: int | None = None) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"
        self.store = AlertStore(self.url, of or manned(), lambda _: WORDS, patience_us=patience_us)
        self._offset = 0

    def changes(self, minute: float, *changes: Change) -> list[AlertEvent]:
        self._offset += 1
        return self.store.take_changes([("episodes", 0, self._offset, batch(*changes))], at(minute))

    def opens(self, minute: float, *episodes: Any) -> list[AlertEvent]:
        return self.changes(minute, *(change("begin", e) for e in episodes))

    def orders(self, minute: float, what: Any, of: Any, **more: Any) -> list[AlertEvent]:
        self._offset += 1
        more = {"id": f"c{self._offset}"} | more
        return self.store.take_commands([("commands", 0, self._offset, command(what, of.id, **more))], at(minute))

    def time(self, minute: float) -> list[AlertEvent]:
        return self.store.take_time(at(minute), None)

    def rows(self, **where: Any) -> list[Any]:
        with closing(sqlite3.connect(self.file)) as db:
            db.row_factory = sqlite3.Row
            found = db.execute("select * from outbox order by created_us, step, person, kind").fetchall()
        return [r for r in found if all(r[k] == v for k, v in where.items())]

    def told(self, state: str = "pending") -> list[str]:
        return [r["person"] for r in self.rows(state=state)]

    def close(self) -> None:
        self.store.close()


def said(events: Sequence[AlertEvent]) -> list[tuple[str, str]]:
    return [(e.transition, e.reason) for e in events]

"""A desk over a small live state, with a hand-written log behind it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.clock import WallClock
from pipeline.desk.feed import Feed
from pipeline.desk.live import LiveState
from pipeline.desk.operators import Operators
from pipeline.desk.pump import Pump
from pipeline.desk.services import Services
from pipeline.desk.sessions import SessionStore
from pipeline.desk.web import create_app
from pipeline.desk.where import Whereabouts
from pipeline.model.alert import Alert, AlertEvent, Command
from pipeline.model.observation import Tick
from pipeline.people.audit import AuditLog
from pipeline.people.lockout import Lockout
from pipeline.people.tokens import TokenStore
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan

PASSWORD = "a long enough password"
LEAD, PLACE = "C-1 is 640 m off N-35", "N-35 km 214, 3 km north of Pattan, since 02:14"


@cache
def demo_plan(root: Path) -> CompiledPlan:
    """Read once: nobody changes it."""
    return load_plan(root / "plans" / "hazara")


class Log:
    """Takes commands, or refuses them."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.down = False

    async def send(self, command: Command) -> None:
        if self.down:
            raise OSError("the log is not there")
        self.commands.append(command)


class Desk:
    def __init__(self, root: Path, tmp_path: Path, plan: CompiledPlan | None = None) -> None:
        plan = plan or demo_plan(root)
        self.log, self.clock = Log(), WallClock()
        self.s = Services(
            live=LiveState(plan), feed=Feed("abcd"), where=Whereabouts(plan),
            plan_geojson=b'{"type":"FeatureCollection","features":[]}',
            plan_geojson_public=b'{"type":"FeatureCollection","features":[]}',
            operators=Operators(tmp_path / "operators.yaml"), sessions=SessionStore(tmp_path / "desk.sqlite"),
            tokens=TokenStore(), lockout=Lockout(), audit=AuditLog(tmp_path / "audit.sqlite"), clock=self.clock, send_command=self.log.send,
        )  # fmt: skip
        self.app = create_app(self.s)

    def close(self) -> None:
        self.s.sessions.close()
        self.s.audit.close()
        self.s.tokens.close()
        self.s.lockout.close()

    def tick(self, age_s: float = 0.0, healthy: bool = True) -> None:
        at_us = self.clock.now_us() - int(age_s * 1_000_000)
        self.s.live.apply_tick(Tick(source="ingest", at_us=at_us, healthy=healthy))

    def alert(self, alert_id: str = "a1", seq: int = 1, transition: Any = "opened", **state: Any) -> None:
        now_us = self.clock.now_us()
        alert = Alert(
            id=alert_id, rule="route.deviation", subject="c-1", object="", region="hazara", cell="", severity="high",
            text=f"{LEAD}. {PLACE}.", lead=LEAD, place=PLACE, response="Call the coach.", owner_post="desk",
            respond_within_us=60_000_000, began_at_us=now_us, opened_at_us=now_us,
        )  # fmt: skip
        alert = msgspec.structs.replace(alert, **state)
        reason = "BEGAN" if transition == "opened" else "BY_TEST"
        event = AlertEvent(
            version=1, seq=seq, at_us=now_us, transition=transition, reason=reason, actor="policy", alert=alert
        )
        Pump(self.s).alert(event)


@pytest.fixture
def desk(root: Path, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(root, tmp_path)
    yield made
    made.close()

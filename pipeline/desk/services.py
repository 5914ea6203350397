"""What the desk's pages and API lean on, handed in whole: no globals, nothing read from the environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from fastapi import Request

from pipeline.clock import Clock
from pipeline.desk.feed import Feed
from pipeline.desk.lanes import Lane
from pipeline.desk.live import LiveState, TrailPoint
from pipeline.desk.operators import Operators
from pipeline.desk.sessions import SessionStore
from pipeline.desk.story import Story
from pipeline.desk.view import Views
from pipeline.desk.where import Whereabouts
from pipeline.model.alert import AlertEvent, Command
from pipeline.people.audit import AuditLog
from pipeline.people.lockout import Lockout
from pipeline.people.tokens import TokenStore

COOKIE = "rahdar"


class Records(Protocol):
    """What is on record, beyond what the desk remembers. Called in a thread."""

    def trail(self, vehicle: str, from_us: int, to_us: int) -> Sequence[TrailPoint]: ...

    def alert_events(self, alert_id: str) -> Sequence[AlertEvent]: ...


class NoRecords:
    """A desk without a record: it knows what it has seen itself."""

    def trail(self, vehicle: str, from_us: int, to_us: int) -> Sequence[TrailPoint]:
        return ()

    def alert_events(self, alert_id: str) -> Sequence[AlertEvent]:
        return ()


@dataclass
class Services:
    live: LiveState
    feed: Feed
    where: Whereabouts
    plan_geojson: bytes
    plan_geojson_public: bytes
    operators: Operators
    sessions: SessionStore
    tokens: TokenStore
    lockout: Lockout
    audit: AuditLog
    clock: Clock
    send_command: Callable[[Command], Awaitable[None]]
    """Returns when the command is durable; raises when it cannot be."""
    records: Records = field(default_factory=NoRecords)
    story: Story = field(default_factory=Story)
    secure: bool = False
    """The page is served by https: cookies are told so."""
    basemap_url: str | None = None
    link_secret: bytes = b""
    """Signs the links in messages; empty: none is good."""
    speed: float = 1.0
    stale_after_s: float = 15.0
    strangers: Lane = field(default_factory=Lane)
    """A flood of them does not hold up those who were `known` before."""
    known: Lane = field(default_factory=Lane)
    views: Views = field(init=False)

    def __post_init__(self) -> None:
        self.views = Views(self.live.plan, self.live.open_alerts)

    def stale_after_us(self) -> int:
        """In the system's own time, which a demonstration may run faster."""
        return int(self.stale_after_s * 1_000_000 * max(1.0, self.speed))

    @property
    def cookie(self) -> str:
        return "__Host-" + COOKIE if self.secure else COOKIE

    @property
    def device_cookie(self) -> str:
        return self.cookie + "-device"

    def snapshot(self) -> dict[str, Any]:
        """Everything that the page shows, as of now."""
        now_us = self.clock.now_us()
        return {
            **self.live.snapshot(),
            "clock": self.live.clock(now_us),
            "convoys": self.where.convoys(self.live.positions, now_us),
            "story": self.story.view,
        }


def services(request: Request) -> Services:
    return cast(Services, request.app.state.services)

"""The desk's API: what is, what was, and what a person does about it. Everything but `health` needs a session."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from pipeline.desk.events import MOST_READERS, EventStream, events
from pipeline.desk.live import TrailPoint
from pipeline.desk.security import address_of, find_session, logged_in, operating, viewing
from pipeline.desk.services import Services, services
from pipeline.desk.sessions import Session
from pipeline.desk.view import View
from pipeline.model.alert import AlertEvent, Command
from pipeline.people.roles import may

router = APIRouter(prefix="/api")
Desk = Annotated[Services, Depends(services)]
Somebody = Annotated[Session, Depends(logged_in)]
Somebody_who_acts = Annotated[Session, Depends(operating)]
Seen = Annotated[View, Depends(viewing)]
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:-]{1,80}$")]
Key = Annotated[str, Header(alias="Idempotency-Key", pattern=r"^[A-Za-z0-9_-]{8,80}$")]

MINUTE_US = 60_000_000
LONGEST_TRAIL_MIN = 12 * 60
MOST_TRAIL_POINTS = 2000
LONGEST_SHELF_MIN = 8 * 60
BEHIND = ("id", "lead", "place", "severity", "held", "subject", "cleared_at_us")
BEHIND_SHOWN = 50


class Health(BaseModel):
    ok: bool
    data_age_s: float | None
    listening: bool = True  # ingest says in its Ticks that it misses nothing


@router.get("/health")
def health(s: Desk) -> Health:
    """Open to all: whether data flows, and how old the newest is. Nothing else."""
    newest = s.live.newest_us
    if not newest:
        return Health(ok=False, data_age_s=None)
    age_us = max(0, s.clock.now_us() - newest)
    return Health(ok=age_us <= s.stale_after_us(), data_age_s=round(age_us / 1_000_000, 1), listening=s.live.healthy)


@router.get("/session")
def session(s: Desk, me: Somebody, view: Seen) -> dict[str, Any]:
    """Who I am, and what the page needs to know once."""
    plan = s.live.plan
    in_convoy = {vehicle: convoy.id for convoy in plan.convoys.values() for vehicle in convoy.members}
    return {
        "login": me.login,
        "role": me.role,
        "csrf": me.csrf,
        "acts": may(me.role, "act"),
        "speed": s.speed,
        "stale_after_s": s.stale_after_us() / 1_000_000,
        "basemap_url": s.basemap_url,
        "plan_hash": plan.hash,
        "regions": [
            {"id": r.id, "name": dict(r.name), "invented": r.invented, "bounds": r.bounds_lonlat}
            for r in plan.regions.values()
            if view.region(r.id)
        ],
        "vehicles": {
            v.id: {
                "sign": v.call_sign, "role": v.role, "kind": v.kind, "region": v.region, "convoy": in_convoy.get(v.id),
                "every_s": v.expected_interval_us / 1_000_000,
            }
            for v in plan.vehicles.values()
            if view.vehicle(v.id)
        },
    }  # fmt: skip


@router.get("/plan.geojson")
def plan_geojson(request: Request, s: Desk, me: Somebody, view: Seen) -> Response:
    """The plan's own geometry. Below a supervisor people are shown only roughly where others live; above, looking is on record."""
    if view.exact:
        s.audit.write(me.login, "residence", " ".join(view.homes()), address_of(request))
    body = view.geojson(s.plan_geojson, s.plan_geojson_public)
    return Response(body, media_type="application/geo+json", headers={"Cache-Control": "private, no-cache"})


@router.get("/snapshot")
def snapshot(s: Desk, me: Somebody, view: Seen) -> dict[str, Any]:
    """What `events` begins with."""
    return view.snapshot(s.snapshot())


@router.get("/story")
def story(s: Desk, me: Somebody) -> dict[str, Any]:
    return s.story.view


@router.get(
    "/events", response_model=None, response_class=Response, responses={200: {"content": {"text/event-stream": {}}}}
)
async def event_stream(
    request: Request, s: Desk, me: Somebody, view: Seen, last: str = "", last_event_id: Annotated[str, Header()] = ""
) -> EventStream:
    """Server-sent events: `snapshot, positions, alert, convoys, story` are numbered, `clock` and `goodbye` are not.

    Resumes by `Last-Event-ID`, or `last` for a page that opens a new connection.
    """
    if s.feed.readers >= MOST_READERS:
        raise HTTPException(503, "too many screens are open", headers={"Retry-After": "5"})
    return EventStream(events(s, last_event_id or last, lambda: find_session(request, s) is not None, view))


# ---- vehicles -----------------------------------------------------------------------------------------------


@router.get("/vehicles/{vehicle}")
def vehicle_card(vehicle: Id, s: Desk, me: Somebody, view: Seen) -> dict[str, Any]:
    """Where it is, in words for people."""
    at = s.live.positions.get(vehicle)
    if at is None and vehicle not in s.live.plan.vehicles:
        raise HTTPException(404, f"the plan has no vehicle {vehicle!r}")
    return {"id": vehicle, "where": s.where.words(vehicle, *view.place(at.lat, at.lon)) if at else None}


@router.get("/vehicles/{vehicle}/trail")
async def trail(
    vehicle: Id, s: Desk, me: Somebody, view: Seen, minutes: Annotated[int, Query(ge=1, le=LONGEST_TRAIL_MIN)] = 30
) -> dict[str, Any]:
    """Points `[seen_at_us, lat, lon, speed_mps, accuracy_m]`, oldest first. Looking is on record."""
    if vehicle not in s.live.plan.vehicles and vehicle not in s.live.positions:
        raise HTTPException(404, f"the plan has no vehicle {vehicle!r}")
    now_us = s.clock.now_us()
    from_us = now_us - minutes * MINUTE_US
    recorded = await asyncio.to_thread(s.records.trail, vehicle, from_us, now_us)
    merged: dict[int, TrailPoint] = {p.seen_at_us: p for p in (*recorded, *s.live.trail(vehicle, from_us))}
    points = view.trail([merged[at] for at in sorted(merged)])
    if len(points) > MOST_TRAIL_POINTS:
        step = -(-len(points) // MOST_TRAIL_POINTS)
        points = points[-1::-step][::-1]  # the newest stays
    return {"vehicle": vehicle, "points": [p.row() for p in points]}


@router.get("/budget")
def budget(s: Desk, me: Somebody, view: Seen) -> dict[str, Any]:
    """How many alerts there are, against what people can handle: the last 24 hours of these regions."""
    return s.live.budget.view(s.clock.now_us(), s.live.open_alerts(), view.region)


# ---- alerts -------------------------------------------------------------------------------------------------


def _step(event: AlertEvent) -> dict[str, Any]:
    return {
        "seq": event.seq, "at_us": event.at_us, "transition": event.transition, "reason": event.reason,
        "actor": event.actor, "detail": event.detail,
    }  # fmt: skip


@router.get("/alerts/{alert}")
async def alert_page(alert: Id, s: Desk, me: Somebody, view: Seen) -> dict[str, Any]:
    """The alert, everything that rules, policy and people did about it, and the nearest units."""
    recorded = await asyncio.to_thread(s.records.alert_events, alert)
    steps = {event.seq: event for event in (*recorded, *s.live.history(alert))}
    last = steps[max(steps)] if steps else None
    if last is None or not view.alert(last.alert):
        raise HTTPException(404, f"no alert {alert!r}")
    a = last.alert
    setting = next(
        (r.rules[a.rule] for r in s.live.plan.regions.values() if r.id == a.region and a.rule in r.rules), None
    )
    units = {vehicle: at for vehicle, at in s.live.positions.items() if view.vehicle(vehicle)}
    near = s.where.nearest_units(units, a.lat, a.lon) if a.lat is not None and a.lon is not None else []
    return {
        "alert": view.alert_view(msgspec.to_builtins(a)),
        "timeline": [_step(steps[seq]) for seq in sorted(steps)],
        "nearest": near,
        "behind": [{key: b[key] for key in BEHIND} for b in s.live.behind(alert) if view.alert(b)][:BEHIND_SHOWN],
        "params": dict(setting.params) if setting else {},
    }


class Text(BaseModel):
    text: Annotated[str, Field(max_length=2000)] = ""


class Note(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=2000)]


class Shelf(Text):
    minutes: Annotated[int, Field(ge=1, le=LONGEST_SHELF_MIN)] = 30


class HandOver(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=200, description="to whom")]


class Closing(Text):
    outcome: Literal["real", "false", "expected", "test"]


class Done(BaseModel):
    command: str
    """Its id: the alert's event that answers it carries the same."""


What = Literal["acknowledge", "unacknowledge", "note", "shelve", "unshelve", "hand_over", "close"]


class Commands:
    """Sends commands once per idempotency key. A repeated key with other words is refused."""

    KEPT = 10_000

    def __init__(self) -> None:
        self._sent: OrderedDict[str, tuple[bytes, asyncio.Future[None]]] = OrderedDict()

    async def send(self, s: Services, command: Command) -> None:
        body = msgspec.json.encode([command.what, command.alert_id, command.text, command.outcome])
        known = self._sent.get(command.id)
        if known is not None:
            if known[0] != body:
                raise HTTPException(409, "this Idempotency-Key was used for something else")
            await asyncio.shield(known[1])
            return
        sending = asyncio.ensure_future(_deliver(s, command))
        self._sent[command.id] = (body, sending)
        while len(self._sent) > self.KEPT:
            self._sent.popitem(last=False)
        try:
            await asyncio.shield(sending)  # a browser that goes away does not take the command back
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._sent.pop(command.id, None)
            raise HTTPException(503, "not recorded: the log cannot be reached. Try again.") from error


async def _deliver(s: Services, command: Command) -> None:
    await s.send_command(command)


async def _act(
    request: Request, s: Services, me: Session, key: str, alert: str, what: What, text: str = "", outcome: str = "",
    until_us: int | None = None,
) -> Done:  # fmt: skip
    if s.live.alert(alert) is None:
        raise HTTPException(404, f"no alert {alert!r} is open here")
    digest = hashlib.blake2b("\0".join((me.login, alert, key)).encode(), digest_size=12).hexdigest()
    command = Command(
        version=1, id=digest, what=what, alert_id=alert, by=me.login, at_us=s.clock.now_us(), text=text,
        outcome=outcome, until_us=until_us,
    )  # fmt: skip
    commands: Commands = request.app.state.commands
    await commands.send(s, command)
    return Done(command=digest)


@router.post("/alerts/{alert}/acknowledge")
async def acknowledge(request: Request, alert: Id, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    """I have it. Answered only when it is on disk."""
    return await _act(request, s, me, key, alert, "acknowledge")


@router.post("/alerts/{alert}/unacknowledge")
async def unacknowledge(request: Request, alert: Id, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    """Take an acknowledgement back: an event of its own."""
    return await _act(request, s, me, key, alert, "unacknowledge")


@router.post("/alerts/{alert}/note")
async def note(request: Request, alert: Id, body: Note, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    return await _act(request, s, me, key, alert, "note", body.text)


@router.post("/alerts/{alert}/shelve")
async def shelve(request: Request, alert: Id, body: Shelf, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    """Put it aside for a while."""
    until_us = s.clock.now_us() + body.minutes * MINUTE_US
    return await _act(request, s, me, key, alert, "shelve", body.text, until_us=until_us)


@router.post("/alerts/{alert}/unshelve")
async def unshelve(request: Request, alert: Id, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    return await _act(request, s, me, key, alert, "unshelve")


@router.post("/alerts/{alert}/hand_over")
async def hand_over(request: Request, alert: Id, body: HandOver, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    return await _act(request, s, me, key, alert, "hand_over", body.text)


@router.post("/alerts/{alert}/close")
async def close(request: Request, alert: Id, body: Closing, s: Desk, me: Somebody_who_acts, key: Key) -> Done:
    """With what it turned out to be."""
    return await _act(request, s, me, key, alert, "close", body.text, body.outcome)

"""`rahdar.plans`: the first plan, the content of every plan that was ever in force, and every order. Whoever starts reads it first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

import msgspec

from agents.transport import read_topic
from pipeline.model import topics
from pipeline.model.observation import Order
from pipeline.plan.content import ContentError, plan_of
from pipeline.plan.model import CompiledPlan
from pipeline.plan.timeline import Timeline, UnknownPlanError
from pipeline.settings import Settings

log = logging.getLogger("rahdar.plans")

BASE = b"base"
PLAN, ORDER = b"plan/", b"order/"
encode_order = msgspec.msgpack.Encoder().encode
_decode_order = msgspec.msgpack.Decoder(Order).decode


def order_key(order: Order) -> bytes:
    return ORDER + f"{order.effective_from_us}/{order.seen_at_us}/{order.body:x}/{order.what}".encode()


@dataclass
class Plans:
    """What the topic holds, as far as it was read. `own`: the plan of this process's folder."""

    settings: Settings
    own: CompiledPlan
    known: dict[str, CompiledPlan] = field(default_factory=dict)
    """Plans that were read from files, by hash."""
    content: dict[str, bytes] = field(default_factory=dict)
    orders: dict[bytes, Order] = field(default_factory=dict)
    base_hash: str = ""
    timeline: Timeline = field(init=False)

    def __post_init__(self) -> None:
        self.known[self.own.hash] = self.own
        self.timeline = Timeline(self.own)
        self._next = 0

    async def refresh(self) -> None:
        """Read what has come since the last time. Raises ConnectionError, OSError."""
        changed = False
        async for offset, key, value in read_topic(self.settings.log_url, topics.PLANS.name, 0, start=self._next):
            self._next = offset + 1
            if key is None or value is None:
                continue
            if key == BASE:
                self.base_hash = value.decode()
            elif key.startswith(PLAN):
                self.content[key.removeprefix(PLAN).decode()] = value
            elif key.startswith(ORDER):
                with contextlib.suppress(msgspec.MsgspecError):
                    self.orders[key] = _decode_order(value)
                    changed = True
        base = await self.plan(self.base_hash) if self.base_hash else None
        if changed or (base is not None and base is not self.timeline.base):
            self.timeline = await self.with_orders(Timeline(base or self.own), list(self.orders.values()))

    async def with_orders(self, timeline: Timeline, orders: list[Order]) -> Timeline:
        """Switches to plans whose content cannot be had are left out."""
        left = list(orders)
        while True:
            try:
                return timeline.with_orders(left, self.known)
            except UnknownPlanError as unknown:
                if await self.plan(unknown.plan_hash) is None:
                    log.error("the content of %s is not at hand: a switch to it is left out", unknown)
                    left = [order for order in left if order.plan_hash != unknown.plan_hash]

    async def plan(self, plan_hash: str) -> CompiledPlan | None:
        """Of this hash, out of files or made by orders; None when it is not at hand."""
        found = self.known.get(plan_hash) or next(
            (v.plan for v in self.timeline.versions if v.plan.hash == plan_hash), None
        )
        if found is None and plan_hash in self.content:
            s = self.settings
            try:
                found = await asyncio.to_thread(
                    plan_of, self.content[plan_hash], plan_hash, s.var / "plans", s.plan_trees
                )
            except (ContentError, OSError) as error:
                log.error("%s", error)
                return None
            self.known[plan_hash] = found
        return found

    async def sought(self, plan_hash: str) -> CompiledPlan | None:
        """The same, after a look at what has come."""
        found = await self.plan(plan_hash)
        if found is None:
            await self.refresh()
            found = await self.plan(plan_hash)
        return found

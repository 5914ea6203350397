"""The door for orders: a folder of this machine into which `rahdar order` puts them. Who may write there may give orders, nobody else.

An order is checked whole against what is in force by then, goes into the spool, and is answered when it is on its way to everybody. One that
was taken twice, because ingest was killed between the two, counts once: its number says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import orjson

from pipeline.ingest.spool import Spool, SpoolFullError
from pipeline.model.observation import Order
from pipeline.model.times import format_us
from pipeline.model.wire import RawItem
from pipeline.normalise.orders import ORDER_LOGIN, ORDER_TOPIC, order_of
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.orders import OrderError, apply_order, concerned
from pipeline.plan.timeline import Timeline, key_of

log = logging.getLogger("rahdar.ingest")

LOOK_S = 0.25
MOST_BYTES = 64 * 1024
ANSWERS_KEPT = 200
ASKED, ANSWER = ".order", ".answer"


class OrderDoor:
    """`timeline`: asks for what is known now."""

    def __init__(self, folder: Path, spool: Spool, timeline: Callable[[], Timeline]) -> None:
        self.folder = folder
        self.spool = spool
        self.timeline = timeline
        self._told: dict[int, Order] = {}
        self._news = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def watch(self) -> None:
        while True:
            for name in sorted(name for name in os.listdir(self.folder) if name.endswith(ASKED)):  # noqa: PTH208  # a tenth of glob's time
                path = self.folder / name
                try:
                    await self._one(path)
                except (OSError, SpoolFullError) as error:
                    log.warning("order %s: %s", path.name, error)
            await asyncio.sleep(LOOK_S)

    async def _one(self, path: Path) -> None:
        with path.open("rb") as file:
            payload = file.read(MOST_BYTES + 1)
        try:
            if len(payload) > MOST_BYTES:
                raise RefusedError("oversized", f"more than {MOST_BYTES} bytes")
            answer = await self._take(payload, self.spool.stamp()[0])
        except RefusedError as refused:
            answer = {"taken": False, "faults": [f"{refused.reason}: {refused.detail}"]}
        except OrderError as error:
            answer = {"taken": False, "faults": [str(fault) for fault in error.faults]}
        await asyncio.to_thread(self._answer, path, answer)

    def _answer(self, path: Path, answer: dict[str, object]) -> None:
        beside = path.with_suffix(".part")
        beside.write_bytes(orjson.dumps(answer))
        beside.rename(path.with_suffix(ANSWER))
        path.unlink(missing_ok=True)
        for old in sorted(self.folder.glob(f"*{ANSWER}"), key=lambda p: p.stat().st_mtime)[:-ANSWERS_KEPT]:
            old.unlink(missing_ok=True)

    async def _take(self, payload: bytes, now_us: int) -> dict[str, object]:
        order = order_of(RawItem(0, ORDER_LOGIN, ORDER_TOPIC, payload, now_us))
        timeline = self.timeline()
        known = next((o for o in timeline.orders if same(o, order)), None)
        if known is None:
            check(timeline, order)
            known = await self.give(payload)
        after = self.timeline()
        if (faults := after.refused.get(key_of(known))) is not None:
            raise OrderError(faults)
        before = timeline.at(known.effective_from_us)
        return {
            "taken": True,
            "effective_from": format_us(known.effective_from_us),
            "cells": list(concerned(before, after.at(known.effective_from_us))),
            "late_s": max(0.0, (known.received_at_us - known.effective_from_us) / 1e6),
        }

    async def give(self, payload: bytes) -> Order:
        """Into the spool; returns when everybody is being told. Raises SpoolFullError."""
        number = await self.spool.append(ORDER_LOGIN, ORDER_TOPIC, payload)
        while number not in self._told:
            self._news.clear()
            await self._news.wait()
        return self._told.pop(number)

    def told(self, number: int, order: Order) -> None:
        """It is on its way."""
        self._told[number] = order
        while len(self._told) > ANSWERS_KEPT:
            del self._told[next(iter(self._told))]
        self._news.set()


def same(a: Order, b: Order) -> bool:
    number = b.fields.get("number")
    return bool(number) and a.what == b.what and a.fields.get("number") == number


def check(timeline: Timeline, order: Order) -> None:
    """Against what is in force by then. Raises OrderError."""
    apply_order(timeline.at(order.effective_from_us), order)

"""Takes what is due from the outbox, sends it, writes down how it went. What is critical has a lane of its own.

Between the lease and its outcome nothing is held that a crash could lose: see `leases`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from pipeline.clock import Clock
from pipeline.notify.addresses import Addresses
from pipeline.notify.channels import Channel
from pipeline.notify.leases import Leases, Task
from pipeline.notify.letter import letter_for
from pipeline.notify.outcome import Accepted, Outcome, Permanent, Sent, Unknown
from pipeline.plan.model import CompiledPlan

log = logging.getLogger("rahdar.notify")
T = TypeVar("T")

LOOK_S = 0.5  # what is due now is told by a wake-up; a retry may come half a second late
REPORTS_S = 0.1  # a report that came before we have written that it is awaited is looked at again so soon
RENEW_S = 2.5
ALIVE_S = 5.0
LONGEST_SEND_S = 120.0
AT_ONCE = 8
AT_ONCE_CRITICAL = 16
REPORT_KEPT_S = 60.0
DOWNLINK = "downlink"


class Sender:
    """`channels`: by kind, and `downlink`. Call `wake` when there may be something new; it also looks by itself."""

    def __init__(
        self, leases: Leases, plan: CompiledPlan, addresses: Addresses, channels: Mapping[str, Channel], clock: Clock, secret: bytes,
        desk_url: str,
    ) -> None:  # fmt: skip
        self._leases, self._plan, self._addresses = leases, plan, addresses
        self._channels, self._clock, self._secret, self._desk_url = channels, clock, secret, desk_url
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._wakes = [asyncio.Event(), asyncio.Event()]
        self._busy: set[asyncio.Task[None]] = set()
        self._ours: set[str] = set()
        self._reports: deque[tuple[float, str, bool, str]] = deque()
        self._reported = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.faults = 0  # of the database
        self.sent = self.failed = 0  # tries that a channel took, and that it did not or nobody knows

    async def call(self, call: Callable[[], T]) -> T:
        """On the outbox's own thread."""
        return await self._loop.run_in_executor(self._thread, call)

    def wake(self) -> None:
        for event in self._wakes:
            event.set()

    def report(self, receipt: str, delivered: bool, why: str) -> None:
        """A report of delivery, from whatever thread; it may come before we have written that it is awaited."""
        self._loop.call_soon_threadsafe(self._hear, (self._loop.time(), receipt, delivered, why))

    def _hear(self, report: tuple[float, str, bool, str]) -> None:
        self._reports.append(report)
        self._reported.set()
        self.wake()

    async def run(self) -> None:
        """Until cancelled. A database that cannot be reached is tried again: the rows wait."""
        await self.patiently(self._leases.take_back)
        lanes = [self._lane(True, AT_ONCE_CRITICAL, self._wakes[0]), self._lane(False, AT_ONCE, self._wakes[1])]
        try:
            await asyncio.gather(*lanes, self._keep())
        finally:
            for task in self._busy:
                task.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)

    async def close(self) -> None:
        await self.call(self._leases.close)
        self._thread.shutdown()

    async def patiently(self, call: Callable[[], T]) -> T:
        """On the outbox's own thread, again until its database can be reached."""
        while True:
            try:
                return await self.call(call)
            except sa.exc.DBAPIError as error:
                self.faults += 1
                log.warning("the outbox cannot be reached: %s", error.orig)
                await asyncio.sleep(0.5)

    async def _lane(self, critical: bool, most: int, woken: asyncio.Event) -> None:
        running: set[asyncio.Task[None]] = set()
        while True:
            woken.clear()
            if (free := most - len(running)) > 0:
                now_us = self._clock.now_us()
                taken = await self.patiently(lambda n=now_us, f=free: self._leases.take(n, f, critical=critical))  # type: ignore[misc]
                for task in taken:
                    self._ours.add(task.id)
                    doing = asyncio.ensure_future(self._one(task))
                    for group in (running, self._busy):
                        group.add(doing)
                        doing.add_done_callback(group.discard)
                    doing.add_done_callback(lambda _: woken.set())
            await woken.wait()

    async def _one(self, task: Task) -> None:
        try:
            outcome = await self.send(task)
            now_us = self._clock.now_us()
            await self.patiently(lambda: self._leases.done(task, outcome, now_us))
            if isinstance(outcome, Sent | Accepted):
                self.sent += 1
            else:
                self.failed += 1
        finally:
            self._ours.discard(task.id)

    async def send(self, task: Task) -> Outcome:
        """One try of one telling, by the channel that the row names. Never raises: a fault costs one try of one telling."""
        try:
            async with asyncio.timeout(LONGEST_SEND_S):
                return await self._sent_by(task)
        except TimeoutError:
            return Unknown("no end in sight")
        except Exception as error:  # noqa: BLE001  # a row whose try has no outcome would be tried for ever, and no other channel
            # its name alone: its text may have the address
            log.error("%s: %s", task.channel, type(error).__name__)
            return Unknown(type(error).__name__)

    async def _sent_by(self, task: Task) -> Outcome:
        roster = self._plan.rosters.get(task.region)
        officer = roster.officers.get(task.person) if roster else None
        if task.channel == DOWNLINK:
            kind, name = DOWNLINK, task.person
        else:
            found = next((c for c in officer.channels if c.id == task.channel), None) if officer else None
            if found is None:
                return Permanent("the plan has no such channel any more")
            kind, name = found.kind, found.address
        channel = self._channels.get(kind)
        if channel is None:
            return Permanent(f"{kind} is not set up here")
        address = self._addresses.find(name) or (name if kind in (DOWNLINK, "spool") else None)
        if address is None:
            return Permanent(f"no address for {name}")
        letter = letter_for(task, officer, self._secret, self._desk_url, self._clock.now_us())
        return await channel.send(address, letter)

    async def _keep(self) -> None:
        """What is due that nobody has told us of, leases of what takes long, reports that came, and the word that we live."""
        renewed = self._loop.time()
        looked = alive = renewed - ALIVE_S
        while True:
            self._reported.clear()
            await self._settle_reports()
            now = self._loop.time()
            now_us = self._clock.now_us()
            if self._ours and now - renewed >= RENEW_S:
                renewed, ours = now, list(self._ours)
                await self.patiently(lambda o=ours, n=now_us: self._leases.renew(o, n))  # type: ignore[misc]
            if now - looked >= LOOK_S:
                looked = now
                if await self.patiently(lambda n=now_us: self._leases.due(n)):  # type: ignore[misc]
                    await self.patiently(lambda n=now_us: self._leases.overdue(n))  # type: ignore[misc]
                    self.wake()
            if now - alive >= ALIVE_S:
                alive = now
                counts = (self.sent, self.failed, self.faults)
                await self.patiently(lambda n=now_us, c=counts: self._leases.alive(n, *c))  # type: ignore[misc]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORTS_S if self._reports else LOOK_S):
                    await self._reported.wait()

    async def _settle_reports(self) -> None:
        for _ in range(len(self._reports)):
            at, receipt, delivered, why = self._reports.popleft()
            now_us = self._clock.now_us()
            known = await self.patiently(
                lambda r=receipt, d=delivered, w=why, n=now_us: self._leases.report(r, d, w, n)  # type: ignore[misc]
            )
            if not known and self._loop.time() - at < REPORT_KEPT_S:
                self._reports.append((at, receipt, delivered, why))

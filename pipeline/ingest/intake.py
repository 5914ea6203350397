"""What a broker was given goes on disk: at once, or, from a device that says too much, into a slower lane of its own.

- A device's bucket lets a day's backlog pass at once. What is beyond it is kept on disk too (so it is acknowledged like everything
  else) and follows at the bucket's pace: nobody waits on the wire behind somebody else's flood, and the device itself is not cut off.
- A press never waits behind its own device's flood: it is found in what would have to wait, and has a bucket of its own.
- What is new has the way before what waits: the last tokens of a bucket are not for the lane.
- A lane has an end. Beyond it a message is refused (`RateLimitedError`): that device is at fault, and its data is not worth the disk of the
  others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from collections import Counter
from pathlib import Path

from pipeline.clock import Clock
from pipeline.ingest.rate import Bucket
from pipeline.ingest.spool import Spool, SpoolFullError
from pipeline.model.wire import RawItem
from pipeline.normalise.formats import FORMATS, read
from pipeline.normalise.identity import format_of
from pipeline.normalise.reasons import RefusedError

log = logging.getLogger("rahdar.ingest")

PER_S, BURST = 100.0, 20_000.0  # a day's backlog at one fix in five seconds passes at once
PRESSES_PER_S, PRESSES = 1.0, 30.0
RESERVE = 50.0  # tokens that are for what is new
BYTES_A_TOKEN = 1024
LANES = 16  # devices that flood share so many; each costs a file and a thread while there is something in it
LANE_BYTES = 64 * 1024 * 1024
LANE_SEGMENT_BYTES = 4 * 1024 * 1024
RETRY_S = 1.0
SAY_S = 60.0


class RateLimitedError(Exception):
    """This login's lane is full: the message was not kept."""


def pressed(topic: str, payload: bytes) -> bool:
    """Is there a call for help in it? A plain button counts: the plan may call it one."""
    try:
        name = format_of(topic)
    except RefusedError:
        return False
    if name not in FORMATS:
        return False
    return any(
        said.kind == "press" or said.what == "button"
        for _, told in read(name, payload, topic)
        if isinstance(told, list)
        for said in told
    )


class Lane:
    """Messages that wait, on disk."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.spool = Spool(directory, clock, LANE_SEGMENT_BYTES, most_fresh_bytes=0)
        self.reader = self.spool.reader()
        self.bytes = self._on_disk()
        self.task: asyncio.Task[None] | None = None

    def _on_disk(self) -> int:
        return sum(path.stat().st_size for _, path in self.spool.segments())

    def done(self, item: RawItem) -> None:
        self.spool.done(item.id, item.received_at_us)
        self.bytes = self._on_disk()


class Intake:
    """`counts`: slowed, refused:rate_limited."""

    def __init__(self, spool: Spool, clock: Clock, per_s: float = PER_S, burst: float = BURST) -> None:
        self.spool = spool
        self.clock = clock
        self.per_s, self.burst = per_s, burst
        self.counts: Counter[str] = Counter()
        self._buckets: dict[str, Bucket] = {}
        self._presses: dict[str, Bucket] = {}
        self._lanes: dict[int, Lane] = {}
        self._said: dict[str, float] = {}

    async def start(self) -> None:
        """Go on with what waited when we stopped. Raises OSError."""
        for number in range(LANES):
            if any(self._directory(number).glob("*.spool")):
                self._lane(number)

    async def close(self) -> None:
        """What waits stays on disk. The spool behind us is not closed: it is not ours."""
        for lane in self._lanes.values():
            if lane.task is not None:
                lane.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await lane.task
            await lane.spool.close()
        self._lanes.clear()

    async def room(self) -> None:
        """Wait while too much waits for the disk."""
        await self.spool.room()

    def put(self, login: str, topic: str, payload: bytes) -> asyncio.Future[int]:
        """Resolves once it is on disk. Fails with SpoolFullError or RateLimitedError."""
        now, cost = time.monotonic(), 1.0 + len(payload) / BYTES_A_TOKEN
        if self._bucket(login).spend(now, cost):
            return self.spool.append(login, topic, payload)
        if pressed(topic, payload):
            presses = self._presses.get(login)
            if presses is None:
                presses = self._presses[login] = Bucket.full(PRESSES_PER_S, PRESSES, now)
            if presses.spend(now):
                return self.spool.append(login, topic, payload)
        self.counts["slowed"] += 1
        self._say(login, now)
        lane = self._lane(zlib.crc32(login.encode()) % LANES)
        if lane.bytes + len(payload) > LANE_BYTES:
            self.counts["refused:rate_limited"] += 1
            refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            refused.set_exception(RateLimitedError(f"{login} has more than {LANE_BYTES} bytes waiting"))
            return refused
        lane.bytes += len(payload)
        return lane.spool.append(login, topic, payload)

    def _say(self, login: str, now: float) -> None:
        if now - self._said.get(login, -SAY_S) >= SAY_S:
            self._said[login] = now
            log.warning("%s says too much: it goes on at %g a second (presses apart)", login, self.per_s)

    def _bucket(self, login: str) -> Bucket:
        found = self._buckets.get(login)
        if found is None:
            found = self._buckets[login] = Bucket.full(self.per_s, self.burst, time.monotonic())
        return found

    def _directory(self, number: int) -> Path:
        return self.spool.directory / f"lane-{number:02d}"

    def _lane(self, number: int) -> Lane:
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Lane(self._directory(number), self.clock)
            lane.task = asyncio.ensure_future(self._drain(lane))
        return lane

    async def _drain(self, lane: Lane) -> None:
        """From the lane into the spool, each when its own login may."""
        while True:
            lane.spool.durable.clear()
            items = await asyncio.to_thread(lane.reader.read, 1 << 18)
            for item in items:
                cost = 1.0 + len(item.payload) / BYTES_A_TOKEN
                bucket = self._bucket(item.login)
                reserve = min(RESERVE, self.burst - cost)
                while not bucket.spend(time.monotonic(), cost, reserve):  # noqa: ASYNC110  # what is waited for is time
                    await asyncio.sleep(min(1.0, bucket.due_s(cost, reserve)))
                await self._keep(item)
            if items:
                await asyncio.to_thread(lane.done, items[-1])
            else:
                await lane.spool.durable.wait()

    async def _keep(self, item: RawItem) -> None:
        while True:
            try:
                await self.spool.append(item.login, item.topic, item.payload)
                return
            except SpoolFullError:
                await asyncio.sleep(RETRY_S)

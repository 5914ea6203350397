"""Server-sent events: a connection is told what came since the id that it names, else the whole state; then what comes.

`clock` events have no id: how old everything is, every two seconds, so that a page that hears none knows it was cut
off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.desk.feed import Sent, frame
from pipeline.desk.services import Services
from pipeline.desk.view import View

CLOCK_S = 2.0
STUCK_S = 20.0  # a reader that takes nothing for so long is let go
RETRY_MS = 1000
MOST_READERS = 200


async def events(
    s: Services, last_event_id: str, still_allowed: Callable[[], bool], view: View
) -> AsyncIterator[bytes]:
    """Frames for one connection, until the desk closes or the session ends; only what is for its eyes."""
    loop = asyncio.get_running_loop()
    place = s.feed.place_of(last_event_id)
    reader = s.feed.join(place)
    try:
        yield b"retry: %d\n\n" % RETRY_MS
        if place is None:
            # no await between the reader's place and the snapshot: what comes next is numbered after it
            yield frame("snapshot", view.snapshot(s.snapshot()), s.feed.id(reader.after))
        clock_due = loop.time()
        while not s.feed.closed:
            sent = reader.next()
            if sent is None:
                reader.skip()
                yield frame("snapshot", view.snapshot(s.snapshot()), s.feed.id())
            elif seen := [one for one in map(partial(_seen, view), sent) if one is not None]:
                yield b"".join(one.frame(s.feed.epoch) for one in seen)
            if loop.time() >= clock_due:
                if not still_allowed():
                    yield frame("goodbye", {})
                    return
                clock_due = loop.time() + CLOCK_S
                yield frame("clock", s.live.clock(s.clock.now_us()))
            try:
                async with asyncio.timeout_at(clock_due):
                    await reader.wake.wait()
            except TimeoutError:
                continue
    finally:
        s.feed.leave(reader)


def _seen(view: View, sent: Sent) -> Sent | None:
    """As this view has it; None: nothing of it."""
    data = view.frame(sent.number, sent.name, sent.data)
    return sent if data is sent.data else None if data is None else replace(sent, data=data)


class EventStream(Response):
    """The answer itself, as ASGI: it ends when the browser goes, and gives up on one that takes nothing."""

    def __init__(self, frames: AsyncIterator[bytes], stuck_s: float = STUCK_S) -> None:
        super().__init__(media_type="text/event-stream")  # FastAPI would serialise what is no Response
        self.frames = frames
        self.stuck_s = stuck_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        async for data in self.frames:
            async with asyncio.timeout(self.stuck_s):
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

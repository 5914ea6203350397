"""An event loop whose time is set and whose order is drawn: what may run next is a choice of the seed, and who is dead runs no more."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import random
from collections.abc import Callable
from typing import Any, Protocol

STEPS = 400_000  # more than any world needs: something goes round in circles


class Process(Protocol):
    """Whoever owns a step: `may_run` False drops the step, or keeps it for when the process wakes."""

    def may_run(self, step: asyncio.Handle) -> bool: ...


OWNER: contextvars.ContextVar[Process | None] = contextvars.ContextVar("owner", default=None)


class StuckError(AssertionError):
    """Nothing is left to run, or it never ends."""


class SeededLoop(asyncio.BaseEventLoop):
    """Every task is a task of the process in whose context it was made. Between two awaits nothing else runs, as in any event loop;
    at an await anything that is ready may come next."""

    _ready: Any
    _scheduled: Any

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self._now_s = 0.0
        self.steps = 0
        self.set_exception_handler(lambda _loop, _context: None)  # tasks of the dead are never finished
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._task)

    def _task(self, loop: asyncio.AbstractEventLoop, coro: Any, context: Any = None) -> asyncio.Task[Any]:
        """Kept: what a dead process was at must not be cleaned up as if it had ended by itself."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        self._tasks.append(task)
        return task

    def bury(self) -> None:
        """At the end, all that is left."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # or it complains
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        self._tasks.clear()

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        ready = self._ready
        while True:
            while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= self._now_s):
                timer = heapq.heappop(self._scheduled)
                timer._scheduled = False
                if not timer._cancelled:
                    ready.append(timer)
            if ready:
                break
            if not self._scheduled:
                raise StuckError("everybody waits for somebody")
            self._now_s = self._scheduled[0]._when
        if len(ready) > 1 and (n := int(self._dice.random() * min(len(ready), 4))):
            ready.rotate(-n)
            step = ready.popleft()
            ready.rotate(n)
        else:
            step = ready.popleft()
        if step._cancelled:
            return
        owner = step._context.get(OWNER)
        if owner is not None and not owner.may_run(step):
            return
        self.steps += 1
        if self.steps > STEPS:
            raise StuckError(f"no end after {STEPS} steps")
        step._run()

    def wake(self, step: asyncio.Handle) -> None:
        """Of a process that slept."""
        self._ready.append(step)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # it is called as theirs is
        """At once, and heard of later: a thread's work is over before or after a crash, never half of it."""
        future = self.create_future()
        try:
            value, error = func(*args), None
        except Exception as raised:  # it is the caller's
            value, error = None, raised
        self.call_soon(_settle, future, value, error)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)

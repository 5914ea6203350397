"""Stages in one process: each is a Faust app of its own, all on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

import faust

from agents.transport import declare_topics
from agents.transport.guards import make_app
from pipeline.clock import Clock, scaled_clock
from pipeline.model import topics
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.settings import Settings

log = logging.getLogger("rahdar.run")

STAGES = ("ingest", "normalise", "detect", "alert", "record", "notify", "desk")

# Which stages share a process when everything runs on one machine. Detect is beside normalise because a record that one has
# written the other reads at once; ingest is alone because nothing may delay a PUBACK; the desk because people's browsers must not
# delay an alert; notify because what it speaks to may hang.
GROUPS: tuple[tuple[str, ...], ...] = (
    ("ingest",),
    ("normalise", "detect"),
    ("alert", "record"),
    ("notify",),
    ("desk",),
)

UNHURRIED: dict[str, tuple[str, ...]] = {
    "record": (topics.OBSERVATIONS.name, topics.EPISODES.name, topics.ALERTS.name),
    "desk": (topics.OBSERVATIONS.name,),
}
"""What a stage shows or writes down four times a second at most: to be woken for every single record of it would cost more than the
rest of its work."""

SWITCH_S = 0.000_5
"""How long a thread that computes may keep the others of its process waiting: a transaction of a dozen statements asks for the
interpreter at each of them, and would wait for Python's 5 ms every time."""


class Stage(Protocol):
    """What a stage needs beside its agents: called when its app has started, and when it has stopped."""

    async def started(self) -> None: ...

    async def stopped(self) -> None: ...


type_build = Callable[[faust.App, Settings, CompiledPlan, Clock], Stage]


def _normalise(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> Stage:
    from agents.normalise import normalise_stage

    return normalise_stage(app, settings, plan)


def _detect(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> Stage:
    from agents.detect import detect_stage

    return detect_stage(app, settings, plan)


def _alert(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> Stage:
    from agents.alert import alert_stage

    return alert_stage(app, settings, plan, clock)


def _record(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> Stage:
    from agents.record import record_stage

    return record_stage(app, settings, plan)


def _notify(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> Stage:
    from agents.notify import notify_stage

    return notify_stage(app, settings, plan, clock)


def _desk(app: faust.App, settings: Settings, plan: CompiledPlan, clock: Clock) -> Stage:
    from agents.desk import desk_stage

    return desk_stage(app, settings, plan, clock)


BUILDERS: dict[str, type_build] = {
    "normalise": _normalise,
    "detect": _detect,
    "alert": _alert,
    "record": _record,
    "notify": _notify,
    "desk": _desk,
}


def app_id(name: str, settings: Settings) -> str:
    """The consumer group. Every desk sees everything, so each has a group of its own, named by where it listens."""
    if name != "desk":
        return f"rahdar-{name}"
    return "rahdar-desk-" + re.sub(r"[^A-Za-z0-9]+", "-", urlsplit(settings.desk_url).netloc)


async def _prepared(stage: Stage, stop: asyncio.Event) -> bool:
    """A stage of which one at a time may work waits here until it is the one. False: it was stopped before."""
    prepare: Callable[[], Awaitable[None]] | None = getattr(stage, "prepare", None)
    if prepare is None:
        return True
    waiting, stopping = asyncio.ensure_future(prepare()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if waiting.done():
        waiting.result()
        return True
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return False


async def _run_app(name: str, settings: Settings, plan: CompiledPlan, clock: Clock, stop: asyncio.Event) -> None:
    """Run one stage until `stop`; a crash of the app ends the process, so that its offsets stay where they are."""
    app = make_app(app_id(name, settings), settings.log_url, unhurried=UNHURRIED.get(name, ()))
    stage = BUILDERS[name](app, settings, plan, clock)
    if not await _prepared(stage, stop):
        await stage.stopped()
        return
    await app.start()
    try:
        await stage.started()
    except BaseException:
        await app.stop()  # or what it runs would keep the process alive, and nobody would start it again
        await stage.stopped()
        raise
    log.info("%s: ready", name)
    crashed = asyncio.ensure_future(app._crashed.wait())  # mode's services have no public way to await a crash
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({crashed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if crashed.done():
            log.critical("%s: crashed: %r", name, app.crash_reason)
            os._exit(70)
    finally:
        crashed.cancel()
        stopping.cancel()
    await app.stop()
    await stage.stopped()


async def _watch_parent(stop: asyncio.Event) -> None:
    """The supervisor holds the other end of a pipe: when it dies, however it dies, the pipe closes and we stop."""
    fd = os.environ.get("RAHDAR_PARENT_FD")
    if fd is None:
        return
    loop = asyncio.get_running_loop()
    reader = os.fdopen(int(fd), "rb", buffering=0)
    loop.add_reader(reader.fileno(), stop.set)
    await stop.wait()
    loop.remove_reader(reader.fileno())
    reader.close()


async def run_stages(names: tuple[str, ...], settings: Settings) -> None:
    """Run these stages until SIGINT, SIGTERM or the supervisor's end. Raises PlanError when the plan is refused."""
    sys.setswitchinterval(SWITCH_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gc.disable()
    plan = load_plan(settings.plan, settings.plan_trees)
    gc.collect()
    gc.freeze()  # it stays for as long as we do: to look through it for garbage again and again would make everything else wait
    gc.enable()
    clock = scaled_clock(settings.speed, settings.clock_anchor_us)
    await declare_topics(settings.log_url, topics.ALL, settings.partitions)
    work: list[Awaitable[None]] = [_run_app(name, settings, plan, clock, stop) for name in names if name != "ingest"]
    if "ingest" in names:
        from agents.ingest import run_ingest

        work.append(run_ingest(settings, plan, clock, stop))
    watcher = asyncio.ensure_future(_watch_parent(stop))
    running = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        stop.set()
        await asyncio.gather(*running, return_exceptions=True)
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher

"""The demo: a whole Rahdar in a directory, simulated vehicles, and the story's captions while it runs."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from agents.local import LocalStack, free_port
from agents.phone import phone_instructions, plan_with_phone
from agents.transport import LogStore, end_offset, read_topic
from agents.transport.address import log_directory
from pipeline.clock import scaled_clock
from pipeline.desk.story import write_story
from pipeline.model import topics
from pipeline.model.alert import AlertEvent, decode_event
from pipeline.model.times import format_us

MQTT_PORT, DESK_PORT = 1883, 8080


@dataclass(frozen=True)
class DemoOptions:
    scenario: str
    speed: float
    for_s: float | None
    headless: bool
    lan: bool
    directory: Path
    plan: Path
    seed: int


def transition_line(event: AlertEvent) -> str:
    """One alert transition as a JSON line: the form of the contract."""
    return json.dumps(
        {
            "at": format_us(event.at_us),
            "alert": event.alert.id,
            "rule": event.alert.rule,
            "subject": event.alert.subject,
            "transition": event.transition,
            "severity": event.alert.severity,
            "text": event.alert.text,
        },
        ensure_ascii=False,
    )


async def follow_alerts(log_url: str, out: TextIO, stop: asyncio.Event) -> None:
    """Print what happens to alerts from now on, as it happens."""
    held = LogStore.acquire(log_directory(log_url))  # or every look would open and close the log
    try:
        await _follow(log_url, out, stop)
    finally:
        await held.release()


async def _follow(log_url: str, out: TextIO, stop: asyncio.Event) -> None:
    offset = await end_offset(log_url, topics.ALERTS.name, 0)
    seen = -1
    while not stop.is_set():
        async for at, _, value in read_topic(log_url, topics.ALERTS.name, 0, start=offset):
            offset = at + 1
            if value is None:
                continue
            event = decode_event(value)
            if event.seq > seen:
                seen = event.seq
                print(transition_line(event), file=out, flush=True)  # this is what --headless is for
        try:
            await asyncio.wait_for(stop.wait(), 0.2)
        except TimeoutError:
            continue


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # the demo talks to a person


async def _captions(captions: list[tuple[float, str]], speed: float, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for at_s, text in captions:
        delay = began + at_s / speed - loop.time()
        try:
            await asyncio.wait_for(stop.wait(), max(0.0, delay))
            return
        except TimeoutError:
            say(f"  {int(at_s) // 60:02d}:{int(at_s) % 60:02d}  {text}")


def _watch(stack: LocalStack, over: threading.Event) -> None:
    while not over.wait(0.5):
        if stack.supervisor:
            stack.supervisor.poll()


async def _play(stack: LocalStack, options: DemoOptions, anchor_us: int) -> None:
    play: Any = importlib.import_module("simulators.run")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if options.for_s is not None:
        loop.call_later(options.for_s, stop.set)
    clock = scaled_clock(options.speed, anchor_us)
    story = play.story_named(options.scenario)
    begin_us = clock.now_us() // 1_000_000 * 1_000_000  # stories begin on whole seconds
    captions = [(begin_us + int(at_s * 1_000_000), text) for at_s, text in story.captions]
    write_story(stack.directory / "var", captions, story.name, begin_us)
    tasks = [
        asyncio.ensure_future(
            play.play(
                story, stack.compiled, options.seed, stack.mqtt_url, stack.credentials, clock, stop, start_us=begin_us
            )
        ),
        asyncio.ensure_future(_captions(list(story.captions), options.speed, stop)),
    ]
    if options.headless:
        tasks.append(asyncio.ensure_future(follow_alerts(stack.log_url, sys.stdout, stop)))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({stopping, tasks[0]}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        stopping.cancel()


def run_demo(options: DemoOptions) -> int:
    """Returns the exit code: 0 done, 3 when the system did not come up, 130 when interrupted before it did."""
    host = "0.0.0.0" if options.lan else "127.0.0.1"  # noqa: S104  # --lan is asked for, and needs a password for everything
    anchor_us = scaled_clock(1.0).now_us()
    stack = LocalStack(
        options.directory,
        plan_with_phone(options.plan, options.directory) if options.lan else options.plan,
        host=host,
        mqtt_port=free_port(host, MQTT_PORT),
        desk_port=free_port(host, DESK_PORT),
        speed=options.speed,
        extra={
            "RAHDAR_CLOCK_ANCHOR_US": str(anchor_us),
            "RAHDAR_LOG_LEVEL": os.environ.get("RAHDAR_LOG_LEVEL", "WARNING"),
        },
    )
    over = threading.Event()
    say("rahdar: starting broker, pipeline and desk (the first start compiles the detectors: up to a minute)")
    stack.start()
    watcher = threading.Thread(target=_watch, args=(stack, over), daemon=True)
    try:
        if not stack.wait_ready(180):
            say("rahdar: the system did not come up")
            return 3
        watcher.start()
        _welcome(stack, options)
        asyncio.run(_play(stack, options, anchor_us))
    except KeyboardInterrupt:
        return 130
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join()
        say("rahdar: stopping")
        stack.close()
    return 0


def _welcome(stack: LocalStack, options: DemoOptions) -> None:
    from pipeline.desk.operators import one_time_link

    say("")
    say(f"  Open   {one_time_link(stack.directory, stack.desk_url)}")
    say("         (this link logs you in once, as the operator `demo`)")
    if options.lan:
        say(phone_instructions(stack))
    say("  Ctrl-C ends it. What happens:")

"""Three stages on one log with nothing to do. Says how much CPU time they took. idler.py URL SECONDS"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from agents.transport import declare_topics, make_app
from pipeline.model import topics
from tests.transport.apps import collecting, running


async def main(url: str, seconds: float) -> None:
    await declare_topics(url, topics.ALL, 32)
    apps = [make_app(name, url) for name in ("one", "two", "three")]
    for app, spec in zip(apps, (topics.RAW, topics.OBSERVATIONS, topics.EPISODES), strict=True):
        collecting(app, spec.name, 32)
    async with running(*apps):
        await asyncio.sleep(1.0)  # the start is not idleness
        cpu_s, began_s = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        share = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
        sys.stdout.write(f"{share}\n")


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(sys.argv[1], float(sys.argv[2])))

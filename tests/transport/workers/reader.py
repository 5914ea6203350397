"""A member of one or several groups that says what it is given and what it reads. A line on its stdin tells it to go on.

reader.py URL TOPIC PARTITIONS GROUPS [hold] [session=S] [out=TOPIC]
hold: the first event stays in work until a line comes. out: afterwards send a record there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import faust

from agents.transport import make_app, on_assigned
from tests.transport.apps import RAW

CRASHED = 70


def say(*words: object) -> None:
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


async def main(url: str, topic: str, partitions: int, groups: str, *options: str) -> None:
    settings = dict(option.partition("=")[::2] for option in options)
    go_on = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, go_on.set)
    apps = []
    for group in groups.split(","):
        more: dict[str, Any] = {}
        if "session" in settings:
            more = {"broker_session_timeout": float(settings["session"]), "broker_heartbeat_interval": 0.3}
        app = make_app(group, url, **more)
        read(app, group, topic, partitions, settings, go_on)
        await app.start()
        apps.append(app)
    say("started")
    await asyncio.wait(
        [asyncio.ensure_future(app._crashed.wait()) for app in apps], return_when=asyncio.FIRST_COMPLETED
    )
    say("crashed", *[type(app.crash_reason).__name__ for app in apps])
    os._exit(CRASHED)


def read(
    app: faust.App, group: str, topic: str, partitions: int, settings: dict[str, str], go_on: asyncio.Event
) -> None:
    began = time.monotonic()

    async def assigned(tps: set[Any]) -> None:
        say("assigned", group, f"{time.monotonic() - began:.3f}", *sorted(tp.partition for tp in tps))

    on_assigned(app, assigned)
    target = app.topic(settings.get("out", topic), **RAW)

    @app.agent(app.topic(topic, partitions=partitions, **RAW))
    async def agent(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            say("got", group, event.message.partition, event.message.offset, event.value.decode(), time.monotonic_ns())
            if "hold" in settings and not go_on.is_set():
                await go_on.wait()
                if "out" in settings:
                    try:
                        await (await target.send(key=b"k", value=b"late", partition=0))
                        say("sent")
                    except Exception as error:  # the test wants its name
                        say("refused", type(error).__name__)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))

"""Sends numbers as fast as they become durable, and says each one that has: to be killed in the middle of it.

appender.py URL TOPIC FIRST
"""

from __future__ import annotations

import asyncio
import os
import sys

from agents.transport import make_app
from tests.transport.apps import RAW

IN_FLIGHT = 50


async def main(url: str, topic: str, first: int) -> None:
    app = make_app("appender", url)
    await app.maybe_start_producer()
    target = app.topic(topic, **RAW)
    number = first
    while True:
        batch = range(number, number + IN_FLIGHT)
        sent = [(n, await target.send(key=b"k", value=b"%d" % n, partition=0)) for n in batch]
        for n, durable in sent:
            await durable
            os.write(1, b"%d\n" % n)
        number += IN_FLIGHT


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

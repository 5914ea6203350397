"""A storm of 200 alerts and one SOS: the SOS comes first, soon; the officer hears little, and nothing is lost in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.clock import WallClock
from pipeline.notify.channels.webhook import WebhookChannel
from tests.alert.builders import batch, change, episode, sos
from tests.notify.builders import Stage, ladder, manned, officer, post, roster, rung
from tests.notify.sending import sending
from tests.notify.servers import hook
from tests.waiting import until

Opens = Callable[..., Stage]
STORMS = 12


@pytest.mark.slow
async def test_the_sos_reaches_the_officer_first_and_soon(stage: Opens) -> None:
    vehicles = [f"v{n}" for n in range(201)]
    of = manned(
        roster(posts=[post("post", "amina")], officers=[officer("amina")], ladders=[ladder(rung(0, "owner"))]), vehicles
    )
    s = stage(of)
    clock = WallClock()
    waited: list[float] = []
    offset = 0

    raised: list[Any] = []

    def take(*episodes: Any) -> None:
        nonlocal offset
        offset += 1
        raised.extend(episodes)
        s.store.take_changes([("storm", 0, offset, batch(*(change("begin", e) for e in episodes)))], clock.now_us())

    async with hook() as server, sending(s.url, of, {"amina-webhook": f"{server.url}#s"}, {"webhook": WebhookChannel(lambda: 0)}, clock) as sender:  # fmt: skip
        for storm in range(STORMS):
            ordinary = [episode(storm * 10, subject=v) for v in vehicles[:200]]
            danger = sos(storm * 10 + 1, subject="v200")
            take(*ordinary, danger)
            began_us = clock.now_us()
            sender.wake()
            assert await until(lambda d=danger: any(line["alert"] == d.id for line in server.heard), 15)  # type: ignore[misc]
            waited.append((clock.now_us() - began_us) / 1e6)
            mine = [line["alert"] for line in server.heard if line["alert"] in {e.id for e in (*ordinary, danger)}]
            assert mine[0] == danger.id, "the gravest goes first"
        assert await until(lambda: not s.rows(state="pending") and not s.rows(state="sending"), 20)
    waited.sort()
    p50, p99 = waited[len(waited) // 2], waited[-1]
    print(f"SOS in a storm of 200 to the officer's sink: p50 {p50:.3f} s, p99 {p99:.3f} s of {STORMS}")
    assert p50 < 1 and p99 < 3
    quiet = [line for line in server.heard if line["severity"] != "critical"]
    assert len(quiet) <= 10, "ten minutes have not passed"
    opened, reasons = (
        {e.alert.id for e in s.store.unpublished(100_000) if e.transition == "opened"},
        s.store.held_reasons(),
    )
    assert len(raised) == STORMS * 201
    for e in raised:
        assert (e.id in opened) != (e.id in reasons), "each has its line or its reason"

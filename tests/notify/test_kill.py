"""kill -9 of the notify process at any time: everybody is told once, or again with the word "repeat"; nobody is left out."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.alert.sentence import words_for
from pipeline.alert.store import AlertStore
from pipeline.clock import WallClock
from pipeline.model.episode import Episode, episode_id
from pipeline.plan.load import load_plan
from tests.alert.builders import batch, change
from tests.notify.sending import faults
from tests.notify.servers import Hook, hook
from tests.plan.overlay import SOUND

KILLS = int(os.environ.get("RAHDAR_KILLS", "20"))
SEED = int(os.environ.get("RAHDAR_KILLS_SEED", "7"))
MOMENTS = ("heard", "answered", "at random")
ROSTER = """
posts: [{id: shift-officer, name: Shift officer, shifts: [{officers: [asma], from: "00:00", to: "24:00"}]}]
officers: [{id: asma, name: Asma, most: 100, channels: [{id: hook, kind: webhook, address: asma-hook}]}]
escalation: [{id: all, severities: [critical, high, medium, low], steps: [{after: 0 s, tell: [owner]}]}]
"""


def press(at_us: int) -> Episode:
    return Episode(
        id=episode_id("sos.pressed", "c-1", "", at_us), rule="sos.pressed", subject="c-1", object="", began_at_us=at_us,
        ended_at_us=at_us, severity="critical", peak=None, evidence={"what": "sos"},
    )  # fmt: skip


class Notify:
    """The real stage in a process of its own."""

    def __init__(self, directory: Path, plan: Path, url: str) -> None:
        d = directory
        self.environment = {
            **os.environ, "RAHDAR_LOG_URL": f"log://{d}/log", "RAHDAR_ALERT_URL": f"sqlite:///{d}/alert.sqlite",
            "RAHDAR_PLAN": str(plan), "RAHDAR_VAR": str(d / "var"), "RAHDAR_PARTITIONS": "1", "RAHDAR_LOG_LEVEL": "ERROR",
            "RAHDAR_ADDRESS_ASMA_HOOK": f"{url}#secret",
        }  # fmt: skip
        self.process: asyncio.subprocess.Process | None = None
        self.kills: Counter[str] = Counter()
        self._lives = False

    async def start(self) -> None:
        self._lives = True
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pipeline", "run", "notify", env=self.environment, start_new_session=True
        )

    def kill(self, moment: str) -> None:
        """Once a life."""
        if self.process is not None and self._lives:
            self._lives = False
            self.process.send_signal(signal.SIGKILL)
            self.kills[moment] += 1

    async def ended(self) -> None:
        assert self.process is not None
        await self.process.wait()


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * KILLS)
async def test_killed_anywhere_it_tells_once_or_says_repeat(tmp_path: Path) -> None:
    folder = tmp_path / "vale"
    shutil.copytree(SOUND, folder)
    (folder / "roster.yaml").write_text(ROSTER)
    rules = (folder / "rules.yaml").read_text()
    (folder / "rules.yaml").write_text(
        rules
        + "  sos.pressed: {mode: live, severity: critical, owner: shift-officer, respond_within: 1 min, response: Go.}\n"
    )
    plan, clock, dice = load_plan(folder), WallClock(), random.Random(SEED)
    store = AlertStore(f"sqlite:///{tmp_path}/alert.sqlite", plan, lambda e: words_for(plan, e))
    wanted: list[str] = []
    offset = 0

    def opens(count: int) -> None:
        nonlocal offset
        episodes = [press(clock.now_us() + n) for n in range(count)]
        wanted.extend(e.id for e in episodes)
        changes = batch(*(change("begin", e) for e in episodes))
        store.take_changes([("rahdar.episodes", 0, offset, changes)], clock.now_us())
        offset += 1

    async with hook() as server:
        notify = Notify(tmp_path, folder, server.url)
        for number in range(KILLS):
            await one_life(notify, server, MOMENTS[number % 3], dice, opens)
        await notify.start()
        async with asyncio.timeout(60):
            while unsent(tmp_path):  # noqa: ASYNC110  # another process sends
                await asyncio.sleep(0.1)
        notify.kill("at the end")
        await notify.ended()
        store.close()
        assert faults(server.heard, wanted) == []
        assert sum(notify.kills.values()) == KILLS + 1
        repeats = sum(line["repeat"] for line in server.heard)
        print(f"killed {dict(notify.kills)}; {len(wanted)} alerts, {len(server.heard)} tellings, {repeats} say repeat")


async def one_life(notify: Notify, server: Hook, moment: str, dice: random.Random, opens: Any) -> None:
    """It is started, has something to tell, and is killed at this moment."""
    heard = asyncio.Event()

    def on_heard(_: Any) -> None:
        if moment == "heard":
            notify.kill(moment)
        heard.set()

    server.on_heard = on_heard
    opens(dice.randint(1, 6))
    await notify.start()
    if moment == "at random" and dice.random() < 0.5:
        await asyncio.sleep(dice.uniform(0.0, 3.0))  # while it starts, too: the moment is the test's own
    else:
        await asyncio.wait_for(heard.wait(), 60)
        opens(dice.randint(1, 6))
        if moment == "at random":
            await asyncio.sleep(dice.uniform(0.0, 0.2))
    server.on_heard = None
    notify.kill(moment)
    await notify.ended()


def unsent(directory: Path) -> int:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(directory / "alert.sqlite")) as db:
        return int(db.execute("select count(*) from outbox where state not in ('sent')").fetchone()[0])

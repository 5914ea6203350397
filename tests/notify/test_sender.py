"""The sender against a real server: whatever dies, and wherever, everybody is told once, or again with the word "repeat"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.notify.channels.by_apprise import AppriseChannel
from pipeline.notify.channels.webhook import WebhookChannel
from pipeline.notify.leases import Leases, Task
from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Outcome
from tests.alert.builders import at, episode, sos
from tests.notify.builders import Stage, ladder, manned, officer, post, roster, rung
from tests.notify.sending import MovingClock, faults, sending
from tests.notify.servers import Hook, Mail, hook
from tests.waiting import until

Opens = Callable[..., Stage]
E = sos(0)
PLAN = manned(roster(ladders=[ladder(rung(0, "owner"))]))


class DiedError(BaseException):
    """What kill -9 is to everything that runs."""


class Dying:
    """Leases and a channel that die at one point, once."""

    def __init__(self, point: str, leases: Leases, channel: WebhookChannel) -> None:
        self.point, self.leases, self.channel = point, leases, channel
        self.dead = asyncio.Event()

    def _here(self, point: str) -> None:
        if point == self.point and not self.dead.is_set():
            self.dead.set()
            raise DiedError(point)

    async def send(self, address: str, letter: Letter) -> Outcome:
        self._here("leased, nothing sent")
        outcome = await self.channel.send(address, letter)
        self._here("sent, nothing written")
        return outcome

    def done(self, task: Task, outcome: Outcome, now_us: int) -> None:
        if self.point == "written, nothing noticed":
            self.leases.done(task, outcome, now_us)
        self.dead.set()
        raise DiedError(self.point)


@pytest.mark.parametrize(
    "point", ["leased, nothing sent", "sent, nothing written", "at the writing", "written, nothing noticed"]
)
async def test_dying_at_each_step_is_followed_by_one_telling_or_a_repeat(stage: Opens, point: str) -> None:
    s = stage(PLAN)
    s.opens(1, E)
    async with hook() as server:
        channel = WebhookChannel(lambda: 0)
        first = Leases(s.url, "n")
        dying = Dying(point, first, channel)
        (task,) = first.take(at(1), 9, critical=False)
        with pytest.raises(DiedError):
            letter = letter_of(task)
            outcome = await dying.send(f"{server.url}#s", letter)
            dying.done(task, outcome, at(1))
        before = len(server.heard)
        async with sending(s.url, PLAN, {"amina-webhook": f"{server.url}#s"}, {"webhook": channel}, MovingClock(1)):
            assert await until(lambda: s.told("sent") == ["amina"], 30)
        first.close()
        assert faults(server.heard, [E.id]) == []
        assert len(server.heard) == before + (point != "written, nothing noticed")
        if point == "sent, nothing written":
            assert [line["repeat"] for line in server.heard] == [False, True]
            assert "repeat" in server.heard[1]["text"]


def letter_of(task: Task) -> Letter:
    from pipeline.notify.letter import letter_for

    return letter_for(task, None, b"s", "", at(1))


async def test_a_server_that_is_down_is_tried_until_it_is_up(stage: Opens) -> None:
    s = stage(PLAN)
    s.opens(1, E)
    server = Hook()
    await server.start()
    await server.stop()
    async with sending(
        s.url, PLAN, {"amina-webhook": f"{server.url}#s"}, {"webhook": WebhookChannel(lambda: 0)}, MovingClock(1)
    ):
        assert await until(lambda: s.rows()[0]["attempt"] >= 2, 30)
        await server.start()
        assert await until(lambda: s.told("sent") == ["amina"], 30)
    await server.stop()
    assert [line["repeat"] for line in server.heard] == [False], "it was never there before"


async def test_a_server_that_cuts_off_hears_a_repeat(stage: Opens) -> None:
    s = stage(PLAN)
    s.opens(1, E)
    async with (
        hook(answer=None) as server,
        sending(
            s.url, PLAN, {"amina-webhook": f"{server.url}#s"}, {"webhook": WebhookChannel(lambda: 0)}, MovingClock(1)
        ),
    ):
        assert await until(lambda: len(server.heard) == 1)
        server.answer = 200
        assert await until(lambda: s.told("sent") == ["amina"], 30)
        assert faults(server.heard, [E.id]) == [] and server.heard[-1]["repeat"]


async def test_a_dead_channel_is_left_for_the_next_and_told_in_the_log(stage: Opens) -> None:
    """Mail refuses for good: the webhook is told at once, and nobody is escalated past."""
    of = manned(
        roster(officers=[officer("amina", "apprise", "webhook"), officer("bilal")], ladders=[ladder(rung(0, "owner"))])
    )
    s = stage(of)
    s.opens(1, E)
    mail = Mail(answer="550 no")
    mail.start()
    try:
        async with hook() as server:
            channels: dict[str, Any] = {"apprise": AppriseChannel(), "webhook": WebhookChannel(lambda: 0)}
            addresses = {"amina-apprise": mail.address, "amina-webhook": f"{server.url}#s"}
            async with sending(s.url, of, addresses, channels, MovingClock(1)):
                assert await until(lambda: s.told("sent") == ["amina"], 30)
            assert [line["repeat"] for line in server.heard] == [False]
    finally:
        mail.stop()


@pytest.mark.parametrize("addresses", [{}, {"amina-webhook": "nonsense"}])
async def test_who_has_no_address_is_a_failure_that_is_escalated(stage: Opens, addresses: dict[str, str]) -> None:
    s = stage(PLAN)
    s.opens(1, E)
    async with sending(s.url, PLAN, addresses, {"webhook": WebhookChannel(lambda: 0)}, MovingClock(1)):
        assert await until(lambda: s.told("failed") == ["amina"])
    assert ("roster.unreachable", "opened") in [(e.alert.rule, e.transition) for e in s.time(2)]


async def test_a_channel_that_hangs_does_not_hold_up_the_critical(
    stage: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that may be sent at once hangs; the SOS has a lane of its own."""
    monkeypatch.setattr("pipeline.notify.sender.AT_ONCE", 2)
    of = manned(roster(
        posts=[post("post", "amina"), post("chief", "bilal")],
        officers=[officer("amina", most=100), officer("bilal", "apprise")],
        ladders=[ladder(rung(0, "chief"), severities=["critical"]), ladder(rung(0, "owner"), severities=["medium"])],
    ))  # fmt: skip
    s = stage(of)
    s.opens(1, *(episode(0, subject=f"v{n}") for n in range(4)))
    mail = Mail()
    mail.start()
    try:
        async with hook(hang=True) as server:
            channels: dict[str, Any] = {"apprise": AppriseChannel(), "webhook": WebhookChannel(lambda: 0)}
            addresses = {"amina-webhook": f"{server.url}#s", "bilal-apprise": mail.address}
            async with sending(s.url, of, addresses, channels, MovingClock(1)):
                assert await until(lambda: len(server.heard) >= 2, 20)
                s.opens(1, E)
                assert await until(lambda: "bilal" in s.told("sent"), 20), [tuple(r)[:13] for r in s.rows()]
    finally:
        mail.stop()


async def test_a_fault_of_ours_is_a_failure_that_is_escalated(stage: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an outcome its row would be tried for ever, and nobody would hear of that."""
    monkeypatch.setattr("pipeline.notify.leases.TRIES", 1)
    of = manned(roster(officers=[officer("amina", language="a language that nobody has"), officer("bilal")]))
    s = stage(of)
    s.opens(1, E)
    async with hook() as server:
        channels = {"webhook": WebhookChannel(lambda: 0)}
        async with sending(s.url, of, {"amina-webhook": f"{server.url}#s"}, channels, MovingClock(1)):
            assert await until(lambda: s.told("failed") == ["amina"])
        assert server.heard == []
    assert ("roster.unreachable", "opened") in [(e.alert.rule, e.transition) for e in s.time(2)]


async def test_what_nobody_told_of_is_found_by_looking(stage: Opens) -> None:
    """A retry that is due, a wake-up that was lost."""
    s = stage(PLAN)
    async with hook() as server:
        channel = WebhookChannel(lambda: 0)
        async with sending(s.url, PLAN, {"amina-webhook": f"{server.url}#s"}, {"webhook": channel}, MovingClock(1)):
            await asyncio.sleep(0.1)
            s.opens(1, E)
            assert await until(lambda: s.told("sent") == ["amina"], 5)

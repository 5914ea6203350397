"""Cursor-on-Target to a server over TCP: where vehicles are, and alerts repeated until a person answers."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.clock import SetClock
from pipeline.model.alert import Alert, AlertEvent
from pipeline.notify import tak as tak_module
from pipeline.notify.cot import Picture, Place, alert_event, position
from pipeline.notify.tak import Tak, parse_tak
from tests.alert.builders import alert, at, sos
from tests.detect.plans import plan
from tests.notify.servers import Tcp
from tests.waiting import until

SOS = alert(sos(), lat=35.1, lon=73.0, text="SOS from v1 <b>\x00.")


def event(of: Alert, seq: int, transition: Any = "opened") -> AlertEvent:
    return AlertEvent(version=1, seq=seq, at_us=at(1), transition=transition, reason="", actor="policy", alert=of)


def read(text: str | bytes) -> ET.Element:
    return ET.fromstring(text)  # our own


def test_a_position_says_who_where_and_until_when() -> None:
    found = read(position(plan(), "v1", Place(35.1, 73.0, at(1), 12.0, 80.0, 8.0), at(1)))
    assert (found.get("uid"), found.get("type")) == ("rahdar.v1", "a-f-G-E-V")
    assert found.find("point").attrib["lat"] == "35.100000" and found.find("detail/track").get("speed") == "12.0"  # type: ignore[union-attr]
    assert (found.get("stale") or "") > (found.get("time") or "") > "2026"


def test_an_alert_is_an_emergency_and_then_its_end() -> None:
    begun = read(alert_event(plan(), SOS, at(1)) or b"")
    over = read(alert_event(plan(), SOS, at(2), cancel=True) or b"")
    assert begun.get("uid") == over.get("uid") and begun.get("type") == "b-a-o-tbl" and over.get("type") == "b-a-o-can"
    assert over.find("detail/emergency").get("cancel") == "true"  # type: ignore[union-attr]


def test_what_has_no_place_is_nothing() -> None:
    assert alert_event(plan(), alert(sos(), lat=None, lon=None), at(1)) is None


@pytest.mark.parametrize(
    ("state", "stands"),
    [({}, True), ({"acknowledged_at_us": 5}, False), ({"closed_at_us": 5}, False), ({"retracted": True}, False), ({"severity": "low"}, False), ({"evidence": {"what": "duress"}}, False)],
)  # fmt: skip
def test_which_alerts_are_shown(state: dict[str, Any], stands: bool) -> None:
    picture = Picture(plan())
    picture.hear(event(alert(sos(), lat=35.1, lon=73.0, **state), 1))
    assert bool(picture.standing(at(1))) is stands


def test_the_same_event_again_changes_nothing() -> None:
    picture = Picture(plan())
    picture.hear(event(SOS, 1))
    picture.hear(event(alert(sos(), lat=35.1, lon=73.0, acknowledged_at_us=5), 2, "acknowledged"))
    picture.hear(event(SOS, 1))
    assert picture.standing(at(1)) == []


@pytest.mark.parametrize("url", ["", "http://x:1", "tcp://x", "tcp://:8087", "x:8087"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="RAHDAR_TAK_URL"):
        parse_tak(url)


@asynccontextmanager
async def watching(server: Tcp, picture: Picture) -> AsyncIterator[Tak]:
    tak = Tak(f"tcp://127.0.0.1:{server.port}", picture, SetClock(at(1)).now_us)
    running = asyncio.ensure_future(tak.run())
    try:
        yield tak
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def kinds(server: Tcp) -> list[str]:
    return [read(e).get("type") or "" for e in server.events]


async def test_an_alert_is_repeated_until_somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tak_module, "NEWS_S", 0.02)
    monkeypatch.setattr(tak_module, "STANDING_S", 0.05)
    server, picture = Tcp(), Picture(plan())
    await server.start()
    async with watching(server, picture) as tak:
        picture.see("v1", Place(35.1, 73.0, at(1)))
        picture.hear(event(SOS, 1))
        tak.wake()
        assert await until(lambda: kinds(server).count("b-a-o-tbl") >= 3 and "a-f-G-E-V" in kinds(server))
        picture.hear(event(alert(sos(), lat=35.1, lon=73.0, acknowledged_at_us=5), 2, "acknowledged"))
        tak.wake()
        assert await until(lambda: "b-a-o-can" in kinds(server))
        count = kinds(server).count("b-a-o-tbl")
        picture.see("v1", Place(35.2, 73.0, at(2)))
        assert await until(lambda: kinds(server).count("a-f-G-E-V") >= 2)
        assert kinds(server).count("b-a-o-tbl") == count
    await server.stop()


async def test_a_server_that_was_killed_is_told_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tak_module, "NEWS_S", 0.02)
    monkeypatch.setattr(tak_module, "RETRY_S", (0.05, 0.1))
    server, picture = Tcp(), Picture(plan())
    await server.start()
    async with watching(server, picture) as tak:
        picture.see("v1", Place(35.1, 73.0, at(1)))
        picture.hear(event(SOS, 1))
        tak.wake()
        assert await until(lambda: "b-a-o-tbl" in kinds(server))
        await server.stop()
        assert await until(lambda: not tak.connected)
        server.raw = b""
        await server.start()
        assert await until(lambda: {"b-a-o-tbl", "a-f-G-E-V"} <= set(kinds(server)))
    await server.stop()

"""A link names one alert and one officer for half an hour; looking at it does nothing, its button acknowledges once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.notify.links import LINK_US, link_token, read_link, read_secret, reply_code
from tests.desk.conftest import Desk

ALERT, SECRET = "0123456789abcdef", b"s" * 32
OFFICERS = ("amina", "bilal")
NOW = 1_780_000_000_000_000


def made(secret: bytes = SECRET, until_us: int = NOW + LINK_US) -> str:
    return link_token(secret, ALERT, "amina", until_us) or ""


def test_a_link_says_who_and_what() -> None:
    assert read_link(SECRET, made(), OFFICERS, NOW) == (ALERT, "amina")
    assert len(made()) <= 40, "an SMS has room for it"


@pytest.mark.parametrize("late_us", [LINK_US + 61_000_000, LINK_US * 10])
def test_it_ends(late_us: int) -> None:
    assert read_link(SECRET, made(), OFFICERS, NOW + late_us) is None


def test_no_other_link_is_good() -> None:
    assert read_link(b"x" * 32, made(), OFFICERS, NOW) is None
    token = made()
    for at in range(len(token) - 1):  # of the last sign some bits say nothing
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert read_link(SECRET, changed, OFFICERS, NOW) is None
    for nonsense in ("", "A", "A" * 38, "%%%", token + "A", "é" * 38):
        assert read_link(SECRET, nonsense, OFFICERS, NOW) is None
    assert read_link(SECRET, token, ("bilal",), NOW) is None, "she is in no roster any more"
    assert link_token(SECRET, "digest-1", "amina", NOW) is None


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    file = tmp_path / "link-secret"
    assert read_secret(file) == read_secret(file) and len(read_secret(file)) == 32
    assert file.stat().st_mode & 0o077 == 0


def test_codes_differ_by_person_and_alert() -> None:
    codes = {reply_code(SECRET, a, o) for a in ("a1", "a2", "a3") for o in OFFICERS}
    assert len(codes) == 6 and all(len(c) == 5 and c.isdigit() for c in codes)


# ---- its page ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def answering(root: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(root, tmp_path)
    desk.s.link_secret = SECRET
    desk.alert(ALERT)
    yield desk
    desk.close()


def link(desk: Desk, officer: str = "amina", for_us: int = LINK_US) -> str:
    return f"/a/{link_token(SECRET, ALERT, officer, desk.clock.now_us() + for_us)}"


def client(desk: Desk) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=desk.app), base_url="http://desk")


async def test_looking_never_acknowledges(answering: Desk) -> None:
    async with client(answering) as browser:
        page = await browser.get(link(answering))
        assert page.status_code == 200 and page.text.count("<button") == 1 and "Call the coach." in page.text
        await browser.head(link(answering))
    assert answering.log.commands == []


async def test_the_button_acknowledges_in_the_officers_name(answering: Desk) -> None:
    async with client(answering) as browser:
        path = link(answering)
        assert (await browser.post(path)).status_code == 200
        assert (await browser.post(path)).status_code == 200
    assert {(c.what, c.alert_id, c.by) for c in answering.log.commands} == {("acknowledge", ALERT, "amina")}
    assert len({c.id for c in answering.log.commands}) == 1, "twice pressed is the same command"


async def test_another_page_cannot_press_it(answering: Desk) -> None:
    async with client(answering) as browser:
        answer = await browser.post(link(answering), headers={"origin": "https://evil.example"})
    assert answer.status_code == 403 and answering.log.commands == []


@pytest.mark.parametrize("for_us", [-61_000_000, -LINK_US])
async def test_an_old_link_does_nothing(answering: Desk, for_us: int) -> None:
    async with client(answering) as browser:
        for call in (browser.get, browser.post):
            assert (await call(link(answering, for_us=for_us))).status_code == 410
    assert answering.log.commands == []


async def test_without_a_secret_no_link_is_good(answering: Desk) -> None:
    path = link(answering)
    answering.s.link_secret = b""
    async with client(answering) as browser:
        assert (await browser.post(path)).status_code == 410


async def test_what_is_not_recorded_is_not_said(answering: Desk) -> None:
    answering.log.down = True
    async with client(answering) as browser:
        answer = await browser.post(link(answering))
    assert answer.status_code == 503 and "Not recorded" in answer.text

"""A shift at the page: what is held, shelved and handed over, who was told, the budget, and a server that is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from pipeline.desk.server import DeskServer
from tests.desk.conftest import Desk
from tests.desk.test_page import ARGS

HOUR_US = 3_600_000_000


class Screen:
    def __init__(self, page: Page, server: DeskServer, faults: list[str]) -> None:
        self.page, self.server, self.faults = page, server, faults

    async def text(self, selector: str) -> str:
        said = await self.page.locator(selector).first.inner_text()
        return said.replace("\u00a0", " ").replace("\u2011", "-")


@pytest.fixture
async def screen(desk: Desk) -> AsyncIterator[Screen]:
    desk.s.stale_after_s = 3600.0
    desk.tick()
    now = desk.clock.now_us()
    desk.alert("a1", 1, severity="critical", lead="SOS from C-1")
    desk.alert("a1", 2, transition="told", severity="critical", lead="SOS from C-1")
    desk.alert("a2", 3, count=1, others="Also E-1")
    desk.alert("a3", 4, transition="held", held="HELD_GROUPED", under="a2", lead="E-1 is off the road")
    desk.alert("a4", 5, transition="shelved", shelved_until_us=now + HOUR_US, shelved_by="bilal", shelved_why="goats")
    desk.alert("a5", 6, acknowledged_at_us=now, acknowledged_by="amina", owner="bilal")
    server = DeskServer(desk.app, desk.s, "http://127.0.0.1:0")
    port = await server.start()
    link = desk.s.sessions.make_link("amina", "operator", 60)
    faults: list[str] = []
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        page = await browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda e: faults.append(str(e)))
        await page.goto(f"http://127.0.0.1:{port}/enter?token={link}")
        await page.get_by_role("button", name="Enter the desk").click()
        await page.locator('#part-needs [data-alert="a1"]').wait_for()
        yield Screen(page, server, faults)
        await browser.close()
    await server.stop()


@pytest.mark.browser
@pytest.mark.timeout(300)
async def test_a_shift_at_the_page(screen: Screen, desk: Desk) -> None:
    page = screen.page
    assert await page.locator("#part-needs [data-alert]").count() == 2, "what is held or shelved needs nobody"
    assert "Also E-1" in await screen.text('#part-needs [data-alert="a2"]')
    assert "goats" in await screen.text('#part-shelved [data-alert="a4"]')
    assert "told by another of its group" in await screen.text('#part-held [data-alert="a3"]')
    assert "bilal" in await screen.text('#part-hand [data-alert="a5"]')
    # the alert's page: who was told, whom it speaks for; what is critical cannot be shelved
    await page.locator('[data-alert="a1"]').click()
    await page.locator("#told tr").first.wait_for()
    assert await page.locator("#drawer .acts button", has_text="Shelve").is_disabled()
    await page.keyboard.press("Escape")
    await page.locator('[data-alert="a2"]').click()
    await page.locator("#behind button").wait_for()
    # by keyboard: hand over, take off the shelf
    await page.keyboard.press("h")
    await page.locator(".ask input[name=text]").fill("the night shift")
    async with page.expect_response("**/hand_over") as answered:
        await page.keyboard.press("Enter")
    assert (await answered.value).status == 200
    await page.keyboard.press("Escape")
    await page.locator('#part-shelved [data-alert="a4"]').click()
    await page.locator("#drawer .acts button", has_text="Off the shelf").wait_for()
    async with page.expect_response("**/unshelve") as answered:
        await page.keyboard.press("s")
    assert (await answered.value).status == 200
    assert [(c.what, c.alert_id, c.text) for c in desk.log.commands] == [
        ("hand_over", "a2", "the night shift"),
        ("unshelve", "a4", ""),
    ]
    # the budget
    await page.keyboard.press("Escape")
    await page.keyboard.press("b")
    await page.locator("#budget").wait_for()
    figures: Any = await page.locator("#budget tr").all_inner_texts()
    assert len(figures) == 5
    await page.keyboard.press("Escape")
    # a server that is gone is a sign that nobody passes over
    assert await page.locator("#lost").is_hidden()
    await screen.server.stop()
    await page.locator("#lost:not([hidden]) b").wait_for(timeout=90_000)
    assert "SERVER LOST" in await screen.text("#lost")
    assert screen.faults == []

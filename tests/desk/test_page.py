"""The page in a real browser, on the wall and in the hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from playwright.async_api import async_playwright

from pipeline.desk.server import DeskServer
from tests.desk.conftest import LEAD, Desk

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
]
STALE = "body.stale #answer:has-text('DATA STALE')"


@asynccontextmanager
async def ticking(desk: Desk) -> AsyncIterator[None]:
    async def tick() -> None:
        while True:
            desk.tick()
            await asyncio.sleep(0.25)

    task = asyncio.ensure_future(tick())
    try:
        yield
    finally:
        task.cancel()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (390, 844)])
async def test_the_queue_says_it_a_takes_it_and_old_data_is_loud(width: int, height: int, desk: Desk) -> None:
    desk.s.stale_after_s = 6.0
    desk.tick()
    desk.alert()
    server = DeskServer(desk.app, desk.s, "http://127.0.0.1:0")
    port = await server.start()
    link = desk.s.sessions.make_link("amina", "operator", 60)
    asked: list[str] = []
    faults: list[str] = []
    try:
        async with async_playwright() as play:
            browser = await play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
            page = await browser.new_page(viewport={"width": width, "height": height})
            page.on("request", lambda r: asked.append(r.url))
            page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: faults.append(str(e)))
            await page.goto(f"http://127.0.0.1:{port}/enter?token={link}")
            await page.get_by_role("button", name="Enter the desk").click()
            row = page.locator('#part-needs [data-alert="a1"]')
            await row.wait_for()
            said = (
                (await row.inner_text()).replace("\u00a0", " ").replace("\u2011", "-")
            )  # the page keeps figures unbroken
            assert LEAD in said
            assert await page.locator("#caption").is_hidden(), "a caption without a story"
            box = await row.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            async with page.expect_response("**/acknowledge") as answered:
                await page.keyboard.press("a")
            assert (await answered.value).status == 200
            assert [(c.what, c.alert_id, c.by) for c in desk.log.commands] == [("acknowledge", "a1", "amina")]
            await page.locator(STALE).wait_for(timeout=60_000)
            async with ticking(desk):  # on a busy machine the page may look later than one Tick is fresh
                await page.locator(STALE).wait_for(state="detached", timeout=60_000)
            # a link from the wall or a message opens the alert, and does nothing to it
            await page.goto(f"http://127.0.0.1:{port}/?alert=a1")
            await page.locator("#drawer h2").wait_for()
            headed = await page.locator("#drawer h2").inner_text()
            assert LEAD in headed.replace("\u00a0", " ").replace("\u2011", "-")
            assert urlsplit(page.url).query == ""
            assert len(desk.log.commands) == 1
            await browser.close()
    finally:
        await server.stop()
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("blob:", "data:"))} == {f"127.0.0.1:{port}"}
    assert faults == []

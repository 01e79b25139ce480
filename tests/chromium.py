"""A real browser, Chromium, for the console's pages; skipped where there is none."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[Any]:
    """A page of a browser; nothing may go wrong in it, nor a script ask anything.

    Args:
        address: Of the server, to which paths are relative.
    """
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    from playwright.async_api import async_playwright

    wrong: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = await browser.new_page(base_url=address)
        made.set_default_timeout(120_000)
        made.on("pageerror", lambda error: wrong.append(str(error)))
        made.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        made.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        yield made
        await browser.close()
    assert wrong == []


async def sign_in(page: Any, key: str) -> None:
    """Sign in to the console."""
    await page.context.clear_cookies()
    await page.goto("/console")
    await page.fill("#key", key)
    await page.press("#key", "Enter")
    await page.wait_for_selector("nav")

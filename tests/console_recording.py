"""One conversation from the first keystroke to the adapter that learned from it, in pictures.

The real console is driven by the keyboard. `test_console_recording.py` of the gateway's tests goes
as far as no engine is needed, that of the e2e tests to the end; both make the pictures of
docs/console.md where DOCS_SCREENSHOTS names their folder.
"""

import os
from typing import Any

from serving.draws import judge_draw
from training.recipe.curation import CurationConfig

LINE = "care"
CUSTOMER = "My kettle arrived broken. Can I have a new one?"
MORE = " It arrives on Friday."


async def photograph(page: Any, name: str) -> None:
    """Take a picture, where pictures are wanted."""
    folder = os.environ.get("DOCS_SCREENSHOTS")
    if folder:
        await page.screenshot(path=f"{folder}/recording-{name}.png")


async def work_a_turn(page: Any, first: str, completes: bool) -> str:
    """Answer a customer at the desk: a keystroke, the suggestion, an edit, sent.

    Args:
        page: The browser's; an agent of this line alone is signed in.
        first: The keystroke.
        completes: Whether what it completes can be foretold, and so is waited for.

    Returns:
        The conversation's id: one from which is learned, not one drawn to judge.
    """
    rules = CurationConfig()
    while True:
        await page.goto("/console/desk")
        conversation = str(await page.get_attribute("#desk", "data-conversation"))
        if judge_draw(LINE, conversation, rules.holdout_salt) >= rules.holdout_share:
            break
    await page.focus("#customer")
    await page.keyboard.type(CUSTOMER)
    await page.keyboard.press("Control+Enter")
    await page.wait_for_selector("#suggestions li")
    await page.keyboard.type(first)
    if completes:
        await page.wait_for_selector("#ghost span")
    await page.wait_for_function("document.getElementById('state').textContent === ''")
    await photograph(page, "1-keystroke")
    if await page.locator("#ghost span").count():
        await page.keyboard.press("Tab")
    await page.keyboard.type(MORE)
    await photograph(page, "2-edit")
    await page.keyboard.press("Control+Enter")
    await page.wait_for_selector("#turns li:nth-child(2)")
    await photograph(page, "3-sent")
    return conversation

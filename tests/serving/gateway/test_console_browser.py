"""The console in a real browser, Chromium: the desk's script, the keyboard, what the policy stops.

Skipped where there is no Chromium (Debian's package `chromium`).
"""

import asyncio
import os
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe

from serving import auth
from serving.store import cycles, events, feedback, leases
from serving.store.grades import grades
from serving.store.grades.grades import Grade
from serving.store.records import CycleState
from serving.store.reports import looks
from tests.chromium import sign_in
from tests.serving.conftest import Interactions
from tests.serving.gateway.browser import EVIL
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_console_learning import learned
from tests.serving.gateway.test_console_pages import held
from tests.waiting import until_async


async def enter(site: Site, page: Any, role: str, name: str = EVIL) -> None:
    key, _ = await auth.create(site.db, name=name, roles=[role], lobs=["care"])
    await sign_in(page, key)


async def test_an_agent_works_at_the_desk_and_every_event_is_stored(site: Site, page: Any) -> None:
    site.says = f"We send {EVIL} a new one."
    await enter(site, page, "agent")
    await page.click("#sample")
    await page.wait_for_selector("#suggestions li")
    assert await page.inner_text("#suggestions .text") == site.says
    await page.fill("#customer", EVIL)
    await page.press("#customer", "Control+Enter")
    await page.wait_for_selector("#turns li:nth-child(4)")
    await page.wait_for_selector("#suggestions li")
    await page.press("#reply", "Alt+1")
    assert await page.input_value("#reply") == site.says
    await page.press("#reply", "End")
    await page.keyboard.type(" Soon.")
    await page.press("#reply", "Control+Enter")
    await page.wait_for_selector("#turns li:nth-child(5)")
    assert await page.locator("main img").count() == 0

    async def learned() -> list[str | None]:
        given = []
        for one in await site.stored():
            given += [known.edit for known in await feedback.for_interaction(site.db, one.id)]
        return [edit for edit in given if edit is not None]

    found = await learned()
    while not found:
        await asyncio.sleep(0.05)
        found = await learned()
    assert found == [f"{site.says} Soon."]
    (last, *_) = sorted(await site.stored(), key=lambda one: one.created_at, reverse=True)
    kinds = {event.kind.value for event in await events.for_interaction(site.db, last.id)}
    assert kinds >= {"displayed", "inserted", "edited", "sent"}


async def test_what_is_typed_is_the_draft_of_the_next_suggestion(site: Site, page: Any) -> None:
    await enter(site, page, "agent")
    await page.click("#sample")
    await page.wait_for_selector("#suggestions li")
    asked = len(site.asked)
    await page.fill("#reply", "We will look")
    await until_async(lambda: len(site.asked) > asked, "a suggestion is asked for")
    assert site.asked[-1][1]["messages"][-1]["content"].endswith("We will look")


async def test_a_completion_stands_in_grey_and_tab_takes_it(site: Site, page: Any) -> None:
    site.says = f"rry for {EVIL}"
    await enter(site, page, "agent")
    await page.click("#sample")
    await page.wait_for_selector("#suggestions li")
    await page.focus("#reply")
    await page.keyboard.type("I am so")
    await page.wait_for_selector("#ghost span")
    assert await page.text_content("#ghost") == f"I am so{site.says}"
    await page.keyboard.type("rr")
    assert await page.text_content("#ghost span") == site.says.removeprefix("rr")
    await page.keyboard.press("Tab")
    assert await page.input_value("#reply") == f"I am so{site.says}"
    assert await page.locator("main img").count() == 0
    site.says = None
    await page.press("#reply", "Control+Enter")
    await page.wait_for_selector("#turns li:nth-child(4)")

    async def told() -> list[tuple[str, str | None]]:
        stored = [one for one in await site.stored() if one.output.startswith("I am so")]
        found = [event for one in stored for event in await events.for_interaction(site.db, one.id)]
        return [(event.kind.value, event.text) for event in found]

    said = await told()
    while not any(kind == "sent" for kind, _ in said):
        await asyncio.sleep(0.05)
        said = await told()
    assert {kind for kind, _ in said} == {"displayed", "inserted", "sent"}
    assert [text for kind, text in said if kind == "sent"] == [f"I am sorry for {EVIL}"]


async def test_escape_hides_the_completion_and_tab_goes_on(site: Site, page: Any) -> None:
    site.says = " sorry"
    await enter(site, page, "agent")
    await page.click("#sample")
    await page.focus("#reply")
    await page.keyboard.type("I am")
    await page.wait_for_selector("#ghost span")
    await page.keyboard.press("Escape")
    assert await page.text_content("#ghost") == ""
    await page.keyboard.press("Tab")
    assert await page.input_value("#reply") == "I am"
    assert not await page.evaluate("document.activeElement.id === 'reply'")


async def test_a_summary_is_made_and_saved(site: Site, page: Any) -> None:
    await enter(site, page, "agent")
    await page.click("#sample")
    await page.click("#summarize")
    await page.wait_for_selector("#summary-text")
    await page.fill("#summary-text", "A broken kettle.")
    await page.press("#summary-text", "Control+Enter")
    await page.get_by_text("The summary is saved.").wait_for()
    (kept,) = [one for one in await site.stored() if one.task == "summary"]
    assert [one.edit for one in await feedback.for_interaction(site.db, kept.id)] == [
        "A broken kettle."
    ]


async def test_a_review_is_decided_by_the_keyboard_alone(site: Site, page: Any) -> None:
    await held(site, said=f"Ask Acme {EVIL}", asked=EVIL)
    await enter(site, page, "reviewer")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("mark")
    assert await page.inner_text("mark") == "Acme"
    await page.keyboard.press("c")
    await page.wait_for_selector("#text")
    await page.keyboard.press("e")
    await page.keyboard.press("Control+a")
    await page.keyboard.type("We look.")
    await page.keyboard.press("Control+Enter")
    await page.wait_for_url("**/console/review")
    await page.goto("/console/review?status=edited")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.get_by_text("We look.").wait_for()
    assert await page.locator("main img").count() == 0


async def test_single_keys_can_be_switched_off(site: Site, page: Any) -> None:
    await held(site)
    await enter(site, page, "reviewer")
    await page.click("#shortcuts")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("j")
    assert await page.evaluate("document.activeElement.tagName") == "BODY"


async def test_a_grade_is_given_by_the_keyboard_alone(
    site: Site, page: Any, interaction: Interactions
) -> None:
    await learned(site, interaction, text=EVIL)
    await enter(site, page, "reviewer")
    await page.goto("/console/quality")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.get_by_text("answers left for you").wait_for()
    assert await page.inner_text("#answer + p") == EVIL
    await page.keyboard.press("n")
    assert await page.is_checked("#unsupported")
    left = await page.inner_text("main [role=status]")
    await page.keyboard.press("w")
    await page.wait_for_function(
        "left => document.querySelector('main [role=status]')?.innerText !== left", arg=left
    )
    (given,) = [one for one in await grades.given(site.db, "care", 0) if one.key_id != "other"]
    assert (given.grade, given.unsupported) == (Grade.WRONG, True)
    assert await page.locator("main img").count() == 0
    await page.keyboard.press("q")
    await page.wait_for_url("**/console/quality")


async def test_the_flywheels_page_follows_what_happens(
    site: Site, page: Any, interaction: Interactions
) -> None:
    await learned(site, interaction, text=EVIL)
    await enter(site, page, "trainer")
    await page.goto("/console/flywheel")
    now = page.locator('[data-live="care now"]')
    assert "nobody is at work" in await now.inner_text()
    await page.keyboard.press("j")  # the first cycle
    await page.keyboard.press("Enter")
    cycle = await cycles.begin(site.db, "care", "asked for", 2)
    await page.get_by_text("asked for").wait_for()
    await cycles.note(site.db, cycle, EVIL, state=CycleState.TRAIN)
    await leases.acquire(site.db, "flywheel/care", "s", 600)
    await looks.tell(site.db, "care", "s", "training", 3, 12)
    await page.get_by_text("training: 3 of 12").wait_for()
    await page.evaluate("window.same = true")
    await looks.tell(site.db, "care", "s", "training", 4, 12)
    await page.get_by_text("training: 4 of 12").wait_for()
    assert await page.evaluate("window.same"), "a text that changes reloads no page"
    assert await page.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_serious_fault_of_accessibility(
    site: Site, page: Any, interaction: Interactions, scheme: str
) -> None:
    """By axe-core's rules, which look at contrast, too; they find what a machine can find."""
    await held(site, said="Ask Acme", asked="Hello")
    await learned(site, interaction)
    await page.emulate_media(color_scheme=scheme)
    found = {"sign-in": await faults(page, "/console/sign-in")}
    await enter(site, page, "admin")
    for name in ("desk", "review", "adapters", "flywheel", "quality", "operations"):
        found[name] = await faults(page, f"/console/{name}")
    await page.goto("/console/review")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("mark")
    found["task"] = await faults(page, page.url)
    found["grade"] = await faults(page, "/console/quality/care")
    assert {name: one for name, one in found.items() if one} == {}


async def faults(page: Any, path: str) -> list[str]:
    """Return what axe calls serious or critical on a page."""
    await page.goto(path)
    await page.wait_for_selector("main")
    report = (await Axe().run(page)).response
    assert report["passes"], "no rule was tried"
    bad = [one for one in report["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['target']}" for one in bad]


async def test_no_page_is_heavy(site: Site, page: Any, interaction: Interactions) -> None:
    """With DOCS_SCREENSHOTS=docs/images each is photographed, for docs/console.md."""
    await held(site, said="You could ask Acme for one.", asked="My kettle arrived broken.")
    await learned(site, interaction)
    folder = os.environ.get("DOCS_SCREENSHOTS")
    loaded: list[Any] = []
    page.on("response", lambda one: loaded.append(one))
    await enter(site, page, "admin", "Ana")
    names = ("desk", "adapters", "flywheel", "quality", "operations")
    pages = {name: f"/console/{name}" for name in names}
    pages |= {"grade": "/console/quality/care", "review": "/console/review"}
    for name, path in pages.items():
        loaded.clear()
        await page.goto(path)
        await page.wait_for_selector("main")
        if name == "desk":
            await page.click("#sample")
            await page.wait_for_selector("#suggestions li")
        sizes = [len(await one.body()) for one in loaded if one.status == 200]
        assert 1000 < sum(sizes) < 300_000
        if folder:
            await page.screenshot(path=f"{folder}/console-{name}.png")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("mark")
    if folder:
        await page.screenshot(path=f"{folder}/console-task.png")

"""The console's pages of the flywheel and of quality, through the real gateway; evil texts."""

import time
from typing import Any

import pytest

from serving.store import audit, cycles, datasets, interactions
from serving.store.grades import grades
from serving.store.grades.grades import Grade, GradeRecord
from serving.store.records import CycleState, DatasetRecord
from serving.store.reports import impact, looks
from tests.serving.conftest import Interactions
from tests.serving.gateway.browser import EVIL, signed_in
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_console_pages import no_markup, version

HOUR_S = 3600.0


def interval(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high, "confidence": 0.95, "count": 40}


def report(name: str, note: str) -> dict[str, Any]:
    """What `switchboard impact` publishes of a line."""
    row = {
        "version": name,
        "position": "middle",
        "shown": 50,
        "conversations": 30,
        "judged": 40,
        "fates": {"as it was": 20, "edited": 7, "rewritten": 5, "rejected": 4, "left": 4},
        "usage": interval(0.675, 0.52, 0.8),
        "usage_of_shown": 0.54,
        "distance": interval(0.21, 0.1, 0.3),
        "keystrokes": interval(63.0, 40.0, 80.0),
        "used_s": 12.0,
        "unused_s": 31.0,
        "saved_s": None,
    }
    return {"lob": "care", "since": 0.0, "rows": [row], "canaries": [], "notes": [note]}


WHY = "next at 2255-03-14 03:00:00 UTC"
REASON = "Edit similarity: 0.42 [0.35, 0.49] against base's 0.44, not shown to be better."


async def learned(site: Site, make: Interactions, text: str | None = None) -> str:
    """A line with a rejected cycle, published figures, and answers to grade.

    With a text, that is what everybody said.
    """
    db = site.db

    def says(own: str) -> str:
        return own if text is None else text

    filters = [
        {"name": says("judged good or bad"), "kept": 30, "dropped": 12},
        {"name": "distinct", "kept": 29, "dropped": 1},
    ]
    record = DatasetRecord(id="d" * 64, lob="care", uri="x", manifest={"filters": filters})
    await datasets.save(db, record)
    reason = {"metric": "m", "rule": "superiority", "passed": False, "text": says(REASON)}
    decision = {"accepted": False, "against": "base", "reasons": [reason]}
    name = await version(site, decision=decision, dataset_id="d" * 64)
    cycle = await cycles.begin(db, "care", "due, with 42 new feedback", 1)
    cycle = await cycles.note(
        db, cycle, says("29 examples to learn from"), state=CycleState.TRAIN, dataset_id="d" * 64
    )
    await cycles.note(
        db, cycle, says(f"rejected: {REASON}"), state=CycleState.REJECTED, version=name
    )
    await looks.save(db, "care", owner="s", action="wait", why=says(WHY), next_at=9e9, needed=50)
    await impact.publish(db, "care", report(says(name), says("Brackets: 95 % intervals.")))
    made = [
        make(
            created_at=time.time() - HOUR_S,
            conversation_id=f"c-{number}",
            request={"conversation": [{"role": "customer", "text": says("It broke.")}]},
            output=says("Please send a photo."),
            version=name,
        )
        for number in range(6)
    ]
    await interactions.save(db, made)
    for number, one in enumerate(made):
        given = GradeRecord(
            interaction_id=one.id,
            key_id="other",
            grade=[*Grade][number % 3],
            unsupported=number % 3 == 0,
        )
        await grades.give(db, given)
    return made[0].id


async def test_the_flywheel_says_what_comes_next_and_what_was_left_out(
    site: Site, interaction: Interactions
) -> None:
    await learned(site, interaction)
    browser = await signed_in(site, ["trainer"], ["care"])
    page = await browser.get("/flywheel")
    for said in (
        f"waits: {WHY}",
        "0; a cycle needs 50",
        "rejected by the gate",
        REASON,
        "due, with 42 new feedback",
        "Left out",
        "nobody is at work",
    ):
        assert said in page.text, said
    assert "sales" not in page.text
    assert "/console/adapters/care@1" in page.links()


async def test_a_line_without_a_scheduler_says_so(site: Site) -> None:
    browser = await signed_in(site, ["trainer"], ["sales"])
    page = await browser.get("/flywheel")
    assert "No scheduler has looked at this line yet" in page.text


async def test_a_step_that_failed_says_when_it_is_tried_again(site: Site) -> None:
    cycle = await cycles.begin(site.db, "care", "due", 1)
    await cycles.note(site.db, cycle, "failed", attempts=1, error="no memory", retry_at=9e9)
    browser = await signed_in(site, ["trainer"], ["care"])
    page = await browser.get("/flywheel")
    assert "tried again at 2255-" in page.text
    assert "no memory" in page.text


async def test_quality_shows_figures_with_their_intervals(
    site: Site, interaction: Interactions
) -> None:
    await learned(site, interaction)
    browser = await signed_in(site, ["trainer"], ["care"])
    page = await browser.get("/quality")
    for said in ("68 % [52, 80]", "0.21 [0.10, 0.30]", "63 [40, 80]", "40 of 50", "120 / 120"):
        assert said in page.text, said
    assert "Krippendorff's alpha, ordinal" in page.text
    assert "1 graders, 0 answers graded by several" in page.text
    assert "/console/quality/care" not in page.links()  # a trainer does not read conversations
    await browser.get("/quality/care")
    assert browser.status == 403


async def test_a_reviewer_grades_until_nothing_is_left(
    site: Site, interaction: Interactions
) -> None:
    await learned(site, interaction)
    browser = await signed_in(site, ["reviewer"], ["care"])
    assert "/console/quality/care" in (await browser.get("/quality")).links()
    page = await browser.get("/quality/care")
    assert "care@1" not in page.text
    for left in range(6, 0, -1):
        assert f"{left} answers left for you" in page.text
        page = await browser.post("/quality/care", page, grade="usable", unsupported="yes")
        assert browser.status == 200, page.text
    assert "Nothing is left for you to grade." in page.text
    page = await browser.get("/quality")
    assert "2 graders, 6 answers graded by several" in page.text
    mine = [one for one in await grades.given(site.db, "care", 0) if one.key_id != "other"]
    assert {(one.grade, one.unsupported) for one in mine} == {(Grade.USABLE, True)}


@pytest.mark.parametrize("fields", [{"grade": "best"}, {"grade": ""}, {"csrf": "0" * 64}])
async def test_a_faulty_form_grades_nothing(
    site: Site, interaction: Interactions, fields: dict[str, str]
) -> None:
    id_ = await learned(site, interaction)
    browser = await signed_in(site, ["reviewer"], ["care"])
    page = await browser.get("/quality/care")
    await browser.post("/quality/care", page, **fields)
    assert browser.status in (400, 403)
    assert len(await grades.given(site.db, "care", 0)) == 6
    assert [one.key_id for one in await audit.about(site.db, id_, "grade")] == ["other"]


async def test_what_anybody_said_is_text_on_every_page(
    site: Site, interaction: Interactions
) -> None:
    await learned(site, interaction, text=EVIL)
    browser = await signed_in(site, ["admin"], ["care"])
    for path, times in (("/flywheel", 5), ("/quality", 2), ("/quality/care", 2)):
        page = await browser.get(path)
        assert page.text.count(EVIL) >= times, path
        no_markup(page)


async def test_another_lines_answers_are_not_graded_here(
    site: Site, interaction: Interactions
) -> None:
    await learned(site, interaction)
    browser = await signed_in(site, ["reviewer"], ["sales"])
    page = await browser.get("/quality/care")
    assert (browser.status, "It broke" in page.text) == (403, False)
    await browser.get("/quality/nowhere")
    assert browser.status == 403

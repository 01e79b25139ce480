"""A look at a real store, and a real receiver of the webhook."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from serving.config.settings import Settings
from serving.store import audit, feedback, interactions
from serving.store.database import Database
from serving.store.grades import grades as people
from serving.store.grades.grades import Grade as Level
from serving.store.grades.grades import GradeRecord
from tests.training.records import labelled
from tests.waiting import until_async
from tests.webhook_receiver import receiving
from training.data.sampling import DAY_S
from training.errors import DatasetError, RecipeError
from training.monitoring import monitor, windows
from training.monitoring.grades import Grade
from training.monitoring.report import Report
from training.recipe.recipe import Recipe

RECIPE = Recipe.model_validate(
    {
        "evaluation": {"resamples": 400},
        "monitoring": {
            "window_s": 100,
            "alarms": [{"metric": "refusals", "direction": "up", "margin": 0.02}],
        },
    }
)
BEGINS = windows.MONDAY + 3000 * 7 * DAY_S
NOW = BEGINS + DAY_S
REFUSAL = "I'm sorry, but I can't help with that."


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Database]:
    """Return a store in which a line refused nothing for two weeks, and since then every third."""
    db = Database(settings.store.url)
    await db.open()
    rows = [
        labelled(f"r{n}", {"used": True}, created_at=BEGINS - DAY_S - n * 60, output="Hello.")
        for n in range(120)
    ]
    rows += [
        labelled(f"p{n}", created_at=BEGINS + n * 60, output="Hello." if n % 3 else REFUSAL)
        for n in range(90)
    ]
    rows.append(labelled("pinned", created_at=BEGINS, model_requested="care@1"))
    rows.append(labelled("other", created_at=BEGINS, lob="sales", model_requested="sales"))
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        for one in row.feedback:
            at = row.interaction.created_at + 10
            await feedback.add(db, one.model_copy(update={"created_at": at}))
    yield db
    await db.close()


async def test_a_look_reads_both_windows_judged_or_not(store: Database) -> None:
    found = await monitor.look(store, "care", RECIPE, [], NOW)
    assert found.conversations == (120, 90)
    assert [one.name for one in found.alarms] == ["refusals up"]
    early = await monitor.look(store, "care", RECIPE, [], BEGINS + 150)
    assert early.conversations == (120, 0)
    assert early.alarms == ()


async def test_what_people_grade_in_the_console_counts(store: Database) -> None:
    before = await monitor.look(store, "care", RECIPE, [], NOW)
    assert before.quality["rules"] is None
    drawn = before.to_grade
    assert {*await people.sample(store, "care", 0)} & {*drawn}
    for answer in drawn:
        await people.give(
            store,
            GradeRecord(interaction_id=answer, key_id="k", grade=Level.USABLE, unsupported=False),
        )
    found = await monitor.look(store, "care", RECIPE, [], NOW)
    assert found.to_grade == ()
    alone = found.quality["rules"]
    assert alone is not None
    assert alone.alone.mean == 0.5


async def test_an_alarm_is_told_once_a_period_and_noted(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await monitor.look(store, "care", RECIPE, [], NOW)
    with receiving() as got:
        monkeypatch.setenv("SWITCHBOARD_WEBHOOK", got.url)
        told = await monitor.tell(store, found, RECIPE.flywheel)
        assert [one.name for one in told] == ["refusals up"]
        assert await monitor.tell(store, found, RECIPE.flywheel) == []
    ((headers, body),) = got.posts
    sent = json.loads(body)
    assert headers["idempotency-key"] == sent["id"] == f"care.{BEGINS:.0f}.refusals.up"
    assert sent["event"] == "quality_alarm"
    assert sent["present"][0] > sent["reference"][2]
    assert sent["conversations"] == 90
    assert REFUSAL not in body.decode()
    (entry,) = await audit.about(store, "care", monitor.ACTION)
    assert entry.detail["what"] == "refusals up"


async def test_an_alarm_that_was_not_taken_is_told_again(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await monitor.look(store, "care", RECIPE, [], NOW)
    with receiving(status=500) as got:
        monkeypatch.setenv("SWITCHBOARD_WEBHOOK", got.url)
        assert await monitor.tell(store, found, RECIPE.flywheel) == []
    assert len(got.posts) == 1
    assert await audit.about(store, "care", monitor.ACTION) == []
    monkeypatch.delenv("SWITCHBOARD_WEBHOOK")
    assert len(await monitor.tell(store, found, RECIPE.flywheel)) == 1


async def test_a_monitor_looks_again_after_a_look_that_failed(
    store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    looks: list[Report] = []
    faults = [DatasetError("g.jsonl, line 1: no grade")]

    def given() -> list[Grade]:
        if faults:
            raise faults.pop()
        return []

    running = asyncio.create_task(
        monitor.run("care", db=store, recipe=RECIPE, given=given, every_s=0.01, seen=looks.append)
    )
    await until_async(lambda: len(looks) > 1, "two looks after one that failed")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert "care: g.jsonl, line 1: no grade" in caplog.messages


async def test_a_reference_that_lies_in_the_present_is_refused_at_start(store: Database) -> None:
    wrong = Recipe.model_validate({"monitoring": {"reference_until": "2999-01-01T00:00:00Z"}})
    with pytest.raises(RecipeError, match=r"monitoring\.reference_until"):
        await monitor.run(
            "care", db=store, recipe=wrong, given=list[Grade], every_s=0.01, seen=lambda _: None
        )

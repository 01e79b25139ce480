"""`/v1/flywheel`, `/v1/quality` and `/v1/grades` through the real gateway: who may see what."""

import time
from typing import Any

import pytest

from serving.api.learning.flywheel import progress
from serving.api.learning.quality import per_thousand
from serving.store import adapter_versions, audit, cycles, datasets, interactions, leases
from serving.store.database import Database
from serving.store.grades import grades
from serving.store.records import CycleState, DatasetRecord, InteractionRecord
from serving.store.reports import impact, looks
from serving.store.reviews.records import MARK
from tests.serving.conftest import Interactions
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_console_pages import version

FILTERS = [
    {"name": "judged good or bad", "kept": 30, "dropped": 12},
    {"name": "distinct", "kept": 28, "dropped": 2},
]
REASONS = [{"metric": "m", "rule": "superiority", "passed": False, "text": "0.4 [0.3, 0.5]."}]
TURNS = [{"role": "customer", "text": "My kettle broke."}]


async def get(site: Site, path: str, roles: list[str], lobs: list[str] | None = None) -> Any:
    async with await site.http(roles, lobs or ["*"]) as http:
        return await http.get(path)


async def turned(db: Database, name: str) -> None:
    """A line whose last cycle the gate rejected, and whose scheduler waits."""
    await datasets.save(
        db, DatasetRecord(id="d" * 64, lob="care", uri="x", manifest={"filters": FILTERS})
    )
    cycle = await cycles.begin(db, "care", "due, with 42 new feedback", 1)
    cycle = await cycles.note(db, cycle, "built", state=CycleState.TRAIN, dataset_id="d" * 64)
    await cycles.note(db, cycle, "rejected", state=CycleState.REJECTED, version=name)
    await looks.save(
        db, "care", owner="s", action="wait", why="next at noon", next_at=9e9, needed=50
    )


async def test_a_line_says_what_comes_next_and_why_the_last_was_rejected(site: Site) -> None:
    decision = {"accepted": False, "against": "base", "reasons": REASONS}
    await turned(site.db, await version(site, decision=decision))
    answer = await get(site, "/v1/flywheel?lob=care", ["trainer"])
    (line,) = answer.json()["data"]
    assert line["next"] | {"looked_at": 0} == {
        "action": "wait",
        "why": "next at noon",
        "at": 9e9,
        "needed_feedback": 50,
        "looked_at": 0,
        "scheduler": "s",
    }
    down = line["turned_down"]
    assert (down["cycle"], down["state"], down["version"]) == (1, "rejected", "care@1")
    assert down["reasons"] == [{"passed": False, "text": "0.4 [0.3, 0.5]."}]
    assert line["left_out"] == {"dataset_id": "d" * 64, "filters": FILTERS}
    (cycle,) = line["cycles"]
    assert [one["text"] for one in cycle["log"]] == ["built", "rejected"]
    assert (line["paused"], line["forced"], line["holder"], line["progress"]) == (
        *(False, False),
        *(None, None),
    )


async def test_a_line_that_nobody_looked_at_says_so(site: Site) -> None:
    (line,) = (await get(site, "/v1/flywheel?lob=sales", ["trainer"])).json()["data"]
    nothing = ("next", "holder", "progress", "turned_down", "left_out")
    assert [line[name] for name in nothing] == [None] * 5
    assert (line["cycles"], line["new_feedback"]) == ([], 0)


async def test_progress_is_of_the_open_cycle_and_of_who_works_on_it(site: Site) -> None:
    db = site.db
    cycle = await cycles.begin(db, "care", "due", 1)
    await looks.save(db, "care", owner="s", action="go_on", why="x", next_at=None, needed=1)
    await looks.tell(db, "care", "s", "training", 3, 12)
    (line,) = (await get(site, "/v1/flywheel?lob=care", ["trainer"])).json()["data"]
    assert line["progress"] is None  # whoever told it is gone
    await leases.acquire(db, "flywheel/care", "s", 60)
    (line,) = (await get(site, "/v1/flywheel?lob=care", ["trainer"])).json()["data"]
    assert (line["holder"], line["progress"]["done"], line["progress"]["total"]) == ("s", 3, 12)
    ended = await cycles.note(db, cycle, "no", state=CycleState.FAILED)
    assert progress((await looks.all_(db))["care"], "s", [ended]) is None


async def test_a_failed_cycle_says_its_error_and_a_rolled_back_one_the_canarys_reasons(
    site: Site,
) -> None:
    cycle = await cycles.begin(site.db, "care", "due", 1)
    await cycles.note(site.db, cycle, "gave up", state=CycleState.FAILED, error="no memory")
    (line,) = (await get(site, "/v1/flywheel?lob=care", ["trainer"])).json()["data"]
    assert (line["turned_down"]["text"], line["turned_down"]["reasons"]) == ("no memory", [])
    name = await version(site, metrics={"canary": {"action": "roll_back", "reasons": REASONS}})
    cycle = await cycles.begin(site.db, "care", "due", 1)
    await cycles.note(site.db, cycle, "no", state=CycleState.ROLLED_BACK, version=name)
    (line,) = (await get(site, "/v1/flywheel?lob=care", ["trainer"])).json()["data"]
    assert (line["turned_down"]["cycle"], len(line["turned_down"]["reasons"])) == (2, 1)
    assert (await adapter_versions.get(site.db, name)) is not None


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("/v1/flywheel", {"trainer", "admin"}),
        ("/v1/quality", {"trainer", "reviewer", "admin"}),
        ("/v1/grades/next?lob=care", {"reviewer", "admin"}),
    ],
)
async def test_roles_and_lines_are_as_anywhere(site: Site, path: str, roles: set[str]) -> None:
    for role in ("service", "agent", "reviewer", "trainer", "admin"):
        answer = await get(site, path, [role])
        assert answer.status_code == (200 if role in roles else 403), (role, answer.text)
        if role not in roles:
            assert answer.json()["error"]["code"] == "permission_denied"
    for lob, status in (("care", 403), ("nowhere", 403)):
        url = path.partition("?")[0] + f"?lob={lob}"
        answer = await get(site, url, sorted(roles), ["sales"])
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, "lob")
    answer = await get(site, path.partition("?")[0] + "?lob=nowhere", sorted(roles))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_key_of_one_line_sees_that_line(site: Site) -> None:
    for path in ("/v1/flywheel", "/v1/quality"):
        answer = (await get(site, path, ["trainer"], ["sales"])).json()
        assert [one["lob"] for one in answer["data"]] == ["sales"]


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "1e9", "x"])
async def test_a_faulty_window_is_refused_by_name(site: Site, days: str) -> None:
    answer = await get(site, f"/v1/quality?days={days}", ["trainer"])
    assert answer.status_code == 400
    assert "days" in answer.json()["error"]["param"]


async def answered(site: Site, make: Interactions, **fields: Any) -> InteractionRecord:
    made = make(request={"conversation": TURNS}, created_at=time.time() - 3600, **fields)
    await interactions.save(site.db, [made])
    return made


async def grade(site: Site, id_: str, roles: list[str], **fields: Any) -> Any:
    async with await site.http(roles, fields.pop("lobs", ["*"])) as http:
        return await http.post("/v1/grades", json={"id": id_, "grade": "good"} | fields)


async def test_a_grader_is_shown_an_answer_without_its_version_and_it_is_audited(
    site: Site, interaction: Interactions
) -> None:
    made = await answered(site, interaction)
    answer = await get(site, "/v1/grades/next?lob=care", ["reviewer"])
    said = answer.json()
    assert said["left"] == 1
    assert said["answer"]["conversation"] == TURNS
    assert said["answer"]["answer"] == made.output
    assert "care@7" not in answer.text
    (read,) = await audit.of(site.db, made.id)
    assert (read.action, read.detail) == ("read_interaction", {"lob": "care", "reason": "grade"})
    assert (await grade(site, made.id, ["reviewer"])).status_code == 200
    said = (await get(site, "/v1/grades/next?lob=care", ["reviewer"])).json()
    assert (said["left"], said["answer"]) == (0, None)


async def test_a_grader_sees_the_turns_of_what_was_really_asked(site: Site) -> None:
    body = {"lob": "care", "conversation": TURNS, "previous": {"summary": "It broke.", "turns": 1}}
    async with await site.http(["service"], ["care"]) as http:
        assert (await http.post("/v1/summaries", json=body)).status_code == 200
    await site.stored()
    said = (await get(site, "/v1/grades/next?lob=care", ["reviewer"])).json()
    before = {"role": "previous", "text": "It broke."}
    assert said["answer"]["conversation"] == [before, *TURNS[1:]]


async def test_grades_of_two_are_counted_by_version_with_their_agreement(
    site: Site, interaction: Interactions
) -> None:
    for number in range(6):
        made = await answered(site, interaction, version=f"care@{number % 2}")
        value = ["good", "usable", "wrong"][number % 3]
        for roles in (["reviewer"], ["admin"]):
            answer = await grade(site, made.id, roles, grade=value, unsupported=value == "wrong")
            assert answer.status_code == 200, answer.text
    (line,) = (await get(site, "/v1/quality?lob=care", ["reviewer"])).json()["data"]
    first, second = line["grades"]
    assert (first["version"], second["version"]) == ("care@0", "care@1")
    assert (first["answers"], first["good"] + first["usable"] + first["wrong"]) == (3, 6)
    assert first["unsupported"] == first["wrong"]
    agreed = line["agreement"]
    assert (agreed["alpha"], agreed["units"], agreed["graders"]) == (1.0, 6, 2)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"grade": "best"}, 400, "grade"),
        ({"unsupported": "yes"}, 400, "unsupported"),
        ({"comment": "x"}, 400, "comment"),
        ({"id": "chatcmpl-none"}, 404, "id"),
        ({"lobs": ["sales"]}, 403, None),
    ],
)
async def test_a_faulty_grade_stores_nothing(
    site: Site, interaction: Interactions, fields: dict[str, Any], status: int, param: str | None
) -> None:
    made = await answered(site, interaction)
    answer = await grade(site, made.id, ["reviewer"], **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert await grades.given(site.db, "care", 0) == []


async def test_only_answers_that_people_were_shown_are_graded(
    site: Site, interaction: Interactions
) -> None:
    held = {"guard": MARK, "review": "review-1"}
    for fields in ({"task": "chat"}, {"status": "aborted"}, {"guards": [held]}):
        made = await answered(site, interaction, **fields)
        answer = await grade(site, made.id, ["reviewer"])
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "id"), fields
    assert await grades.sample(site.db, "care", 0) == []


async def test_quality_shows_what_was_published_and_what_the_store_counts(
    site: Site, interaction: Interactions
) -> None:
    await answered(site, interaction, latency_ms=80.0)
    await impact.publish(site.db, "care", {"rows": [{"version": "care@7"}]})
    said = (await get(site, "/v1/quality", ["trainer"])).json()
    care, sales = said["data"]
    (row,) = care["versions"]
    assert (row["version"], row["answers"], row["latency_p50"]) == ("care@7", 1, 80.0)
    assert care["impact"]["report"] == {"rows": [{"version": "care@7"}]}
    assert (sales["versions"], sales["impact"]) == ([], None)
    assert said["cost"] is None  # nobody configured it


class TestCost:
    @pytest.fixture
    def sections(self) -> dict[str, Any]:
        return {"costs": {"per_hour": 2.0, "currency": "CHF"}}

    async def test_a_thousand_conversations_have_their_price(
        self, site: Site, interaction: Interactions
    ) -> None:
        for number in range(4):
            await answered(site, interaction, conversation_id=f"c-{number}")
        cost = (await get(site, "/v1/quality", ["trainer"])).json()["cost"]
        assert (cost["conversations"], cost["currency"]) == (4, "CHF")
        assert cost["per_thousand_conversations"] == pytest.approx(500 * cost["hours"])
        assert cost["hours"] >= 1
        limited = await get(site, "/v1/quality", ["trainer"], ["care"])
        assert limited.json()["cost"] is None  # it would tell how busy other lines are


def test_no_conversation_has_no_price() -> None:
    assert per_thousand(2.0, 10.0, 0) is None
    assert per_thousand(2.0, 10.0, 40) == 500.0

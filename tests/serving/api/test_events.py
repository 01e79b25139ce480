"""Events of agents' desktops, through the gateway, with real keys and a real store."""

from typing import Any

import pytest

from serving.store import events, feedback, interactions
from tests.serving.conftest import Interactions
from tests.serving.gateway.conftest import Site, sections, site, tracing  # noqa: F401 - fixtures


@pytest.fixture
async def shown(site: Site, interaction: Interactions) -> Site:  # noqa: F811
    """The site with an answer of two candidates."""
    choices = [{"index": i, "message": {"content": f"text {i}"}} for i in range(2)]
    record = interaction(id="shown", lob="care", output="text 0", response={"choices": choices})
    await interactions.save(site.db, [record])
    return site


def batch(*given: dict[str, Any]) -> dict[str, Any]:
    return {
        "events": [
            {"event_id": f"e{n}", "id": "shown", "at": 100.0 + n} | one
            for n, one in enumerate(given)
        ]
    }


STORY = (
    {"type": "displayed", "candidates": [0, 1]},
    {"type": "dismissed"},
    {"type": "inserted", "index": 1, "rank": 1},
    {"type": "edited", "index": 1, "text": "text 1, he"},
    {"type": "sent", "index": 1, "text": "text 1, hello"},
)


async def test_a_story_is_kept_and_judges_each_candidate(shown: Site) -> None:
    async with await shown.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/events", json=batch(*STORY))
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"object": "events", "received": 5, "created": 5, "feedback": 3}
        again = (await http.post("/v1/events", json=batch(*STORY))).json()
    assert (again["created"], again["feedback"]) == (0, 0)
    kept = await events.for_interaction(shown.db, "shown")
    assert [one.kind for one in kept] == [one["type"] for one in STORY]
    assert [one.detail for one in kept] == [{"candidates": [0, 1]}, {}, {"rank": 1}, {}, {}]
    said = {one.index: one for one in await feedback.for_interaction(shown.db, "shown")}
    assert (said[0].used, said[0].rejected, said[0].edit) == (None, True, None)
    assert (said[1].used, said[1].rejected, said[1].edit) == (True, None, "text 1, hello")


async def test_a_refused_event_is_named_and_nothing_of_its_batch_is_stored(shown: Site) -> None:
    good = {"type": "sent", "text": "text 0"}
    async with await shown.http(["agent"], ["care"]) as http:
        for bad, status, param in (
            ({"type": "sent", "text": "x", "index": 2}, 400, "events.1.index"),
            ({"type": "displayed", "candidates": [0, 2]}, 400, "events.1.candidates"),
            ({"type": "sent", "text": "x", "id": "none"}, 404, "events.1.id"),
        ):
            answer = await http.post("/v1/events", json=batch(good, bad))
            assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert await events.for_interaction(shown.db, "shown") == []
    assert await feedback.for_interaction(shown.db, "shown") == []


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "clicked"},
        {"type": "sent"},
        {"type": "sent", "text": ""},
        {"type": "sent", "text": "x", "rank": 1},
        {"type": "inserted", "index": True},
        {"type": "inserted", "index": -1},
        {"type": "displayed", "candidates": []},
        {"type": "dismissed", "at": "soon"},
        {"type": "dismissed", "event_id": ""},
        {"type": "typed", "text": "x", "index": 0},
    ],
)
async def test_what_is_no_event_is_refused(shown: Site, bad: dict[str, Any]) -> None:
    async with await shown.http(["agent"], ["care"]) as http:
        answer = await http.post("/v1/events", json=batch(bad))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("events.0")


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_is_bounded(shown: Site, count: int) -> None:
    async with await shown.http(["agent"], ["care"]) as http:
        given = batch(*[{"type": "summary.opened"}] * count)
        assert (await http.post("/v1/events", json=given)).status_code == 400


async def test_what_another_key_has_judged_is_kept_and_judges_nothing(shown: Site) -> None:
    async with await shown.http(["agent"], ["care"]) as first:
        await first.post("/v1/events", json=batch({"type": "sent", "text": "text 0"}))
    async with await shown.http(["agent"], ["care", "sales"]) as second:
        answer = await second.post("/v1/events", json=batch({"type": "sent", "text": "Mine."}))
    assert answer.json() == {"object": "events", "received": 1, "created": 1, "feedback": 0}
    assert len(await feedback.for_interaction(shown.db, "shown")) == 1


@pytest.mark.parametrize(("before", "index"), [((), 0), (({"candidates": [1, 0]},), 1)])
async def test_a_reply_that_was_typed_is_the_final_text_of_what_stood_first(
    shown: Site, before: tuple[dict[str, Any], ...], index: int
) -> None:
    told = [{"type": "displayed", **one} for one in before]
    async with await shown.http(["agent"], ["care"]) as http:
        given = batch(*told, {"type": "typed", "text": "text 1", "draft": "te"})
        assert (await http.post("/v1/events", json=given)).json()["feedback"] == 1
        assert (await http.post("/v1/events", json=given)).json()["feedback"] == 0
    (said,) = await feedback.for_interaction(shown.db, "shown")
    assert (said.edit, said.used, said.index) == ("text 1", False, index)


async def test_a_typed_reply_may_name_the_response_that_it_was_made_from(shown: Site) -> None:
    async with await shown.http(["agent"], ["care"]) as http:
        given = batch({"type": "typed", "text": "Hello Ann.", "snippet": "greeting"})
        assert (await http.post("/v1/events", json=given)).json()["feedback"] == 1
        empty = batch({"type": "typed", "text": "Hello Ann.", "snippet": ""})
        assert (await http.post("/v1/events", json=empty)).status_code == 400
    (event,) = await events.for_interaction(shown.db, "shown")
    assert event.detail == {"snippet": "greeting"}

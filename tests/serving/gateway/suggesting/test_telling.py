"""Suggestions through the gateway: completed, abstained from, guarded, stored and told."""

from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import REGISTRY

from serving.store import interactions
from serving.store.reviews import queue
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.guarding.test_review import hold

TURNS = [{"role": "customer", "text": "My kettle is broken."}]
SUGGESTIONS = "/v1/suggestions"


async def ask(site: Site, **body: Any) -> httpx.Response:
    async with await site.http(["agent"], ["*"]) as http:
        asked = {"lob": "care", "conversation": TURNS} | body
        answer = await http.post(SUGGESTIONS, json=asked)
        assert answer.status_code == 200, answer.text
        return answer


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    assert answer.text.endswith("data: [DONE]\n\n")
    return [orjson.loads(line) for line in lines]


def counted(reason: str) -> float:
    name, labels = "switchboard_abstained_total", {"lob": "care", "reason": reason}
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_draft_s_answer_has_its_completion_and_confidence(site: Site) -> None:
    site.says, site.sure = "rry for this.", 0.5
    said = (await ask(site, draft="I am so")).json()
    (choice,) = said["choices"]
    assert choice["message"]["content"] == "I am sorry for this."
    assert (choice["completion"], choice["rank"]) == ("rry for this.", 0)
    assert choice["confidence"] == pytest.approx(0.5)
    assert choice["logprobs"] is None
    assert said["abstained"] is False
    (_, body) = site.asked[-1]
    assert (body["logprobs"], body["continue_final_message"]) == (True, True)
    (stored,) = await site.stored()
    assert stored.output == "I am sorry for this."
    assert not {"logprobs", "echo"} & stored.request.keys(), "only the engine was asked"


async def test_a_stream_has_the_same_in_the_event_that_ends_it(site: Site) -> None:
    site.says, site.sure = "rry for this.", 0.5
    text, end = events(await ask(site, draft="I am so", stream=True))
    assert text["choices"][0]["delta"]["content"] == "I am sorry for this."
    assert text["choices"][0]["finish_reason"] is None
    (choice,) = end["choices"]
    assert (choice["completion"], choice["finish_reason"]) == ("rry for this.", "stop")
    assert choice["confidence"] == pytest.approx(0.5)
    assert "logprobs" not in orjson.dumps([text, end]).decode()
    (stored,) = await site.stored()
    assert (stored.output, stored.completion_tokens) == ("I am sorry for this.", 2)


async def test_white_space_after_the_draft_makes_the_answer_begin_with_some(site: Site) -> None:
    site.says = " sorry"
    said = (await ask(site, draft="I am ")).json()
    assert said["choices"][0]["completion"] == "sorry"
    (_, body) = site.asked[-1]
    assert body["structured_outputs"]["regex"].startswith("[ ")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("guarded", [False, True])
async def test_below_the_line_s_bound_nothing_is_given_and_that_is_stored(
    site: Site, stream: bool, guarded: bool
) -> None:
    if guarded:  # which refuses what it cannot check, and there is nothing to check
        site.guard({"output": {"claims": {"action": "block"}}})
        site.settings = site.gateway.settings
    site.line(suggestions={"abstain_below": 0.6})
    site.says, site.sure = "rry for this.", 0.5
    before = counted("low_confidence")
    answer = await ask(site, draft="I am so", stream=stream)
    said = events(answer)[0] if stream else answer.json()
    assert (said["abstained"], said["choices"]) == (True, [])
    why = {"reason": "low_confidence", "confidence": 0.5, "below": 0.6}
    assert said["abstention"] == why
    assert counted("low_confidence") == before + 1
    (stored,) = await site.stored()
    assert (stored.status, stored.finish_reason, stored.output) == ("completed", "abstained", "")
    assert stored.response["abstention"] == why


async def test_silence_counts_neither_as_an_answer_shown_nor_as_one_that_may_be_judged(
    site: Site,
) -> None:
    site.line(suggestions={"abstain_below": 0.6})
    site.says, site.sure = "rry.", 0.5
    id_ = (await ask(site, draft="I am so", conversation_id="c")).json()["id"]
    await site.stored()
    assert await interactions.shown(site.db, lob="care", since=0, tasks=["suggestion"]) == []
    event = {"event_id": "e", "id": id_, "at": 1.0}
    async with await site.http(["agent"], ["*"]) as http:
        shown = {"events": [event | {"type": "displayed"}]}
        refused = await http.post("/v1/events", json=shown)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "events.0.candidates"
        rated = await http.post("/v1/feedback", json={"id": id_, "used": True})
        assert (rated.status_code, rated.json()["error"]["param"]) == (400, "index")
        typed = {"events": [event | {"type": "typed", "text": "I am so glad."}]}
        taken = await http.post("/v1/events", json=typed)
        assert taken.json()["created"] == 1
    (one,) = await interactions.served(site.db, lob="care", since=0)
    assert (one.finish_reason, one.displayed) == ("abstained", None)


async def test_a_line_may_abstain_from_whole_replies_too(site: Site) -> None:
    site.line(suggestions={"abstain_below": 0.6})
    site.sure = 0.5
    assert (await ask(site)).json()["abstained"] is True
    site.sure = 0.7
    said = (await ask(site)).json()
    assert said["abstained"] is False
    assert said["choices"][0]["message"]["content"] == "of care@2"
    assert "completion" not in said["choices"][0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_person_still_decides_on_what_the_line_s_queue_wants(
    site: Site, stream: bool
) -> None:
    hold(site, {}, low_confidence={"below": 0.5})
    site.says, site.sure = "rry for this.", 0.3
    answer = await ask(site, draft="I am so", stream=stream)
    task = await queue.get(site.db, answer.headers["x-switchboard-review"])
    context = site.reviewing.context(task)
    assert context["text"].strip() == "I am sorry for this."
    site.sure = 0.9
    passed = await ask(site, draft="I am so", stream=stream)
    assert "x-switchboard-review" not in passed.headers
    assert "logprob" not in passed.text.replace('"logprobs":null', "")


async def test_more_candidates_than_there_are_places_are_refused(site: Site) -> None:
    async with await site.http(["agent"], ["*"]) as http:
        body = {"lob": "care", "conversation": TURNS, "draft": "I am", "n": 9}
        refused = await http.post(SUGGESTIONS, json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")


async def test_without_a_plan_the_answer_is_the_engine_s_own(site: Site) -> None:
    said = (await ask(site)).json()
    assert not {"abstained", "abstention"} & said.keys()
    assert not {"rank", "confidence", "completion"} & said["choices"][0].keys()
    (_, body) = site.asked[-1]
    assert not {"logprobs", "n"} & body.keys()


async def test_a_rule_does_not_answer_a_draft(site: Site) -> None:
    rule = {"name": "hours", "version": 1, "patterns": ["kettle"], "answer": "From 9 to 5."}
    site.line(rules=[rule])
    by_rule = (await ask(site)).json()
    assert by_rule["choices"][0]["message"]["content"] == "From 9 to 5."
    site.says = " sorry"
    said = (await ask(site, draft="I am")).json()
    assert said["choices"][0]["completion"] == " sorry"


async def test_a_draft_is_not_shadowed(site: Site) -> None:
    site.shadow()
    site.says = " sorry"
    await ask(site, draft="I am", conversation_id="c")
    assert [body["model"] for _, body in site.asked] == ["care@2"]
    assert not site.shadows.tasks

"""What is held for a person: the task, what the client gets, and what is stored."""

from typing import Any

import httpx
import openai
import orjson
import pytest

from serving.config.reviews import Reviews
from serving.gateway.guarding.review import standing_in
from serving.store.reviews import queue
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.guarding.test_checks import ORDER, chat

HELD = {"output": {"content": {"action": "review", "competitors": ["Acme"]}}}
SAID = "Ask Acme for the refund"
FALLBACK = "One moment, I am checking."


def hold(site: Site, guards: dict[str, Any] = HELD, **reviews: Any) -> None:
    site.says = SAID
    site.guard(guards, reviews=Reviews.model_validate(reviews))


def client(site: Site, http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    key = http.headers["authorization"].removeprefix("Bearer ")
    return openai.AsyncOpenAI(base_url="http://sb/v1", api_key=key, http_client=http, max_retries=0)


async def test_openais_client_gets_the_fallback_text_as_a_complete_answer(site: Site) -> None:
    hold(site)
    async with await site.http(["service"], ["*"]) as http:
        api = client(site, http).chat.completions
        raw = await api.with_raw_response.create(
            model="care", messages=[{"role": "user", "content": "Hello"}]
        )
        parsed = raw.parse()
    (choice,) = parsed.choices
    assert (choice.message.content, choice.finish_reason) == (FALLBACK, "stop")
    assert parsed.model_extra is not None
    review = parsed.model_extra["review"]
    assert review["status"] == "pending"
    assert raw.headers["x-switchboard-review"] == review["id"]
    assert raw.headers["x-switchboard-guard"] == "review"
    assert "Acme" not in raw.text
    task = await queue.get(site.db, review["id"])
    context = site.reviewing.context(task)
    assert (task.lob, task.version, task.interaction_id) == ("care", "care@2", parsed.id)
    assert (context["text"], context["verdicts"][0]["kind"]) == (SAID, "competitors")
    assert context["request"]["messages"][-1]["content"] == "Hello"
    assert SAID[slice(*context["verdicts"][0]["span"])] == "Acme"


async def test_a_stream_is_the_fallback_text_too(site: Site) -> None:
    hold(site)
    async with await site.http(["service"], ["*"]) as http:
        stream = await client(site, http).chat.completions.create(
            model="care",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == FALLBACK
    assert choices[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    extra = chunks[0].model_extra
    assert extra is not None
    assert (await queue.get(site.db, extra["review"]["id"])).interaction_id == chunks[0].id


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_stored_is_the_models_answer_with_a_mark_never_the_fallback_text(
    site: Site, stream: bool
) -> None:
    hold(site)
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post("/v1/chat/completions", json=chat("Hello", stream=stream))
        assert answer.headers["x-switchboard-review"].startswith("review-")
        (stored,) = await site.stored()
        assert stored.output.strip() == SAID
        assert [one["kind"] for one in stored.guards] == ["competitors", "held"]
        read = (await http.get(f"/v1/interactions/{stored.id}")).json()
        assert "Acme" not in orjson.dumps(read["response"]).decode() + read["output"]
        given = await http.post("/v1/feedback", json={"id": stored.id, "edit": FALLBACK})
        assert given.status_code == 403, given.text
        event = {"event_id": "e", "id": stored.id, "at": 1, "type": "sent", "text": FALLBACK}
        sent = await http.post("/v1/events", json={"events": [event]})
        assert (sent.status_code, sent.json()["feedback"]) == (200, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(ORDER)),
        ("/v1/chat/completions", chat(ORDER, stream=True)),
        ("/v1/completions", {"model": "care", "prompt": ORDER}),
        ("/v1/responses", {"model": "care", "input": ORDER}),
        ("/v1/responses", {"model": "care", "input": ORDER, "stream": True}),
        (
            "/v1/suggestions",
            {"lob": "care", "conversation": [{"role": "customer", "text": ORDER}]},
        ),
    ],
)
async def test_a_held_request_is_a_task_and_the_model_is_not_asked(
    site: Site, path: str, body: dict[str, Any]
) -> None:
    hold(site, {"input": {"injection": "review"}})
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert FALLBACK in answer.text
    assert site.asked == []
    task = await queue.get(site.db, answer.headers["x-switchboard-review"])
    context = site.reviewing.context(task)
    assert (context["text"], context["verdicts"][0]["kind"]) == (None, "injection")
    assert ORDER in orjson.dumps(context["request"]).decode()
    (stored,) = await site.stored()
    assert (stored.output, stored.guards[-1]["review"]) == ("", task.id)


async def test_openais_client_reads_a_held_response_and_its_stream(site: Site) -> None:
    hold(site, {"input": {"injection": "review"}})
    async with await site.http(["service"], ["*"]) as http:
        api = client(site, http).responses
        assert (await api.create(model="care", input=ORDER)).output_text == FALLBACK
        async with api.stream(model="care", input=ORDER) as stream:
            final = await stream.get_final_response()
    assert (final.output_text, final.status) == (FALLBACK, "completed")


async def test_high_stakes_are_held_though_no_guard_finds_anything(site: Site) -> None:
    rule = {"name": "refund", "answer": ["refund"], "customer": ["now"]}
    hold(site, {}, high_stakes=[rule])
    async with await site.http(["service"], ["*"]) as http:
        held = await http.post("/v1/chat/completions", json=chat("I want it NOW"))
        passed = await http.post("/v1/chat/completions", json=chat("I want it"))
    assert (await queue.get(site.db, held.headers["x-switchboard-review"])).kinds == ["refund"]
    assert "x-switchboard-review" not in passed.headers
    assert passed.json()["choices"][0]["message"]["content"] == SAID


async def test_the_customers_last_message_of_a_task_is_the_customers_alone(site: Site) -> None:
    hold(site, {}, high_stakes=[{"name": "suing", "customer": ["sue"]}])
    turns = [{"role": "customer", "text": "I sue"}, {"role": "customer", "text": "Hello"}]
    async with await site.http(["service"], ["*"]) as http:
        passed = await http.post("/v1/suggestions", json={"lob": "care", "conversation": turns})
        held = await http.post("/v1/suggestions", json={"lob": "care", "conversation": turns[::-1]})
    assert "x-switchboard-review" not in passed.headers
    assert "x-switchboard-review" in held.headers


async def test_a_block_goes_before_a_review(site: Site) -> None:
    guards = {"output": {"content": {"action": "block", "competitors": ["Acme"]}}}
    hold(site, guards, high_stakes=[{"name": "refund", "answer": ["refund"]}])
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post("/v1/chat/completions", json=chat("Hello"))
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert await queue.find(site.db) == []


async def test_without_a_queue_what_is_held_is_refused(site: Site) -> None:
    site.says = SAID
    site.guard(HELD)
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post("/v1/chat/completions", json=chat("Hello"))
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("guards", "text"), [(HELD, "Hello"), ({"input": {"injection": "review"}}, ORDER)]
)
async def test_a_store_that_takes_no_task_lets_nothing_out(
    site: Site, guards: dict[str, Any], text: str, stream: bool
) -> None:
    hold(site, guards)
    async with await site.http(["service"], ["*"]) as http:
        warm = await http.post("/v1/chat/completions", json=chat(text))
        assert warm.status_code == 200
        async with site.db.session() as connection:
            await connection.exec_driver_sql("ALTER TABLE reviews RENAME TO gone")
        answer = await http.post("/v1/chat/completions", json=chat(text, stream=stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert "Acme" not in answer.text
    assert FALLBACK not in answer.text


def test_what_stands_in_holds_nothing_of_the_answer() -> None:
    choice = {"index": 1, "message": {"content": SAID, "tool_calls": [{}]}, "logprobs": [SAID]}
    answer = {"id": "a", "model": "m", "choices": [choice], "prompt_logprobs": [SAID]}
    whole = standing_in(answer, "Wait.", {"id": "r"})
    assert "Acme" not in str(whole)
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "Wait."}

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from training.data.examples import Example, Message
from training.errors import EvaluationFailed
from training.evaluation import generate
from training.recipe.recipe import EvaluationConfig

RULES = EvaluationConfig(concurrency=3, max_tokens=20, seed=5)


def example(name: str, **fields: Any) -> Example:
    messages = (Message("user", name),)
    return Example(name, name, 0.0, "summary", None, None, "edit", messages, "", "t", **fields)


def client(answer: Callable[[dict[str, Any]], httpx.Response]) -> openai.AsyncOpenAI:
    transport = httpx.MockTransport(lambda request: answer(json.loads(request.content)))
    return openai.AsyncOpenAI(
        base_url="http://server/v1",
        api_key="sb-test",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
    )


def completion(body: dict[str, Any], version: str | None = None) -> httpx.Response:
    text = f"{body['model']} answers {body['messages'][0]['content']}"
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5},
    }
    return httpx.Response(
        200, json=content, headers={"x-switchboard-version": version or body["model"]}
    )


async def test_outputs_come_in_the_examples_order_from_the_pinned_model() -> None:
    examples = [example(f"e{n}") for n in range(9)]
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1

    outputs = await generate.generate(
        client(completion), "care@7", examples, RULES, on_output=count
    )
    assert [o.text for o in outputs] == [f"care@7 answers e{n}" for n in range(9)]
    assert (outputs[0].finish_reason, outputs[0].completion_tokens, seen) == ("stop", 4, 9)


async def test_sampling_is_the_recipes_and_limits_are_the_requests() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> httpx.Response:
        bodies.append(body)
        return completion(body)

    constraint = {"type": "json_object"}
    examples = [example("a"), example("b", max_tokens=9, response_format=constraint)]
    await generate.generate(client(answer), "base", examples, RULES)
    assert bodies[0] == {
        "model": "base",
        "messages": [{"role": "user", "content": "a"}],
        "temperature": 0.0,
        "max_tokens": 20,
        "seed": 5,
    }
    assert (bodies[1]["max_tokens"], bodies[1]["response_format"]) == (9, constraint)


async def test_an_example_is_asked_with_its_request_s_template_variables() -> None:
    quiet = {"enable_thinking": False}
    bodies = []

    def answer(body: dict[str, Any]) -> httpx.Response:
        bodies.append(body)
        return completion(body)

    asked = [example("a"), example("b", chat_template_kwargs=quiet)]
    async with client(answer) as server:
        await generate.generate(server, "care@1", asked, RULES)
    found = {b["messages"][0]["content"]: b.get("chat_template_kwargs") for b in bodies}
    assert found == {"a": None, "b": quiet}


async def test_an_answer_of_another_version_is_refused() -> None:
    with pytest.raises(EvaluationFailed, match="asked for care@7, but care@6 answered"):
        await generate.generate(
            client(lambda body: completion(body, "care@6")), "care@7", [example("a")], RULES
        )


async def test_a_version_that_the_server_hears_of_late_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> httpx.Response:
        calls["all"] += 1
        return completion(body) if calls["all"] > 2 else httpx.Response(404, json={})

    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr("training.evaluation.generate.asyncio.sleep", at_once)
    assert len(await generate.generate(client(answer), "care@7", [example("a")], RULES)) == 1


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "SWITCHBOARD_API_KEY"), (403, "trainer role"), (400, "could not be"), (500, "care@7")],
)
@pytest.mark.parametrize("from_call", [1, 3])
async def test_a_refusal_is_one_clear_error(status: int, word: str, from_call: int) -> None:
    calls: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> httpx.Response:
        calls["all"] += 1
        if calls["all"] < from_call:
            return completion(body)
        return httpx.Response(status, json={"error": {"message": "no"}})

    with pytest.raises(EvaluationFailed, match=word):
        await generate.generate(
            client(answer), "care@7", [example(str(n)) for n in range(6)], RULES
        )


@pytest.mark.parametrize(
    ("error", "word"),
    [(httpx.ReadTimeout("slow"), "did not answer in time"), (httpx.ConnectError("x"), "went away")],
)
async def test_a_lost_server_is_one_clear_error(error: Exception, word: str) -> None:
    def answer(_: dict[str, Any]) -> httpx.Response:
        raise error

    with pytest.raises(EvaluationFailed, match=word):
        await generate.generate(client(answer), "base", [example("a")], RULES)

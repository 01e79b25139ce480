import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.examples import Message
from training.errors import EvaluationFailed, RecipeError
from training.evaluation import forgetting
from training.evaluation.forgetting import General, Reading
from training.recipe.forgetting import ForgettingConfig
from training.recipe.recipe import EvaluationConfig
from training.stats.proportions import wilson

RULES = EvaluationConfig(resamples=400, concurrency=2)
LOGPROBS = st.lists(st.floats(-9, 0), min_size=1, max_size=6)


def general(count: int) -> General:
    return General("abc", tuple((Message("user", f"prompt {n}"),) for n in range(count)))


def reading(*logprobs: float, first: bool = True) -> Reading:
    return Reading(logprobs, (first,) * len(logprobs))


def test_the_committed_prompts_are_read() -> None:
    found = forgetting.read(None)
    assert len(found.prompts) == 40
    assert len({messages[-1].content for messages in found.prompts}) == 40
    assert found.prompts[-1][0].role == "system"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"prompt": "a"}\n{"prompt": 7}\n', ":2: is no prompt"),
        ('{"prompt": "a"}\n\n[1]\n', ":3: is no prompt"),
        ('{"messages": []}\n', ":1: is no prompt"),
        ('{"question": "a"}\n', ":1: is no prompt"),
        ("what", ":1: is no prompt"),
        ('{"prompt": "a"}\n', "holds 1 prompts; 2 are the least"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused(
    tmp_path: Path, text: str | None, word: str
) -> None:
    path = tmp_path / "p.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=word):
        forgetting.read(path)


def test_the_drop_is_the_mean_over_prompts_of_nats_per_token() -> None:
    found = forgetting.drift(
        general(2),
        [(reading(-1.0, -1.0), reading(-2.0, -4.0)), (reading(-1.0), reading(-1.0))],
        RULES,
    )
    assert found.drop.mean == pytest.approx(1.0)
    assert found.drop.count == 2
    assert found.worst == (("prompt 0", pytest.approx(2.0)), ("prompt 1", pytest.approx(0.0)))


def test_an_answer_is_changed_where_the_base_was_sure_and_the_candidate_is_not() -> None:
    found = forgetting.drift(
        general(3),
        [
            (reading(-1.0), reading(-1.0, first=False)),
            (reading(-1.0, first=False), reading(-1.0, first=False)),  # a tie of the base's own
            (reading(-1.0), reading(-1.0)),
        ],
        RULES,
    )
    assert found.changed == wilson(1, 3)


@given(st.lists(LOGPROBS, min_size=2, max_size=8))
def test_a_candidate_that_reads_as_the_base_does_forgot_nothing(rows: list[list[float]]) -> None:
    found = forgetting.drift(general(len(rows)), [(reading(*r), reading(*r)) for r in rows], RULES)
    assert (found.drop.mean, found.drop.low, found.drop.high) == (0, 0, 0)
    assert found.changed.mean == 0
    reason = forgetting.reason(ForgettingConfig(margin=0), found)
    assert reason is not None
    assert reason.passed


@pytest.mark.parametrize(("margin", "passed"), [(0.5, False), (1.0, True), (None, None)])
def test_the_whole_interval_must_lie_within_the_margin(
    margin: float | None, passed: bool | None
) -> None:
    rows = [(reading(-1.0), reading(-1.0 - n / 10)) for n in range(10)]
    found = forgetting.drift(general(10), rows, RULES)
    assert found.drop.low < 0.45 < found.drop.high
    reason = forgetting.reason(ForgettingConfig(margin=margin), found)
    assert (reason.passed if reason else None) is passed
    if reason and not passed:
        assert reason.text.startswith(
            "General prompts: the candidate may lose more than 0.5 nats per token of the base's "
            "own answers: drop +0.450, 95% interval "
        )


def client(answer: Callable[[str, dict[str, Any]], Any]) -> openai.AsyncOpenAI:
    def respond(request: httpx.Request) -> httpx.Response:
        content = answer(request.url.path, json.loads(request.content))
        return content if isinstance(content, httpx.Response) else httpx.Response(200, json=content)

    return openai.AsyncOpenAI(
        base_url="http://server/v1",
        api_key="k",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=httpx.MockTransport(respond)),
    )


def server(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer 7, 8 to the prompt 1, 2; the candidate finds 8 unlikely."""
    head = {"id": "1", "created": 1, "model": body["model"]}
    if path.endswith("/chat/completions"):
        assert (body["model"], body["return_token_ids"], body["temperature"]) == ("base", True, 0)
        message = {"role": "assistant", "content": "text"}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "token_ids": [7, 8]}
        return {
            **head,
            "object": "chat.completion",
            "choices": [choice],
            "prompt_token_ids": [1, 2],
        }
    assert body["prompt"] == [1, 2, 7, 8]
    unlikely = {"logprob": -3.0, "rank": 2} if body["model"] == "care@7" else None
    rows = [
        None,
        {"2": {"logprob": -9.0, "rank": 5}},
        {"7": {"logprob": -1.0, "rank": 1}},
        {"8": unlikely or {"logprob": -1.0, "rank": 1}},
    ]
    choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": rows}
    return {**head, "object": "text_completion", "choices": [choice]}


async def test_only_the_answers_tokens_are_compared() -> None:
    found = await forgetting.measure(
        client(server), "base", "care@7", general(3), ForgettingConfig(), RULES
    )
    assert found.drop.mean == pytest.approx(1.0)
    assert found.changed.mean == 1.0


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_a_server_that_refuses_is_one_clear_error(status: int) -> None:
    broken = client(lambda *_: httpx.Response(status, json={}))
    with pytest.raises(EvaluationFailed, match="forgetting could not be measured"):
        await forgetting.measure(broken, "base", "care@7", general(3), ForgettingConfig(), RULES)


@pytest.mark.parametrize(("part", "word"), [("/chat", "token ids"), ("/v1/comp", "log-likelihood")])
async def test_a_server_without_what_is_needed_is_named(part: str, word: str) -> None:
    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        content = server(path, body)
        if part in path:
            content["choices"][0] = {
                key: value
                for key, value in content["choices"][0].items()
                if key not in ("token_ids", "prompt_logprobs")
            }
        return content

    with pytest.raises(EvaluationFailed, match=word):
        await forgetting.measure(
            client(answer), "base", "care@7", general(3), ForgettingConfig(), RULES
        )

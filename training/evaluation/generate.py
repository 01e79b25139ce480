"""Outputs of one model for many prompts, through the server that would serve them.

The comparison uses the OpenAI endpoint itself: the same engine, chat template and adapter slots as
in production, and the same sampling for every model. `model` is always pinned, so that a promotion
in the middle changes no answer, and the server's word on which version answered is checked.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from training.data.examples import Example
from training.errors import EvaluationFailed
from training.recipe.recipe import EvaluationConfig

VERSION_HEADER = "x-switchboard-version"
_APPEAR_WITHIN_S = 15.0


@dataclass(frozen=True)
class Output:
    """One answer."""

    text: str
    finish_reason: str | None
    completion_tokens: int


async def generate(
    client: openai.AsyncOpenAI,
    model: str,
    examples: Sequence[Example],
    rules: EvaluationConfig,
    *,
    on_output: Callable[[], None] = lambda: None,
) -> list[Output]:
    """Return a model's answer to each example's messages.

    Args:
        client: A client of the server.
        model: The base's served name, or a version such as care@7; never an alias.
        examples: The held-out examples.
        rules: Sampling, concurrency and timeout.
        on_output: Called after each answer, for a progress bar.

    Raises:
        EvaluationFailed: The server refused, failed or answered with another version.
    """
    if not examples:
        return []
    slots = asyncio.Semaphore(rules.concurrency)

    async def one(example: Example) -> Output:
        async with slots:
            output = await _answer(client, model, example, rules)
        on_output()
        return output

    outputs = [await _first(client, model, examples[0], rules)]
    on_output()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(example)) for example in examples[1:]]
    except* openai.OpenAIError as errors:
        raise _failed(model, errors.exceptions[0]) from errors
    except* EvaluationFailed as errors:
        raise EvaluationFailed(str(errors.exceptions[0])) from errors
    return outputs + [task.result() for task in tasks]


async def _first(
    client: openai.AsyncOpenAI, model: str, example: Example, rules: EvaluationConfig
) -> Output:
    """Ask once, with patience for a server that has not yet heard of a new version."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _APPEAR_WITHIN_S
    while True:
        try:
            return await _answer(client, model, example, rules)
        except openai.NotFoundError as exc:
            if loop.time() > deadline:
                raise _failed(model, exc) from exc
            await asyncio.sleep(0.5)
        except openai.OpenAIError as exc:
            raise _failed(model, exc) from exc


async def _answer(
    client: openai.AsyncOpenAI, model: str, example: Example, rules: EvaluationConfig
) -> Output:
    constraint: dict[str, Any] = (
        {"response_format": example.response_format} if example.response_format else {}
    )
    raw = await client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": m.role, "content": m.content} for m in example.messages],  # type: ignore[misc]
        temperature=rules.temperature,
        max_tokens=example.max_tokens or rules.max_tokens,
        seed=rules.seed,
        timeout=rules.timeout_s,
        extra_body={"chat_template_kwargs": own} if (own := example.chat_template_kwargs) else None,
        **constraint,
    )
    answered = raw.headers.get(VERSION_HEADER)
    if answered is not None and answered != model:
        raise EvaluationFailed(f"asked for {model}, but {answered} answered")
    completion = raw.parse()
    choice = completion.choices[0]
    return Output(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason,
        completion_tokens=completion.usage.completion_tokens if completion.usage else 0,
    )


def _failed(model: str, error: BaseException) -> EvaluationFailed:
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return EvaluationFailed(
            f"the server refuses this key for {model}: {error}. Set SWITCHBOARD_API_KEY to a key "
            "with the trainer role (switchboard keys create)."
        )
    if isinstance(error, openai.APITimeoutError):
        return EvaluationFailed(f"{model} did not answer in time; raise evaluation.timeout_s")
    if isinstance(error, openai.APIConnectionError):
        return EvaluationFailed(f"the server went away while {model} was being evaluated")
    return EvaluationFailed(f"{model} could not be evaluated: {error}")

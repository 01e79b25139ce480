"""A model's answers with their times, streamed as an agent's desktop would read them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import openai

from training.analysis.compare import Price, Run, Timed
from training.data.examples import Example
from training.errors import EvaluationFailed
from training.evaluation import generate
from training.evaluation.generate import VERSION_HEADER, Output
from training.recipe.recipe import EvaluationConfig


async def answer(
    client: openai.AsyncOpenAI,
    model: str,
    examples: Sequence[Example],
    rules: EvaluationConfig,
    *,
    price: Price | None = None,
    on_output: Callable[[], None] = lambda: None,
) -> Run:
    """Return a model's answer to each example, after one request that warms it up.

    Args:
        client: A client of its server.
        model: Its name there; never an alias.
        examples: The held-out examples.
        rules: Sampling, concurrency and timeout.
        price: Kept with the run.
        on_output: Called after each answer, for a progress bar.

    Raises:
        EvaluationFailed: The server refused, failed or answered with another version.
    """
    await generate.generate(client, model, examples[:1], rules)
    slots = asyncio.Semaphore(rules.concurrency)

    async def one(example: Example) -> Timed:
        async with slots:
            timed = await _stream(client, model, example, rules)
        on_output()
        return timed

    begin = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(example)) for example in examples]
    except* openai.OpenAIError as errors:
        raise EvaluationFailed(f"{model} could not be compared: {errors.exceptions[0]}") from errors
    except* EvaluationFailed as errors:
        raise EvaluationFailed(str(errors.exceptions[0])) from errors
    wall_s = time.perf_counter() - begin
    server = str(client.base_url).removesuffix("/").removesuffix("/v1")
    return Run(model, server, tuple(task.result() for task in tasks), wall_s, price)


async def _stream(
    client: openai.AsyncOpenAI, model: str, example: Example, rules: EvaluationConfig
) -> Timed:
    constraint: dict[str, Any] = (
        {"response_format": example.response_format} if example.response_format else {}
    )
    messages: Any = [{"role": m.role, "content": m.content} for m in example.messages]
    begin = time.perf_counter()
    first: float | None = None
    texts: list[str] = []
    finish: str | None = None
    prompt_tokens = completion_tokens = 0
    async with client.chat.completions.with_streaming_response.create(
        model=model,
        messages=messages,
        temperature=rules.temperature,
        max_tokens=example.max_tokens or rules.max_tokens,
        seed=rules.seed,
        timeout=rules.timeout_s,
        stream=True,
        stream_options={"include_usage": True},
        **constraint,
    ) as raw:
        answered = raw.headers.get(VERSION_HEADER)
        if answered is not None and answered != model:
            raise EvaluationFailed(f"asked for {model}, but {answered} answered")
        async for chunk in await raw.parse():
            if chunk.usage is not None:
                prompt_tokens = chunk.usage.prompt_tokens
                completion_tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                if choice.delta.content:
                    first = time.perf_counter() if first is None else first
                    texts.append(choice.delta.content)
                finish = choice.finish_reason or finish
    end = time.perf_counter()
    output = Output("".join(texts), finish, completion_tokens)
    return Timed(output, prompt_tokens, (end if first is None else first) - begin, end - begin)

"""What the candidate forgot of the base: a guard that needs no graded answers.

The base answers a committed file of general prompts greedily; those answers are golden. Then base
and candidate read them, and the drop in log-likelihood, in nats per token, says how far the
candidate has left what the base would say. It is akin to the divergence of base and candidate,
which goes with forgetting (Shenfeld et al., "RL's Razor", 2025, arXiv:2509.04259, there on the
prompts of the new task). An answer is changed where a token that was the base's first choice is
not the candidate's: greedily the candidate would have said something else.

All goes through the server that would serve it: a chat completion gives the token ids, and a
completion of the same ids with `prompt_logprobs` their log-likelihood under any version.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openai

from training.data.examples import Message
from training.errors import EvaluationFailed, RecipeError
from training.evaluation.gate import Reason
from training.recipe.forgetting import ForgettingConfig
from training.recipe.recipe import EvaluationConfig
from training.stats import bootstrap, proportions
from training.stats.bootstrap import Interval

DEFAULT_PROMPTS = Path(__file__).parent / "general.jsonl"
FEWEST = 2
WORST = 3


@dataclass(frozen=True)
class General:
    """Prompts of general use, named by their file's hash."""

    hash: str
    prompts: tuple[tuple[Message, ...], ...]


@dataclass(frozen=True)
class Golden:
    """The base's answer to a prompt, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """A golden answer under one model.

    Args:
        logprobs: (tokens,) log-likelihood of each token, nats.
        first: (tokens,) whether the token was the model's first choice.
    """

    logprobs: tuple[float, ...]
    first: tuple[bool, ...]


@dataclass(frozen=True)
class Drift:
    """How far a candidate left the base.

    Args:
        prompts_hash: Names the prompts.
        drop: Mean drop in log-likelihood, nats per token; bootstrap interval over prompts.
        changed: Share of answers that the candidate would have begun to change, Wilson's interval.
        worst: The prompts' last messages that lost most, with their drops.
    """

    prompts_hash: str
    drop: Interval
    changed: Interval
    worst: tuple[tuple[str, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as the registry keeps them."""
        return asdict(self)


def read(file: Path | None) -> General:
    """Read the prompts.

    Args:
        file: JSON Lines, each with `prompt` or `messages`; None takes Switchboard's own.

    Raises:
        RecipeError: The file cannot be read, a line is no prompt, or there are fewer than two.
    """
    path = file or DEFAULT_PROMPTS
    try:
        content = path.read_bytes()
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise RecipeError(f"forgetting.prompts: {path}: cannot be read ({exc})") from exc
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                prompts.append(_prompt(json.loads(line)))
        except (ValueError, KeyError, TypeError) as exc:
            raise RecipeError(
                f"forgetting.prompts: {path}:{number}: is no prompt ({exc!r}). "
                'Fix: {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}]}'
            ) from exc
    if len(prompts) < FEWEST:
        raise RecipeError(
            f"forgetting.prompts: {path}: holds {len(prompts)} prompts; {FEWEST} are "
            "the least for an interval"
        )
    return General(hashlib.sha256(content).hexdigest()[:16], tuple(prompts))


async def measure(
    client: openai.AsyncOpenAI,
    base: str,
    candidate: str,
    general: General,
    rules: ForgettingConfig,
    evaluation: EvaluationConfig,
) -> Drift:
    """Measure what a candidate forgot, through the server.

    Args:
        client: A client of the server.
        base: The base's served name.
        candidate: A version.
        general: The prompts.
        rules: Length of the golden answers.
        evaluation: Concurrency, timeout and the intervals.

    Raises:
        EvaluationFailed: The server refused, failed, or gives no token ids or log-likelihoods.
    """
    slots = asyncio.Semaphore(evaluation.concurrency)

    async def one(messages: tuple[Message, ...]) -> tuple[Reading, Reading]:
        async with slots:
            golden = await _answer(client, base, messages, rules.max_tokens, evaluation)
            return (
                await _read(client, base, golden, evaluation),
                await _read(client, candidate, golden, evaluation),
            )

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(messages)) for messages in general.prompts]
    except* openai.OpenAIError as errors:
        raise EvaluationFailed(
            f"forgetting could not be measured: {errors.exceptions[0]}"
        ) from errors
    except* EvaluationFailed as errors:
        raise EvaluationFailed(str(errors.exceptions[0])) from errors
    return drift(general, [task.result() for task in tasks], evaluation)


def drift(
    general: General, readings: Sequence[tuple[Reading, Reading]], rules: EvaluationConfig
) -> Drift:
    """Compare how base and candidate read the same answers.

    Args:
        general: The prompts.
        readings: (prompts,) the base's reading and the candidate's.
        rules: Resamples, confidence and seed of the intervals.
    """
    drops = [_mean(base.logprobs) - _mean(candidate.logprobs) for base, candidate in readings]
    changed = sum(
        any(was and not now for was, now in zip(base.first, candidate.first, strict=True))
        for base, candidate in readings
    )
    worst = sorted(range(len(drops)), key=lambda n: (-drops[n], n))[:WORST]
    return Drift(
        prompts_hash=general.hash,
        drop=bootstrap.mean(
            drops, resamples=rules.resamples, confidence=rules.confidence, seed=rules.seed
        ),
        changed=proportions.wilson(changed, len(drops), confidence=rules.confidence),
        worst=tuple((general.prompts[n][-1].content, drops[n]) for n in worst),
    )


def reason(rules: ForgettingConfig, found: Drift) -> Reason | None:
    """Apply the gate's rule; None without a margin."""
    if rules.margin is None:
        return None
    passed = found.drop.high <= rules.margin
    text = (
        f"General prompts: the candidate {'keeps' if passed else 'may lose more than'} "
        f"{'within ' if passed else ''}{rules.margin:g} nats per token of the base's own answers: "
        f"drop {found.drop.mean:+.3f}, {found.drop.confidence:.0%} interval {found.drop.low:+.3f} "
        f"to {found.drop.high:+.3f}, {found.drop.count} prompts."
    )
    return Reason("forgetting", "non_inferiority", passed, text)


def _prompt(line: dict[str, Any]) -> tuple[Message, ...]:
    if "prompt" in line:
        content = line["prompt"]
        messages: Sequence[Message] = (Message("user", content),)
    else:
        messages = [Message(m["role"], m["content"]) for m in line["messages"]]
    if not messages or not all(
        isinstance(text, str) and text for m in messages for text in (m.role, m.content)
    ):
        raise ValueError("a role or content is not text")
    return tuple(messages)


async def _answer(
    client: openai.AsyncOpenAI,
    model: str,
    messages: tuple[Message, ...],
    max_tokens: int,
    rules: EvaluationConfig,
) -> Golden:
    completion = await client.chat.completions.create(
        model=model,
        messages=[{"role": m.role, "content": m.content} for m in messages],  # type: ignore[misc]
        temperature=0,
        max_tokens=max_tokens,
        timeout=rules.timeout_s,
        extra_body={"return_token_ids": True},
    )
    content = completion.model_dump()
    prompt, answer = content.get("prompt_token_ids"), content["choices"][0].get("token_ids")
    if not prompt or not answer:
        raise EvaluationFailed("forgetting could not be measured: the server gives no token ids")
    return Golden(tuple(prompt), tuple(answer))


async def _read(
    client: openai.AsyncOpenAI, model: str, golden: Golden, rules: EvaluationConfig
) -> Reading:
    completion = await client.completions.create(
        model=model,
        prompt=[*golden.prompt, *golden.answer],
        temperature=0,
        max_tokens=1,  # the engine must write something; it is not looked at
        timeout=rules.timeout_s,
        extra_body={"prompt_logprobs": 0},
    )
    rows = completion.model_dump()["choices"][0].get("prompt_logprobs")
    if not rows:
        raise EvaluationFailed(
            "forgetting could not be measured: the server gives no log-likelihoods of a prompt"
        )
    read = [
        row[str(token)]
        for row, token in zip(rows[len(golden.prompt) :], golden.answer, strict=True)
    ]
    return Reading(tuple(r["logprob"] for r in read), tuple(r["rank"] == 1 for r in read))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

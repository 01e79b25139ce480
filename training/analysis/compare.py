"""Models side by side on the same held-out examples: quality, latency, cost.

Pure: timed answers and prices in, lines of a table and its assumptions out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.data.examples import Example
from training.evaluation import scores as evaluation
from training.evaluation.generate import Output
from training.evaluation.scores import Scores
from training.recipe.recipe import EvaluationConfig
from training.stats.bootstrap import Interval

THOUSAND = 1000


@dataclass(frozen=True)
class Timed:
    """One answer, and how long it took.

    Args:
        output: The answer.
        prompt_tokens: Tokens of the prompt, as the server counts them.
        ttft_s: Seconds from the request to the first text.
        latency_s: Seconds from the request to the last byte.
    """

    output: Output
    prompt_tokens: int
    ttft_s: float
    latency_s: float


@dataclass(frozen=True)
class Price:
    """What answers cost: by the hour of the hardware, or by the token.

    Args:
        per_hour: Of all that serves the model, busy or not.
        per_mtok_in: Per million prompt tokens.
        per_mtok_out: Per million output tokens.
    """

    per_hour: float | None = None
    per_mtok_in: float | None = None
    per_mtok_out: float | None = None


@dataclass(frozen=True)
class Run:
    """One model's answers to all examples.

    Args:
        model: Its name on its server.
        server: Address of the server.
        answers: (examples,) in their order.
        wall_s: From the first request to the last byte, at the concurrency of the comparison.
        price: None: unknown.
    """

    model: str
    server: str
    answers: tuple[Timed, ...]
    wall_s: float
    price: Price | None = None


@dataclass(frozen=True)
class Percentiles:
    """Of a time, in milliseconds."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Line:
    """One model in the table.

    Args:
        model: Its name on its server.
        server: Address of the server.
        scores: Its metrics with intervals.
        gain: Edit similarity less the first model's, paired by example; None for the first.
        ttft_ms: Time to the first text.
        latency_ms: Time to the last byte.
        output_tokens: Mean per answer.
        engine_s: Seconds of the whole server per conversation, at the comparison's concurrency.
        cost: Per thousand conversations, in the prices' currency; None: no price.
    """

    model: str
    server: str
    scores: Scores
    gain: Interval | None
    ttft_ms: Percentiles
    latency_ms: Percentiles
    output_tokens: float
    engine_s: float
    cost: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures, without the texts."""
        content = asdict(self) | {"scores": self.scores.as_json()}
        return {"cost_per_thousand_conversations": content.pop("cost"), **content}


def lines(runs: Sequence[Run], examples: Sequence[Example], rules: EvaluationConfig) -> list[Line]:
    """Return a line for each model, in the order given.

    Args:
        runs: Each model's answers; the first is what the others are compared with.
        examples: The held-out examples that all answered.
        rules: Resamples, confidence and seed of the intervals.
    """
    scores = [
        evaluation.score(run.model, examples, [a.output for a in run.answers], rules)
        for run in runs
    ]
    conversations = len({example.conversation_id for example in examples})
    return [
        Line(
            model=run.model,
            server=run.server,
            scores=mine,
            gain=None
            if number == 0
            else evaluation.differences(mine, scores[0], examples, rules)["edit_similarity"],
            ttft_ms=percentiles([a.ttft_s for a in run.answers]),
            latency_ms=percentiles([a.latency_s for a in run.answers]),
            output_tokens=sum(a.output.completion_tokens for a in run.answers) / len(run.answers),
            engine_s=run.wall_s / conversations,
            cost=cost(run, conversations),
        )
        for number, (run, mine) in enumerate(zip(runs, scores, strict=True))
    ]


def cost(run: Run, conversations: int) -> float | None:
    """Return what a thousand conversations cost; None without a price.

    By the hour: wall seconds per conversation times the price of an hour, as if the hardware were
    as busy all day as it was here. By the token: what was sent and answered per conversation.

    Args:
        run: A model's answers.
        conversations: How many the answers are of.
    """
    price = run.price
    if price is None:
        return None
    if price.per_hour is not None:
        return run.wall_s / conversations * THOUSAND * price.per_hour / 3600
    sent = sum(answer.prompt_tokens for answer in run.answers)
    answered = sum(answer.output.completion_tokens for answer in run.answers)
    total = sent * (price.per_mtok_in or 0.0) + answered * (price.per_mtok_out or 0.0)
    return total / 1e6 / conversations * THOUSAND


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """Return p50 and p95 of times in seconds, in milliseconds."""
    p50, p95 = np.quantile(np.asarray(seconds), [0.5, 0.95]) * 1000
    return Percentiles(float(p50), float(p95))


def assumptions(
    runs: Sequence[Run], examples: Sequence[Example], rules: EvaluationConfig
) -> list[str]:
    """Return the table's foot: what its figures take for granted.

    Args:
        runs: Each model's answers.
        examples: The held-out examples.
        rules: Concurrency, sampling and confidence.
    """
    conversations = len({example.conversation_id for example in examples})
    foot = [
        f"{len(examples)} held-out answers of {conversations} conversations, so a conversation has "
        f"{len(examples) / conversations:.1f} answers; temperature {rules.temperature:g}.",
        f"Times: streamed, {rules.concurrency} requests at once, after one to warm up, as the "
        "client sees them; one model after another, so other load on the machine shows, "
        "and so does a prefix cache in which one model's prompts lie and another's do not.",
        f"Brackets: {rules.confidence:.0%} intervals by the bootstrap over conversations; gain is "
        f"paired with {runs[0].model}.",
    ]
    return foot + [f"Cost of {run.model}: {_priced(run.price, rules)}" for run in runs]


def _priced(price: Price | None, rules: EvaluationConfig) -> str:
    if price is None:
        return "no price given."
    if price.per_hour is not None:
        return (
            f"{price.per_hour:g} per hour of the hardware that serves it, as busy all the time as "
            f"with {rules.concurrency} requests at once; idle hours cost as much and are not in it."
        )
    return (
        f"{price.per_mtok_in or 0:g} per million prompt tokens, {price.per_mtok_out or 0:g} per "
        "million output tokens, as the server counts them; no discount for cached prompts."
    )

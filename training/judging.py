"""The hold-out's answers by base, live and candidate, scored, and what the gate decides by them.

All three answer through one server with the same sampling. Each is asked as it would be asked in
production: where versions have prompts of their own, by these.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import openai

from serving.adapters.registry import Registry
from training.data.dataset import Dataset
from training.data.examples import Example
from training.data.forms.form import Form
from training.evaluation import checks, gate, generate
from training.evaluation import scores as evaluation
from training.evaluation.scores import Scores
from training.progress import each, progress
from training.recipe.recipe import Recipe
from training.reports import run as report
from training.reports.cost import Meter
from training.stats.bootstrap import Interval
from training.trainers.job import Result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """The hold-out's answers, scored, and what was decided by them."""

    base: Scores
    live: Scores
    candidate: Scores
    differences: Mapping[str, Interval]
    findings: checks.Findings
    decision: gate.GateDecision


@dataclass(frozen=True)
class Trio:
    """The models that are compared, by name, and how each is asked.

    Args:
        base: The base's served name.
        live: What serves: a version, or the base.
        candidate: The new version.
        forms: By name how a model is asked; one that is missing is asked as the examples are.
    """

    base: str
    live: str
    candidate: str
    forms: Mapping[str, Form] = field(default_factory=dict)


async def judge(
    registry: Registry,
    trio: Trio,
    held: Dataset,
    recipe: Recipe,
    *,
    address: str,
    api_key: str | None,
    guarded: checks.Guards,
    training: Result | None,
    meter: Meter,
) -> Judged:
    """Let the three answer the hold-out through a server, decide, and note it with the version.

    Args:
        registry: The adapter registry.
        trio: Who answers.
        held: The dataset whose hold-out judges.
        recipe: How to evaluate and judge.
        address: The server's, without /v1.
        api_key: Of the role trainer.
        guarded: What the recipe's guards need.
        training: The fine-tuning's figures; None: nothing was trained.
        meter: Is told when the evaluation ends.

    Raises:
        EvaluationFailed: The server refused, failed or answered with another version.
    """
    lob = held.manifest["lob"]
    async with openai.AsyncOpenAI(
        base_url=f"{address}/v1", api_key=api_key or "none", max_retries=4
    ) as client:
        scores = await _scores(client, trio, held, recipe)
        base, live, candidate = (scores[n] for n in (trio.base, trio.live, trio.candidate))
        meter.end("evaluation")
        new, old = evaluation.by_part(candidate, live, held, recipe.evaluation)
        seen = new, candidate.rates, old, held.manifest.get("coverage")
        findings = await guarded.run(client, held, base=base, live=live, candidate=candidate)
    decision = gate.decide(recipe.gate, *seen, against=trio.live).also(findings.reasons)
    figures = report.figures(training, base, live, candidate) | findings.as_json()
    await registry.set_metrics(trio.candidate, figures, decision.as_json())
    if not decision.accepted:
        await registry.reject(trio.candidate, decision.as_json())
    for one in decision.reasons:
        logger.info(f"{lob}: {'passed' if one.passed else 'failed'}: {one.text}")
    return Judged(base, live, candidate, new, findings, decision)


def asked_as(form: Form | None, examples: Sequence[Example]) -> list[Example]:
    """Return examples as a model of this form is asked; None: as they are."""
    return [form.rendered(one) for one in examples] if form else list(examples)


async def _scores(
    client: openai.AsyncOpenAI, trio: Trio, held: Dataset, recipe: Recipe
) -> dict[str, Scores]:
    """Let each model answer the hold-out, one that is named twice once; returns scores by name."""
    found: dict[str, Scores] = {}
    for model in dict.fromkeys((trio.base, trio.live, trio.candidate)):
        # The base is compared under live's prompts: what differs is then the weights alone.
        form = trio.forms.get(trio.live if model == trio.base else model)
        examples = asked_as(form, held.holdout)
        with progress(f"  {held.manifest['lob']}: {model} answers") as advance:
            asked = client, model, examples, recipe.evaluation
            outputs = await generate.generate(*asked, on_output=each(advance, len(examples)))
        found[model] = evaluation.score(model, examples, outputs, recipe.evaluation)
    return found


def only(held: Dataset, keep: Sequence[Example]) -> Dataset:
    """Return a dataset that is judged by some of its examples alone."""
    ids = {id(one) for one in keep}
    golden = tuple(one for one in held.golden if id(one) in ids)
    rolling = tuple(one for one in held.rolling if id(one) in ids)
    return replace(held, golden=golden, rolling=rolling)

"""What a run looks at beside the metrics: a judge, and what was forgotten. Each is optional.

`prepare` reads what they need before any work is done, so that a wrong file fails at once; `run`
asks the server; the findings give the gate more reasons and the report more tables.
"""

from dataclasses import dataclass
from typing import Any

import openai

from training.data.dataset import Dataset
from training.evaluation import forgetting, judge, verdicts
from training.evaluation import judge_agreement as agreement
from training.evaluation.forgetting import Drift, General
from training.evaluation.gate import Reason
from training.evaluation.judge import Pair, Template
from training.evaluation.judge_agreement import Agreement
from training.evaluation.scores import Scores
from training.evaluation.verdicts import Tally
from training.recipe.judge import JudgeConfig
from training.recipe.recipe import EvaluationConfig, Recipe


@dataclass(frozen=True)
class Judgement:
    """What a judge said, and what people say of the judge.

    Args:
        model: The judge.
        template_hash: Names the prompt that it was asked with.
        agreement: With people, on past feedback.
        against: What the candidate was compared with.
        comparison: The verdicts; a win is the candidate's.
    """

    model: str
    template_hash: str
    agreement: Agreement
    against: str
    comparison: Tally

    def as_json(self) -> dict[str, Any]:
        """Return the figures as the registry keeps them."""
        return {
            "model": self.model,
            "template_hash": self.template_hash,
            "agreement": self.agreement.as_json(),
            "against": self.against,
            "comparison": self.comparison.as_json(),
        }


@dataclass(frozen=True)
class Findings:
    """What the guards found, and the gate's rules on it."""

    judgement: Judgement | None = None
    drift: Drift | None = None
    reasons: tuple[Reason, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the figures of the guards that ran."""
        found: dict[str, Any] = {}
        if self.judgement is not None:
            found["judge"] = self.judgement.as_json()
        if self.drift is not None:
            found["forgetting"] = self.drift.as_json()
        return found


@dataclass(frozen=True)
class Guards:
    """The guards that a recipe asks for, ready to run."""

    recipe: Recipe
    template: Template | None
    general: General | None

    async def run(
        self,
        client: openai.AsyncOpenAI,
        dataset: Dataset,
        *,
        base: Scores,
        live: Scores,
        candidate: Scores,
    ) -> Findings:
        """Ask the judge and measure forgetting, as far as the recipe says.

        Args:
            client: A client of the server.
            dataset: What was trained and judged on.
            base: The base on the hold-out.
            live: What serves, on the hold-out.
            candidate: The new version on the hold-out.

        Raises:
            EvaluationFailed: A server does not answer what is needed.
            RecipeError: The judge's key is not set.
        """
        rules = self.recipe
        drift = judgement = None
        if self.general is not None:
            drift = await forgetting.measure(
                client,
                base.model,
                candidate.model,
                self.general,
                rules.forgetting,
                rules.evaluation,
            )
        if self.template is not None:
            judgement = await _judge(client, self.template, rules, dataset, base, live, candidate)
        reasons = (
            None if judgement is None else judge_reason(rules.judge, judgement),
            None if drift is None else forgetting.reason(rules.forgetting, drift),
        )
        return Findings(judgement, drift, tuple(r for r in reasons if r is not None))


def prepare(recipe: Recipe, lob: str) -> Guards:
    """Read what the recipe's guards need.

    Args:
        recipe: The recipe.
        lob: The line of business.

    Raises:
        RecipeError: A file is missing or wrong, or the judge learned from what it would judge.
    """
    judge.check(recipe.judge, lob)
    return Guards(
        recipe,
        judge.template(recipe.judge.template) if recipe.judge.enabled else None,
        forgetting.read(recipe.forgetting.prompts) if recipe.forgetting.enabled else None,
    )


async def agree(
    client: openai.AsyncOpenAI,
    model: str,
    template: Template,
    pairs: list[Pair],
    rules: JudgeConfig,
    evaluation: EvaluationConfig,
) -> Agreement:
    """Ask a judge what people decided before, and compare.

    Args:
        client: A client of the judge's server.
        model: The judge.
        template: How it is asked.
        pairs: Pairs of which people prefer left.
        rules: The recipe's section.
        evaluation: Seed, concurrency, timeout and the intervals.

    Raises:
        EvaluationFailed: The judge does not answer.
    """
    found = await judge.judge(client, model, template, pairs, rules, evaluation)
    return agreement.compare(pairs, found, evaluation)


def judge_reason(rules: JudgeConfig, found: Judgement) -> Reason | None:
    """Apply the gate's rule on the win rate; None without one.

    A judge that is not shown to agree with people decides nothing: then the rule fails, whatever
    the judge said.
    """
    if rules.win_rate_above is None:
        return None
    share, rate = found.agreement.share, found.comparison.win_rate
    if share is None or share.low <= rules.agreement_floor:
        return Reason(
            "judge_win_rate",
            "superiority",
            False,
            f"The judge {found.model} may not decide: its agreement with people is not shown to "
            f"exceed {rules.agreement_floor:.0%}. {found.agreement.words}",
        )
    if rate is None:
        text = f"The judge {found.model} prefers neither the candidate nor {found.against}."
        return Reason("judge_win_rate", "superiority", False, text)
    passed = rate.low > rules.win_rate_above
    return Reason(
        "judge_win_rate",
        "superiority",
        passed,
        f"The judge {found.model} {'prefers' if passed else 'is not shown to prefer'} the candidate"
        f" to {found.against} in more than {rules.win_rate_above:.0%} of the conversations that it "
        f"decides: {rate.mean:.0%}, {rate.confidence:.0%} interval {rate.low:.0%} to "
        f"{rate.high:.0%}, {rate.count} conversations.",
    )


async def _judge(
    client: openai.AsyncOpenAI,
    template: Template,
    recipe: Recipe,
    dataset: Dataset,
    base: Scores,
    live: Scores,
    candidate: Scores,
) -> Judgement:
    rules = recipe.judge
    model = rules.model or base.model
    examples = (*dataset.train, *dataset.labels, *dataset.holdout)
    people = agreement.human_pairs(examples, rules.human_pairs)
    pairs = [
        Pair(e.conversation_id, e.task, e.messages, ours.text, theirs.text)
        for e, ours, theirs in zip(dataset.holdout, candidate.outputs, live.outputs, strict=True)
    ]
    async with judge.client(rules, client) as other:
        agreed = await agree(other, model, template, people, rules, recipe.evaluation)
        found = await judge.judge(other, model, template, pairs, rules, recipe.evaluation)
    comparison = verdicts.tally(
        found,
        [pair.conversation_id for pair in pairs],
        confidence=recipe.evaluation.confidence,
    )
    return Judgement(model, template.hash, agreed, live.model, comparison)

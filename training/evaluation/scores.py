"""What a comparison found: each model's scores on the hold-out, with intervals.

Pure: outputs in, figures out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.data.dataset import Dataset
from training.data.examples import Example
from training.evaluation.generate import Output
from training.metrics import text
from training.recipe.recipe import EvaluationConfig
from training.stats import bootstrap, bounded_mean, proportions
from training.stats.bootstrap import Interval


@dataclass(frozen=True)
class Scores:
    """One model on the hold-out.

    Args:
        model: The base's served name, or a version.
        outputs: (examples,) its answers.
        values: Metric name to (examples,) values.
        means: Metric name to the mean with its interval.
        length_ratio: Mean of output length over the agent's.
        cut_off: Share of outputs that hit the length limit, with Wilson's interval.
        rates: Metric name to the share of conversations with an output above 0 on it, with the
            exact interval: unsupported_facts.
    """

    model: str
    outputs: tuple[Output, ...]
    values: dict[str, tuple[float, ...]]
    means: dict[str, Interval]
    length_ratio: float
    cut_off: Interval
    rates: dict[str, Interval]

    def as_json(self) -> dict[str, Any]:
        """Return the figures, without the texts."""
        return {
            "model": self.model,
            "length_ratio": self.length_ratio,
            "cut_off": asdict(self.cut_off),
            "rates": {name: asdict(interval) for name, interval in self.rates.items()},
            **{name: asdict(interval) for name, interval in self.means.items()},
        }


def score(
    model: str, examples: Sequence[Example], outputs: Sequence[Output], rules: EvaluationConfig
) -> Scores:
    """Score a model's outputs.

    Args:
        model: Its name.
        examples: The held-out examples.
        outputs: (examples,) its answers, in their order.
        rules: Resamples, confidence and seed of the intervals.
    """
    rows = [
        text.score(
            output.text,
            example.target,
            [m.content for m in example.messages],
            example.response_format,
        )
        for example, output in zip(examples, outputs, strict=True)
    ]
    values = {name: tuple(row[name] for row in rows) for name in text.METRICS}
    groups = [example.conversation_id for example in examples]
    ratios = [
        text.length_ratio(output.text, example.target)
        for example, output in zip(examples, outputs, strict=True)
    ]
    return Scores(
        model=model,
        outputs=tuple(outputs),
        values=values,
        means={
            name: bootstrap.mean(
                column,
                groups=groups,
                resamples=rules.resamples,
                confidence=rules.confidence,
                seed=rules.seed,
            )
            for name, column in values.items()
        },
        length_ratio=sum(ratios) / len(ratios),
        cut_off=proportions.wilson(
            sum(output.finish_reason == "length" for output in outputs),
            len(outputs),
            confidence=rules.confidence,
        ),
        rates={
            name: _conversations(groups, values[name], rules.confidence) for name in text.COUNTS
        },
    )


def _conversations(groups: Sequence[str], values: Sequence[float], confidence: float) -> Interval:
    """Return the share of conversations with a value above 0: these are independent trials."""
    hit = {group for group, value in zip(groups, values, strict=True) if value > 0}
    return proportions.clopper_pearson(len(hit), len(set(groups)), confidence=confidence)


def differences(
    candidate: Scores, other: Scores, examples: Sequence[Example], rules: EvaluationConfig
) -> Mapping[str, Interval]:
    """Return the interval of `candidate - other` for each metric, paired by example.

    Of a metric in `text.RARE` it is the difference in the share of outputs with any.
    """
    every = slice(len(examples))
    return {n: _difference(n, candidate, other, examples, rules, every) for n in text.METRICS}


def by_part(
    candidate: Scores, other: Scores, dataset: Dataset, rules: EvaluationConfig
) -> tuple[Mapping[str, Interval], Mapping[str, Interval] | None]:
    """Return the intervals on the rolling hold-out, and those of rare metrics on the golden set.

    Args:
        candidate: The candidate's scores on the whole hold-out.
        other: The other model's.
        dataset: Whose hold-out that is.
        rules: Resamples, confidence and seed of the intervals.

    Returns:
        Of each metric; of each in `text.RARE`, or None without a golden set.
    """
    first = len(dataset.golden)
    old, new = slice(first), slice(first, None)
    args = candidate, other, dataset.holdout, rules
    rolling = {name: _difference(name, *args, new) for name in text.METRICS}
    return rolling, {name: _difference(name, *args, old) for name in text.RARE} if first else None


def _difference(
    name: str,
    candidate: Scores,
    other: Scores,
    examples: Sequence[Example],
    rules: EvaluationConfig,
    part: slice,
) -> Interval:
    groups = [example.conversation_id for example in examples[part]]
    mine, theirs = (np.asarray(one.values[name])[part] for one in (candidate, other))
    if name in text.RARE:
        any_more = np.minimum(mine, 1) - np.minimum(theirs, 1)
        return bounded_mean.interval(any_more, groups=groups, confidence=rules.confidence)
    return bootstrap.paired(
        mine,
        theirs,
        groups=groups,
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=rules.seed,
    )

"""Whether a candidate may serve: rules in, a decision with reasons out.

Pure and declarative. A candidate must be better where the recipe asks for superiority and no worse
than a margin everywhere else; ceilings hold however bad live is. It is the interval that decides,
not the mean: what the data cannot show is not granted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.metrics.text import METRICS
from training.recipe.gate import GateConfig
from training.stats.bootstrap import Interval


@dataclass(frozen=True)
class Reason:
    """One rule's outcome, in plain words."""

    metric: str
    rule: str
    passed: bool
    text: str


@dataclass(frozen=True)
class GateDecision:
    """Whether the candidate passed, against what, and why."""

    accepted: bool
    against: str
    reasons: tuple[Reason, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what the registry keeps."""
        return asdict(self)

    def also(self, more: Sequence[Reason]) -> "GateDecision":
        """Return the decision with more rules' outcomes, all of which must have passed too."""
        reasons = (*self.reasons, *more)
        return GateDecision(all(reason.passed for reason in reasons), self.against, reasons)


def decide(
    rules: GateConfig,
    differences: Mapping[str, Interval],
    *,
    against: str,
    rates: Mapping[str, Interval] | None = None,
) -> GateDecision:
    """Apply the rules.

    Args:
        rules: The recipe's gate.
        differences: Interval of `candidate - live` for each metric that a rule names.
        against: What serves now: a version, or the base's name.
        rates: The candidate's own rate for each metric that a ceiling names.
    """
    reasons = [
        _superiority(rule.metric, rule.margin, differences[rule.metric], against)
        for rule in rules.superiority
    ]
    reasons += [
        _non_inferiority(rule.metric, rule.margin, differences[rule.metric], against)
        for rule in rules.non_inferiority
    ]
    reasons += [
        _ceiling(rule.metric, rule.at_most, (rates or {})[rule.metric]) for rule in rules.ceilings
    ]
    return GateDecision(all(reason.passed for reason in reasons), against, tuple(reasons))


def _superiority(metric: str, margin: float, difference: Interval, against: str) -> Reason:
    gain = _oriented(metric, difference)
    passed = gain.low > margin
    title = METRICS[metric].title
    more = f" by more than {margin:g}" if margin else ""
    text = (
        f"{title} is better than {against}'s{more}: {_words(gain, 'gain')}."
        if passed
        else f"{title} is not shown to be better than {against}'s{more}: {_words(gain, 'gain')}."
    )
    return Reason(metric, "superiority", passed, text)


def _non_inferiority(metric: str, margin: float, difference: Interval, against: str) -> Reason:
    gain = _oriented(metric, difference)
    passed = gain.low >= -margin
    title = METRICS[metric].title
    verb = "is no worse" if passed else "may be worse"
    return Reason(
        metric,
        "non_inferiority",
        passed,
        f"{title} {verb} than {against}'s by more than {margin:g}: {_words(gain, 'gain')}.",
    )


def _ceiling(metric: str, at_most: float, rate: Interval) -> Reason:
    passed = rate.high <= at_most
    verb = "stays below" if passed else "is not shown to stay below"
    return Reason(
        metric,
        "ceiling",
        passed,
        f"{METRICS[metric].title}: the share of conversations with any {verb} {at_most:.1%}: "
        f"{rate.mean:.1%}, {rate.confidence:.0%} interval {rate.low:.1%} to {rate.high:.1%}, "
        f"{rate.count} conversations.",
    )


def _oriented(metric: str, difference: Interval) -> Interval:
    """Return the difference as a gain: above zero is better."""
    if METRICS[metric].better == "higher":
        return difference
    return Interval(
        0.0 - difference.mean,  # not its negative, which reads -0.000 for zero
        0.0 - difference.high,
        0.0 - difference.low,
        difference.confidence,
        difference.count,
    )


def _words(interval: Interval, noun: str) -> str:
    return (
        f"{noun} {interval.mean:+.3f}, {interval.confidence:.0%} interval "
        f"{interval.low:+.3f} to {interval.high:+.3f}, {interval.count} examples"
    )

"""Whether a candidate may serve: rules in, a decision with reasons out.

Pure and declarative. A candidate must be better where the recipe asks for superiority and no worse
than a margin everywhere else; ceilings hold however bad live is. It is the interval that decides,
not the mean: what the data cannot show is not granted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.metrics.text import METRICS, RARE
from training.recipe.gate import GateConfig
from training.stats import bounded_mean
from training.stats.bootstrap import Interval


@dataclass(frozen=True)
class Reason:
    """One rule's outcome, in plain words.

    `enough` is False where the data could not have shown what the rule asks, however good the
    candidate.
    """

    metric: str
    rule: str
    passed: bool
    text: str
    enough: bool = True


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
    rates: Mapping[str, Interval] | None = None,
    golden: Mapping[str, Interval] | None = None,
    coverage: Mapping[str, int] | None = None,
    *,
    against: str,
) -> GateDecision:
    """Apply the rules.

    Args:
        rules: The recipe's gate.
        differences: Interval of `candidate - live` for each metric that a rule names, on the
            rolling hold-out.
        rates: The candidate's own rate for each metric that a ceiling names.
        golden: Intervals on the frozen golden set, which judges facts and form alone: its old
            answers must not hold back new rules.
        coverage: Answers `shown` in the conversations that judge, and `judged`; None: not known.
        against: What serves now: a version, or the base's name.
    """
    reasons = [] if coverage is None else [_coverage(rules.coverage_at_least, coverage)]
    reasons += [
        _superiority(rule.metric, rule.margin, differences[rule.metric], against)
        for rule in rules.superiority
    ]
    reasons += [
        _non_inferiority(rule.metric, rule.margin, differences[rule.metric], against)
        for rule in rules.non_inferiority
    ]
    reasons += [
        _golden(rule.metric, golden[rule.metric], against)
        for rule in rules.non_inferiority
        if golden is not None and rule.metric in RARE
    ]
    reasons += [
        _ceiling(rule.metric, rule.at_most, (rates or {})[rule.metric]) for rule in rules.ceilings
    ]
    return GateDecision(all(reason.passed for reason in reasons), against, tuple(reasons))


def conversations_needed(metric: str, margin: float, gain: Interval) -> int:
    """Return about how many conversations would show that a gain is no worse than a margin.

    Of a rare metric that did not differ at all the number is exact (`bounded_mean.needed`); else it
    goes with the square of the interval's width.

    Args:
        metric: The metric's name.
        margin: Above 0.
        gain: The interval seen, above zero better; its `count` is conversations.
    """
    width = gain.mean - gain.low
    if metric in RARE and gain.mean == 0 and gain.low == -gain.high:
        return bounded_mean.needed(margin, confidence=gain.confidence)
    return math.ceil(gain.count * (width / margin) ** 2)


def _superiority(metric: str, margin: float, difference: Interval, against: str) -> Reason:
    gain = _oriented(metric, difference)
    passed = gain.low > margin
    title = METRICS[metric].title
    more = f" by more than {margin:g}" if margin else ""
    verb = "is" if passed else "is not shown to be"
    text = f"{title} {verb} better than {against}'s{more}: {_words(gain, 'gain', metric)}."
    return Reason(metric, "superiority", passed, text)


def _non_inferiority(metric: str, margin: float, difference: Interval, against: str) -> Reason:
    gain = _oriented(metric, difference)
    passed = gain.low >= -margin
    title, rule = METRICS[metric].title, "non_inferiority"
    words = _words(gain, "gain", metric)
    if not passed and margin and gain.mean - gain.low > margin and gain.high >= -margin:
        needed = conversations_needed(metric, margin, gain)
        text = (
            f"Not enough data to show that {title} is no worse than {against}'s by more than "
            f"{margin:g}: {words}; about {needed} conversations could."
        )
        return Reason(metric, rule, False, text, enough=False)
    verb = "is no worse" if passed else "may be worse"
    text = f"{title} {verb} than {against}'s by more than {margin:g}: {words}."
    return Reason(metric, rule, passed, text)


def _golden(metric: str, difference: Interval, against: str) -> Reason:
    gain = _oriented(metric, difference)
    passed = gain.high >= 0
    verb = "is not shown to be" if passed else "is"
    text = (
        f"On the golden set {METRICS[metric].title} {verb} worse than {against}'s: "
        f"{_words(gain, 'gain', metric)}."
    )
    return Reason(metric, "golden", passed, text)


def _coverage(at_least: float, coverage: Mapping[str, int]) -> Reason:
    shown, judged = coverage["shown"], coverage["judged"]
    share = judged / shown if shown else 0.0
    passed = share >= at_least
    text = (
        f"Of {shown} answers shown in conversations that judge, the final text of {judged} is "
        f"known ({share:.0%}; {at_least:.0%} is asked for)."
    )
    if not passed:
        text = (
            f"Not enough data: {text[0].lower()}{text[1:]} Send `used` or `edit` for every answer, "
            "also for those that were sent as they were: else only live's errors would judge."
        )
    return Reason("coverage", "coverage", passed, text, enough=passed)


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


def _words(interval: Interval, noun: str, metric: str) -> str:
    unit = "conversations" if metric in RARE else "examples"
    return (
        f"{noun} {interval.mean:+.3f}, {interval.confidence:.0%} interval "
        f"{interval.low:+.3f} to {interval.high:+.3f}, {interval.count} {unit}"
    )

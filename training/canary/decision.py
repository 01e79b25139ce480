"""What to do with a running canary: counted conversations in, a decision with reasons out.

Pure. Each rule compares a confidence bound that holds at all times (`confidence_sequence.py`) with
its margin, so the decision may be taken as often as one likes:

- *harm* on any metric rolls back. The chance to do so to a canary that is no worse is
  `false_rollback` at most, split evenly over the metrics watched (Bonferroni).
- *superiority* and *non-inferiority* on all metrics named promote. As all must be shown, each is
  tested at `false_promotion` whole (Berger, "Multiparameter hypothesis testing and acceptance
  sampling", Technometrics 24, 1982: intersection-union tests).
- Nothing is promoted before each arm has `min_conversations`; and arms of other sizes than the
  shares say (`sample_ratio.py`) roll back, since then no figure may be believed.
- Else the share moves to the next step, or to where Thompson sampling puts it, when enough
  conversations were counted since it last moved; and time or number ends what nothing else does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from training.canary.outcomes import METRICS, Conversation
from training.evaluation.gate import Reason
from training.recipe.canary import CanaryConfig
from training.stats import confidence_sequence, sample_ratio, thompson

Step = Literal["continue", "share", "promote", "roll_back"]
LEAST_MOVE = 0.05
"""Thompson sampling moves a share by no less: each move is a rollout."""


@dataclass(frozen=True)
class Evidence:
    """What the conversations say about one metric.

    Args:
        gain: Canary - control, turned so that above zero is better.
        low: Lower bound of the gain; exceeds the truth ever with `false_promotion` at most.
        high: Upper bound; falls below the truth ever with `false_rollback` / metrics at most.
        canary: Canary conversations judged.
        control: Control conversations judged.
        canary_mean: The metric's mean over the former; None without any.
        control_mean: The metric's mean over the latter.
    """

    gain: float
    low: float
    high: float
    canary: int
    control: int
    canary_mean: float | None
    control_mean: float | None


@dataclass(frozen=True)
class Progress:
    """How far a canary is.

    Args:
        share: Its share now.
        since_change: Canary conversations counted that began since its share last moved.
        conversations: Counted in all, both arms.
        hours: Since it began.
        smaller_arm: Conversations of the arm that has fewer.
        mismatched: Whether the arms' sizes are shown not to be what the shares say.
        wanted: Where Thompson sampling would have its share; None in the mode `steps`.
    """

    share: float
    since_change: int
    conversations: int
    hours: float
    smaller_arm: int
    mismatched: bool = False
    wanted: float | None = None


@dataclass(frozen=True)
class CanaryDecision:
    """What to do, to what share, and why."""

    action: Step
    share: float
    why: str
    reasons: tuple[Reason, ...]
    evidence: Mapping[str, Evidence]
    progress: Progress

    def as_json(self) -> dict[str, Any]:
        """Return what the store keeps."""
        return asdict(self)


def weigh(conversations: Sequence[Conversation], rules: CanaryConfig) -> dict[str, Evidence]:
    """Return the evidence on each metric that a rule names.

    Args:
        conversations: Counted, in their order.
        rules: The recipe's canary.
    """
    named = {r.metric for r in (*rules.harm, *rules.superiority, *rules.non_inferiority)}
    harm_alpha = rules.false_rollback / len({rule.metric for rule in rules.harm})
    return {
        name: _evidence(name, conversations, rules.false_promotion, harm_alpha)
        for name in METRICS
        if name in named
    }


def progress(
    conversations: Sequence[Conversation],
    rules: CanaryConfig,
    *,
    share: float,
    began: float,
    changed: float,
    now: float,
) -> Progress:
    """Return how far a canary is.

    Args:
        conversations: Counted, in their order.
        rules: The recipe's canary.
        share: Its share now.
        began: When it began.
        changed: When its share last moved.
        now: Seconds since the epoch, as the other two.
    """
    wanted = None
    if rules.mode == "thompson":
        rewards: dict[bool, list[float]] = {True: [], False: []}
        for one in conversations:
            if rules.reward in one.outcomes:
                rewards[one.canary].append(one.outcomes[rules.reward])
        arms = {str(arm): thompson.Normal.of(values) for arm, values in rewards.items()}
        wanted = thompson.shares(arms, floor=rules.floor)[str(True)]
    canaries = [one.canary for one in conversations]
    return Progress(
        share,
        sum(one.canary and one.started >= changed for one in conversations),
        len(conversations),
        (now - began) / 3600,
        min(sum(canaries), len(canaries) - sum(canaries)),
        sample_ratio.mismatched(
            canaries, [one.share for one in conversations], rules.sample_ratio_alpha
        ),
        wanted,
    )


def decide(rules: CanaryConfig, evidence: Mapping[str, Evidence], at: Progress) -> CanaryDecision:
    """Apply the rules.

    Args:
        rules: The recipe's canary.
        evidence: On each metric that a rule names.
        at: How far the canary is.
    """
    harm = [_harm(rule.metric, rule.margin, evidence[rule.metric]) for rule in rules.harm]
    earned = [
        _shown("superiority", rule.metric, rule.margin, evidence[rule.metric])
        for rule in rules.superiority
    ]
    earned += [
        _shown("non_inferiority", rule.metric, -rule.margin, evidence[rule.metric])
        for rule in rules.non_inferiority
    ]

    def decision(action: Step, why: str, share: float = at.share) -> CanaryDecision:
        return CanaryDecision(action, share, why, (*harm, *earned), evidence, at)

    if at.mismatched:
        why = "conversations are not split between the arms as its share says: some are lost"
        return decision("roll_back", why, 0.0)
    if not all(reason.passed for reason in harm):
        worse = ", ".join(METRICS[reason.metric].title for reason in harm if not reason.passed)
        return decision("roll_back", f"it is shown to be worse: {worse}", 0.0)
    enough = at.smaller_arm >= rules.min_conversations
    if enough and all(reason.passed for reason in earned):
        return decision("promote", "all that a promotion asks is shown", 1.0)
    if at.conversations >= rules.max_conversations or at.hours >= rules.max_hours:
        why = (
            f"it is over: {at.conversations} conversations in {at.hours:.1f} h, neither harm nor "
            "all that a promotion asks shown"
        )
        if rules.at_end == "promote" and enough:
            return decision("promote", why, 1.0)
        if not enough:
            why += f"; an arm has {at.smaller_arm} of the {rules.min_conversations} it needs"
        return decision("roll_back", why, 0.0)
    if at.since_change < rules.step_conversations:
        return decision(
            "continue",
            f"{at.since_change} of {rules.step_conversations} canary conversations at this share",
        )
    share = _next_share(rules, at)
    if share == at.share:
        return decision("continue", "the evidence does not decide yet")
    return decision("share", f"no harm shown in {at.since_change} canary conversations", share)


def _next_share(rules: CanaryConfig, at: Progress) -> float:
    if rules.mode == "steps":
        return next((step for step in rules.steps if step > at.share), at.share)
    wanted = at.share if at.wanted is None else at.wanted
    return wanted if abs(wanted - at.share) >= LEAST_MOVE else at.share


def _evidence(
    metric: str, conversations: Sequence[Conversation], low_alpha: float, high_alpha: float
) -> Evidence:
    judged = [one for one in conversations if metric in one.outcomes]
    values = [one.outcomes[metric] for one in judged]
    lower_is_better = METRICS[metric].better == "lower"
    goods = [1 - value if lower_is_better else value for value in values]
    canary = [one.canary for one in judged]
    share = [one.share for one in judged]
    better = confidence_sequence.scores(goods, canary, share)
    worse = confidence_sequence.scores([1 - good for good in goods], canary, share)
    treated = [value for value, mine in zip(values, canary, strict=True) if mine]
    control = [value for value, mine in zip(values, canary, strict=True) if not mine]
    return Evidence(
        gain=confidence_sequence.estimate(better),
        low=confidence_sequence.lower_bound(better, low_alpha),
        high=0.0 - confidence_sequence.lower_bound(worse, high_alpha),
        canary=len(treated),
        control=len(control),
        canary_mean=sum(treated) / len(treated) if treated else None,
        control_mean=sum(control) / len(control) if control else None,
    )


def _harm(metric: str, margin: float, evidence: Evidence) -> Reason:
    passed = evidence.high >= -margin
    more = f" by more than {margin:g}" if margin else ""
    verb = "is not shown to be" if passed else "is"
    text = f"{METRICS[metric].title} {verb} worse than live's{more}: {_words(evidence)}."
    return Reason(metric, "harm", passed, text)


def _shown(
    rule: Literal["superiority", "non_inferiority"], metric: str, bound: float, evidence: Evidence
) -> Reason:
    passed = evidence.low > bound
    verb = "is" if passed else "is not shown to be"
    if rule == "superiority":
        claim = "better than live's" + (f" by more than {bound:g}" if bound else "")
    else:
        claim = f"no worse than live's by more than {-bound:g}"
    text = f"{METRICS[metric].title} {verb} {claim}: {_words(evidence)}."
    return Reason(metric, rule, passed, text)


def _words(evidence: Evidence) -> str:
    return (
        f"gain {evidence.gain:+.3f}, at all times {evidence.low:+.3f} to {evidence.high:+.3f}, "
        f"{evidence.canary} and {evidence.control} conversations"
    )

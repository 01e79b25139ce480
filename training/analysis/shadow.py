"""A shadow beside the live version: both one's answers to the same requests, by one final text.

Pure. What the conversation is like moves both answers alike, so their difference varies less than
either, and fewer conversations show it: of outcomes with a correlation r the variance of a paired
difference is 1 - r times that of two independent arms of as many each.

The final text was made from the live answer, which is near to it for that reason alone: what was
used as it was counts 1 for live, and the shadow cannot win there. So the gain is too low by an
unknown amount. Of the edited answers alone it is not as low, but those were chosen for live having
been wrong, which flatters the shadow. Neither is the gain that customers would see.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, variance
from typing import Any

from serving.store.records import LabelledInteraction
from serving.store.shadows import ShadowRecord
from training.analysis import plan
from training.data.examples import TARGETS, example, judged, label, plain_messages
from training.metrics.facts import unsupported_facts
from training.metrics.text import edit_similarity
from training.recipe.curation import CurationConfig
from training.recipe.recipe import EvaluationConfig
from training.stats import bootstrap, bounded_mean
from training.stats.bootstrap import Interval


@dataclass(frozen=True)
class Pair:
    """One request that both answered.

    Args:
        conversation: Its conversation's id.
        at: When it was answered, seconds since the epoch.
        live: The version that was shown, or the base's name.
        similarity: Edit similarity to the final text, of the live answer and of the shadow's; None
            where that text is not known.
        edited: Whether the agent changed the live answer.
        invented: Whether an answer holds any fact that the conversation lacks, of both.
    """

    conversation: str
    at: float
    live: str
    similarity: tuple[float, float] | None
    edited: bool
    invented: tuple[bool, bool]


@dataclass(frozen=True)
class Power:
    """How many conversations whose final texts are known show a true gain with `plan.POWER`.

    Args:
        effect: The gain in edit similarity.
        shadow: Answered by both.
        canary: Of both arms together, half of them the canary's, at a test of fixed size; a canary
            with a smaller share, or looked at on the way, needs more.
    """

    effect: float
    shadow: int
    canary: int


@dataclass(frozen=True)
class Comparison:
    """A shadow against the live version.

    Args:
        shadow: The version that answered unseen.
        live: The version that was shown last beside it.
        answers: Requests that both answered and that have feedback.
        conversations: Those in which a final text is known.
        gain: Edit similarity, shadow - live, over conversations; None of too few.
        gain_of_edited: The same of the answers that were edited.
        invented: Share of answers with unsupported facts, shadow - live; None without any.
        power: None of too few.
    """

    shadow: str
    live: str
    answers: int
    conversations: int
    gain: Interval | None
    gain_of_edited: Interval | None
    invented: Interval | None
    power: Power | None

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for a program."""
        return asdict(self)


def pairs(
    items: Iterable[LabelledInteraction], answers: Iterable[ShadowRecord], rules: CurationConfig
) -> list[Pair]:
    """Return the requests that both answered and that have feedback, in the order of `items`.

    Args:
        items: The line's interactions with their feedback.
        answers: One shadow's.
        rules: What feedback means, and which tasks count.
    """
    unseen = {answer.interaction_id: answer for answer in answers}
    found = []
    for item in items:
        answer, interaction = unseen.get(item.interaction.id), item.interaction
        messages = plain_messages(interaction)
        if answer is None or messages is None or interaction.task not in rules.tasks:
            continue
        _, said = judged(item)[0]  # a shadow answers only where there is one candidate
        source = label(said, rules)
        final = None
        if source in TARGETS and source is not None:
            final = example(interaction, said, source).target
        texts = [message.content for message in messages]
        both = interaction.output, answer.output
        found.append(
            Pair(
                conversation=interaction.conversation_id or interaction.id,
                at=interaction.created_at,
                live=interaction.version or interaction.base_model,
                similarity=None
                if final is None
                else (edit_similarity(both[0], final), edit_similarity(both[1], final)),
                edited=source == "edit",
                invented=(
                    bool(unsupported_facts(both[0], texts)),
                    bool(unsupported_facts(both[1], texts)),
                ),
            )
        )
    return found


def compare(
    shadow: str, found: Sequence[Pair], rules: EvaluationConfig, *, effect: float
) -> Comparison | None:
    """Compare a shadow with the version that was live last; None without a pair.

    Args:
        shadow: Its name.
        found: What `pairs` returned.
        rules: Resamples, confidence and seed of the intervals.
        effect: The true gain whose need of conversations is wanted, above 0.
    """
    if not found:
        return None
    live = max(found, key=lambda pair: pair.at).live
    mine = [pair for pair in found if pair.live == live]
    known = [pair for pair in mine if pair.similarity is not None]
    more = [float(pair.invented[1]) - float(pair.invented[0]) for pair in mine]
    return Comparison(
        shadow=shadow,
        live=live,
        answers=len(mine),
        conversations=len({pair.conversation for pair in known}),
        gain=_gain(known, rules),
        gain_of_edited=_gain([pair for pair in known if pair.edited], rules),
        invented=bounded_mean.interval(
            more, groups=[pair.conversation for pair in mine], confidence=rules.confidence
        ),
        power=power(known, effect, rules.confidence),
    )


def power(known: Sequence[Pair], effect: float, confidence: float) -> Power | None:
    """Return what a true gain needs by a shadow and by a canary; None of too few conversations.

    The canary's arms are independent: the variance of their difference over n conversations, half
    of them in each, is 2 (v + w) / n, where v and w are the variances of a conversation's mean.

    Args:
        known: Pairs whose final text is known.
        effect: The true gain in edit similarity, above 0.
        confidence: Of the two-sided interval, in (0, 1).
    """
    by_conversation: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for pair in known:
        if pair.similarity is not None:
            by_conversation[pair.conversation].append(pair.similarity)
    if len(by_conversation) < plan.LEAST:
        return None
    live = [fmean(one for one, _ in values) for values in by_conversation.values()]
    unseen = [fmean(other for _, other in values) for values in by_conversation.values()]
    apart = math.sqrt(2 * (variance(live) + variance(unseen)))
    paired = math.sqrt(variance([b - a for a, b in zip(live, unseen, strict=True)]))
    return Power(
        effect,
        plan.needed(paired, effect, confidence),
        plan.needed(apart, effect, confidence),
    )


def words(interval: Interval | None) -> str:
    """Return a difference for people."""
    if interval is None:
        return "too few conversations"
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _gain(known: Sequence[Pair], rules: EvaluationConfig) -> Interval | None:
    values = [pair.similarity for pair in known if pair.similarity is not None]
    groups = [pair.conversation for pair in known if pair.similarity is not None]
    if len(set(groups)) < plan.LEAST:
        return None
    return bootstrap.paired(
        [unseen for _, unseen in values],
        [shown for shown, _ in values],
        groups=groups,
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=rules.seed,
    )

"""Whether a line's classifier tells intents better than its engine does. Pure functions.

Both are asked of the same conversations, which a salted hash drew beforehand (`training.data.
splits`) and the classifier did not learn from. The rates' intervals are exact (Clopper and
Pearson), and the classifier is preferred only where the exact test of McNemar ("Note on the
sampling error of the difference between correlated proportions", Psychometrika 12, 1947), one-sided
at 5 %, says that it is right more often: of conversations where just one of them is right, how many
are the classifier's?
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from serving.draws import judge_draw
from serving.intents.classifier import Classifier
from serving.intents.published import Preferred
from training.intents.material import Labelled
from training.stats.bootstrap import Interval
from training.stats.proportions import clopper_pearson

LEVEL = 0.05


@dataclass(frozen=True)
class Evaluation:
    """What the held-out conversations say.

    Args:
        held_out: How many there are.
        classical: The classifier's accuracy on them; None: there are none.
        compared: Those in which the engine had chosen, too.
        engine: The engine's accuracy on `compared`; None: there are none.
        confirmed: Of `compared`, those in which a person said that the engine was right.
        only_classical: Of `compared`, those in which just the classifier is right.
        only_engine: Likewise, the engine.
        p: McNemar's exact p-value for a classifier that is no better.
        prefers: Who is to tell the line's intents.
        why: In words.
    """

    held_out: int
    classical: Interval | None
    compared: int
    engine: Interval | None
    confirmed: int
    only_classical: int
    only_engine: int
    p: float
    prefers: Preferred
    why: str


def divided(
    lob: str, found: Sequence[Labelled], share: float, salt: str
) -> tuple[list[Labelled], list[Labelled]]:
    """Return the conversations to learn from, and those that only judge.

    Args:
        lob: The line of business.
        found: All of them.
        share: That of those that judge, in (0, 1).
        salt: The operator's own, as the recipe has it.
    """
    judges = [judge_draw(lob, one.conversation, salt) < share for one in found]
    return (
        [one for one, judge in zip(found, judges, strict=True) if not judge],
        [one for one, judge in zip(found, judges, strict=True) if judge],
    )


def evaluate(classifier: Classifier, held_out: Sequence[Labelled]) -> Evaluation:
    """Compare a classifier with the engine's stored answers.

    Args:
        classifier: It learned from none of them.
        held_out: Conversations with their right intents.
    """
    right = [_right(classifier, one) for one in held_out]
    compared = [(mine, one) for mine, one in zip(right, held_out, strict=True) if one.by_engine]
    confirmed = sum(one.confirmed for _, one in compared)
    only_classical = sum(mine and not one.confirmed for mine, one in compared)
    only_engine = sum(one.confirmed and not mine for mine, one in compared)
    differing = only_classical + only_engine
    p = 1.0
    if differing:
        p = float(binomtest(only_classical, differing, alternative="greater").pvalue)
    prefers, why = _verdict(len(compared), confirmed, p)
    return Evaluation(
        held_out=len(held_out),
        classical=clopper_pearson(sum(right), len(right)) if right else None,
        compared=len(compared),
        engine=clopper_pearson(confirmed, len(compared)) if compared else None,
        confirmed=confirmed,
        only_classical=only_classical,
        only_engine=only_engine,
        p=p,
        prefers=prefers,
        why=why,
    )


def _verdict(compared: int, confirmed: int, p: float) -> tuple[Preferred, str]:
    if not compared:
        return "engine", "no held-out conversation tells how often the engine is right"
    if not confirmed:
        # Where only mistakes are corrected, the engine would seem to be always wrong.
        return "engine", "nobody confirmed an intent of the engine's, so corrections alone tell"
    if p < LEVEL:
        return "classical", f"the classifier is right more often (p = {p:.3g})"
    return "engine", f"the classifier is not shown to be right more often (p = {p:.3g})"


def _right(classifier: Classifier, one: Labelled) -> bool:
    said = classifier.guess(one.turns)
    return said is not None and said.intent == one.intent

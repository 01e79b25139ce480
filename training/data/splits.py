"""Which conversations are learned from, and which only judge.

Three splits, and a conversation is in one of them, whole. The golden set is chosen by a hash of
the conversation's id until it is large enough, then frozen: the same questions for every version
that will ever be compared. The rolling hold-out is the newest conversations, so that the
evaluation asks about the future. The rest is learned from.

It holds over time too: what was ever learned from never judges later. An earlier dataset leaves a
mark, the newest conversation that it learned from; only conversations after the mark are held out.
What was held out and is no longer among the newest is learned from, except the golden set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.data.examples import Example
from training.data.sampling import rank
from training.recipe.curation import CurationConfig

Mark = tuple[float, str]
"""When a conversation began (seconds since the epoch, UTC) and its id."""

_SALT = "golden "


@dataclass(frozen=True)
class Past:
    """What earlier datasets of a line of business decided.

    Args:
        learned_until: The newest conversation learned from, if any was.
        golden_ids: Conversations set aside for the golden set so far.
        golden: The frozen golden set's examples; None until it is frozen.
        golden_id: The frozen golden set's dataset id.
        exact: Split just as the mark and the ids say, as when a dataset is rebuilt.
    """

    learned_until: Mark | None = None
    golden_ids: frozenset[str] = frozenset()
    golden: tuple[Example, ...] | None = None
    golden_id: str | None = None
    exact: bool = False


NOTHING = Past()


@dataclass(frozen=True)
class Splits:
    """Conversation ids by split, and the mark that this dataset leaves."""

    train: frozenset[str]
    rolling: frozenset[str]
    golden: frozenset[str]
    learned_until: Mark | None


def frozen_ids(past: Past) -> frozenset[str]:
    """Return the conversations of the frozen golden set; none if it is not frozen."""
    return frozenset(e.conversation_id for e in past.golden or ())


def split(begins: Mapping[str, float], rules: CurationConfig, past: Past) -> Splits:
    """Assign conversations to splits; nothing but the arguments matters.

    Args:
        begins: When each conversation began. Those of a frozen golden set are not among them.
        rules: Shares and least counts.
        past: What earlier datasets decided.

    Returns:
        The splits; train or rolling is empty if there is nothing that may be in it.
    """
    golden = frozenset(c for c in begins if _is_golden(c, begins[c], rules, past))
    ordered = sorted((c for c in begins if c not in golden), key=lambda c: (begins[c], c))
    eligible = [c for c in ordered if _after((begins[c], c), past.learned_until)]
    if past.exact:
        held = eligible
    else:
        wanted = max(rules.min_holdout, round(len(ordered) * rules.holdout_share))
        count = max(0, min(wanted, len(ordered) - 1, len(eligible)))
        held = eligible[len(eligible) - count :]
    train = frozenset(ordered) - frozenset(held)
    mark = max(((begins[c], c) for c in train), default=None)
    return Splits(train, frozenset(held), golden, mark)


def _is_golden(conversation: str, begin: float, rules: CurationConfig, past: Past) -> bool:
    """Say whether a conversation belongs to a golden set that is not frozen yet."""
    if past.golden is not None:
        return False
    if past.exact or conversation in past.golden_ids:
        return conversation in past.golden_ids
    chosen = rank(_SALT + conversation) < rules.golden_share
    return chosen and _after((begin, conversation), past.learned_until)


def _after(mark: Mark, learned_until: Mark | None) -> bool:
    return learned_until is None or mark > learned_until


def newest(marks: Sequence[Mark | None]) -> Mark | None:
    """Return the newest of several datasets' marks."""
    return max((mark for mark in marks if mark is not None), default=None)

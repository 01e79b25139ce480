"""Which conversations are learned from, and which only judge.

Three splits, and a conversation is in one of them, whole. Who judges is drawn by a salted hash of
the conversation's id, so it is settled before anything happens in the conversation: nothing that
agents, customers or models do can choose what judges (Kohavi, Tang and Xu, "Trustworthy Online
Controlled Experiments", 2020, chapter 14, on assignment by hash). What is drawn never trains, and
judges for `recent_days`. The golden set is drawn likewise until it is large, then frozen: the
same questions for every version that will ever be compared. All else is learned from at once, the
newest included.

It holds over time too: what was ever learned from never judges later. Earlier datasets leave the
share that they drew by and the newest conversation that they saw; of conversations up to that one,
only those judge that were drawn by that share too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from serving.draws import judge_draw
from training.data.examples import Example
from training.data.sampling import DAY_S, rank
from training.recipe.curation import CurationConfig

Rate = tuple[float, float]
"""A begin (seconds since the epoch, UTC), and the share by which conversations up to it were
drawn."""

_SALT = "golden "


@dataclass(frozen=True)
class Past:
    """What earlier datasets of a line of business decided.

    Args:
        rates: The shares that they drew by, where lower than the present one.
        seen_until: The begin of the newest conversation that any of them saw.
        golden_ids: Conversations set aside for the golden set so far.
        golden: The frozen golden set's examples; None until it is frozen.
        golden_id: The frozen golden set's dataset id.
        exact: The golden set is just as the ids say, as when a dataset is rebuilt.
    """

    rates: tuple[Rate, ...] = ()
    seen_until: float = -inf
    golden_ids: frozenset[str] = frozenset()
    golden: tuple[Example, ...] | None = None
    golden_id: str | None = None
    exact: bool = False


NOTHING = Past()


@dataclass(frozen=True)
class Splits:
    """Conversation ids by split; those that judged once and are too old now are in none.

    Args:
        train: To learn from.
        rolling: To judge, drawn by the hash.
        golden: To judge, of a golden set that is not frozen yet.
        seen_until: The newest conversation's begin.
    """

    train: frozenset[str]
    rolling: frozenset[str]
    golden: frozenset[str]
    seen_until: float


def frozen_ids(past: Past) -> frozenset[str]:
    """Return the conversations of the frozen golden set; none if it is not frozen."""
    return frozenset(e.conversation_id for e in past.golden or ())


def split(lob: str, begins: Mapping[str, float], rules: CurationConfig, past: Past) -> Splits:
    """Assign conversations to splits; nothing but the arguments matters.

    Args:
        lob: The line of business; salts the draw.
        begins: When each conversation began; at least one. Those of a frozen golden set are not
            among them.
        rules: Shares, the draw's salt, and days.
        past: What earlier datasets decided.
    """
    seen_until = max(begins.values())
    golden = frozenset(c for c in begins if _is_golden(c, begins[c], rules, past))
    drawn = frozenset(
        c for c, begin in begins.items() if c not in golden and is_drawn(lob, c, begin, rules, past)
    )
    rolling = frozenset(c for c in drawn if begins[c] >= judged_since(seen_until, rules))
    return Splits(frozenset(begins) - golden - drawn, rolling, golden, seen_until)


def is_drawn(
    lob: str, conversation: str, begin: float, rules: CurationConfig, past: Past = NOTHING
) -> bool:
    """Return whether a conversation was drawn to judge, and so is never learned from."""
    earlier = (share for until, share in past.rates if begin <= until)
    share = min((rules.holdout_share, *earlier))
    return judge_draw(lob, conversation, rules.holdout_salt) < share


def judged_since(seen_until: float, rules: CurationConfig) -> float:
    """Return the begin from which on a drawn conversation judges."""
    return seen_until - rules.recent_days * DAY_S


def rates(parts: Iterable[Mapping[str, Any]], rules: CurationConfig) -> tuple[Rate, ...]:
    """Return by what shares conversations were drawn, as far as that still matters.

    Args:
        parts: The `splits` of earlier manifests. Another salt drew other conversations, and before
            there was a draw none were, so for these the share is 0.
        rules: The present share and salt.
    """
    found = []
    for part in parts:
        same = part.get("salt") == rules.holdout_salt
        drew = [(seen_until([part]), part.get("share", 0.0)), *part.get("rates", ())]
        found += [(float(until), float(share) if same else 0.0) for until, share in drew]
    kept: list[Rate] = []
    for until, share in sorted(found, key=lambda rate: (-rate[0], rate[1])):
        if share < (kept[-1][1] if kept else rules.holdout_share):
            kept.append((until, share))
    return tuple(kept)


def seen_until(parts: Iterable[Mapping[str, Any]]) -> float:
    """Return the newest conversation's begin that the datasets of these `splits` saw."""
    found = (part["learned_until"] for part in parts)  # of older versions a begin and an id
    return max((float(one[0] if isinstance(one, list) else one) for one in found), default=-inf)


def share_for(lob: str, conversations: Collection[str], rules: CurationConfig) -> float:
    """Return the share by which exactly as many are drawn as the rules ask for.

    For conversations that are all known beforehand and end with this dataset, as in a file; where
    more are to come, the rules' own share draws.

    Args:
        lob: The line of business.
        conversations: All of them; at least two.
        rules: Share, salt and least number.
    """
    draws = sorted(judge_draw(lob, c, rules.holdout_salt) for c in conversations)
    wanted = max(rules.min_holdout, round(len(draws) * rules.holdout_share))
    count = min(wanted, len(draws) - 1)
    return (draws[count - 1] + draws[count]) / 2


def _is_golden(conversation: str, begin: float, rules: CurationConfig, past: Past) -> bool:
    """Say whether a conversation belongs to a golden set that is not frozen yet."""
    if past.golden is not None:
        return False
    if past.exact or conversation in past.golden_ids:
        return conversation in past.golden_ids
    return rank(_SALT + conversation) < rules.golden_share and begin > past.seen_until

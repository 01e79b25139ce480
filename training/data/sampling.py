"""How much of what the model learns: greetings, single agents, older data; and of what judges.

TRL's trainers know no weight for an example. A weight below one is therefore a share: of the
examples that count for less, that share stays, chosen by a hash of the interaction's id. SFT,
preference pairs and KTO examples made from the rest carry it alike, the counts are in the
manifest, and the same examples always make the same choice.
"""

import hashlib
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from statistics import median
from typing import Protocol, TypeVar

from training.data.examples import Example
from training.recipe.curation import CurationConfig

DAY_S = 86_400.0
LONGEST_FORMULA_WORDS = 14
_LATE_TURN = 10
"""Turns from this one on are one stratum."""


class Counted(Protocol):
    """What is read of an example, or of what stands for one; see `Example`."""

    @property
    def interaction_id(self) -> str: ...  # noqa: D102
    @property
    def created_at(self) -> float: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def turn_position(self) -> int | None: ...  # noqa: D102
    @property
    def version(self) -> str | None: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def agent(self) -> str | None: ...  # noqa: D102


E = TypeVar("E", bound=Counted)

_FORMULA = re.compile(
    r"\W*(?:"
    r"(?:hi|hello|hey|welcome|good (?:morning|afternoon|evening|day)|greetings|dear)\b.*"
    r"|(?:how|what) (?:can|may|could) i (?:help|assist|do for).*"
    r"|thank(?:s| you) for (?:contacting|calling|reaching out|choosing|chatting|your patience).*"
    r"|(?:bye|goodbye|good ?bye|take care|you(?:'re| are) (?:very )?welcome|my pleasure)\b.*"
    r"|(?:have|enjoy) (?:a|the rest of|your) .*"
    r"|is there anything else.*|(?:can|may) i help you with anything else.*"
    r")",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def is_greeting_or_closing(example: Example) -> bool:
    """Say whether a reply is only formula: every sentence greets, offers help or takes leave.

    Value lies in the middle of a conversation; its first and last replies are much alike. A reply
    with a number or a placeholder in it says something, and a summary is never one. The words are
    English; other languages keep all they have.
    """
    return example.task != "summary" and is_formula(example.target)


def is_formula(text: str) -> bool:
    """Say whether each sentence of a reply only greets, offers help or takes leave."""
    text = text.strip()
    if re.search(r"[\d\[{]", text):
        return False
    if len(text.split()) > LONGEST_FORMULA_WORDS:
        return False
    return all(_FORMULA.fullmatch(sentence) for sentence in _SENTENCE.split(text))


def fewer_greetings(
    examples: Sequence[E], share: float, is_greeting: Callable[[E], bool]
) -> list[E]:
    """Keep a share of the greetings and closings, as `is_greeting` tells them, and all else."""
    formula = [e for e in examples if is_greeting(e)]
    return _without(examples, formula, math.ceil(len(formula) * share))


def capped(examples: Sequence[E], share: float, floor: int) -> list[E]:
    """Keep no more of any one agent's examples than a share of all that stay.

    The cap is the largest count c with c <= share * sum(min(n, c)) over the agents' counts n; with
    too few agents for any such count (1 / share or fewer) there is nothing to balance, and all
    stays.

    Args:
        examples: Those whose agent is unknown are never dropped.
        share: Largest share of one agent.
        floor: No agent is cut below this many.
    """
    return _capped(examples, [e.agent for e in examples], share, floor)


def capped_keys(items: Sequence[E], keys: Sequence[str], share: float, floor: int) -> list[E]:
    """Keep no more of what any one API key judged than a share of all that stays.

    Whoever holds a key can so decide only a part of what a model learns, however many names of
    agents it sends. With too few keys there is nothing to balance, as in `capped`.

    Args:
        items: What was judged.
        keys: Which key judged each.
        share: Largest share of one key.
        floor: No key is cut below this many.
    """
    return _capped(items, keys, share, floor)


def _capped(items: Sequence[E], owners: Sequence[str | None], share: float, floor: int) -> list[E]:
    counts = Counter(owner for owner in owners if owner is not None)
    if len(counts) * share <= 1:
        return list(items)
    most = cap(counts.values(), share, floor, unknown=len(items) - counts.total())
    return _at_most(items, owners, counts, most)


def _at_most(
    items: Sequence[E], owners: Sequence[str | None], counts: Counter[str], most: int
) -> list[E]:
    """Keep of each owner's items so many, which a hash of their ids chooses."""
    over: dict[str, list[E]] = {owner: [] for owner, count in counts.items() if count > most}
    for item, owner in zip(items, owners, strict=True):
        if owner in over:
            over[owner].append(item)
    dropped = {id_ for some in over.values() for id_ in _beyond(some, most)}
    return [item for item in items if item.interaction_id not in dropped]


def cap(counts: Collection[int], share: float, floor: int, unknown: int = 0) -> int:
    """Return the largest c with c <= share * (unknown + sum(min(n, c) for n in counts)).

    The right side is concave in c and not below the left at c = 0, so what fits ends once: it is
    searched by halving, each sum from the counts sorted and summed up once.

    Args:
        counts: What each owner has; at least one owner.
        share: Largest share of one owner.
        floor: The least that is returned, if any owner has as much.
        unknown: How many have no known owner.
    """
    ordered = sorted(counts)
    sums = list(accumulate(ordered, initial=0))

    def exceeds(c: int) -> bool:
        below = bisect_right(ordered, c)
        return c > share * (unknown + sums[below] + c * (len(ordered) - below))

    most = ordered[-1]
    if most <= floor:
        return most
    return bisect_left(range(floor + 1, most + 1), True, key=exceeds) + floor


def with_replay(examples: Sequence[E], rules: CurationConfig) -> list[E]:
    """Keep all recent examples, and of older ones only a share of the whole, against forgetting.

    Two shares: one of older data, one of the base's own good outputs, which nobody had to edit
    and which hold what the base could do before it learned. Neither is cut so far that fewer than
    `min_examples` remain.
    """
    newest = max((e.created_at for e in examples), default=0.0)
    begin = newest - rules.recent_days * DAY_S
    older = [e for e in examples if e.created_at < begin]
    base = [e for e in older if e.source in ("rating", "used") and "@" not in (e.version or "")]
    mine = {e.interaction_id for e in base}
    edited = [e for e in older if e.interaction_id not in mine]
    recent = len(examples) - len(older)
    whole = recent / (1 - rules.replay_share - rules.replay_base_share)
    out = _without(examples, base, round(whole * rules.replay_base_share))
    left = len(out) - len(edited)
    return _without(out, edited, max(round(whole * rules.replay_share), rules.min_examples - left))


def _without(examples: Sequence[E], some: Sequence[E], keep: int) -> list[E]:
    """Return the examples with only `keep` of `some`, which a hash of their ids chooses."""
    dropped = set(_beyond(some, max(0, keep)))
    return [e for e in examples if e.interaction_id not in dropped]


def _beyond(some: Sequence[Counted], keep: int) -> list[str]:
    """Return the ids of all but `keep`, which a hash of the ids chooses."""
    ids = sorted((e.interaction_id for e in some), key=lambda id_: (rank(id_), id_))
    return ids[keep:]


def evened(examples: Sequence[E], floor: int) -> list[E]:
    """Keep of each agent's examples no more than the median agent gives.

    What judges then speaks for agents, not for whoever sends most: a minority of accounts cannot
    decide what is good, however much they send, as long as most agents are honest.

    Args:
        examples: Those whose agent is unknown are never dropped.
        floor: All agents together are not cut below about this many.
    """
    counts = Counter(e.agent for e in examples if e.agent is not None)
    if not counts:
        return list(examples)
    most = max(math.ceil(median(counts.values())), math.ceil(floor / len(counts)))
    return _at_most(examples, [e.agent for e in examples], counts, most)


def stratified(examples: Sequence[E], most: int) -> list[E]:
    """Return at most so many examples, each agent, task and position with its share of them.

    Systematic sampling along the strata, in the order of a hash within each (Cochran, "Sampling
    Techniques", 3rd edition 1977, chapter 8): proportional, so means over what is kept are those
    over all, only with less noise than a simple draw's.

    Args:
        examples: In any order, which is kept.
        most: How many at most.
    """
    if len(examples) <= most:
        return list(examples)
    by_stratum = sorted(
        examples,
        key=lambda e: (
            e.agent or "",
            e.task,
            -1 if e.turn_position is None else min(e.turn_position, _LATE_TURN),
            rank(e.interaction_id),
            e.interaction_id,
        ),
    )
    count = len(examples)
    kept = {
        one.interaction_id
        for n, one in enumerate(by_stratum)
        if (n + 1) * most // count > n * most // count
    }
    return [e for e in examples if e.interaction_id in kept]


def rank(identity: str) -> float:
    """Return a number from 0 to 1 that depends on nothing but the id."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64

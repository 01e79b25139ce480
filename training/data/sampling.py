"""How much of what the model learns: greetings, single agents, older data; and of what judges.

TRL's trainers know no weight for an example. A weight below one is therefore a share: of the
examples that count for less, that share stays, chosen by a hash of the interaction's id. SFT,
preference pairs and KTO examples made from the rest carry it alike, the counts are in the
manifest, and the same examples always make the same choice.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence

from serving.store.records import InteractionRecord
from training.data.examples import Example, Verdict
from training.recipe.curation import CurationConfig

DAY_S = 86_400.0
Judged = tuple[InteractionRecord, Verdict]
LONGEST_FORMULA_WORDS = 14
_LATE_TURN = 10
"""Turns from this one on are one stratum."""

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


def fewer_greetings(examples: Sequence[Example], share: float) -> list[Example]:
    """Keep a share of the greetings and closings, and all else."""
    formula = [e for e in examples if is_greeting_or_closing(e)]
    return _without(examples, formula, math.ceil(len(formula) * share))


def capped(examples: Sequence[Example], share: float, floor: int) -> list[Example]:
    """Keep no more of any one agent's examples than a share of all that stay.

    The cap is the largest count c with c <= share * sum(min(n, c)) over the agents' counts n; with
    too few agents for any such count (1 / share or fewer) there is nothing to balance, and all
    stays.

    Args:
        examples: Those whose agent is unknown are never dropped.
        share: Largest share of one agent.
        floor: No agent is cut below this many.
    """
    counts = Counter(e.agent for e in examples if e.agent is not None)
    if len(counts) * share <= 1:
        return list(examples)
    unknown = len(examples) - counts.total()
    cap = _cap(counts, share, floor, unknown)
    out = list(examples)
    for agent in sorted(agent for agent, count in counts.items() if count > cap):
        out = _without(out, [e for e in out if e.agent == agent], cap)
    return out


def capped_keys(items: Sequence[Judged], share: float, floor: int) -> list[Judged]:
    """Keep no more of what any one API key judged than a share of all that stays.

    Whoever holds a key can so decide only a part of what a model learns, however many names of
    agents it sends. With too few keys there is nothing to balance, as in `capped`.

    Args:
        items: Interactions with what was said of them.
        share: Largest share of one key.
        floor: No key is cut below this many.
    """
    counts = Counter(said.key_id for _, said in items)
    if len(counts) * share <= 1:
        return list(items)
    cap = _cap(counts, share, floor, unknown=0)
    dropped: set[str] = set()
    for key in sorted(key for key, count in counts.items() if count > cap):
        mine = sorted(
            (i.id for i, said in items if said.key_id == key), key=lambda id_: (rank(id_), id_)
        )
        dropped |= set(mine[cap:])
    return [(i, said) for i, said in items if i.id not in dropped]


def _cap(counts: Counter[str], share: float, floor: int, unknown: int) -> int:
    cap = max(counts.values())
    while cap > floor and cap > share * (unknown + sum(min(n, cap) for n in counts.values())):
        cap -= 1
    return cap


def with_replay(examples: Sequence[Example], rules: CurationConfig) -> list[Example]:
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


def _without(examples: Sequence[Example], some: Sequence[Example], keep: int) -> list[Example]:
    """Return the examples with only `keep` of `some`, which a hash of their ids chooses."""
    ranked = sorted(some, key=lambda e: (rank(e.interaction_id), e.interaction_id))
    dropped = {e.interaction_id for e in ranked[max(0, keep) :]}
    return [e for e in examples if e.interaction_id not in dropped]


def stratified(examples: Sequence[Example], most: int) -> list[Example]:
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

"""Feedback in, examples out: which interactions teach, and which only judge.

Curation is a list of small filters, each pure, in a fixed order; each leaves its counts of kept
and dropped in the manifest. First those that ask whether an interaction says anything
(`INTERACTION_FILTERS`), then, after redaction, those that compare examples with one another, then
the split, and last those that only concern what is learned from: what judges stays as it came.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serving.store.records import InteractionRecord, LabelledInteraction
from training.data import dedup, preferences, sampling, splits
from training.data.examples import (
    TARGETS,
    Example,
    Message,
    Verdict,
    contradicts_itself,
    conversation,
    example,
    finished_or_edited,
    judged,
    label,
    plain_messages,
    redacted,
)
from training.data.splits import NOTHING, Mark, Past
from training.errors import TooLittleData
from training.recipe.curation import CurationConfig

VERSION = 3
"""Raised with every change that makes other examples from the same feedback and rules."""

Keep = Callable[[InteractionRecord, Verdict, CurationConfig], bool]

INTERACTION_FILTERS: tuple[tuple[str, Keep], ...] = (
    ("task", lambda i, _, rules: i.task in rules.tasks),
    ("finished or edited", lambda i, said, _: finished_or_edited(i, said)),
    ("plain text", lambda i, _, __: plain_messages(i) is not None),
    ("judged good or bad", lambda _, said, rules: label(said, rules) is not None),
    ("not judged both", lambda _, said, rules: not contradicts_itself(said, rules)),
    ("not empty", lambda i, said, _: bool((i.output if said.edit is None else said.edit).strip())),
)
"""Name and predicate, in the order in which they are asked."""


@dataclass(frozen=True)
class FilterCount:
    """How many examples one filter kept and dropped."""

    name: str
    kept: int
    dropped: int


@dataclass(frozen=True)
class Curated:
    """Examples by split, oldest first, and how they were chosen.

    Args:
        train: To imitate.
        labels: Of the same conversations: no targets, but known to be good or bad (for KTO).
        rolling: Of the newest conversations, only to judge.
        golden: Of the golden set, frozen or not, only to judge.
        filters: Counts of each filter, in order.
        redactions: Values replaced, by kind.
        learned_until: The newest conversation learned from.
    """

    train: tuple[Example, ...]
    labels: tuple[Example, ...]
    rolling: tuple[Example, ...]
    golden: tuple[Example, ...]
    filters: tuple[FilterCount, ...]
    redactions: dict[str, int]
    learned_until: Mark

    @property
    def holdout(self) -> tuple[Example, ...]:
        """All that judges: the golden set, then the rolling hold-out."""
        return self.golden + self.rolling


class _Counts(list[FilterCount]):
    """The filters' counts, in the order in which they ran."""

    def filter(
        self, name: str, before: Sequence[Example], after: Sequence[Example]
    ) -> list[Example]:
        self.append(FilterCount(name, len(after), len(before) - len(after)))
        return list(after)


def curate(
    lob: str, labelled: Sequence[LabelledInteraction], rules: CurationConfig, past: Past = NOTHING
) -> Curated:
    """Choose examples from the store's feedback and split them.

    Args:
        lob: The line of business, for the message when data is too little.
        labelled: Interactions with their feedback.
        rules: The recipe's section.
        past: What earlier datasets decided.

    Raises:
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    counts = _Counts()
    candidates = [one for item in labelled for one in judged(item)]
    begins: dict[str, float] = {}
    for interaction, _ in candidates:
        begin = begins.get(conversation(interaction), interaction.created_at)
        begins[conversation(interaction)] = min(begin, interaction.created_at)
    for name, keep in INTERACTION_FILTERS:
        kept = [(i, said) for i, said in candidates if keep(i, said, rules)]
        counts.append(FilterCount(name, len(kept), len(candidates) - len(kept)))
        candidates = kept
    kept = sampling.capped_keys(candidates, rules.key_share, rules.min_examples)
    counts.append(FilterCount("a share of each key", len(kept), len(candidates) - len(kept)))
    candidates = kept
    examples = [
        example(interaction, said, source)
        for interaction, said in candidates
        if (source := label(said, rules)) is not None
    ]
    return choose(lob, examples, begins, rules, past, counts)


def choose(
    lob: str,
    examples: Sequence[Example],
    begins: Mapping[str, float],
    rules: CurationConfig,
    past: Past = NOTHING,
    counts: Sequence[FilterCount] = (),
) -> Curated:
    """Redact examples, drop what repeats or contradicts, split, and balance what is learned.

    Args:
        lob: The line of business, for the message when data is too little.
        examples: From the store, or imported.
        begins: When each conversation began.
        rules: The recipe's section.
        past: What earlier datasets decided.
        counts: Counts of the filters that ran before.

    Raises:
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    counts = _Counts(counts)
    examples = sorted(examples, key=lambda e: (e.created_at, e.interaction_id))
    redactions: dict[str, int] = {}
    if rules.redact:
        examples, redactions = redacted(examples)

    frozen = splits.frozen_ids(past)
    known = past.golden or ()
    fresh = [e for e in examples if e.conversation_id not in frozen]
    examples = counts.filter("not in the frozen golden set", examples, fresh)
    agreed = preferences.without_contradictions(examples)
    examples = counts.filter("not contradicted", examples, agreed)
    examples = counts.filter("distinct", examples, _distinct(examples, known))
    new = dedup.first_of_each(examples, known, rules.near_duplicate_similarity)
    examples = counts.filter("no near-duplicate", examples, new)
    targets = [e for e in examples if e.source in TARGETS]
    name = f"edited or rated {rules.rating_at_least:g} or higher"
    counts.filter(f"{name}; others are for KTO", examples, targets)
    _enough(lob, targets, rules)

    parts = splits.split(
        {e.conversation_id: begins[e.conversation_id] for e in targets}, rules, past
    )
    mark = parts.learned_until
    if mark is None or not parts.rolling:
        raise TooLittleData(
            f"{lob}: there are no conversations newer than those that earlier datasets learned "
            "from, so none may judge. Wait for feedback on new ones."
        )
    held = parts.rolling | parts.golden
    learned = [
        e
        for e in examples
        if e.conversation_id not in held and (begins[e.conversation_id], e.conversation_id) <= mark
    ]
    balanced = sampling.fewer_greetings(learned, rules.greeting_share)
    learned = counts.filter("a share of greetings and closings", learned, balanced)
    balanced = sampling.capped(learned, rules.agent_share, rules.min_examples)
    learned = counts.filter("a share of each agent", learned, balanced)
    balanced = sampling.with_replay(learned, rules)
    learned = counts.filter("recent, or a share of older ones", learned, balanced)
    golden = [e for e in targets if e.conversation_id in parts.golden]
    return Curated(
        train=tuple(e for e in learned if e.source in TARGETS),
        labels=tuple(e for e in learned if e.source not in TARGETS),
        rolling=tuple(e for e in targets if e.conversation_id in parts.rolling),
        golden=past.golden if past.golden is not None else tuple(golden),
        filters=tuple(counts),
        redactions=redactions,
        learned_until=mark,
    )


def _distinct(examples: Sequence[Example], known: Sequence[Example]) -> list[Example]:
    """Keep the oldest of exact duplicates: the same answer to the same prompt."""
    seen: set[tuple[tuple[Message, ...], str]] = {(e.messages, e.target) for e in known}
    out = []
    for one in examples:
        if (one.messages, one.target) not in seen:
            seen.add((one.messages, one.target))
            out.append(one)
    return out


def _enough(lob: str, examples: Sequence[Example], rules: CurationConfig) -> None:
    conversations = len({e.conversation_id for e in examples})
    missing = [
        f"{need - have} {noun if need - have > 1 else noun.removesuffix('s')}"
        for have, need, noun in (
            (len(examples), rules.min_examples, "examples"),
            (conversations, rules.min_conversations, "conversations"),
        )
        if have < need
    ]
    if missing:
        single = len(missing) == 1 and missing[0].startswith("1 ")
        raise TooLittleData(
            f"{lob}: {len(examples)} usable examples from {conversations} conversations; "
            f"{rules.min_examples} from {rules.min_conversations} are needed: "
            f"{' and '.join(missing)} {'is' if single else 'are'} missing. An example is an "
            f"edited output, or one rated {rules.rating_at_least:g} or higher."
        )

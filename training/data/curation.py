"""Feedback in, examples out: which interactions teach, and which only judge.

Curation is a list of small filters, each pure, in a fixed order; each leaves its counts of kept
and dropped in the manifest. First those that ask whether an interaction says anything
(`INTERACTION_FILTERS`); then, after redaction, the split; and last those that only concern what is
learned from. What judges stays as it came, duplicates included, up to a number: it stands for what
agents meet.
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
from training.data.splits import NOTHING, Past
from training.errors import TooLittleData
from training.recipe.curation import CurationConfig

VERSION = 4
"""Raised with every change that makes other examples from the same feedback and rules."""

Keep = Callable[[InteractionRecord, Verdict, CurationConfig], bool]

INTERACTION_FILTERS: tuple[tuple[str, Keep], ...] = (
    ("in a conversation", lambda i, _, __: bool(i.conversation_id)),
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
        rolling: Of the conversations drawn to judge.
        golden: Of the golden set, frozen or not, only to judge.
        filters: Counts of each filter, in order.
        redactions: Values replaced, by kind.
        seen_until: The newest conversation's begin.
        rates: By what shares earlier datasets drew who judges.
        judged: Answers in the rolling hold-out's conversations whose final text is known, before
            their number was capped.
    """

    train: tuple[Example, ...]
    labels: tuple[Example, ...]
    rolling: tuple[Example, ...]
    golden: tuple[Example, ...]
    filters: tuple[FilterCount, ...]
    redactions: dict[str, int]
    seen_until: float
    rates: tuple[splits.Rate, ...] = ()
    judged: int = 0

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
    *,
    complete: bool = False,
) -> Curated:
    """Redact examples, drop what repeats or contradicts, split, and balance what is learned.

    Args:
        lob: The line of business, for the message when data is too little.
        examples: From the store, or imported.
        begins: When each conversation began.
        rules: The recipe's section.
        past: What earlier datasets decided.
        counts: Counts of the filters that ran before.
        complete: No conversations are to come, as in a file: exactly as many are drawn to judge as
            the rules ask for.

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
    targets = [e for e in examples if e.source in TARGETS]
    _enough(lob, targets, rules)

    mine = {e.conversation_id: begins[e.conversation_id] for e in examples}
    if complete and len(mine) > 1:
        share = splits.share_for(lob, mine, rules)
        rules = rules.model_copy(update={"holdout_share": share})
    parts = splits.split(lob, mine, rules, past)
    golden = tuple(e for e in targets if e.conversation_id in parts.golden)
    judging = [e for e in targets if e.conversation_id in parts.rolling]
    _judges(lob, judging, parts, rules)
    by_agent = sampling.capped(judging, rules.agent_share, rules.min_examples)
    learned = counts.filter(
        "not drawn to judge", examples, [e for e in examples if e.conversation_id in parts.train]
    )
    agreed = preferences.without_contradictions(learned)
    learned = counts.filter("not contradicted", learned, agreed)
    learned = counts.filter("distinct", learned, _distinct(learned, known))
    new = dedup.first_of_each(learned, known, rules.near_duplicate_similarity)
    learned = counts.filter("no near-duplicate", learned, new)
    targets = [e for e in learned if e.source in TARGETS]
    name = f"edited, used or rated {rules.rating_at_least:g} or higher"
    counts.filter(f"{name}; others are for KTO", learned, targets)
    balanced = sampling.fewer_greetings(learned, rules.greeting_share)
    learned = counts.filter("a share of greetings and closings", learned, balanced)
    balanced = sampling.capped(learned, rules.agent_share, rules.min_examples)
    learned = counts.filter("a share of each agent", learned, balanced)
    balanced = sampling.with_replay(learned, rules)
    learned = counts.filter("recent, or a share of older ones", learned, balanced)
    return Curated(
        train=tuple(e for e in learned if e.source in TARGETS),
        labels=tuple(e for e in learned if e.source not in TARGETS),
        rolling=tuple(sampling.stratified(by_agent, rules.max_holdout)),
        golden=past.golden if past.golden is not None else golden,
        filters=tuple(counts),
        redactions=redactions,
        seen_until=parts.seen_until,
        rates=past.rates,
        judged=len({e.interaction_id.partition("#")[0] for e in judging}),
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


def _judges(
    lob: str, judging: Sequence[Example], parts: splits.Splits, rules: CurationConfig
) -> None:
    have = len({e.conversation_id for e in judging})
    if have < rules.min_holdout or not parts.train:
        raise TooLittleData(
            f"{lob}: {have} conversations with known final texts were drawn to judge, and "
            f"{len(parts.train)} to learn from; {rules.min_holdout} must judge. Wait for more "
            f"conversations: {rules.holdout_share:.0%} of the new ones are drawn (holdout_share)."
        )


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
            f"output that was edited, used, or rated {rules.rating_at_least:g} or higher."
        )

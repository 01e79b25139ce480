"""Feedback in, examples out: which interactions teach, and which only judge.

Curation is a list of small filters, each pure, in a fixed order; each leaves its counts of kept
and dropped in the manifest. First those that ask whether an interaction says anything
(`streaming.candidates`); then, after redaction, the split (`divide`); and last those that only
concern what is learned from (`learn`). What judges stays as it came, duplicates included, up to a
number: it stands for what agents meet.

All but near-duplicates is decided by rows that stand for examples (`streaming.rows`), so the texts
may lie on disk.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from serving.store.records import LabelledInteraction
from training.data import dedup, sampling, splits
from training.data.examples import Example, redacted
from training.data.splits import NOTHING, Past
from training.data.streaming.candidates import Candidates, FilterCount
from training.data.streaming.example_lines import Lines, Picked
from training.data.streaming.rows import Row, pair, row, without_contradictions
from training.errors import TooLittleData
from training.recipe.curation import CurationConfig

VERSION = 5
"""Raised with every change that makes other examples from the same feedback and rules."""


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

    train: Sequence[Example]
    labels: Sequence[Example]
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

    def filter(self, name: str, before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
        self.append(FilterCount(name, len(after), len(before) - len(after)))
        return list(after)


@dataclass(frozen=True)
class Divided:
    """Rows by what they are for, oldest first.

    Args:
        learned: Of the conversations to learn from.
        judging: Of those drawn to judge.
        golden: Of a golden set that is not frozen yet.
        seen_until: The newest conversation's begin.
        counts: The filters' counts so far.
        redactions: Values replaced, by kind.
    """

    learned: tuple[Row, ...]
    judging: tuple[Row, ...]
    golden: tuple[Row, ...]
    seen_until: float
    counts: tuple[FilterCount, ...]
    redactions: dict[str, int]


def curate(
    lob: str, labelled: Iterable[LabelledInteraction], rules: CurationConfig, past: Past = NOTHING
) -> Curated:
    """Choose examples from the store's feedback and split them; all are in memory.

    Args:
        lob: The line of business, for the message when data is too little.
        labelled: Interactions with their feedback.
        rules: The recipe's section.
        past: What earlier datasets decided.

    Raises:
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    texts = Lines()
    found = Candidates(rules, texts)
    for item in labelled:
        found.add(item)
    rows, counts = found.capped()
    return _in_memory(
        learn(divide(lob, rows, found.begins, rules, past, counts), texts, rules, past)
    )


def choose(
    lob: str,
    examples: Sequence[Example],
    begins: Mapping[str, float],
    rules: CurationConfig,
    past: Past = NOTHING,
    *,
    complete: bool = False,
) -> Curated:
    """Redact imported examples, drop what repeats or contradicts, split, and balance.

    Args:
        lob: The line of business, for the message when data is too little.
        examples: All of them.
        begins: When each conversation began.
        rules: The recipe's section.
        past: What earlier datasets decided.
        complete: No conversations are to come, as in a file: exactly as many are drawn to judge as
            the rules ask for.

    Raises:
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    texts: list[Example] = []
    rows = []
    for one in examples:
        (kept,), replaced = redacted([one]) if rules.redact else ([one], {})
        rows.append(row(kept, len(texts), replaced=tuple(replaced.items())))
        texts.append(kept)
    divided = divide(lob, rows, begins, rules, past, complete=complete)
    return _in_memory(learn(divided, texts, rules, past))


def divide(
    lob: str,
    rows: Sequence[Row],
    begins: Mapping[str, float],
    rules: CurationConfig,
    past: Past = NOTHING,
    counts: Sequence[FilterCount] = (),
    *,
    complete: bool = False,
) -> Divided:
    """Split rows by their conversations.

    Args:
        lob: The line of business; salts the draw.
        rows: What stands for the examples.
        begins: When each conversation began.
        rules: The recipe's section.
        past: What earlier datasets decided.
        counts: Counts of the filters that ran before.
        complete: No conversations are to come.

    Raises:
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    counts = _Counts(counts)
    rows = sorted(rows, key=lambda r: (r.created_at, r.interaction_id))
    redactions: dict[str, int] = {}
    for one in rows:
        for kind, number in one.replaced:
            redactions[kind] = redactions.get(kind, 0) + number

    frozen = splits.frozen_ids(past)
    fresh = [r for r in rows if r.conversation_id not in frozen]
    rows = counts.filter("not in the frozen golden set", rows, fresh)
    targets = [r for r in rows if r.is_target]
    _enough(lob, targets, rules)

    mine = {r.conversation_id: begins[r.conversation_id] for r in rows}
    if complete and len(mine) > 1:
        share = splits.share_for(lob, mine, rules)
        rules = rules.model_copy(update={"holdout_share": share})
    parts = splits.split(lob, mine, rules, past)
    judging = [r for r in targets if r.conversation_id in parts.rolling]
    _judges(lob, judging, parts, rules)
    learned = [r for r in rows if r.conversation_id in parts.train]
    learned = counts.filter("not drawn to judge", rows, learned)
    return Divided(
        learned=tuple(learned),
        judging=tuple(judging),
        golden=tuple(r for r in targets if r.conversation_id in parts.golden),
        seen_until=parts.seen_until,
        counts=tuple(counts),
        redactions=dict(sorted(redactions.items())),
    )


def learn(
    divided: Divided, texts: Sequence[Example], rules: CurationConfig, past: Past = NOTHING
) -> Curated:
    """Drop what repeats or contradicts, and balance what is learned.

    Args:
        divided: The rows by what they are for.
        texts: The examples, by the rows' places; what is learned is read from there.
        rules: The recipe's section.
        past: What earlier datasets decided.
    """
    counts, learned = _Counts(divided.counts), list(divided.learned)
    known = past.golden or ()
    learned = counts.filter("not contradicted", learned, without_contradictions(learned))
    learned = counts.filter("distinct", learned, _distinct(learned, known))
    of = Picked(texts, (r.place for r in learned))
    sketches = [r.sketch for r in learned]
    new = dedup.are_new(of, sketches, known, rules.near_duplicate_similarity)
    kept = [r for r, is_new in zip(learned, new, strict=True) if is_new]
    learned = counts.filter("no near-duplicate", learned, kept)
    targets = [r for r in learned if r.is_target]
    name = f"edited, used or rated {rules.rating_at_least:g} or higher"
    counts.filter(f"{name}; others are for KTO", learned, targets)
    balanced = sampling.fewer_greetings(learned, rules.greeting_share, lambda r: r.is_greeting)
    learned = counts.filter("a share of greetings and closings", learned, balanced)
    balanced = sampling.capped(learned, rules.agent_share, rules.min_examples)
    learned = counts.filter("a share of each agent", learned, balanced)
    balanced = sampling.with_replay(learned, rules)
    learned = counts.filter("recent, or a share of older ones", learned, balanced)
    by_agent = sampling.evened(divided.judging, rules.min_holdout)
    rolling = sampling.stratified(by_agent, rules.max_holdout)
    golden = past.golden if past.golden is not None else (texts[r.place] for r in divided.golden)
    return Curated(
        train=Picked(texts, (r.place for r in learned if r.is_target)),
        labels=Picked(texts, (r.place for r in learned if not r.is_target)),
        rolling=tuple(texts[r.place] for r in rolling),
        golden=tuple(golden),
        filters=tuple(counts),
        redactions=divided.redactions,
        seen_until=divided.seen_until,
        rates=past.rates,
        judged=len({r.interaction_id.partition("#")[0] for r in divided.judging}),
    )


def _in_memory(curated: Curated) -> Curated:
    return replace(curated, train=tuple(curated.train), labels=tuple(curated.labels))


def _distinct(rows: Sequence[Row], known: Iterable[Example]) -> list[Row]:
    """Keep the oldest of exact duplicates: the same answer to the same prompt."""
    seen = {pair(e) for e in known}
    out = []
    for one in rows:
        if one.pair not in seen:
            seen.add(one.pair)
            out.append(one)
    return out


def _judges(lob: str, judging: Sequence[Row], parts: splits.Splits, rules: CurationConfig) -> None:
    have = len({e.conversation_id for e in judging})
    if have < rules.min_holdout or not parts.train:
        raise TooLittleData(
            f"{lob}: {have} conversations with known final texts were drawn to judge, and "
            f"{len(parts.train)} to learn from; {rules.min_holdout} must judge. Wait for more "
            f"conversations: {rules.holdout_share:.0%} of the new ones are drawn (holdout_share)."
        )


def _enough(lob: str, examples: Sequence[Row], rules: CurationConfig) -> None:
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

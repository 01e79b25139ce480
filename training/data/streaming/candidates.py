"""The first pass: feedback in, rows out. Filters, redaction and conversations' begins in one go."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from serving.store.records import InteractionRecord, LabelledInteraction
from training.data import sampling
from training.data.examples import (
    Verdict,
    contradicts_itself,
    conversation,
    example,
    finished_or_edited,
    judged,
    label,
    may_teach,
    plain_messages,
    redacted,
    suspected,
)
from training.data.forms.form import Form
from training.data.streaming import example_lines
from training.data.streaming.rows import Row, placed, row
from training.recipe.curation import CurationConfig

Keep = Callable[[InteractionRecord, Verdict, CurationConfig], bool]

INTERACTION_FILTERS: tuple[tuple[str, Keep], ...] = (
    ("no suspected injection", lambda i, _, __: not suspected(i)),
    ("in a conversation", lambda i, _, __: bool(i.conversation_id)),
    ("task", lambda i, _, rules: i.task in rules.tasks),
    ("finished or edited", lambda i, said, _: finished_or_edited(i, said)),
    ("plain text", lambda i, _, __: plain_messages(i) is not None),
    (
        "judged good or bad",
        lambda i, said, rules: label(said, rules) is not None and may_teach(i, said),
    ),
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


class Kept(Protocol):
    """Where examples go, one after the other: into memory, or into a file."""

    def append(self, line: bytes) -> None:
        """Add an example, as `example_lines` writes it, at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one answer to an interaction says.

    Args:
        conversation: Its conversation.
        at: When it was answered.
        dropped: The filter that dropped it; None keeps it, and only then are there the others.
        row: What stands for it; its place is not known yet.
        line: Its texts, redacted if the rules say so.
        form: Of a kept one whose messages another prompt made: whether they were rendered `anew`,
            or are `stored` because no more is known.
    """

    conversation: str
    at: float
    dropped: str | None = None
    row: Row | None = None
    line: bytes = b""
    form: Literal["anew", "stored"] | None = None


def read(
    item: LabelledInteraction, rules: CurationConfig, form: Form | None = None
) -> list[Candidate]:
    """Return what an interaction's answers say; what is costly of curation, and pure.

    Args:
        item: The interaction with its feedback.
        rules: The recipe's section.
        form: How the live version is asked, where it has prompts of its own.
    """
    return [_read(interaction, said, rules, form) for interaction, said in judged(item)]


def _read(
    interaction: InteractionRecord, said: Verdict, rules: CurationConfig, form: Form | None
) -> Candidate:
    name, at = conversation(interaction), interaction.created_at
    for filter_, keep in INTERACTION_FILTERS:
        if not keep(interaction, said, rules):
            return Candidate(name, at, filter_)
    source = label(said, rules)
    if source is None:
        raise RuntimeError("a filter keeps what has no label")
    one = example(interaction, said, source)
    replaced: dict[str, int] = {}
    if rules.redact:
        (one,), replaced = redacted([one])
    how: Literal["anew", "stored"] | None = None
    if form is not None:
        how = "stored" if form.keeps(interaction) else None
        asked, one = one, form.rendered(one)
        how = how if one is asked else "anew"
    kept = row(one, 0, said.key_id, tuple(replaced.items()))
    return Candidate(name, at, row=kept, line=example_lines.encoded(one), form=how)


class Candidates:
    """What of the labelled interactions says anything.

    Args:
        rules: The recipe's section.
        kept: Where the examples' texts go.
        form: How the live version is asked, where it has prompts of its own.

    Attributes:
        begins: When each conversation began, by id, whether anything is kept of it or not.
        rows: What stands for the examples so far, in the order in which they came.
    """

    def __init__(self, rules: CurationConfig, kept: Kept, form: Form | None = None) -> None:
        self.begins: dict[str, float] = {}
        self._rules, self._form = rules, form
        self._forms: Counter[str] = Counter()
        self._kept = kept
        self.rows: list[Row] = []
        self._seen = 0
        self._dropped: Counter[str] = Counter()

    def add(self, item: LabelledInteraction) -> None:
        """Read one interaction with its feedback, and take it."""
        self.take(read(item, self._rules, self._form))

    def take(self, found: Iterable[Candidate]) -> None:
        """Take what `read` found in one interaction."""
        for one in found:
            self._seen += 1
            name = sys.intern(one.conversation)
            self.begins[name] = min(self.begins.get(name, one.at), one.at)
            if one.dropped is not None:
                self._dropped[one.dropped] += 1
            elif one.row is not None:
                self.rows.append(placed(one.row, len(self.rows)))
                self._kept.append(one.line)
                self._forms[one.form or ""] += 1

    @property
    def forms(self) -> dict[str, int]:
        """How many examples another prompt had made, by what became of their messages."""
        return {"rendered_anew": self._forms["anew"], "as_stored": self._forms["stored"]}

    def capped(self) -> tuple[list[Row], list[FilterCount]]:
        """Return the rows without what one API key gives too much of, and all counts so far."""
        counts, left = [], self._seen
        for name, _ in INTERACTION_FILTERS:
            left -= self._dropped[name]
            counts.append(FilterCount(name, left, self._dropped[name]))
        rows, rules = self.rows, self._rules
        keys = [one.key_id for one in rows]
        kept = sampling.capped_keys(rows, keys, rules.key_share, rules.min_examples)
        counts.append(FilterCount("a share of each key", len(kept), len(rows) - len(kept)))
        return kept, counts

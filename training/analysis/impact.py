"""What suggestions are worth to agents: how often they are used, what time and typing they save.

Pure: stored answers with their feedback in, a table by version and position out. Definitions and
limits are in docs/impact.md. What is compared within a version is observational, since agents
choose what they use; `impact_causal.py` compares versions by the canary's coin.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from rapidfuzz.distance import Levenshtein

from serving.store import candidates
from serving.store.records import FeedbackRecord, Served, Status
from training.analysis import handling
from training.analysis.handling import Sight, Witness
from training.canary.outcomes import KEPT, written_anew
from training.data.examples import verdict
from training.data.sampling import is_formula
from training.metrics.text import edit_similarity
from training.stats import bootstrap, medians, proportions
from training.stats.bootstrap import Interval

ALL = "all"
Position = Literal["opening", "middle", "closing", "summary", "first", "last"]  # last two: of STAR
POSITIONS: tuple[Position, ...] = ("opening", "middle", "closing", "summary")
Fate = Literal["as it was", "edited", "rewritten", "rejected", "left", "held"]
USED: tuple[Fate, ...] = ("as it was", "edited")
OPENING_TURNS = 1
"""A reply before which at most so many turns were spoken opens the conversation."""


@dataclass(frozen=True)
class Answer:
    """An answer that an agent saw.

    Args:
        id: The answer's id.
        conversation: The conversation's id; the answer's where the client named none.
        version: What answered: a version, the base's name, or an upstream.
        position: Where in the conversation.
        fate: What the agent did with it; None if nobody said.
        distance: 1 - edit similarity to the agent's final text, where that is known.
        keystrokes: Characters that the agent did not have to type; None if nobody said.
        handling_s: Seconds that the turn took; None if nobody said, or if the clocks disagree.
        timed_by: Who tells them.
        seen_by: How it is known that the agent saw it.
    """

    id: str
    conversation: str
    version: str
    position: Position
    fate: Fate | None
    distance: float | None
    keystrokes: float | None
    handling_s: float | None
    timed_by: Witness | None = None
    seen_by: Sight = "assumed"

    @property
    def used(self) -> bool:
        """Whether the agent sent it, as it was or with most of it kept."""
        return self.fate in USED


@dataclass(frozen=True)
class Row:
    """One version at one position.

    Args:
        version: Its name, or `ALL`.
        position: Or `ALL`.
        shown: Answers shown.
        conversations: Of so many conversations.
        judged: Answers that an agent said something about.
        fates: How many had each fate.
        usage: Used answers over judged ones.
        usage_of_shown: Used answers over all shown: what is sure if silence means not used.
        distance: Mean normalised edit distance, 0 (sent as it was) to 1, where the text is known.
        keystrokes: Mean characters saved per judged answer.
        used_s: Median handling time of used answers, seconds.
        unused_s: Of answers that were not used.
        saved_s: unused_s - used_s at the same position; `ALL` is standardised over positions.
    """

    version: str
    position: str
    shown: int
    conversations: int
    judged: int
    fates: dict[str, int]
    usage: Interval | None
    usage_of_shown: float
    distance: Interval | None
    keystrokes: Interval | None
    used_s: float | None
    unused_s: float | None
    saved_s: Interval | None

    def as_json(self) -> dict[str, Any]:
        """Return the row for a program."""
        return asdict(self)


def answers(served: Iterable[Served], lob: str) -> list[Answer]:
    """Return what agents saw, by conversation.

    Left out are answers that did not complete or were not shown, and those to pinned versions,
    which are tests and evaluations and not agents' requests.

    Args:
        served: A line's answers with their feedback.
        lob: The line of business.
    """
    taken = map(candidates.as_taken, served)
    mine = [s for s in taken if s.model_requested == lob and s.status == Status.COMPLETED]
    mine.sort(key=lambda s: (s.conversation_id or s.id, s.created_at, s.id))
    tells, out = handling.tells_from(mine), []
    for name, group in groupby(mine, key=lambda s: s.conversation_id or s.id):
        turns = list(group)
        places = [_place(one, order) for order, one in enumerate(turns)]
        for one, at in zip(turns, places, strict=True):
            if seen := handling.sight(one, _fate(one) is not None, tells):
                out.append(_answer(one, name, at, max(places), seen))
    return out


def position(task: str | None, final: str, before: int, last: int) -> Position:
    """Return where in its conversation an answer lies.

    Args:
        task: A summary is a position of its own.
        final: The agent's text where it is known, else the model's.
        before: Turns spoken before it.
        last: The most turns that were spoken before any answer of the conversation.
    """
    if task == "summary":
        return "summary"
    if before <= OPENING_TURNS:
        return "opening"
    if not is_formula(final):
        return "middle"
    return "opening" if before * 2 < last else "closing"


def table(
    found: Sequence[Answer], positions: Sequence[Position] = POSITIONS, seed: int = 0
) -> list[Row]:
    """Return a row for each version at each position, and for all of each.

    All intervals are of 95 %.

    Args:
        found: What agents saw.
        positions: Those that have a row, in their order.
        seed: Of the bootstrap.
    """
    versions = sorted({one.version for one in found}, key=_by_number)
    groups: list[tuple[str, Sequence[Answer]]] = [
        (version, [one for one in found if one.version == version]) for version in versions
    ]
    if len(versions) > 1:
        groups.append((ALL, found))
    rows = []
    for version, mine in groups:
        for where in positions:
            part = [one for one in mine if one.position == where]
            if part:
                rows.append(_row(version, where, part, seed))
        if mine:
            rows.append(_row(version, ALL, mine, seed))
    return rows


def _place(served: Served, order: int) -> int:
    """Return the turns before an answer; two for each earlier answer where nobody counted."""
    return served.turn_position if served.turn_position is not None else 2 * order + 1


def _answer(served: Served, conversation: str, before: int, last: int, seen: Sight) -> Answer:
    said = verdict(served.feedback)
    fate = _fate(served)
    final = _final(served, fate)
    took = handling.of(served)
    distance = None if final is None else 1 - edit_similarity(served.output, final)
    return Answer(
        id=served.id,
        conversation=conversation,
        version=served.version or "unknown",
        position=position(served.task, said.edit or served.output, before, last),
        fate=fate,
        distance=distance,
        keystrokes=None if fate is None else _keystrokes(served.output, final, fate),
        handling_s=took.seconds,
        timed_by=took.witness,
        seen_by=seen,
    )


def _fate(served: Served) -> Fate | None:
    """Return what an agent did with an answer; the final text says more than a tick in a box."""
    if served.held:  # the agent saw the fallback text, and what is said of it is a reviewer's
        return "held"
    said = verdict(served.feedback)
    if said.edit is not None:
        if written_anew(served.feedback):
            return "rewritten"
        similarity = edit_similarity(served.output, said.edit)
        if similarity == 1:
            return "as it was"
        return "edited" if similarity >= KEPT else "rewritten"
    if said.rejected:
        return "rejected"
    ticks = [f.used for f in sorted(served.feedback, key=_when) if f.used is not None]
    if not ticks:
        return None
    return "as it was" if ticks[-1] else "left"


def _final(served: Served, fate: Fate | None) -> str | None:
    """Return the text that the agent sent, where it is known."""
    edit = verdict(served.feedback).edit
    if edit is not None and fate != "held":
        return edit
    return served.output if fate == "as it was" else None


def _keystrokes(output: str, final: str | None, fate: Fate) -> float:
    """Return the characters of the final text less the edits that led to it, never below none.

    An insertion, a deletion or a substitution is one keystroke. An agent who would type more to
    mend a text than to write it anew writes it anew.
    """
    if final is None or fate not in USED:
        return 0.0
    return float(max(0, len(final) - Levenshtein.distance(output.strip(), final.strip())))


def _when(feedback: FeedbackRecord) -> tuple[float, int]:
    return feedback.created_at, feedback.id or 0


def _row(version: str, where: str, part: Sequence[Answer], seed: int) -> Row:
    judged = [one for one in part if one.fate is not None]
    timed = [one for one in judged if one.handling_s is not None]
    used = [one.handling_s for one in timed if one.used]
    unused = [one.handling_s for one in timed if not one.used]
    return Row(
        version=version,
        position=where,
        shown=len(part),
        conversations=len({one.conversation for one in part}),
        judged=len(judged),
        fates={fate: sum(one.fate == fate for one in judged) for fate in get_args(Fate)},
        usage=proportions.wilson_clustered(
            [one.used for one in judged],
            [one.conversation for one in judged],
        )
        if judged
        else None,
        usage_of_shown=sum(one.used for one in judged) / len(part),
        distance=_mean([(o.distance, o.conversation) for o in judged], seed),
        keystrokes=_mean([(o.keystrokes, o.conversation) for o in judged], seed),
        used_s=_median(used),
        unused_s=_median(unused),
        saved_s=medians.difference(
            [one.handling_s or 0.0 for one in timed],
            [one.used for one in timed],
            [one.conversation for one in timed],
            strata=[one.position for one in timed],
            seed=seed,
        ),
    )


def _mean(pairs: Sequence[tuple[float | None, str]], seed: int) -> Interval | None:
    """Return the interval of a mean over conversations; None with fewer than two."""
    known = [(value, group) for value, group in pairs if value is not None]
    groups = [group for _, group in known]
    if len(set(groups)) < 2:
        return None
    values = [value for value, _ in known]
    return bootstrap.mean(values, groups=groups, seed=seed)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _by_number(version: str) -> tuple[str, int]:
    """Sort care@10 after care@9."""
    name, at, number = version.partition("@")
    return (name, int(number)) if at and number.isdigit() else (version, 0)

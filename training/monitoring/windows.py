"""The reference and the present, and what a conversation says in each.

Periods lie at the same places whoever looks and when, so a monitor remembers nothing between two
looks: it reads the same present, only longer. In each a test begins anew. A conversation is one
value, the mean over its answers, since these resemble each other; it counts once no feedback that
could count is still to come, so that what was seen never changes afterwards.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from training.data.sampling import DAY_S
from training.errors import RecipeError
from training.monitoring.rules import Answer
from training.recipe.monitoring import MonitoringConfig

MONDAY = 4 * DAY_S
"""The first Monday of the epoch, 00:00 UTC."""


@dataclass(frozen=True)
class Windows:
    """Seconds since the epoch.

    Args:
        since: A conversation of the reference began then or later,
        until: and before this.
        begins: A conversation of the present began then or later.
        ends: And before this.
        now: When it is looked.
    """

    since: float
    until: float
    begins: float
    ends: float
    now: float


@dataclass(frozen=True)
class Conversation:
    """A conversation that counts.

    Args:
        id: Its id.
        started: Of its first answer.
        answers: Those that count.
    """

    id: str
    started: float
    answers: tuple[Answer, ...]


def at(rules: MonitoringConfig, now: float) -> Windows:
    """Return the windows of a look.

    Args:
        rules: Their lengths.
        now: Seconds since the epoch.

    Raises:
        RecipeError: The reference ends after the present began.
    """
    length = rules.period_days * DAY_S
    begins = MONDAY + (now - MONDAY) // length * length
    pinned = rules.reference_until
    end = begins if pinned is None else pinned.timestamp()
    if end > begins:
        raise RecipeError(
            f"monitoring.reference_until: {pinned} lies after the period's beginning, so that the "
            "present would be compared with itself. Fix: an earlier time, or null"
        )
    until = end - settles_s(rules)
    return Windows(until - rules.reference_days * DAY_S, until, begins, begins + length, now)


def settles_s(rules: MonitoringConfig) -> float:
    """Return how long after its first answer a conversation counts: for answers and feedback."""
    return 2 * rules.window_s


def conversations(
    answers: Sequence[Answer], since: float, until: float, rules: MonitoringConfig, now: float
) -> list[Conversation]:
    """Return the conversations that began in a window and count, in their order.

    Args:
        answers: Of the window, and of `window_s` before it.
        since: The earliest beginning, itself included.
        until: The latest, itself excluded.
        rules: `window_s`.
        now: Seconds since the epoch.
    """
    by_id: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in sorted(answers, key=lambda one: (one.at, one.id)):
        by_id[answer.conversation].append(answer)
    found = []
    for name, all_ in by_id.items():
        started = all_[0].at
        if since <= started < until and started + settles_s(rules) <= now:
            mine = tuple(one for one in all_ if one.at < started + rules.window_s)
            found.append(Conversation(name, started, mine))
    return sorted(found, key=lambda one: (one.started, one.id))


def typical_length(reference: Sequence[Conversation]) -> float | None:
    """Return the median length of the reference's answers, in characters; None without any."""
    lengths = [a.characters for one in reference for a in one.answers if a.characters is not None]
    return float(median(lengths)) if lengths else None


def values(found: Sequence[Conversation], metric: str, typical: float | None) -> list[float]:
    """Return a figure of each conversation where it is known, in their order.

    Args:
        found: The conversations.
        metric: One of the rules' figures, or `length`: of an answer of c characters c / (c + t),
            which is 0.5 at the typical length t, in (0, 1) and moves little by a single long one.
        typical: t; None gives no lengths.
    """
    by_conversation = (
        [value for a in one.answers if (value := _value(a, metric, typical)) is not None]
        for one in found
    )
    return [fmean(known) for known in by_conversation if known]


def in_order_of_grades(found: Sequence[Conversation], graded: Mapping[str, float]) -> list[float]:
    """Return each conversation's grade that came first, in the order in which they came.

    People grade when they find time, so the order of the conversations would change afterwards.

    Args:
        found: The conversations.
        graded: Answer id to its grade, in the order in which they came.
    """
    of = {answer.id: one.id for one in found for answer in one.answers}
    first: dict[str, float] = {}
    for answer, grade in graded.items():
        if answer in of:
            first.setdefault(of[answer], grade)
    return list(first.values())


def _value(answer: Answer, metric: str, typical: float | None) -> float | None:
    if metric != "length":
        return answer.found.get(metric)
    if answer.characters is None or typical is None:
        return None
    return answer.characters / (answer.characters + typical)

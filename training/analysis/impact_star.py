"""What STAR's own log says of suggestions: people who were shown some, and picked or typed.

Its replies become `impact.Answer`s, so that the same table is made of them. A reply is its dialog's
first, its last or between. Pure: dialogs in, answers and sentences out. What differs from a store
of ours, and why no time is saved yet by what it shows, is in docs/impact.md.
"""

from collections.abc import Collection, Iterable, Sequence
from statistics import median
from typing import Literal

from serving.config.prompts import Turn
from training.analysis.impact import Answer, Row
from training.data.formats.star import Reply, StarDialog

VERSION = "STAR's suggestions"
POSITIONS: tuple[Literal["first", "middle", "last"], ...] = ("first", "middle", "last")
NOTES = (
    "Used: a suggestion that the agent picked; it went out as it was. Not used: the agent typed. "
    "The log holds no suggestion that was not picked, so edits and keys are not known.",
    "Times: from the customer's last message to the reply; a reply before any has none. First, "
    "last and middle are of the dialog's replies; `all` is standardised over them.",
    "Brackets: 95 % intervals; dialogs, not replies, are taken as independent.",
)


def about(dialogs: Iterable[StarDialog], domain: str | None) -> list[StarDialog]:
    """Return the dialogs about one domain and nothing else; None: all of them."""
    if domain is None:
        return list(dialogs)
    return [dialog for dialog in dialogs if dialog.about(frozenset({domain}))]


def answers(dialogs: Iterable[StarDialog]) -> list[Answer]:
    """Return each reply as an answer that was shown: used if it was picked, else left."""
    return [
        Answer(
            id=f"{dialog.conversation_id}-{reply.turn}",
            conversation=dialog.conversation_id,
            version=VERSION,
            position=_position(number, len(dialog.replies)),
            fate="as it was" if reply.picked else "left",
            distance=None,
            keystrokes=None,
            handling_s=reply.seconds,
        )
        for dialog in dialogs
        for number, reply in enumerate(dialog.replies)
    ]


def words(rows: Sequence[Row], dialogs: Collection[StarDialog]) -> str:
    """Say what was picked and how long it took, and why that is no saving yet.

    Args:
        rows: The table of these dialogs' answers.
        dialogs: The dialogs.
    """
    shown = [row for row in rows if row.position in POSITIONS]
    parts = [
        f"Picked: {_list(f'{row.usage_of_shown:.0%}' for row in shown)} of the replies in "
        f"{_list(row.position for row in shown)} position."
    ]
    timed = [row for row in shown if row.used_s is not None and row.unused_s is not None]
    if timed:
        parts.append(
            f"Median reply: {_list(f'{row.used_s:.0f}' for row in timed)} s picked against "
            f"{_list(f'{row.unused_s:.0f}' for row in timed)} s typed"
            + (f" ({_list(row.position for row in timed)})." if timed != shown else ".")
        )
    parts.append(
        "The difference is not a saving: nothing was randomised, and agents type where a turn is "
        f"hard or long{_evidence(dialogs)}; a typed reply's time also holds the reading of "
        "suggestions that were not taken."
    )
    return " ".join(parts)


def _evidence(dialogs: Iterable[StarDialog]) -> str:
    """Return by how much the turns differ that were picked and typed; "" where it is not known."""
    asked: dict[bool, list[int]] = {True: [], False: []}
    for dialog in dialogs:
        for reply in dialog.replies:
            if (said := _asked(dialog.turns, reply)) is not None:
                asked[reply.picked].append(len(said))
    if not (asked[True] and asked[False]):
        return ""
    return (
        f" (the customer's message before: median {median(asked[False]):.0f} characters where they "
        f"typed, {median(asked[True]):.0f} where they picked)"
    )


def _asked(turns: Sequence[Turn], reply: Reply) -> str | None:
    """Return the customer's last message before a reply."""
    said = (turn.text for turn in reversed(turns[: reply.turn]) if turn.role == "customer")
    return next(said, None)


def _position(number: int, replies: int) -> Literal["first", "middle", "last"]:
    if number == 0:  # a dialog's only reply opens it
        return "first"
    return "last" if number == replies - 1 else "middle"


def _list(items: Iterable[str]) -> str:
    *some, last = items
    return f"{', '.join(some)} and {last}" if some else last

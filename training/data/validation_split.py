"""Which training conversations are kept back to decide when to stop.

The hold-out judges the adapter at the end. Whoever stops by it has chosen the adapter on it, and
its verdict is too good; so stopping looks at conversations of its own.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from training.errors import TooLittleData

Row = dict[str, Any]


def split(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Return the rows to learn from and those to look at.

    A hash of a conversation's id decides, and nothing else: every stage, every file of a dataset
    and every later cycle keeps back the same conversations, so an adapter that training goes on
    from has not learned from them either.

    Args:
        rows: Rows with a `conversation_id`, else an `interaction_id`.
        share: The share of the conversations to look at; 0 keeps none.

    Raises:
        TooLittleData: One of the two would be empty.
    """
    if not share:
        return list(rows), []
    kept = [_place(row) < share for row in rows]
    learned = [row for row, back in zip(rows, kept, strict=True) if not back]
    watched = [row for row, back in zip(rows, kept, strict=True) if back]
    if not learned or not watched:
        raise TooLittleData(
            f"validation.share {share:g} leaves {len(learned)} rows to learn from and "
            f"{len(watched)} to look at, of {len(rows)}: both are needed. Fix: another share, 0 "
            "for none, or more feedback"
        )
    return learned, watched


def _place(row: Row) -> float:
    """Return a conversation's place in [0, 1), evenly spread."""
    name = str(row.get("conversation_id") or row.get("interaction_id"))
    digest = hashlib.sha256(f"validation\0{name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64

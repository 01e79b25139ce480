"""Feedback: what people thought of an interaction.

What is stored is each post, as it came, so that a dataset can be made again from the posts it was
made from. What is read is one record for each (interaction, candidate, API key): the posts of a
key merged field by field, the latest word winning. A key's judgement is overruled by a reviewer
only. Each candidate of a response is judged by itself.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from serving.errors import Conflict, NotFound, PermissionDenied
from serving.store.database import Database, storable
from serving.store.records import FeedbackRecord
from serving.store.tables import Feedback, Interaction

POSTS_LIMIT = 20
"""Of one key on one candidate; nobody changes their mind more often."""

_JUDGEMENT = frozenset({"rating", "edit", "used", "rejected"})
_SAID = (*sorted(_JUDGEMENT), "comment")
_SAME = ("interaction_id", "index", *_SAID)


async def add(
    db: Database, record: FeedbackRecord, *, has_key: bool = True, reviews: bool = False
) -> tuple[FeedbackRecord, bool]:
    """Store feedback once, however often a client sends it.

    Args:
        db: The store.
        record: `key_id` and `client_key` together say which feedback it is.
        has_key: Whether the client named `client_key`; else what repeats the key's own earlier
            feedback changes nothing, and all else is added to it.
        reviews: Whether it may overrule what other keys said.

    Returns:
        The feedback as stored first, and whether that was now.

    Raises:
        NotFound: There is no such interaction.
        Conflict: The same client key came before with other content, or there are too many posts.
        PermissionDenied: Another key has judged the interaction, otherwise.
    """
    text = {"edit", "comment", "client_key"}
    row = record.model_dump(exclude={"id"})
    row |= {name: storable(row[name]) for name in text if row[name] is not None}
    said = {name: row[name] for name in _SAID if row[name] is not None}
    # The lock makes posts on one interaction come one after another; SQLite has one writer anyway.
    exists = select(Interaction.id).where(Interaction.id == record.interaction_id)
    of_all = select(Feedback).where(Feedback.interaction_id == record.interaction_id)
    first = select(Feedback).where(
        Feedback.key_id == row["key_id"], Feedback.client_key == row["client_key"]
    )
    async with db.session() as connection:
        if (await connection.execute(exists.with_for_update())).first() is None:
            raise NotFound(f"there is no interaction {record.interaction_id!r}", param="id")
        found = (await connection.execute(of_all.order_by(Feedback.id))).mappings().all()
        everything = [FeedbackRecord.model_validate(dict(one)) for one in found]
        posts = [post for post in everything if post.index == record.index]
        mine = [post for post in posts if post.key_id == record.key_id]
        if not has_key:
            for so_far in merged(mine):
                if all(getattr(so_far, name) == value for name, value in said.items()):
                    return so_far, False
            # Of all candidates: the name is unique among everything that the key ever sent.
            number = sum(post.key_id == record.key_id for post in everything) + 1
            row["client_key"] = f"{record.interaction_id}#{number}"
        elif same := (await connection.execute(first)).mappings().one_or_none():
            return _the_same(FeedbackRecord.model_validate(dict(same)), row), False
        if not reviews:
            _check_judgement(said, [post for post in posts if post.key_id != record.key_id])
        if len(mine) >= POSTS_LIMIT:
            raise Conflict(
                f"this key has given feedback on this candidate {POSTS_LIMIT} times", param="id"
            )
        new = db.insert(Feedback).values(row).on_conflict_do_nothing().returning(Feedback.id)
        id_ = (await connection.execute(new)).scalar_one_or_none()
        if id_ is None:  # the same key at once, for another interaction
            raise _conflict(row["client_key"])
    return FeedbackRecord(id=id_, **row), True


async def for_interaction(db: Database, id: str) -> list[FeedbackRecord]:  # noqa: A002
    """Return each key's feedback on each candidate, who spoke first going first."""
    statement = select(Feedback).where(Feedback.interaction_id == id).order_by(Feedback.id)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return merged(FeedbackRecord.model_validate(dict(row)) for row in rows)


def merged(posts: Iterable[FeedbackRecord]) -> list[FeedbackRecord]:
    """Merge posts on one interaction, oldest first, to one record a key and candidate.

    A later "used" takes back an earlier "rejected", and the other way round; id, client key and
    time are the latest post's.
    """
    records: dict[tuple[str, int], FeedbackRecord] = {}
    for post in posts:
        before = records.get((post.key_id, post.index))
        if before is not None:
            kept: dict[str, Any] = {
                name: getattr(before, name) for name in _SAID if getattr(post, name) is None
            }
            for one, other in (("used", "rejected"), ("rejected", "used")):
                if getattr(post, one) and kept.get(other):
                    kept[other] = False
            post = post.model_copy(update=kept)
        records[post.key_id, post.index] = post
    return list(records.values())


def _the_same(stored: FeedbackRecord, row: dict[str, Any]) -> FeedbackRecord:
    if any(getattr(stored, name) != row[name] for name in _SAME):
        raise _conflict(row["client_key"])
    return stored


def _conflict(client_key: str) -> Conflict:
    return Conflict(
        f"the key {client_key!r} was used before for other feedback: use a new key for each",
        param="key",
    )


def _check_judgement(said: dict[str, Any], others: list[FeedbackRecord]) -> None:
    """Refuse to judge what another key has judged otherwise; `others` are on one candidate."""
    judged: dict[str, Any] = {}
    for post in others:
        judged |= {n: getattr(post, n) for n in _JUDGEMENT if getattr(post, n) is not None}
    if judged and any(judged.get(name) != said[name] for name in said.keys() & _JUDGEMENT):
        raise PermissionDenied(
            "Another key has judged this interaction already; only a key with the role reviewer "
            "overrules it.",
            param="id",
        )

"""The rows that an erasure is of: which they are, and taking them out."""

from collections.abc import Collection
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, cast, delete, or_, select

from serving.store.database import Database
from serving.store.erasure import tombstones
from serving.store.erasure.erasures import Erasure, Target
from serving.store.erasure.tables import ErasedItem
from serving.store.grades.tables import GradeRow
from serving.store.privacy.tables import Redaction, VaultKey, VaultRow
from serving.store.records import Json, Record
from serving.store.reviews import removal
from serving.store.tables import Event, Feedback, Interaction, ShadowAnswer

BATCH = 200
"""Interactions that are deleted in one transaction."""
PAGE = 500
_OF_AN_INTERACTION: dict[str, Any] = {
    "vault": VaultRow,
    "redactions": Redaction,
    "shadow_answers": ShadowAnswer,
    "events": Event,
    "feedback": Feedback,
    "grades": GradeRow,
}


class Item(Record):
    """One interaction to erase."""

    interaction_id: str
    scope: str
    conversation_id: str | None


async def collect(db: Database, erasure: Erasure) -> int:
    """Note which interactions an erasure is of; of a person, all turns of the conversations.

    Returns:
        How many were found now and not before.
    """
    target = Target.model_validate(erasure.target)
    found = await _interactions(db, target, erasure.requested_at)
    names: list[tuple[str, str | None, str]] = []
    for item in found:
        names.append(("interaction", None, item.interaction_id))
        if target.kind == "person" and item.conversation_id:
            lob = item.scope.partition("/")[0]
            names.append(("conversation", None if lob == "None" else lob, item.conversation_id))
    new = 0
    for start in range(0, len(found), PAGE):
        rows = [{"erasure_id": erasure.id, **i.model_dump()} for i in found[start : start + PAGE]]
        async with db.session() as connection:
            statement = db.insert(ErasedItem).on_conflict_do_nothing()
            done = await connection.execute(statement.returning(ErasedItem.interaction_id), rows)
            new += len(done.all())
    async with db.session() as connection:
        await tombstones.add(db, connection, names)
    return new


async def items(db: Database, id_: int) -> list[Item]:
    """Return the interactions that an erasure is of."""
    columns = ErasedItem.interaction_id, ErasedItem.scope, ErasedItem.conversation_id
    async with db.reader() as connection:
        rows = await connection.execute(select(*columns).where(ErasedItem.erasure_id == id_))
        return [Item.model_validate(dict(row)) for row in rows.mappings()]


async def delete_rows(db: Database, of: Collection[Item]) -> Json:
    """Delete interactions and what belongs to them, a batch a transaction.

    Returns:
        How many rows of each kind went.
    """
    counts: dict[str, int] = {}
    all_ = sorted(of, key=lambda item: item.interaction_id)
    for start in range(0, len(all_), BATCH):
        batch = all_[start : start + BATCH]
        ids = [item.interaction_id for item in batch]
        async with db.session() as connection:
            await tombstones.secure(db, connection)
            for name, table in _OF_AN_INTERACTION.items():
                gone = delete(table).where(table.interaction_id.in_(ids))
                counts[name] = counts.get(name, 0) + (await connection.execute(gone)).rowcount
            tasks = await removal.remove(connection, ids)
            counts["reviews"] = counts.get("reviews", 0) + tasks
            scopes = sorted({item.scope for item in batch})
            keys = delete(VaultKey).where(VaultKey.scope.in_(scopes))
            await connection.execute(keys)
            own = delete(Interaction).where(Interaction.id.in_(ids))
            counts["interactions"] = (
                counts.get("interactions", 0) + (await connection.execute(own)).rowcount
            )
    return counts


async def _interactions(db: Database, target: Target, until: float) -> list[Item]:
    of_line: list[ColumnElement[bool]] = (
        [] if target.lob is None else [Interaction.lob == target.lob]
    )
    columns = Interaction.id, Interaction.lob, Interaction.conversation_id
    async with db.reader() as connection:
        if target.kind == "conversation":
            talk = Interaction.conversation_id == target.name
            rows = (await connection.execute(select(*columns).where(talk, *of_line))).all()
            return [_item(*row) for row in rows]
    names = {target.name, *target.aliases}
    # A text search narrows it down; which field a name stands in is read from the row.
    spelled = [orjson.dumps(name).decode()[1:-1] for name in sorted(names)]
    like = [cast(Interaction.request, Text).contains(name, autoescape=True) for name in spelled]
    found: dict[str, Item] = {}
    after = ""
    while True:
        statement = (
            select(*columns, Interaction.request)
            .where(Interaction.id > after, Interaction.created_at <= until, or_(*like), *of_line)
            .order_by(Interaction.id)
            .limit(PAGE)
        )
        async with db.reader() as connection:
            page = (await connection.execute(statement)).all()
        for *row, request in page:
            if names & {*tombstones.persons(request)}:
                found[row[0]] = _item(*row)
        if len(page) < PAGE:
            break
        after = page[-1][0]
    talks = {(i.scope.partition("/")[0], i.conversation_id) for i in found.values()}
    for lob, conversation in sorted((lob, c) for lob, c in talks if c):
        line = Interaction.lob.is_(None) if lob == "None" else Interaction.lob == lob
        turns = select(*columns).where(line, Interaction.conversation_id == conversation)
        async with db.reader() as connection:
            rows = (await connection.execute(turns)).all()
        found |= {row[0]: _item(*row) for row in rows}
    return list(found.values())


def _item(id_: str, lob: str | None, conversation: str | None) -> Item:
    return Item(
        interaction_id=id_, scope=f"{lob}/{conversation or id_}", conversation_id=conversation
    )

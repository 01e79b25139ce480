"""Adapter versions: the numbers given out, and what is known of each version."""

import time
from typing import Any

from sqlalchemy import insert, select, update

from serving.errors import Conflict, NotFound
from serving.store import audit
from serving.store.database import Database
from serving.store.records import AdapterVersion, Json, State
from serving.store.tables import AdapterVersionRow, Lineage


async def reserve(db: Database, lob: str) -> int:
    """Return the next number of a line of business; no number is ever returned twice."""
    statement = db.insert(Lineage).values(lob=lob, last_number=1)
    statement = statement.on_conflict_do_update(
        index_elements=[Lineage.lob], set_={"last_number": Lineage.last_number + 1}
    )
    async with db.session() as connection:
        return (await connection.execute(statement.returning(Lineage.last_number))).scalar_one()


async def add(db: Database, key_id: str | None = None, **fields: Any) -> AdapterVersion:
    """Store a new version as a candidate, with its line in the audit.

    Raises:
        Conflict: Its number was not reserved or is taken, or its dataset is unknown.
    """
    fields |= {"state": State.CANDIDATE, "created_at": time.time()}
    reserved = select(Lineage.last_number).where(Lineage.lob == fields["lob"])
    statement = insert(AdapterVersionRow).values(fields).returning(AdapterVersionRow.id)
    async with db.session() as connection:
        if ((await connection.execute(reserved)).scalar() or 0) < fields["number"]:
            raise Conflict(f"{fields['name']} was not reserved")
        id_ = (await connection.execute(statement)).scalar_one()
        detail = {"dataset_id": fields["dataset_id"], "manifest_hash": fields["manifest_hash"]}
        await audit.append(connection, key_id, "register", fields["name"], detail)
    return AdapterVersion(id=id_, **fields)


async def get(db: Database, name: str) -> AdapterVersion | None:
    """Return one version, or None if there is none of this name."""
    statement = select(AdapterVersionRow).where(AdapterVersionRow.name == name)
    async with db.reader() as connection:
        row = (await connection.execute(statement)).mappings().one_or_none()
    return AdapterVersion.model_validate(dict(row)) if row else None


async def list_all(db: Database, lob: str | None = None) -> list[AdapterVersion]:
    """Return all versions, or those of one line of business, by name and number."""
    order = AdapterVersionRow.lob, AdapterVersionRow.number
    statement = select(AdapterVersionRow).order_by(*order)
    if lob is not None:
        statement = statement.where(AdapterVersionRow.lob == lob)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [AdapterVersion.model_validate(dict(row)) for row in rows]


async def set_metrics(db: Database, name: str, metrics: Json, decision: Json | None) -> None:
    """Note how good a version is, and what the gate said unless `decision` is None.

    Raises:
        NotFound: There is no such version.
    """
    values = {"metrics": metrics} | ({} if decision is None else {"decision": decision})
    statement = update(AdapterVersionRow).where(AdapterVersionRow.name == name).values(values)
    async with db.session() as connection:
        if (await connection.execute(statement)).rowcount == 0:
            raise NotFound(f"there is no version {name}")


async def reject(db: Database, name: str, decision: Json, key_id: str | None = None) -> None:
    """Turn a candidate down; again is fine.

    Raises:
        NotFound: There is no such version.
        Conflict: The version serves, or has served.
    """
    mine = AdapterVersionRow.name == name
    change = update(AdapterVersionRow).where(mine).values(state=State.REJECTED, decision=decision)
    async with db.session() as connection:
        current = select(AdapterVersionRow.state).where(mine).with_for_update()
        state = (await connection.execute(current)).scalar_one_or_none()
        if state is None:
            raise NotFound(f"there is no version {name}")
        if state not in (State.CANDIDATE, State.REJECTED):
            raise Conflict(f"{name} is {state}: only a candidate can be rejected")
        await connection.execute(change)
        await audit.append(connection, key_id, "reject", name, decision)

"""Versions of a line's libraries: an import makes one, and which is live may be changed back.

Rows of a version are written with its number in one transaction and never change, so that what an
answer names by id and version stays what it was. Times are the database's.
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field
from sqlalchemy import insert, select, update

from serving.errors import NotFound
from serving.store import audit, leases
from serving.store.database import Database
from serving.store.libraries import vectors
from serving.store.libraries.tables import LibraryEntryRow, LibraryRow, LibraryVersionRow
from serving.store.libraries.vectors import Vectors
from serving.store.records import Record

CHUNK = 500
"""Rows that are written, or read, at once."""


class Kind(StrEnum):
    """What a library holds."""

    KNOWLEDGE = "knowledge"
    RESPONSES = "responses"


class Entry(Record):
    """A passage of knowledge, or a response.

    Args:
        id: Unique in its version.
        title: What it is called.
        text: What it says.
        url: Where people read it.
        tags: Words to find it by, beside its text.
        agent: Whose own it is; None is everybody's.
    """

    id: str = Field(min_length=1, max_length=200)
    title: str = Field("", max_length=500)
    text: str = Field(min_length=1)
    url: str | None = None
    tags: list[str] = Field(default_factory=list)
    agent: str | None = None


class Version(Record):
    """One import of a line's library."""

    lob: str
    kind: Kind
    number: int
    source: str
    entries: int
    created_at: float
    live: bool


async def add(
    db: Database,
    lob: str,
    kind: Kind,
    entries: Sequence[Entry],
    source: str,
    embedded: tuple[str, Vectors] | None = None,
) -> Version:
    """Store a new version, which is live from then on.

    Args:
        db: The store.
        lob: The line of business.
        kind: Which of its libraries.
        entries: In their order; ids differ.
        source: What was imported, for people.
        embedded: What embedded them, and their (n, d) embeddings.
    """
    now = leases.now(db)
    line = {"lob": lob, "kind": kind.value}
    first = db.insert(LibraryRow).values(line | {"live": 1, "last_number": 1})
    following = LibraryRow.last_number + 1
    upsert = first.on_conflict_do_update(
        index_elements=["lob", "kind"], set_={"last_number": following, "live": following}
    )
    async with db.session() as connection:
        number: int = (await connection.scalars(upsert.returning(LibraryRow.last_number))).one()
        made = line | {"number": number, "source": source, "entries": len(entries)}
        await connection.execute(insert(LibraryVersionRow).values(made | {"created_at": now}))
        rows = [
            line | {"number": number, "place": place} | entry.model_dump()
            for place, entry in enumerate(entries)
        ]
        for start in range(0, len(rows), CHUNK):
            await connection.execute(insert(LibraryEntryRow), rows[start : start + CHUNK])
        if embedded is not None:
            await vectors.insert(db, connection, lob, kind, number, *embedded)
        detail = {"version": number, "entries": len(entries), "source": source}
        await audit.append(connection, None, f"{kind.value}_import", lob, detail)
    return next(one for one in await versions(db, kind, lob) if one.number == number)


async def use(db: Database, lob: str, kind: Kind, number: int) -> None:
    """Make a version live that there is already.

    Raises:
        NotFound: The line has no such version.
    """
    mine = (LibraryVersionRow.lob == lob) & (LibraryVersionRow.kind == kind.value)
    there = select(LibraryVersionRow.number).where(mine, LibraryVersionRow.number == number)
    its = (LibraryRow.lob == lob) & (LibraryRow.kind == kind.value)
    async with db.session() as connection:
        if await connection.scalar(there) is None:
            raise NotFound(f"{lob} has no version {number} of its {kind.value}.", param="version")
        await connection.execute(update(LibraryRow).where(its).values(live=number))
        await audit.append(connection, None, f"{kind.value}_use", lob, {"version": number})


async def live(db: Database) -> dict[tuple[str, Kind], int]:
    """Return the number of the live version of each library that there is."""
    async with db.reader() as connection:
        rows = await connection.execute(select(LibraryRow.lob, LibraryRow.kind, LibraryRow.live))
        return {(lob, Kind(kind)): number for lob, kind, number in rows}


async def versions(db: Database, kind: Kind, lob: str | None = None) -> list[Version]:
    """Return the versions of a kind of library, of one line or all, the newest of a line first."""
    its, row = LibraryRow, LibraryVersionRow
    asked = (
        select(row, (its.live == row.number).label("live"))
        .join(its, (its.lob == row.lob) & (its.kind == row.kind))
        .where(row.kind == kind.value)
        .order_by(row.lob, row.number.desc())
    )
    if lob is not None:
        asked = asked.where(row.lob == lob)
    async with db.reader() as connection:
        rows = await connection.execute(asked)
        return [Version.model_validate(dict(found)) for found in rows.mappings()]


async def entries(db: Database, lob: str, kind: Kind, number: int) -> list[Entry]:
    """Return what a version holds, in the order of its import.

    It is read in pages, so that a large one does not hold up the event loop.
    """
    row = LibraryEntryRow
    asked = (
        select(row.place, *(getattr(row, name) for name in Entry.model_fields))
        .where(row.lob == lob, row.kind == kind.value, row.number == number)
        .order_by(row.id)
        .limit(CHUNK)
    )
    found: list[tuple[int, Entry]] = []
    page = asked
    while True:
        async with db.reader() as connection:
            rows = (await connection.execute(page)).mappings().all()
        found += [(values.pop("place"), Entry.model_validate(values)) for values in map(dict, rows)]
        if len(rows) < CHUNK:
            return [entry for _, entry in sorted(found, key=lambda one: one[0])]
        page = asked.where(row.id > rows[-1]["id"])

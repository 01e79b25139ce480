"""Embeddings of a version's entries, under the name of what made them.

A version never changes, so its embeddings by a model are made once: by the import, or by the first
replica that misses them.
"""

import asyncio

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.database import Database
from serving.store.libraries.tables import LibraryVectorsRow

Vectors = npt.NDArray[np.float32]
ROWS = 500
"""Embeddings of one row of the table."""
_FORM = np.dtype("<f4")


async def write(
    db: Database, lob: str, kind: str, number: int, embedder: str, vectors: Vectors
) -> None:
    """Store embeddings, unless somebody has; `insert` is the same within a transaction."""
    async with db.session() as connection:
        await insert(db, connection, lob, kind, number, embedder, vectors)


async def insert(
    db: Database,
    connection: AsyncConnection,
    lob: str,
    kind: str,
    number: int,
    embedder: str,
    vectors: Vectors,
) -> None:
    """Store embeddings, unless somebody has.

    Args:
        db: The store.
        connection: The transaction.
        lob: The line of business.
        kind: Which of its libraries.
        number: The version.
        embedder: What made them.
        vectors: (n, d) of all its entries, in the order of its import.
    """
    for first in range(0, len(vectors), ROWS):
        row = {
            "lob": lob,
            "kind": str(kind),
            "number": number,
            "embedder": embedder,
            "first": first,
            "dimensions": vectors.shape[1],
            "vectors": vectors[first : first + ROWS].astype(_FORM).tobytes(),
        }
        await connection.execute(db.insert(LibraryVectorsRow).values(row).on_conflict_do_nothing())


async def read(
    db: Database, lob: str, kind: str, number: int, embedder: str, entries: int
) -> Vectors | None:
    """Return the (n, d) embeddings of a version, or None where not all of them are there.

    Args:
        db: The store.
        lob: The line of business.
        kind: Which of its libraries.
        number: The version.
        embedder: What made them.
        entries: n.
    """
    row = LibraryVectorsRow
    asked = (
        select(row.dimensions, row.vectors)
        .where(row.lob == lob, row.kind == str(kind), row.number == number)
        .where(row.embedder == embedder)
        .order_by(row.first)
    )
    async with db.reader() as connection:
        parts = [(one.dimensions, one.vectors) for one in await connection.execute(asked)]
    if len({dimensions for dimensions, _ in parts}) != 1:
        return None

    def joined() -> Vectors:
        return np.concatenate(
            [np.frombuffer(data, _FORM).reshape(-1, dimensions) for dimensions, data in parts]
        ).astype(np.float32)

    found = await asyncio.to_thread(joined)
    return found if len(found) == entries else None

"""Datasets that rows were erased from: the old one's row leads to its successor.

A dataset's id is the hash of its manifest, so without the rows it is another dataset. The old id
stays, because versions name it: its manifest is replaced by a stub of the kind `erased`, which says
how many rows went and which dataset goes on. A version is tainted by what was erased from its
dataset since, and by the taint of the version whose weights it went on from.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select, update

from serving.store.database import Database
from serving.store.records import DatasetRecord, Json
from serving.store.tables import AdapterVersionRow, Dataset

ERASED = "erased"


async def replace(db: Database, old: DatasetRecord, new: DatasetRecord, rows: int) -> None:
    """Put a dataset without its erased rows in the place of one, in one transaction.

    Args:
        db: The store.
        old: The dataset as it was.
        new: Without the rows.
        rows: How many interactions went.
    """
    stub: Json = {
        "kind": ERASED,
        "format": old.manifest.get("format"),
        "lob": old.lob,
        "successor": new.id,
        "rows": rows,
        "left": old.uri,
    }
    async with db.session() as connection:
        fresh = db.insert(Dataset).values(new.model_dump()).on_conflict_do_nothing()
        await connection.execute(fresh)
        await connection.execute(
            update(Dataset).where(Dataset.id == old.id).values(uri=new.uri, manifest=stub)
        )


async def settle(db: Database, id_: str) -> None:
    """Note that the files of a replaced dataset are gone."""
    mine = Dataset.id == id_
    async with db.session() as connection:
        stub = (await connection.execute(select(Dataset.manifest).where(mine))).scalar_one()
        values = {name: value for name, value in stub.items() if name != "left"}
        await connection.execute(update(Dataset).where(mine).values(manifest=values))


async def tainted(db: Database) -> dict[str, int]:
    """Return how many interactions were erased that each tainted version had learned from."""
    stubs = select(Dataset.id, Dataset.manifest).where(
        Dataset.manifest["kind"].as_string() == ERASED
    )
    columns = (AdapterVersionRow.name, AdapterVersionRow.dataset_id, AdapterVersionRow.parent)
    versions = select(*columns, AdapterVersionRow.recipe).order_by(AdapterVersionRow.id)
    async with db.reader() as connection:
        erased: dict[str, Json] = {one.id: one.manifest for one in await connection.execute(stubs)}
        rows = [tuple(row) for row in await connection.execute(versions)]
    return taints(erased, rows)


def taints(
    erased: dict[str, Json], versions: Iterable[tuple[str, str | None, str | None, Any]]
) -> dict[str, int]:
    """Sum what was erased of each version's dataset and of those its weights go back to.

    Args:
        erased: The stubs by the ids of the datasets that they stand for.
        versions: Name, dataset's id, parent and recipe of each, parents first.
    """
    found: dict[str, int] = {}
    for name, dataset_id, parent, recipe in versions:
        rows = 0
        while dataset_id in erased:
            rows += erased[dataset_id]["rows"]
            dataset_id = erased[dataset_id]["successor"]
        if recipe.get("start") == "live":
            rows += found.get(parent or "", 0)
        if rows:
            found[name] = rows
    return found

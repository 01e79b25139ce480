"""Erasure in files: datasets, and the reports of runs that quote examples."""

import asyncio
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from serving.erasure import dataset_files
from serving.store import datasets
from serving.store.database import Database
from serving.store.erasure import datasets as erased_datasets
from serving.store.erasure.erasures import Target
from serving.store.erasure.rows import Item
from serving.store.records import DatasetRecord, Json

REPORTS = ("*.md", "*.html", "*.json")
NOTE = "This report quoted an interaction that was erased. report.json has the figures.\n"


async def erase(db: Database, what: Target, items: Sequence[Item]) -> tuple[Json, list[str]]:
    """Rewrite the datasets that hold erased interactions, and remove reports that quote them.

    Args:
        db: The store.
        what: What is erased.
        items: Its interactions, as far as the store had them.

    Returns:
        How many datasets, rows and reports went, and the datasets whose folder is on another
        machine: the erasure goes on there.
    """
    counts = {"datasets": 0, "dataset_interactions": 0, "reports": 0}
    away: list[str] = []
    ids = frozenset(item.interaction_id for item in items)
    for record in await datasets.list_all(db):
        if record.manifest.get("kind") == erased_datasets.ERASED:
            if "left" in record.manifest:  # killed before its files went
                await _remove(db, record.id, record.manifest["left"], record.uri)
            continue
        here = _conversations(what, items, record.lob)
        if not ids and not here:
            continue
        folder = Path(record.uri)
        if not folder.parent.is_dir():
            away.append(record.uri)
            continue
        rows = await _dataset(db, record, ids, here)
        if rows:
            counts["datasets"] += 1
            counts["dataset_interactions"] += rows
    if ids:
        roots = {Path(r.uri).parent.parent for r in await datasets.list_all(db)}
        for root in sorted(roots):
            counts["reports"] += await asyncio.to_thread(_reports, root, ids)
    return dict(counts), away


async def _dataset(
    db: Database, record: DatasetRecord, ids: Collection[str], conversations: Collection[str]
) -> int:
    args = record.id, Path(record.uri), record.manifest, record.lob, ids, conversations
    done = await asyncio.to_thread(dataset_files.rewrite, *args)
    if done is None:
        return 0
    new = DatasetRecord(
        id=done.id,
        lob=record.lob,
        created_at=record.created_at,
        uri=str(done.folder),
        manifest=done.manifest,
    )
    await erased_datasets.replace(db, record, new, done.rows)
    await _remove(db, record.id, record.uri, new.uri)
    return done.rows


async def _remove(db: Database, id_: str, left: str, successor: str) -> None:
    if left != successor:
        await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
    await erased_datasets.settle(db, id_)


def _conversations(what: Target, items: Sequence[Item], lob: str) -> frozenset[str]:
    """The erased conversations of a line, as its datasets name them."""
    named = {what.name} if what.kind == "conversation" and what.lob in (None, lob) else set()
    return frozenset(named) | {
        item.conversation_id or item.interaction_id
        for item in items
        if item.scope.startswith(f"{lob}/")
    }


def _reports(root: Path, ids: Collection[str]) -> int:
    """Put a note in the place of each report in a run's folder that names an erased id."""
    gone = 0
    if not root.is_dir():
        return 0
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for pattern in REPORTS:
            for report in sorted(folder.glob(pattern)):
                text = report.read_text("utf-8", "replace")
                if any(id_ in text for id_ in ids):
                    report.write_text(NOTE, encoding="utf-8")
                    gone += 1
    return gone

"""A dataset's files without the rows of erased interactions.

The result is a dataset of its own, with its own manifest and so its own id; `training.data.dataset`
reads and verifies it like any other. The manifest says how many interactions were erased, and
which dataset it was before.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from serving.store.records import Json

MANIFEST = "manifest.json"


class Rewritten(NamedTuple):
    """A dataset without the erased rows: its id, its folder, its manifest, and what went."""

    id: str
    folder: Path
    manifest: Json
    rows: int


def rewrite(
    was: str,
    folder: Path,
    manifest: Json,
    lob: str,
    ids: Collection[str],
    conversations: Collection[str],
) -> Rewritten | None:
    """Write a dataset anew beside the old one, without what is erased.

    Args:
        was: The dataset's id.
        folder: Its files; those that are not there are left out of the work.
        manifest: Its manifest.
        lob: Its line of business.
        ids: Interactions that are erased.
        conversations: Conversations that are erased, of this line.

    Returns:
        The new dataset; None if the old one held nothing of it.
    """
    erased: set[str] = set()

    def of_row(row: Json) -> bool:
        id_ = str(row.get("interaction_id", "")).partition("#")[0]
        if id_ in ids or row.get("conversation_id") in conversations:
            erased.add(id_)
            return True
        return False

    def of_source(row: Json) -> bool:
        if row.get("id") in ids:
            erased.add(row["id"])
            return True
        return False

    root = folder.parent
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=root if root.is_dir() else None))
    try:
        new: Json = json.loads(json.dumps(manifest))
        for name, said in new.get("files", {}).items():
            said |= _file(folder / name, temporary / name, of_row)
            if "rows" in said:
                said["rows"] = [i for i in said["rows"] if i.partition("#")[0] not in ids]
        _sources(new, folder, temporary, of_source, erased, ids)
        splits = new.get("splits")
        if isinstance(splits, dict):
            golden = splits.get("golden_conversations", [])
            splits["golden_conversations"] = [c for c in golden if c not in conversations]
        if new == manifest:
            return None
        before = manifest.get("erased", {}).get("interactions", 0)
        new["erased"] = {"interactions": before + len(erased), "was": was}
        data = content(new)
        (temporary / MANIFEST).write_bytes(data)
        id_ = hashlib.sha256(data).hexdigest()
        target = root / f"{lob}-{id_[:16]}"
        if folder.is_dir() and not target.is_dir():
            temporary.chmod(0o755)
            os.rename(temporary, target)
        return Rewritten(id_, target, new, len(erased))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def content(manifest: Json) -> bytes:
    """Return a manifest's bytes, of which the hash is the dataset's id."""
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "replace")


def _sources(
    new: Json,
    folder: Path,
    temporary: Path,
    of_source: Callable[[Json], bool],
    erased: set[str],
    ids: Collection[str],
) -> None:
    sources = new.get("sources")
    if not isinstance(sources, dict):
        return
    if isinstance(sources.get("file"), str):
        done = _file(folder / sources["file"], temporary / sources["file"], of_source)
        if done:
            sources |= {"sha256": done["sha256"], "rows": done["examples"]}
        return
    gone = ids & sources.keys() if isinstance(ids, set | frozenset) else set(ids) & sources.keys()
    erased |= gone
    new["sources"] = {id_: row for id_, row in sources.items() if id_ not in gone}


def _file(old: Path, new: Path, is_erased: Callable[[Json], bool]) -> dict[str, Any]:
    """Copy JSON Lines but for what is erased; return what the manifest says of the copy."""
    if not old.is_file():
        return {}
    digest, count, conversations = hashlib.sha256(), 0, set()
    with old.open("rb") as lines, new.open("wb") as out:
        for line in lines:
            row = json.loads(line)
            if is_erased(row):
                continue
            out.write(line)
            digest.update(line)
            count += 1
            conversations.add(row.get("conversation_id"))
        out.flush()
        os.fsync(out.fileno())
    return {
        "sha256": digest.hexdigest(),
        "examples": count,
        "conversations": len(conversations),
    }

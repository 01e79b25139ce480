"""A dataset: two JSONL files and a manifest, named by the hash of what they hold.

The rows are TRL's conversational prompt/completion format with the lineage of each row beside it,
so `datasets.load_dataset("json", …)` and any trainer read them as they are. The same examples give
the same bytes, whenever and wherever they are written; nothing in them depends on the clock.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training import redaction
from training.curation import Curated, Example
from training.settings import Curation

FORMAT = 1
TRAIN = "train.jsonl"
HOLDOUT = "holdout.jsonl"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.

    Args:
        id: sha256 of the manifest, which holds the files' own hashes.
        folder: Where the files lie.
        manifest: What is in them and how it was chosen.
        train: Examples to learn from.
        holdout: Examples to be judged on.
    """

    id: str
    folder: Path
    manifest: dict[str, Any]
    train: tuple[Example, ...]
    holdout: tuple[Example, ...]


def build(lob: str, curated: Curated, rules: Curation, root: Path) -> Dataset:
    """Write a dataset, whole or not at all; one that exists is left as it is.

    Args:
        lob: The line of business.
        curated: The examples.
        rules: The rules that chose them, kept in the manifest.
        root: Folder of all datasets; this one becomes `root/<lob>-<first 16 digits of the id>`.
    """
    files = {TRAIN: _lines(curated.train), HOLDOUT: _lines(curated.holdout)}
    manifest = {
        "format": FORMAT,
        "lob": lob,
        "rules": rules.model_dump(mode="json"),
        "redaction": {"version": redaction.VERSION, "replaced": curated.redactions},
        "filters": [asdict(count) for count in curated.filters],
        "files": {
            TRAIN: _file(files[TRAIN], curated.train),
            HOLDOUT: _file(files[HOLDOUT], curated.holdout),
        },
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    dataset_id = hashlib.sha256(text.encode()).hexdigest()
    folder = root / f"{lob}-{dataset_id[:16]}"
    _write(folder, {**files, MANIFEST: text.encode()})
    return Dataset(dataset_id, folder, manifest, curated.train, curated.holdout)


def row(example: Example) -> dict[str, Any]:
    """Return one line of a dataset's files."""
    lineage = asdict(example)
    return {
        "prompt": lineage.pop("messages"),
        "completion": [{"role": "assistant", "content": lineage.pop("target")}],
        **lineage,
    }


def _lines(examples: Sequence[Example]) -> bytes:
    lines = [json.dumps(row(e), ensure_ascii=False, sort_keys=True) + "\n" for e in examples]
    return "".join(lines).encode("utf-8", "replace")


def _file(content: bytes, examples: Sequence[Example]) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "examples": len(examples),
        "conversations": len({e.conversation_id for e in examples}),
        "first_at": min(e.created_at for e in examples),
        "last_at": max(e.created_at for e in examples),
        "rows": [e.interaction_id for e in examples],
    }


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files beside the folder and rename it into place."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another process wrote the same content first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

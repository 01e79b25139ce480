"""A dataset: JSONL files and a manifest, named by the hash of what they hold.

The rows are TRL's conversational formats with the lineage of each row beside it, so
`datasets.load_dataset("json", …)` and any trainer read them as they are. The same examples give
the same bytes, whenever and wherever they are written; nothing in them depends on the clock.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from training.data import curation, preferences
from training.data.curation import Curated
from training.data.examples import Example, Message
from training.data.redaction import surrogates
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

FORMAT = 2
TRAIN = "train.jsonl"
LABELS = "labels.jsonl"
PREFERENCE = "preference.jsonl"
KTO = "kto.jsonl"
ROLLING = "rolling.jsonl"
GOLDEN = "golden.jsonl"
MANIFEST = "manifest.json"
FILES = (TRAIN, LABELS, PREFERENCE, KTO, ROLLING, GOLDEN)

Kind = Literal["feedback", "golden", "import", "student"]
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.

    Args:
        id: sha256 of the manifest, which holds the files' own hashes.
        folder: Where the files lie.
        manifest: What is in them and how it was chosen.
        train: Examples to learn from.
        labels: Examples that are no targets, only known to be good or bad.
        rolling: Examples of the conversations drawn to judge.
        golden: Examples of the golden set, to be judged on.
    """

    id: str
    folder: Path
    manifest: Manifest
    train: tuple[Example, ...]
    labels: tuple[Example, ...] = ()
    rolling: tuple[Example, ...] = ()
    golden: tuple[Example, ...] = ()

    @property
    def holdout(self) -> tuple[Example, ...]:
        """All examples to be judged on: the golden set, then the rolling hold-out."""
        return self.golden + self.rolling


def write(
    lob: str,
    curated: Curated,
    rules: CurationConfig,
    root: Path,
    sources: Mapping[str, Any] | None = None,
    *,
    kind: Kind = "feedback",
    golden_id: str | None = None,
    coverage: Mapping[str, int] | None = None,
) -> Dataset:
    """Write a dataset, whole or not at all; one that exists is left as it is.

    Args:
        lob: The line of business.
        curated: The examples.
        rules: The rules that chose them, kept in the manifest.
        root: Folder of all datasets; this one becomes `root/<lob>-<first 16 digits of the id>`.
        sources: Each row that was considered, with its hash.
        kind: Where it comes from.
        golden_id: The id of the frozen golden set, if there is one.
        coverage: Of the answers `shown` in the conversations that judge, how many are `judged`:
            their final text is known. None: not known, as of imported rows.
    """
    files = {
        TRAIN: _rows(curated.train),
        LABELS: _rows(curated.labels),
        PREFERENCE: preferences.pairs(curated.train),
        KTO: preferences.labels((*curated.train, *curated.labels)),
        ROLLING: _rows(curated.rolling),
        GOLDEN: _rows(curated.golden),
    }
    manifest = {
        **_head(kind, lob, rules),
        "redaction": {"replaced": curated.redactions},
        "filters": [asdict(count) for count in curated.filters],
        "coverage": None if coverage is None else dict(coverage),
        "splits": {
            "learned_until": curated.seen_until,
            "share": rules.holdout_share,
            "salt": rules.holdout_salt,
            "rates": [list(rate) for rate in curated.rates],
            "golden": golden_id,
            "golden_conversations": sorted({e.conversation_id for e in curated.golden}),
        },
    }
    dataset_id, folder, manifest = _store(root, lob, files, manifest, sources or {})
    return Dataset(
        dataset_id,
        folder,
        manifest,
        curated.train,
        curated.labels,
        curated.rolling,
        curated.golden,
    )


def write_golden(
    lob: str,
    examples: Sequence[Example],
    rules: CurationConfig,
    root: Path,
    sources: Mapping[str, Any],
) -> Dataset:
    """Write a line of business's golden set, a dataset that nothing is learned from.

    Args:
        lob: The line of business.
        examples: Its examples, redacted.
        rules: The rules that chose them.
        root: Folder of all datasets.
        sources: The rows that the examples are made from, with their hashes.
    """
    files = {GOLDEN: _rows(examples)}
    dataset_id, folder, manifest = _store(root, lob, files, _head("golden", lob, rules), sources)
    return Dataset(dataset_id, folder, manifest, (), golden=tuple(examples))


def read(folder: Path) -> Dataset:
    """Read a dataset and check that it is what it was.

    Raises:
        DatasetError: A file is missing, changed, or of another format; names it.
    """
    content = read_bytes(folder / MANIFEST)
    manifest = json.loads(content)
    if manifest.get("format") != FORMAT:
        raise DatasetError(
            f"{folder / MANIFEST}: format {manifest.get('format')!r}; this version reads {FORMAT}. "
            "Fix: build the dataset anew"
        )
    found: dict[str, tuple[Example, ...]] = {}
    for name, file in manifest["files"].items():
        data = read_bytes(folder / name)
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise DatasetError(
                f"{folder / name}: changed since it was written. Fix: remove the folder and "
                "rebuild it with `switchboard dataset build --from-manifest`"
            )
        if name not in (PREFERENCE, KTO):
            found[name] = tuple(_example(json.loads(line)) for line in data.splitlines())
    return Dataset(
        hashlib.sha256(content).hexdigest(),
        folder,
        manifest,
        found.get(TRAIN, ()),
        found.get(LABELS, ()),
        found.get(ROLLING, ()),
        found.get(GOLDEN, ()),
    )


def read_bytes(file: Path) -> bytes:
    """Return a file's content.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{file}: cannot be read ({exc.strerror})") from exc


def row(example: Example) -> dict[str, Any]:
    """Return one line of a dataset's files."""
    lineage = asdict(example)
    if example.chat_template_kwargs is None:  # as in datasets of before there was the field
        del lineage["chat_template_kwargs"]
    return {
        "prompt": lineage.pop("messages"),
        "completion": preferences.answer(lineage.pop("target")),
        **lineage,
    }


def made_by() -> dict[str, Any]:
    """Return the versions of what decides a dataset's bytes."""
    return {
        "curation": curation.VERSION,
        "redaction": surrogates.VERSION,
        "datasketch": version("datasketch"),
    }


def _example(line: dict[str, Any]) -> Example:
    """Return what `row` made a line of."""
    messages = tuple(Message(**message) for message in line.pop("prompt"))
    return Example(messages=messages, target=line.pop("completion")[0]["content"], **line)


def _rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [row(example) for example in examples]


def _head(kind: Kind, lob: str, rules: CurationConfig) -> Manifest:
    return {
        "format": FORMAT,
        "kind": kind,
        "lob": lob,
        "made_by": made_by(),
        "rules": rules.model_dump(mode="json"),
    }


def _store(
    root: Path,
    lob: str,
    files: Mapping[str, Sequence[dict[str, Any]]],
    manifest: Manifest,
    sources: Mapping[str, Any],
) -> tuple[str, Path, Manifest]:
    """Write files and manifest; return the id, the folder and the whole manifest."""
    contents = {name: lines(rows) for name, rows in files.items()}
    manifest = {
        **manifest,
        "files": {name: _file(contents[name], rows) for name, rows in files.items()},
        "sources": dict(sources),
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "replace")
    dataset_id = hashlib.sha256(data).hexdigest()
    folder = root.absolute() / f"{lob}-{dataset_id[:16]}"
    _write(folder, {**contents, MANIFEST: data})
    return dataset_id, folder, json.loads(data)


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as JSON Lines: the same rows are the same bytes."""
    text = [json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in rows]
    return "".join(text).encode("utf-8", "replace")


def _file(content: bytes, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "examples": len(rows),
        "conversations": len({r["conversation_id"] for r in rows}),
        "rows": [r["interaction_id"] for r in rows],
    }


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
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

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from serving.redaction import surrogates
from training.data import curation, preferences
from training.data.curation import Curated
from training.data.examples import Example
from training.data.streaming import sources as source_rows
from training.data.streaming.example_lines import ExampleFile, learned_row, row, write_file
from training.data.streaming.sources import SourceLog
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

Kind = Literal["feedback", "golden", "import", "student", "fine-tune"]
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.

    Args:
        id: sha256 of the manifest, which holds the files' own hashes.
        folder: Where the files lie.
        manifest: What is in them and how it was chosen.
        train: Examples to learn from, read from the disk one by one.
        labels: Examples that are no targets, only known to be good or bad; likewise.
        rolling: Examples of the conversations drawn to judge.
        golden: Examples of the golden set, to be judged on.
    """

    id: str
    folder: Path
    manifest: Manifest
    train: Sequence[Example]
    labels: Sequence[Example] = ()
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
    sources: Mapping[str, Any] | SourceLog | None = None,
    *,
    kind: Kind = "feedback",
    golden_id: str | None = None,
    coverage: Mapping[str, int] | None = None,
    prompts: Mapping[str, Any] | None = None,
) -> Dataset:
    """Write a dataset, whole or not at all; one that exists is left as it is.

    Args:
        lob: The line of business.
        curated: The examples.
        rules: The rules that chose them, kept in the manifest.
        root: Folder of all datasets; this one becomes `root/<lob>-<first 16 digits of the id>`.
        sources: Each row that was considered, with its hash; as a log it becomes a file of its own
            beside the manifest, which then names no row of what is learned from either.
        kind: Where it comes from.
        golden_id: The id of the frozen golden set, if there is one.
        coverage: Of the answers `shown` in the conversations that judge, how many are `judged`:
            their final text is known. None: not known, as of imported rows.
        prompts: The live version's own, in whose form the examples are, and how many are
            `rendered_anew` and how many only known `as_stored`. None: the live version has none.
    """
    files = {
        TRAIN: map(learned_row, curated.train),
        LABELS: map(learned_row, curated.labels),
        PREFERENCE: preferences.pairs(curated.train),
        KTO: preferences.labels(chain(curated.train, curated.labels)),
        ROLLING: _rows(curated.rolling),
        GOLDEN: _rows(curated.golden),
    }
    manifest = {
        **_head(kind, lob, rules, prompts),
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
    return _dataset(dataset_id, folder, manifest, curated.rolling, curated.golden)


def write_golden(
    lob: str,
    examples: Sequence[Example],
    rules: CurationConfig,
    root: Path,
    sources: Mapping[str, Any],
    prompts: Mapping[str, Any] | None = None,
) -> Dataset:
    """Write a line of business's golden set, a dataset that nothing is learned from.

    Args:
        lob: The line of business.
        examples: Its examples, redacted.
        rules: The rules that chose them.
        root: Folder of all datasets.
        sources: The rows that the examples are made from, with their hashes.
        prompts: The live version's own, in whose form the examples are; None: it has none.
    """
    files = {GOLDEN: _rows(examples)}
    head = _head("golden", lob, rules, prompts)
    dataset_id, folder, manifest = _store(root, lob, files, head, sources)
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
    expected = {name: file["sha256"] for name, file in manifest["files"].items()}
    if not source_rows.is_inline(manifest):
        expected[source_rows.FILE] = manifest["sources"]["sha256"]
    for name, sha256 in expected.items():
        if _sha256(folder / name) != sha256:
            raise DatasetError(
                f"{folder / name}: changed since it was written. Fix: remove the folder and "
                "rebuild it with `switchboard dataset build --from-manifest`"
            )
    judging = [tuple(_examples(folder, manifest, name)) for name in (ROLLING, GOLDEN)]
    return _dataset(hashlib.sha256(content).hexdigest(), folder, manifest, *judging)


def _dataset(
    dataset_id: str,
    folder: Path,
    manifest: Manifest,
    rolling: tuple[Example, ...],
    golden: tuple[Example, ...],
) -> Dataset:
    train, labels = (_examples(folder, manifest, name) for name in (TRAIN, LABELS))
    return Dataset(dataset_id, folder, manifest, train, labels, rolling, golden)


def _examples(folder: Path, manifest: Manifest, name: str) -> Sequence[Example]:
    file = manifest["files"].get(name)
    return ExampleFile(folder / name, file["examples"]) if file else ()


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as exc:
        raise DatasetError(f"{file}: cannot be read ({exc.strerror})") from exc


def read_bytes(file: Path) -> bytes:
    """Return a file's content.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{file}: cannot be read ({exc.strerror})") from exc


def made_by() -> dict[str, Any]:
    """Return the versions of what decides a dataset's bytes."""
    return {
        "curation": curation.VERSION,
        "redaction": surrogates.VERSION,
        "datasketch": version("datasketch"),
    }


def identify(manifest: Manifest) -> str:
    """Return the id of the dataset that a manifest describes."""
    return hashlib.sha256(_content(manifest)).hexdigest()


def _content(manifest: Manifest) -> bytes:
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "replace")


def _rows(examples: Iterable[Example]) -> Iterable[dict[str, Any]]:
    return map(row, examples)


def _head(kind: Kind, lob: str, rules: CurationConfig, own: Mapping[str, Any] | None) -> Manifest:
    return ({} if own is None else {"prompts": dict(own)}) | {
        "format": FORMAT,
        "kind": kind,
        "lob": lob,
        "made_by": made_by(),
        "rules": rules.model_dump(mode="json"),
    }


def _store(
    root: Path,
    lob: str,
    files: Mapping[str, Iterable[dict[str, Any]]],
    manifest: Manifest,
    sources: Mapping[str, Any] | SourceLog,
) -> tuple[str, Path, Manifest]:
    """Write files and manifest; return the id, the folder and the whole manifest."""
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=root))
    try:
        inline = not isinstance(sources, SourceLog)
        named = FILES if inline else (ROLLING, GOLDEN)
        manifest = {
            **manifest,
            "files": {
                n: write_file(temporary / n, rows, named=n in named) for n, rows in files.items()
            },
            "sources": sources.write(temporary) if isinstance(sources, SourceLog) else sources,
        }
        data = _content(manifest)
        (temporary / MANIFEST).write_bytes(data)
        dataset_id = hashlib.sha256(data).hexdigest()
        folder = root / folder_name(lob, dataset_id)
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return dataset_id, folder, json.loads(data)


def folder_name(lob: str, dataset_id: str) -> str:
    """Return the name of a dataset's folder."""
    return f"{lob}-{dataset_id[:16]}"


def copy(built: Dataset, root: Path) -> Dataset:
    """Copy a dataset into the folder of all datasets, whole or not at all; return the copy."""
    folder = root.absolute() / built.folder.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as near:
        _publish(Path(shutil.copytree(built.folder, Path(near) / folder.name)), folder)
    return read(folder)


def _publish(temporary: Path, folder: Path) -> None:
    """Rename a whole dataset into place; one that is there is left as it is."""
    temporary.chmod(0o755)
    try:
        if not folder.is_dir():
            os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another process wrote the same content first
            raise

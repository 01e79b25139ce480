"""From a job's files to its dataset: converted, redacted, noted in the store.

Curation chooses among feedback; a file was chosen by whoever uploaded it, so all of it is learned.
Only what curation does for privacy's sake is done here too: personal values become surrogates,
unless the recipe says otherwise. The manifest names both files with their hashes.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import NotFound
from serving.files.storage import FileStorage
from serving.store.database import Database
from serving.store.jobs.records import JobRecord
from training.data import dataset, preference_rows, preferences, repository
from training.data.curation import Curated
from training.data.dataset import Dataset
from training.data.examples import TARGETS, Example, redacted
from training.data.formats import fine_tune_files
from training.data.streaming.example_lines import lines, row
from training.errors import DatasetError, TooLittleData
from training.jobs.hyperparameters import MIN_EXAMPLES
from training.recipe.recipe import Recipe

_DIGITS = 12
VALIDATION = "validation.jsonl"


class FileFault(DatasetError):
    """A job's file cannot be learned from; `param` names the file."""

    code = "invalid_file"


@dataclass(frozen=True)
class ReadFile:
    """A file's examples, and its sha256."""

    examples: list[Example]
    sha256: str


@dataclass(frozen=True)
class Material:
    """What a job learns from.

    Args:
        training: The examples to learn from.
        validation: Those to look at, if there is such a file.
        unused: Pairs or labels that say nothing, or say it again, which the method leaves out.
    """

    training: ReadFile
    validation: ReadFile | None
    unused: int = 0


async def read(storage: FileStorage, job: JobRecord, recipe: Recipe) -> Material:
    """Read and check a job's files.

    Args:
        storage: Where files lie.
        job: The job.
        recipe: Its recipe.

    Raises:
        FileFault: A file is gone, a line is at fault, or there are too few.
        Unavailable: A file cannot be read now.
    """
    training = await _file(storage, job, job.training_file, "training_file")
    count = len({example.conversation_id for example in training.examples})
    if count < MIN_EXAMPLES:
        raise FileFault(
            f"Training file has {count} example(s), but must have at least {MIN_EXAMPLES} examples",
            param="training_file",
        )
    rows = _rows(job, training.examples)
    try:
        if job.method["type"] == "dpo":
            preference_rows.enough_pairs(job.lob, recipe.dpo, rows)
        if job.method["type"] == "kto":
            preference_rows.enough_labels(job.lob, recipe.kto, rows)
    except TooLittleData as exc:
        raise FileFault(exc.message, param="training_file") from exc
    validation = None
    if job.validation_file is not None:
        validation = await _file(storage, job, job.validation_file, "validation_file")
        if not _rows(job, validation.examples):
            raise FileFault("nothing in it says what is better", param="validation_file")
    return Material(training, validation, len(training.examples) - len(rows))


async def build(
    db: Database, job: JobRecord, material: Material, recipe: Recipe, root: Path
) -> Dataset:
    """Make a job's dataset and note it in the store; the same files make the same.

    Args:
        db: The store.
        job: The job.
        material: Its files.
        recipe: Its recipe, whose `curation.redact` is heeded.
        root: Folder of all datasets.
    """
    built = await asyncio.to_thread(_write, job, material, recipe, root)
    await repository.note(db, job.lob, built)
    return built


def validation_rows(job: JobRecord, built: Dataset, folder: Path) -> Path | None:
    """Write what a job looks at while it trains, as its method reads it; None where it does not.

    Args:
        job: The job.
        built: Its dataset, whose hold-out the validation file is.
        folder: Where to; it is made.
    """
    if job.validation_file is None:
        return None
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VALIDATION).write_bytes(lines(_rows(job, built.rolling)))
    return folder / VALIDATION


async def _file(storage: FileStorage, job: JobRecord, id_: str, param: str) -> ReadFile:
    try:
        opened = await storage.open(id_)
    except NotFound as exc:
        raise FileFault(exc.message, param=param) from exc

    def work() -> ReadFile:
        digest = hashlib.sha256()
        with opened:
            content = opened.readlines()
        for line in content:
            digest.update(line)
        name = digest.hexdigest()
        kind = job.method["type"]
        return ReadFile(fine_tune_files.examples(content, kind, name[:_DIGITS]), name)

    try:
        return await asyncio.to_thread(work)
    except DatasetError as exc:
        raise FileFault(f"{id_}: {exc.message}", param=param) from exc


def _rows(job: JobRecord, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Return examples as the job's method reads them."""
    if job.method["type"] == "dpo":
        return list(preferences.pairs(examples))
    if job.method["type"] == "kto":
        return list(preferences.labels(examples))
    return [row(example) for example in examples]


def _write(job: JobRecord, material: Material, recipe: Recipe, root: Path) -> Dataset:
    replaced: dict[str, int] = {}

    def kept(file: ReadFile | None) -> tuple[Example, ...]:
        found = list(file.examples) if file else []
        if recipe.curation.redact:
            found, counts = redacted(found)
            for kind, number in counts.items():
                replaced[kind] = replaced.get(kind, 0) + number
        return tuple(found)

    learned, watched = kept(material.training), kept(material.validation)
    sources = {"training_file": _source(job.training_file, material.training)}
    if job.validation_file is not None and material.validation is not None:
        sources["validation_file"] = _source(job.validation_file, material.validation)
    curated = Curated(
        train=[one for one in learned if one.source in TARGETS],
        labels=[one for one in learned if one.source not in TARGETS],
        rolling=watched,
        golden=(),
        filters=(),
        redactions=dict(sorted(replaced.items())),
        seen_until=0.0,
    )
    return dataset.write(job.lob, curated, recipe.curation, root, sources=sources, kind="fine-tune")


def _source(id_: str, file: ReadFile) -> dict[str, Any]:
    return {"id": id_, "sha256": file.sha256}

"""The folder of one training job, held by one process at a time."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving import file_lock
from serving.errors import Conflict
from training.recipe.recipe import Recipe


@contextmanager
def work_folder(out: Path, lob: str, inputs: list[str | None], recipe: Recipe) -> Iterator[Path]:
    """Hold the folder of one training job; it is removed when the run is over.

    It is named by what goes in, so a run that repeats a killed one finds its checkpoints.

    Args:
        out: Folder of the runs.
        lob: The line of business.
        inputs: What it is trained on: dataset, base, the version that it goes on from.
        recipe: The recipe.

    Raises:
        Conflict: Another process trains on the same.
    """
    content = recipe.model_dump_json(exclude={"curation", "evaluation", "gate", "canary"})
    digest = hashlib.sha256(json.dumps([*inputs, content]).encode()).hexdigest()
    name = f"{lob}-{digest[:16]}"
    folder = (out / "work" / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock.held(folder.parent / f"{name}.lock") as ours:
        if not ours:
            raise Conflict(f"{lob} is being trained on the same data by another process")
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

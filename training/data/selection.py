"""Which dataset a run learns from: one that is named, or a new one of all feedback."""

from pathlib import Path

from serving.store.database import Database
from training.data import distillation, repository
from training.data.dataset import Dataset
from training.errors import DatasetError
from training.recipe.recipe import Recipe


async def select(
    db: Database, lob: str, recipe: Recipe, dataset_id: str | None, root: Path
) -> Dataset:
    """Return the dataset that was named, or build what the recipe asks for.

    Args:
        db: The store.
        lob: The line of business.
        recipe: Its recipe.
        dataset_id: The dataset's id or the beginning of it; None builds one.
        root: Folder of the datasets.

    Raises:
        NotFound: There is no such dataset.
        DatasetError: It belongs elsewhere, lacks a part, or its files are gone or changed.
        TooLittleData: There is not enough feedback yet.
    """
    if dataset_id is not None:
        return await _found(db, lob, dataset_id)
    if recipe.student is not None:
        return await distillation.build(db, lob, recipe.curation, recipe.student, root)
    return await repository.build(db, lob, recipe.curation, root)


async def _found(db: Database, lob: str, dataset_id: str) -> Dataset:
    found = await repository.find(db, dataset_id)
    if found.manifest["lob"] != lob:
        raise DatasetError(f"dataset {found.id[:16]} belongs to {found.manifest['lob']}")
    if not found.train or not found.holdout:
        raise DatasetError(
            f"dataset {found.id[:16]} has {len(found.train)} examples to learn from and "
            f"{len(found.holdout)} to judge; a training run needs both"
        )
    return found

"""Which dataset a run learns from: one that is named, or a new one of all feedback."""

from pathlib import Path

from serving.store import datasets
from serving.store.database import Database
from serving.store.erasure.datasets import ERASED
from training.data import distillation, repository
from training.data.dataset import Dataset
from training.data.forms.form import Form
from training.errors import DatasetError
from training.recipe.recipe import Recipe


async def build(
    db: Database, lob: str, recipe: Recipe, root: Path, form: Form | None = None
) -> Dataset:
    """Build the dataset that a recipe asks for.

    Args:
        db: The store.
        lob: The line of business.
        recipe: Its recipe.
        root: Folder of the datasets.
        form: How the live version is asked, where it has prompts of its own; a student's is asked
            as its teacher was.

    Raises:
        DatasetError: The golden set's files are gone, or a student's teacher has no dataset.
        TooLittleData: There is not enough feedback yet.
    """
    if recipe.student is not None:
        return await distillation.build(db, lob, recipe.curation, recipe.student, root)
    return await repository.build(db, lob, recipe.curation, root, form)


async def find(db: Database, lob: str, dataset_id: str) -> Dataset:
    """Return a dataset to train on.

    Args:
        db: The store.
        lob: The line of business.
        dataset_id: The dataset's id or the beginning of it.

    Raises:
        NotFound: There is no such dataset.
        DatasetError: It belongs elsewhere, lacks a part, or its files are gone or changed.
    """
    found = await repository.find(db, dataset_id)
    if found.manifest["lob"] != lob:
        raise DatasetError(f"dataset {found.id[:16]} belongs to {found.manifest['lob']}")
    if not found.train or not found.holdout:
        raise DatasetError(
            f"dataset {found.id[:16]} has {len(found.train)} examples to learn from and "
            f"{len(found.holdout)} to judge; a training run needs both"
        )
    return found


async def require_whole(db: Database, built: Dataset) -> None:
    """Check that nothing of a dataset was erased since a run began to learn from it.

    Raises:
        DatasetError: Something was: what the run has made quotes it, or learned from it.
    """
    found = await datasets.get(db, built.id)
    if found is None or found.manifest.get("kind") == ERASED:
        raise DatasetError(
            f"rows of dataset {built.id[:16]} were erased while the run went on. Fix: start it "
            "again; it learns from what is left"
        )

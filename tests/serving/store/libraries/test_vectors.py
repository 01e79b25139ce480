"""Embeddings of a version come back as they were, or not at all."""

import numpy as np

from serving.store.database import Database
from serving.store.libraries import vectors


async def test_they_come_back_in_their_order(db: Database) -> None:
    made = np.random.default_rng(0).normal(size=(2 * vectors.ROWS + 3, 4)).astype(np.float32)
    for _ in range(2):  # another replica may be as quick
        await vectors.write(db, "care", "knowledge", 1, "m", made)
    found = await vectors.read(db, "care", "knowledge", 1, "m", len(made))
    assert found is not None
    assert found.dtype == np.float32
    assert np.array_equal(found, made)
    for other in (("sales", "knowledge", 1, "m"), ("care", "responses", 1, "m")):
        assert await vectors.read(db, *other, len(made)) is None
    assert await vectors.read(db, "care", "knowledge", 2, "m", len(made)) is None
    assert await vectors.read(db, "care", "knowledge", 1, "n", len(made)) is None


async def test_those_of_too_few_entries_are_none(db: Database) -> None:
    await vectors.write(db, "care", "knowledge", 1, "m", np.ones((2, 3), np.float32))
    assert await vectors.read(db, "care", "knowledge", 1, "m", 3) is None

"""Reads from the store what a shadow and the live version answered, and compares them."""

import time

from serving.config.settings import Settings
from serving.store import interactions, shadows
from serving.store.database import Database
from training.analysis import shadow
from training.analysis.shadow import Comparison
from training.data.sampling import DAY_S
from training.recipe.recipe import Recipe


async def run(
    lob: str,
    *,
    settings: Settings,
    recipe: Recipe,
    version: str | None,
    days: float,
    effect: float,
) -> Comparison | None:
    """Compare a shadow with the live version; None if no answer of both has feedback.

    Args:
        lob: The line of business.
        settings: The server's configuration: the store.
        recipe: The line's recipe.
        version: The shadow; None: the one that answered last.
        days: How far to look back, above 0.
        effect: The true gain whose need of conversations is wanted, above 0.

    Raises:
        StoreUnavailable: The store does not answer.
    """
    since = time.time() - days * DAY_S
    db = Database(settings.store_address)
    await db.open()
    try:
        version = version or await shadows.latest(db, lob)
        if version is None:
            return None
        answers = await shadows.for_line(db, lob=lob, version=version, since=since)
        items = await interactions.labelled(db, lob=lob, since=since, tasks=recipe.curation.tasks)
    finally:
        await db.close()
    found = shadow.pairs(items, answers, recipe.curation)
    return shadow.compare(version, found, recipe.evaluation, effect=effect)

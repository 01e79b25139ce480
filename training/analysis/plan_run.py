"""Reads from the store what a plan needs to know of a line."""

import time
from collections import defaultdict

from serving.config.settings import Settings
from serving.store import interactions
from serving.store.database import Database
from training.analysis import plan
from training.analysis.plan import Need, Pace
from training.data import splits
from training.data.examples import TARGETS, example, judged, label
from training.data.sampling import DAY_S
from training.metrics.text import edit_similarity
from training.recipe.recipe import Recipe


async def run(
    lob: str, *, settings: Settings, recipe: Recipe, days: float, effect: float
) -> tuple[Pace, list[Need]]:
    """Return a line's pace over the last days, and what each of its gate's rules needs.

    Args:
        lob: The line of business.
        settings: The server's configuration: the store.
        recipe: The line's recipe.
        days: How far to look back, above 0.
        effect: The true gain that superiority should show.

    Raises:
        StoreUnavailable: The store does not answer.
        ValueError: The effect does not exceed a superiority rule's margin.
    """
    db = Database(settings.store_address)
    await db.open()
    try:
        seen = await _pace(db, lob, recipe, days)
    finally:
        await db.close()
    rules = recipe.evaluation
    return seen, plan.needs(recipe.gate, seen, effect=effect, confidence=rules.confidence)


async def _pace(db: Database, lob: str, recipe: Recipe, days: float) -> Pace:
    rules, since = recipe.curation, time.time() - days * DAY_S
    similarities: defaultdict[str, list[float]] = defaultdict(list)
    async for item in interactions.stream(db, lob=lob, since=since, tasks=rules.tasks):
        name, begin = item.interaction.conversation_id, item.interaction.created_at
        if not name or not splits.is_drawn(lob, name, begin, rules):
            continue
        for interaction, said in judged(item):
            if (source := label(said, rules)) in TARGETS and source is not None:
                made = example(interaction, said, source)
                similarities[name].append(edit_similarity(made.shown, made.target))
    answers = await interactions.count(db, lob, since=since)
    outside = await interactions.count(db, lob, since=since, outside=True)
    return plan.pace(similarities, days, answers, outside)

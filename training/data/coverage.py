"""Of how many answers in the conversations that judge the final text is known."""

from serving.store import interactions
from serving.store.database import Database
from training.data import splits
from training.data.curation import Curated
from training.data.splits import Past
from training.recipe.curation import CurationConfig


async def of(
    db: Database, lob: str, curated: Curated, rules: CurationConfig, past: Past
) -> dict[str, int]:
    """Return how many answers were shown in the conversations that judge, and how many judge.

    Args:
        db: The store.
        lob: The line of business.
        curated: What was chosen.
        rules: The recipe's section.
        past: What earlier datasets decided.
    """
    since, frozen = splits.judged_since(curated.seen_until, rules), splits.frozen_ids(past)
    golden = frozen | {e.conversation_id for e in curated.golden}
    answered = await interactions.shown(db, lob=lob, since=since, tasks=rules.tasks)
    shown = sum(
        answers
        for name, begin, answers in answered
        if begin <= curated.seen_until
        and name not in golden
        and splits.is_drawn(lob, name, begin, rules, past)
    )
    return {"shown": max(shown, curated.judged), "judged": curated.judged}

"""Whether a judge may be trusted with a line of business: past feedback is asked, nothing trained.

The feedback that counts is what curation would take, before anything is held out or balanced.
"""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import openai

from serving.config.settings import Settings
from serving.store import interactions
from serving.store.database import Database
from serving.store.records import LabelledInteraction
from training.data.examples import Example
from training.data.streaming.candidates import Candidates
from training.data.streaming.example_lines import Lines
from training.data.streaming.rows import without_contradictions
from training.evaluation import checks, judge, judge_agreement, server
from training.evaluation.judge_agreement import Agreement
from training.recipe.curation import CurationConfig
from training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)


async def run(
    lob: str,
    *,
    config: Path,
    settings: Settings,
    recipe: Recipe,
    url: str | None,
    api_key: str | None,
) -> Agreement:
    """Compare a judge with all feedback in the store; nothing is trained or written.

    Args:
        lob: The line of business.
        config: The server's configuration file, in case a private server must be started.
        settings: Its content.
        recipe: Which feedback counts, and how the judge is asked; `enabled` does not matter.
        url: The running server, without /v1; None tries the configured one, then a private one.
        api_key: A key for that server.

    Raises:
        NotFound: The line of business is not configured.
        EvaluationFailed: The judge does not answer.
        RecipeError: The prompt is wrong, the judge's key is not set, or the judge learned from
            the feedback.
    """
    settings.require_lob(lob)
    rules = recipe.judge
    judge.check(rules, lob)
    template = judge.template(rules.template)
    db = Database(settings.store_address)
    await db.open()
    try:
        rows = await interactions.labelled(db, lob=lob, tasks=recipe.curation.tasks)
    finally:
        await db.close()
    pairs = judge_agreement.human_pairs(_examples(rows, recipe.curation), rules.human_pairs)
    model = rules.model or settings.served_name
    logger.info(f"{lob}: {len(pairs)} pairs from feedback; judge {model}, prompt {template.hash}")
    if not pairs:
        return judge_agreement.compare([], [], recipe.evaluation)
    async with AsyncExitStack() as stack:
        own = "http://none"
        if rules.url is None:
            own = await stack.enter_async_context(server.running(url, config, settings))
        client = openai.AsyncOpenAI(base_url=f"{own}/v1", api_key=api_key or "none", max_retries=4)
        stack.push_async_callback(client.close)
        other = await stack.enter_async_context(judge.client(rules, client))
        return await checks.agree(other, model, template, pairs, rules, recipe.evaluation)


def _examples(labelled: Sequence[LabelledInteraction], rules: CurationConfig) -> list[Example]:
    """Return what feedback judges, redacted; what contradicts itself or another says nothing."""
    texts = Lines()
    found = Candidates(rules.model_copy(update={"redact": True}), texts)
    for item in labelled:
        found.add(item)
    return [texts[one.place] for one in without_contradictions(found.rows)]

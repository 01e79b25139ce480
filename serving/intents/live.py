"""The lines' live classifiers in a replica's memory, and when they are asked.

Nothing runs by itself: a request that comes `REFRESH_S` after the last look has the storage asked
in the background, and is answered by what is there. What fails leaves the intent to the engine.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from serving.config.structured.insights import Insights
from serving.errors import SwitchboardError
from serving.intents import published
from serving.intents.classifier import Classifier, Guess
from serving.intents.published import Published

logger = logging.getLogger(__name__)

REFRESH_S = 10.0
FIRST_LOOK_S = 1.0
"""What a line's first request waits for its classifier; then the engine answers it."""


@dataclass(slots=True)
class _Line:
    """What is known of a line: its live classifier, when it was looked for, and who looks."""

    its: Published | None = None
    classifier: Classifier | None = None
    looked: float | None = None
    looking: asyncio.Task[None] | None = None


def wanted(its: Insights, found: Published) -> bool:
    """Whether a line's intents come from its classifier rather than from the engine.

    `auto` goes by the classifier's own evaluation, which says nothing of a list that has changed
    since.
    """
    if its.intents is None or its.intent.model == "engine":
        return False
    if its.intent.model == "classical":
        return True
    return found.prefers == "classical" and set(found.intents) == set(its.intents)


class Classifiers:
    """The classifiers of all lines.

    Args:
        uri: The adapters' folder or fsspec URL.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lines: dict[str, _Line] = {}

    async def guess(self, lob: str, its: Insights, turns: Sequence[str]) -> Guess | None:
        """Return the intent of a conversation; None leaves it to the engine. Never raises.

        Args:
            lob: The line.
            its: What it is configured to.
            turns: What the customer said, in order.
        """
        if its.intents is None or its.intent.model == "engine" or not turns:
            return None
        line = self._lines.setdefault(lob, _Line())
        await self._look(lob, line)
        found, classifier = line.its, line.classifier
        if found is None or classifier is None or not wanted(its, found):
            return None
        said = await asyncio.to_thread(classifier.guess, turns, [*its.intents, None])
        return None if said is None else said._replace(model=found.name)

    async def _look(self, lob: str, line: _Line) -> None:
        """Look what is live, if it is time; only the first look is waited for."""
        due = line.looked is None or time.monotonic() - line.looked >= REFRESH_S
        if due and (line.looking is None or line.looking.done()):
            line.looking = asyncio.create_task(self._refresh(lob, line))
        if line.looked is None and line.looking is not None:
            await asyncio.wait({line.looking}, timeout=FIRST_LOOK_S)

    async def _refresh(self, lob: str, line: _Line) -> None:
        try:
            found = await asyncio.to_thread(published.live, self._uri, lob)
            if found is None:
                line.its = line.classifier = None
            elif found != line.its:
                line.classifier = await asyncio.to_thread(published.read, self._uri, lob, found)
                line.its = found
                logger.info("intents of %s: classifier %s is live", lob, found.name)
        except SwitchboardError as exc:
            logger.warning("No newer classifier of the intents of %s: %s", lob, exc)
        except Exception:
            logger.exception("the classifier of the intents of %s cannot be read", lob)
        line.looked = time.monotonic()

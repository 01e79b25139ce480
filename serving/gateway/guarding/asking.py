"""Asks a guard about a text, and says what becomes of one that fails."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from serving.admission.deadline import Deadline
from serving.errors import GuardUnavailable
from serving.fallback.upstream import Upstream
from serving.gateway.guarding import judge
from serving.gateway.guarding.configured import Check
from serving.guards.decision import holds
from serving.guards.verdict import Action, Finding, GuardContext, Verdict, gravest
from serving.observability import metrics
from serving.observability.alarm import Alarm

WINDOW = 20_000
"""Characters that are checked before other requests have their turn."""
OVERLAP = 1_000
logger = logging.getLogger(__name__)


class Asking:
    """Asks guards; what cannot be checked does not pass one that blocks.

    Args:
        upstream: Finds an upstream by its name, for judges.
    """

    def __init__(self, upstream: Callable[[str], Upstream]) -> None:
        self._upstream = upstream
        self.alarms: dict[tuple[str, str], Alarm] = {}

    async def ask(
        self,
        check: Check,
        text: str,
        context: GuardContext,
        *,
        since: int = 0,
        id_: str = "",
        deadline: Deadline | None = None,
    ) -> list[Verdict]:
        """Return what one guard finds in a text.

        Args:
            check: The guard.
            text: Canonical.
            context: What the text is compared with.
            since: What ends up to there was checked before, and is not found again.
            id_: The request's, for a judge's logs.
            deadline: The request's; a judge has no longer.

        Raises:
            GuardUnavailable: It failed, or its judge did, and it may refuse the text.
        """
        lob = context.lob or ""
        try:
            found = await _found(check, text, context)
        except Exception as exc:  # a guard's own fault must not let a text pass
            self.failed(lob, check.name, check.action, exc)
            return []
        self.well(lob, check.name)
        found = [one for one in found if one.span[1] > since]
        if found and check.judge is not None:
            found = await self._upheld(check, text, found, context, id_, deadline)
        return [Verdict(check.name, check.action_of(one.kind), one) for one in found]

    async def _upheld(
        self,
        check: Check,
        text: str,
        found: list[Finding],
        context: GuardContext,
        id_: str,
        deadline: Deadline | None,
    ) -> list[Finding]:
        """Return the findings that a guard's judge leaves; all where it fails and none refuses."""
        lob, name = context.lob or "", f"{check.name}.judge"
        try:
            left = deadline.left() if deadline else None
            upstream = self._upstream(check.judge or "")
            async with asyncio.timeout(min(upstream.timeout_s, left or upstream.timeout_s)):
                stand = await judge.upheld(upstream, text, found, context, id_)
        except Exception as exc:  # whatever it is, nothing clears the findings
            self.failed(lob, name, gravest(check.action_of(one.kind) for one in found), exc)
            return found
        self.well(lob, name)
        return stand

    def well(self, lob: str, name: str) -> None:
        """Note that a guard works."""
        if alarm := self.alarms.get((lob, name)):
            alarm.off()

    def failed(self, lob: str, name: str, action: Action, error: Exception) -> None:
        """Note that a guard failed.

        Raises:
            GuardUnavailable: It may refuse the text.
        """
        metrics.GUARD_ERRORS.labels(name, lob).inc()
        reason = f"{type(error).__name__}: {error}"
        if not holds(action):
            logger.warning("%s of %s failed: %s", name, lob, reason)
            return
        what = f"{name} of {lob} fails, so that its requests are refused"
        self.alarms.setdefault((lob, name), Alarm(what)).on(reason)
        raise GuardUnavailable(f"A guard of {lob} does not answer.", reason=reason) from error


def count(lob: str, id_: str, key_id: str, verdicts: Iterable[Verdict]) -> None:
    """Count verdicts, and log those that refuse: without the text."""
    for one in verdicts:
        metrics.GUARD_VERDICTS.labels(one.guard, one.finding.kind, one.action.value, lob).inc()
        if holds(one.action):
            kind, action = one.finding.kind, one.action.value
            logger.warning(
                "%s: %s of %s: %s (%s), key %s", id_, one.guard, lob, kind, action, key_id
            )


async def _found(check: Check, text: str, context: GuardContext) -> Sequence[Finding]:
    """Ask of a long text window by window, until what is found is as grave as can be."""
    found: list[Finding] = []
    for start in range(0, max(1, len(text)), WINDOW):
        if start:
            await asyncio.sleep(0)
        begin = max(0, start - OVERLAP)
        new = [moved(one, begin) for one in check.guard(text[begin : start + WINDOW], context)]
        found += [one for one in new if not start or one.span[1] > start]
        if any(check.action_of(one.kind) is check.action for one in found):
            break
    return found


def moved(found: Finding, by: int) -> Finding:
    """Return a finding that stands so many characters later."""
    start, end = found.span
    return replace(found, span=(start + by, end + by))

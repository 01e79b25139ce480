"""Watches a canary: reads the store, decides, notes the decision, acts through the server.

Nothing is remembered between two looks but what the store holds, so a watcher may be stopped,
started elsewhere, or run by cron with `--once`, and decides the same.
"""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.errors import Conflict, NotFound, StoreUnavailable
from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.records import AuditEntry
from training.canary import decision as canary
from training.canary import outcomes
from training.canary.decision import CanaryDecision
from training.canary.outcomes import CanaryTrial
from training.errors import EvaluationFailed
from training.evaluation import server
from training.recipe.canary import CanaryConfig

logger = logging.getLogger(__name__)

ACTION = "canary_decision"


async def run(
    lob: str,
    *,
    settings: Settings,
    rules: CanaryConfig,
    url: str | None = None,
    api_key: str | None = None,
    version: str | None = None,
    once: bool = False,
    every_s: float = 60.0,
    db: Database | None = None,
) -> CanaryDecision:
    """Watch a canary until it is promoted or rolled back, and return the last decision.

    Args:
        lob: The line of business.
        settings: The server's configuration: the store, and the address.
        rules: The recipe's canary.
        url: The server's address, without /v1; None takes the configured one.
        api_key: A key with the role admin.
        version: Begins a canary with this version if none runs.
        once: Look and act once.
        every_s: Seconds between looks.
        db: The store, if it is open already.

    Raises:
        NotFound: No canary runs, and no version was given; or it was ended by someone else.
        Conflict: Another version is on canary.
        EvaluationFailed: The server refuses to act or does not answer (only with `once`).
        StoreUnavailable: The store does not answer (only with `once`).
    """
    address = url or settings.url
    async with AsyncExitStack() as stack:
        if db is None:
            db = Database(settings.store_address)
            await db.open()
            stack.push_async_callback(db.close)
        registry = Registry(db, settings.adapters.uri)
        if version is not None:
            await _begin(registry, lob, version, address, rules, api_key)
        while True:
            try:
                decision = await step(
                    db, registry, lob, settings.served_name, rules, address, api_key
                )
                if once or decision.action in ("promote", "roll_back"):
                    return decision
            except (EvaluationFailed, StoreUnavailable) as exc:
                if once:
                    raise
                logger.info(f"{lob}: {exc.message}")
            await asyncio.sleep(every_s)


async def step(
    db: Database,
    registry: Registry,
    lob: str,
    base: str,
    rules: CanaryConfig,
    url: str,
    api_key: str | None,
) -> CanaryDecision:
    """Look once: decide, note the decision, act; arguments and errors are those of `run`."""
    trial = await _trial(registry, lob, base)
    if trial is None:
        raise NotFound(f"{lob} has no canary: begin one with --version, or switchboard adapters")
    decision = await look(db, trial, rules, time.time())
    await _note(db, registry, trial, decision)
    logger.info(f"{trial.canary}: {_words(decision)}: {decision.why}")
    if decision.action == "promote":
        await server.rollout(url, trial.canary, "promote", api_key)
    elif decision.action == "roll_back":
        await server.rollout(url, lob, "rollback", api_key, canary=trial.canary)
    elif decision.action == "share":
        await server.rollout(url, trial.canary, "canary", api_key, share=decision.share)
    return decision


async def look(db: Database, trial: CanaryTrial, rules: CanaryConfig, now: float) -> CanaryDecision:
    """Return the decision at a time, and change nothing.

    Args:
        db: The store.
        trial: The canary that runs.
        rules: The recipe's canary.
        now: Seconds since the epoch.
    """
    served = await interactions.served(db, lob=trial.lob, since=trial.began)
    return await asyncio.to_thread(_decide, trial, served, rules, now)


async def decisions(settings: Settings, version: str) -> list[AuditEntry]:
    """Return what was decided on a version, newest first; plain waiting is left out."""
    db = Database(settings.store_address)
    await db.open()
    try:
        return await audit.about(db, version, ACTION)
    finally:
        await db.close()


def _decide(trial: CanaryTrial, served: Any, rules: CanaryConfig, now: float) -> CanaryDecision:
    counted = outcomes.conversations(trial, served, rules, now)
    at = canary.progress(
        counted,
        rules,
        share=trial.share,
        began=trial.began,
        changed=trial.changes[-1].at,
        now=now,
    )
    return canary.decide(rules, canary.weigh(counted, rules), at)


async def _trial(registry: Registry, lob: str, base: str) -> CanaryTrial | None:
    route = (await registry.routes()).get(lob)
    return outcomes.trial(route, await registry.history(lob), base)


async def _begin(
    registry: Registry,
    lob: str,
    version: str,
    url: str,
    rules: CanaryConfig,
    api_key: str | None,
) -> None:
    route = (await registry.routes()).get(lob)
    if route is not None and route.canary == version:
        return
    if route is not None and route.canary is not None:
        raise Conflict(f"{route.canary} is {lob}'s canary: end it before another begins")
    await server.rollout(url, version, "canary", api_key, share=rules.steps[0])
    logger.info(f"{version}: canary for {rules.steps[0]:.0%} of {lob}'s conversations")


async def _note(
    db: Database, registry: Registry, trial: CanaryTrial, decision: CanaryDecision
) -> None:
    """Keep the latest decision with the version, and all but plain waiting in the audit."""
    detail = decision.as_json() | {"control": trial.control, "at": time.time()}
    version = await registry.get(trial.canary)
    if version is not None:
        await registry.set_metrics(trial.canary, {**version.metrics, "canary": detail})
    if decision.action != "continue":
        await audit.write(db, None, ACTION, trial.canary, detail)


def _words(decision: CanaryDecision) -> str:
    return {
        "continue": f"goes on at {decision.share:.0%}",
        "share": f"gets {decision.share:.0%} of conversations",
        "promote": "is promoted",
        "roll_back": "is rolled back",
    }[decision.action]

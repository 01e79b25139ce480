"""The gate of a candidate that is a prompt or another model, against live asked by its own.

The hold-out is that of a training cycle. Of it judges what both can be asked, word for word: an
example's turns must have been stored with it. Answers to what the prompt does not change are left
out, since the weights are live's: they would be the same, and only hide what differs. Of another
model all answers differ, so what is not asked by a new prompt is asked as it was stored.
"""

import logging
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.store.database import Database
from training import judging
from training.candidates.prompt import Added
from training.data import selection
from training.data.dataset import Dataset
from training.data.examples import Example
from training.data.forms.form import Form
from training.errors import TooLittleData
from training.evaluation import checks, server
from training.evaluation.gate import GateDecision, Reason
from training.execution import asked_by, curation_process
from training.judging import Trio
from training.recipe.recipe import Recipe
from training.reports import run as report
from training.reports.cost import Meter
from training.reports.outcome import Outcome

logger = logging.getLogger(__name__)
API_KEY = "SWITCHBOARD_API_KEY"
_OF_ENDPOINT = {"handover": "summary"}


@dataclass(frozen=True)
class Held:
    """Which held-out examples can judge a prompt.

    Args:
        dataset: With these alone as its hold-out.
        without_turns: Examples of the prompt's task of which no turns are stored, or which it
            cannot be asked.
        of_others: Examples of which the prompt changes nothing.
    """

    dataset: Dataset
    without_turns: int
    of_others: int

    @property
    def conversations(self) -> int:
        """How many conversations judge, the golden set's apart."""
        return len({one.conversation_id for one in self.dataset.rolling})

    @property
    def words(self) -> str:
        """What was left out."""
        return (
            f"Left out of the hold-out: {self.without_turns} examples whose turns were not stored, "
            f"{self.of_others} that the prompt changes nothing of."
        )


@dataclass(frozen=True)
class Ran:
    """What the gate said; `outcome` is None where it had too little to ask by."""

    decision: GateDecision
    outcome: Outcome | None = None


def divide(
    held: Dataset, live: Form, candidate: Form, changed: Sequence[str], *, other: bool = False
) -> Held:
    """Return what of a hold-out can judge a prompt, or another model.

    Args:
        held: The dataset.
        live: All that live is asked by.
        candidate: All that the candidate is asked by.
        changed: Whose prompts differ.
        other: Whether another model answers, by the same prompts or by others.
    """
    endpoints = {_OF_ENDPOINT.get(task, task) for task in changed}
    keep: list[Example] = []
    without = others = 0
    for one in held.holdout:
        if one.asked is not None and one.asked["prompt"] not in changed and not other:
            others += 1
        elif live.can_ask(one) and candidate.can_ask(one):
            keep.append(one)
        elif one.task in endpoints:
            without += 1
        elif other:
            keep.append(one)
        else:
            others += 1
    return Held(judging.only(held, keep), without, others)


async def judge(
    db: Database,
    added: Added,
    *,
    config: Path,
    settings: Settings,
    recipe: Recipe,
    out: Path,
    url: str | None = None,
    api_key: str | None = None,
) -> Ran:
    """Judge a candidate that is a prompt or another model, and note what was decided with it.

    With too little to judge by it stays a candidate, and the decision says so.

    Args:
        db: The store.
        added: The candidate.
        config: The server's configuration file, in case a private server must be started.
        settings: Its content.
        recipe: How to curate, evaluate and judge.
        out: Folder for datasets and runs.
        url: The running server, without /v1; None tries the configured address, then a private one.
        api_key: Of the role trainer; None takes the environment's.

    Raises:
        EvaluationFailed: No server answers, or not what the comparison needs.
        RecipeError: A guard's file is wrong.
        CurationFailed: The dataset could not be made.
    """
    meter, began = Meter(), time.monotonic()
    version, lob = added.version, added.version.lob
    registry = Registry(db, settings.adapters.uri)
    guarded = checks.prepare(recipe, lob)
    live = await asked_by.whole(added.parent, lob, settings)
    candidate = await asked_by.whole(version, lob, settings)
    try:
        built = await curation_process.build(
            settings.store_address,
            lob,
            recipe,
            out / "datasets",
            form=await asked_by.own(added.parent, settings),
        )
    except TooLittleData as exc:
        return await _not_enough(registry, added, settings, f"Not enough data: {exc.message}")
    held = divide(built, live, candidate, added.changed, other=added.model is not None)
    logger.info(f"{lob}: {held.words}")
    if held.conversations < recipe.curation.min_holdout:
        text = (
            f"Not enough data: {held.conversations} held-out conversations can be asked by both "
            f"versions, {recipe.curation.min_holdout} must judge. {held.words}"
        )
        return await _not_enough(registry, added, settings, text)
    meter.end("dataset")
    served = settings.served_name
    trio = Trio(served, live.version, version.name, {live.version: live, version.name: candidate})
    key = api_key or os.environ.get(API_KEY) or None
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(server.running(url, config, settings))
        judged = await judging.judge(
            registry,
            trio,
            held.dataset,
            recipe,
            address=address,
            api_key=key,
            guarded=guarded,
            training=None,
            meter=meter,
        )
    await selection.require_whole(db, built)
    meter.end("decision")
    outcome = Outcome(
        lob=lob,
        version=version.name,
        recipe=recipe,
        dataset=held.dataset,
        decision=judged.decision,
        differences=judged.differences,
        base=judged.base,
        live=judged.live,
        candidate=judged.candidate,
        training=None,
        rollout=None,
        folder=out / version.name,
        guards=judged.findings,
        seconds=time.monotonic() - began,
        cost=meter.cost(None),
        what=described(added, judged.decision.against),
        left_out=held.words,
    )
    await report.publish(db, outcome)
    return Ran(judged.decision, outcome)


def described(added: Added, against: str) -> str:
    """Say what a candidate is; `against` is what is live."""
    prompt = " with another prompt" if added.changed else ""
    if added.model is None:
        return f"{against}{prompt}"
    return f"{added.model.model} of upstreams.{added.model.name} instead of {against}{prompt}"


async def _not_enough(registry: Registry, added: Added, settings: Settings, text: str) -> Ran:
    """Note that nothing was shown; the candidate stays one, for more data or a person's canary."""
    against = added.parent.name if added.parent else settings.served_name
    reason = Reason("held_out", "held_out", passed=False, text=text, enough=False)
    decision = GateDecision(accepted=False, against=against, reasons=(reason,))
    version = added.version
    await registry.set_metrics(version.name, version.metrics, decision.as_json())
    logger.info(f"{version.lob}: {text}")
    return Ran(decision)

"""Why an answer was what it was: from its version's making to what became of it.

Everything comes from the store, and no text of the conversation is in it, so it may be passed on.
"""

from typing import Any

from serving.errors import NotFound
from serving.store import adapter_versions, audit, interactions, routes
from serving.store.database import Database
from serving.store.erasure import datasets as erased_datasets
from serving.store.records import RULE, Action, AdapterVersion, InteractionRecord, Json, Rollout
from serving.store.reviews import queue
from serving.store.reviews.records import MARK, held_as

_GIVES = (Action.PROMOTE, Action.ROLLBACK)
_VERDICT = ("guard", "action", "kind", "score")
_PASSAGE = ("id", "title", "version", "score")
_SAID = ("created_at", "key_id", "action", "detail")


async def explain(db: Database, id: str) -> Json:  # noqa: A002
    """Explain a stored answer.

    Args:
        db: The store.
        id: The response's own id.

    Returns:
        `id`, `lob`, `task`, `created_at`, `conversation_id`, `asked` (the model named), `version`,
        `base_model`, `rule` (None: a model answered), `prompt` (name and hash), `passages` of the
        line's knowledge that were in it, `steps` of its fallback chain, `guards` (verdicts without
        texts), `review`, and of an adapter version `made`: parent, dataset, rows erased since,
        gate, canary, rollouts that gave it traffic before the answer, and the audit's entries on
        it.

    Raises:
        NotFound: The store has no such answer (any more).
    """
    found = await interactions.get(db, id)
    if found is None:
        raise NotFound(f"There is no interaction {id[:128]}.", param="id")
    by_rule = (found.version or "").startswith(RULE)
    version = await adapter_versions.get(db, found.version) if found.version else None
    return {
        "id": found.id,
        "lob": found.lob,
        "task": found.task,
        "created_at": found.created_at,
        "conversation_id": found.conversation_id,
        "asked": found.model_requested,
        "version": found.version,
        "base_model": found.base_model,
        "rule": found.version if by_rule else None,
        "prompt": {"name": found.prompt_name, "hash": found.prompt_hash},
        "passages": [
            {name: one.get(name) for name in _PASSAGE} for one in found.request.get("passages", [])
        ],
        "steps": found.steps,
        "guards": [
            {name: one.get(name) for name in _VERDICT}
            for one in found.guards
            if one.get("guard") != MARK
        ],
        "review": await _review(db, found),
        "made": None if version is None else await _made(db, version, found.created_at),
    }


async def _made(db: Database, version: AdapterVersion, until: float) -> Json:
    history = await routes.history(db, version.lob)
    entries = await audit.of(db, version.name)
    return {
        "version": version.name,
        "state": version.state,
        "created_at": version.created_at,
        "parent": version.parent,
        "dataset": version.dataset_id,
        "erased_rows": (await erased_datasets.tainted(db)).get(version.name, 0),
        "gate": version.decision or None,
        "canary": version.metrics.get("canary"),
        "rollouts": [one.model_dump(mode="json") for one in leading(history, version.name, until)],
        "audit": [one.model_dump(mode="json", include={*_SAID}) for one in entries],
    }


def leading(history: list[Rollout], version: str, until: float) -> list[Rollout]:
    """Return the changes of a route that gave a version traffic before an answer, oldest first.

    Args:
        history: Of the version's line, oldest first.
        version: The version.
        until: When the answer was asked for, in seconds since the epoch.
    """
    gives = {*_GIVES, Action.CANARY}
    return [
        one
        for one in history
        if one.to_version == version and one.action in gives and one.created_at <= until
    ]


async def _review(db: Database, found: InteractionRecord) -> dict[str, Any] | None:
    id_ = held_as(found.guards)
    if id_ is None:
        return None
    try:
        review = await queue.get(db, id_)
    except NotFound:
        return {"id": id_, "status": None, "decided_by": None, "decided_at": None}
    kept = {"id", "decided_by", "decided_at", "kinds", "created_at"}
    return {**review.model_dump(mode="json", include=kept), "status": review.status}

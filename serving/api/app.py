"""Our own endpoints: models, feedback, events, interactions, adapters, readiness.

Thin handlers: each checks who asks, calls one function of the store, the registry or the
coordinator, and shapes the answer. gateway/app.py has authenticated the caller and put the key in
`request.state.key`.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving import endpoints, errors
from serving.adapters.manager import AdapterManager
from serving.adapters.registry import Registry
from serving.api import events, reviews
from serving.api.access import Reason, need, read_of, scope, shown_to, undecided
from serving.api.arrival import Arrivals
from serving.api.bodies import CanaryBody, FeedbackBody, PromoteBody, RollbackBody
from serving.api.compatible import embeddings, responses
from serving.api.learning import flywheel, grades, quality
from serving.auth import ApiKey, Role
from serving.capture import Drainer
from serving.capture.health import Health
from serving.capture.reviewing import Reviewing
from serving.capture.storing import Storing
from serving.config.sections import Costs
from serving.embedding.models import Models
from serving.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    StoreUnavailable,
    SwitchboardError,
)
from serving.gateway.structured import insights
from serving.observability import metrics
from serving.rollout.result import RolloutResult
from serving.store import audit, candidates, feedback
from serving.store.database import Database
from serving.store.erasure import datasets as erased_datasets
from serving.store.records import AdapterVersion, FeedbackRecord, Task

Rollouts = Callable[[str, dict[str, Any]], Awaitable[RolloutResult]]
"""Runs `promote`, `canary` or `rollback` on the cluster's coordinator."""


def build(
    *,
    db: Database,
    registry: Registry,
    drainer: Drainer,
    health: Health,
    storing: Storing,
    adapters: AdapterManager,
    base: str,
    ready: Callable[[], Awaitable[None]],
    rollouts: Rollouts,
    reviewing: Reviewing,
    models: Models,
    costs: Costs,
    speech: Sequence[str] = (),
) -> FastAPI:
    """Make the application of our own endpoints.

    Args:
        db: The store.
        registry: Adapter versions.
        drainer: Moves this replica's interactions to the store.
        health: What /ready says beside the engine, and whether interactions are still to come.
        storing: Redacts what is said about redacted interactions.
        adapters: This replica's adapters and routing table.
        base: The base model's served name.
        ready: Raises unless the engine answers.
        rollouts: The coordinator.
        reviewing: The review queues.
        models: What embeds and ranks.
        costs: What running costs.
        speech: The names of what transcribes.
    """
    app = FastAPI(
        title="Switchboard", version="1", docs_url=None, redoc_url=None, redirect_slashes=False
    )
    started = int(time.time())
    arrivals = Arrivals(db, drainer, health)
    app.include_router(events.router(db, arrivals, storing))
    app.include_router(reviews.router(reviewing, drainer))
    app.include_router(embeddings.router(models))
    app.include_router(responses.router())
    app.include_router(flywheel.router(db, lambda: adapters.table))
    app.include_router(grades.router(db, lambda: adapters.table))
    app.include_router(quality.router(db, lambda: adapters.table, costs))

    @app.exception_handler(SwitchboardError)
    async def _ours(_: Request, exc: Exception) -> JSONResponse:
        if not isinstance(exc, SwitchboardError):
            raise exc
        return JSONResponse(errors.body(exc), exc.status, errors.headers(exc))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, exc: Exception) -> JSONResponse:
        if not isinstance(exc, RequestValidationError):
            raise exc
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or None
        error = InvalidRequest(f"{where or 'The body'}: {first['msg']}.", param=where)
        return JSONResponse(errors.body(error), error.status)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, exc: Exception) -> JSONResponse:
        if not isinstance(exc, HTTPException):
            raise exc
        kinds: dict[int, SwitchboardError] = {
            404: NotFound("There is no such endpoint."),
            405: MethodNotAllowed("The endpoint takes another method."),
        }
        error = kinds.get(exc.status_code) or InvalidRequest(str(exc.detail))
        return JSONResponse(errors.body(error), exc.status_code, exc.headers)

    @app.get(endpoints.READY)
    async def _ready() -> dict[str, Any]:
        await ready()
        return health.page("ready")

    async def _visible(key: ApiKey) -> list[dict[str, Any]]:
        """The models that a key may ask."""
        data = [_model(base, None, started)] if key.allows_base else []
        data += [_model(name, None, started) for name in (*models.names, *speech)]
        lobs = sorted(adapters.table.lobs)
        data += [_model(lob, base, started) for lob in lobs if key.allows_lob(lob)]
        try:
            versions = [v for v in await registry.list() if v.lob in lobs]
        except StoreUnavailable:
            versions = list(adapters.loaded.values())
        hidden = set() if key.allows(Role.TRAINER) else {"candidate", "rejected"}
        data += [
            _model(v.name, base, int(v.created_at))
            for v in versions
            if key.allows_lob(v.lob) and v.state not in hidden
        ]
        return data

    @app.get(endpoints.MODELS)
    async def _models(request: Request) -> dict[str, Any]:
        return {"object": "list", "data": await _visible(request.state.key)}

    @app.get(endpoints.MODELS + "/{id:path}")
    async def _get_model(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        found = [model for model in await _visible(request.state.key) if model["id"] == id]
        if not found:
            raise NotFound(f"The model `{id[:128]}` does not exist.", param="model")
        return found[0]

    @app.post(endpoints.FEEDBACK)
    async def _feedback(request: Request, body: FeedbackBody) -> dict[str, Any]:
        key: ApiKey = request.state.key
        need(key, Role.SERVICE, Role.AGENT, Role.REVIEWER)
        interaction = await arrivals.get(body.id, key)
        scope(key, interaction, body.lob)
        undecided(key, interaction)
        if not candidates.has(interaction, body.index):
            raise InvalidRequest(f"The response has no candidate {body.index}.", param="index")
        if interaction.task is Task.INSIGHT and body.edit is not None:
            insights.check_correction(interaction.request, body.edit)
        record = FeedbackRecord(
            interaction_id=body.id,
            client_key=body.key or body.id,
            key_id=key.id or "",
            rating={"up": 1.0, "down": 0.0}.get(body.rating)
            if isinstance(body.rating, str)
            else body.rating,
            edit=body.edit,
            used=body.used,
            rejected=body.rejected,
            comment=body.comment,
            index=body.index,
        )
        stored, created = await feedback.add(
            db,
            await storing.feedback(record),
            has_key=body.key is not None,
            reviews=key.allows(Role.REVIEWER),
        )
        if created:
            metrics.FEEDBACK.labels(interaction.lob or "").inc()
        return {
            "object": "feedback",
            "id": stored.id,
            "interaction_id": stored.interaction_id,
            "created": created,
        }

    @app.get(endpoints.INTERACTIONS + "/{id}")
    async def _get_interaction(
        request: Request,
        id: str,  # noqa: A002
        reason: Reason = None,
    ) -> dict[str, Any]:
        key: ApiKey = request.state.key
        need(key, Role.SERVICE, Role.AGENT, Role.REVIEWER)
        interaction = await arrivals.get(id, key)
        scope(key, interaction)
        await audit.write(
            db, key.id or None, "read_interaction", id, read_of(interaction.lob, reason)
        )
        given = await feedback.for_interaction(db, id)
        return {
            "object": "interaction",
            **shown_to(key, interaction),
            "feedback": [f.model_dump(mode="json", exclude={"interaction_id"}) for f in given],
        }

    @app.get(endpoints.ADAPTERS)
    async def _adapters(
        request: Request, lob: Annotated[str | None, Query()] = None
    ) -> dict[str, Any]:
        key: ApiKey = request.state.key
        need(key, Role.TRAINER)
        erased = await erased_datasets.tainted(db)
        data = [
            {**_adapter(v), "erased_rows": erased.get(v.name, 0)}
            for v in await registry.list(lob)
            if key.allows_lob(v.lob)
        ]
        return {"object": "list", "data": data}

    @app.post(endpoints.ADAPTERS + "/{name}/promote")
    async def _promote(
        request: Request, name: str, body: PromoteBody | None = None
    ) -> dict[str, Any]:
        options = body or PromoteBody()
        return await _run(request, "promote", name, {"name": name, "force": options.force})

    @app.post(endpoints.ADAPTERS + "/{name}/canary")
    async def _canary(request: Request, name: str, body: CanaryBody) -> dict[str, Any]:
        return await _run(request, "canary", name, {"name": name, **body.model_dump()})

    @app.post(endpoints.ADAPTERS + "/{lob}/rollback")
    async def _rollback(
        request: Request, lob: str, body: RollbackBody | None = None
    ) -> dict[str, Any]:
        options = body or RollbackBody()
        return await _run(request, "rollback", lob, {"lob": lob, "canary": options.canary})

    async def _run(
        request: Request, action: str, name: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        key: ApiKey = request.state.key
        need(key, Role.ADMIN)
        lob = name.partition("@")[0]
        if lob not in adapters.table.lobs:
            raise NotFound(f"There is no line of business {lob[:64]}.", param="lob")
        if not key.allows_lob(lob):
            raise PermissionDenied(f"This key does not cover {lob}.", param="lob")
        done = await rollouts(action, {**options, "key_id": key.id})
        return {
            "object": "rollout",
            "action": done.action,
            "lob": done.lob,
            "from": done.from_version or base,
            "to": done.to_version or base,
            "share": done.share,
            "epoch": done.epoch,
            "replicas": done.replicas,
            "seconds": done.seconds,
        }

    return app


def _model(id_: str, parent: str | None, created: int) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "model",
        "created": created,
        "owned_by": "switchboard",
        "root": parent or id_,
        "parent": parent,
    }


def _adapter(version: AdapterVersion) -> dict[str, Any]:
    return {"object": "adapter", **version.model_dump(mode="json", exclude={"id"})}

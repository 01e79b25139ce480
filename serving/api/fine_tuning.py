"""`/v1/fine_tuning/jobs` in OpenAI's form: rows that a runner (`switchboard jobs work`) works on.

A job belongs to its line of business: who covers the line, in the role trainer, finds it.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from serving import endpoints
from serving.api.access import need
from serving.api.files import listed
from serving.api.fine_tuning_bodies import SEED_LIMIT, JobBody, labels_asked, line_of, method_of
from serving.auth import ApiKey, Role
from serving.config.sections import FineTuning
from serving.errors import InvalidRequest, NotFound
from serving.routing import Table
from serving.store.database import Database
from serving.store.files import files
from serving.store.files.records import new_id
from serving.store.jobs import jobs, progress
from serving.store.jobs.records import JobCheckpoint, JobEvent, JobRecord
from serving.store.jobs.state import Step

LOOK_S = 0.5
PING_S = 10.0
STREAM_S = 3600.0
PAGE_LIMIT = 100
ORGANIZATION = "switchboard"
_EVENT, _CHECKPOINT = "ftevent-", "ftckpt-"
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]


class EventStream(StreamingResponse):
    """A job's events as they come, as the schema describes them."""

    media_type = "text/event-stream"


def router(db: Database, table: Callable[[], Table], rules: FineTuning) -> APIRouter:
    """Make the endpoints.

    Args:
        db: The store.
        table: The routing table, whose lines may be fine-tuned.
        rules: How many jobs may wait, and which go first.
    """
    routes = APIRouter(prefix=endpoints.FINE_TUNING)

    @routes.post("")
    async def _create(request: Request, body: JobBody) -> dict[str, Any]:
        key, at = _allowed(request), table()
        method = method_of(body)
        lob = line_of(body.model, at.base, sorted(at.lobs), key.allows_lob)
        await _readable(db, body.training_file, key, "training_file")
        if body.validation_file is not None:
            if body.validation_file == body.training_file:
                raise InvalidRequest(
                    "The file is the training file: what is learned cannot validate.",
                    param="validation_file",
                )
            await _readable(db, body.validation_file, key, "validation_file")
        job = JobRecord(
            id=new_id("ftjob-"),
            key_id=key.id,
            lob=lob,
            model=body.model,
            training_file=body.training_file,
            validation_file=body.validation_file,
            suffix=body.suffix,
            seed=secrets.randbelow(SEED_LIMIT) if body.seed is None else body.seed,
            method=method,
            labels=body.metadata or {},
            priority=rules.priorities.get(key.name, 0),
        )
        return shown(await jobs.create(db, job, rules.max_unfinished))

    @routes.get("")
    async def _list(
        request: Request, after: str | None = None, limit: Limit = 20
    ) -> dict[str, Any]:
        key = _allowed(request)
        labels, unlabelled = labels_asked(request.query_params)
        found, more = await jobs.page(
            db, key.lobs, after_id=after, limit=limit, labels=labels, unlabelled=unlabelled
        )
        return listed([shown(one) for one in found], more=more)

    @routes.get("/{id}")
    async def _get(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        return shown(await _mine(request, id))

    @routes.get("/{id}/events", response_model=None)
    async def _events(
        request: Request,
        id: str,  # noqa: A002
        after: str | None = None,
        limit: Limit = 20,
        stream: bool = False,
    ) -> dict[str, Any] | EventStream:
        job = await _mine(request, id)
        if stream:
            return EventStream(_told(db, job.id), headers={"cache-control": "no-store"})
        before = None if after is None else _after(after, _EVENT, 16)
        found, more = await progress.events(db, job.id, before=before, limit=limit)
        return listed([shown_event(one) for one in found], more=more)

    @routes.get("/{id}/checkpoints")
    async def _checkpoints(
        request: Request,
        id: str,  # noqa: A002
        after: str | None = None,
        limit: Limit = 10,
    ) -> dict[str, Any]:
        job = await _mine(request, id)
        below = None if after is None else _after(after.rpartition("-")[2], "", 10)
        found, more = await progress.checkpoints(db, job.id, below=below, limit=limit)
        return listed([shown_checkpoint(job, one) for one in found], more=more)

    @routes.post("/{id}/cancel")
    async def _cancel(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        return await _ask(request, id, Step.CANCEL)

    @routes.post("/{id}/pause")
    async def _pause(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        return await _ask(request, id, Step.PAUSE)

    @routes.post("/{id}/resume")
    async def _resume(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        return await _ask(request, id, Step.RESUME)

    async def _mine(request: Request, id_: str) -> JobRecord:
        return await jobs.get(db, id_, _allowed(request).lobs)

    async def _ask(request: Request, id_: str, step: Step) -> dict[str, Any]:
        job = await _mine(request, id_)
        return shown(await jobs.ask(db, job.id, step, request.state.key.id))

    return routes


def _allowed(request: Request) -> ApiKey:
    key: ApiKey = request.state.key
    need(key, Role.TRAINER)
    return key


async def _readable(db: Database, id_: str, key: ApiKey, param: str) -> None:
    try:
        file = await files.get(db, id_, key.lobs)
    except NotFound as exc:
        raise NotFound(exc.message, param=param) from None
    if file.purpose != "fine-tune":
        raise InvalidRequest("The file's purpose is not `fine-tune`.", param=param)


def _after(id_: str, prefix: str, base: int) -> int:
    try:
        number = int(id_.removeprefix(prefix), base)
    except ValueError:
        number = -1
    if not 0 <= number < 2**63 or not id_.startswith(prefix):
        raise InvalidRequest("`after` is no id of this list.", param="after")
    return number


async def _told(db: Database, id_: str) -> AsyncIterator[bytes]:
    """Yield a job's events from the first, and `[DONE]` when nothing more becomes of it."""
    last, end, said = 0, time.monotonic() + STREAM_S, time.monotonic()
    while time.monotonic() < end:
        is_over = (await jobs.get(db, id_)).is_over
        found, more = await progress.events(db, id_, since=last, limit=PAGE_LIMIT)
        for event in found:
            last, said = event.number, time.monotonic()
            yield b"data: %b\n\n" % orjson.dumps(shown_event(event))
        if more:
            continue
        if is_over:
            yield b"data: [DONE]\n\n"
            return
        if time.monotonic() - said > PING_S:
            said = time.monotonic()
            yield b": still here\n\n"
        await asyncio.sleep(LOOK_S)


def shown(job: JobRecord) -> dict[str, Any]:
    """Return a job in OpenAI's form; times are whole seconds."""
    kind, numbers = job.method["type"], job.method["hyperparameters"]
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_at),
        "finished_at": _whole(job.finished_at),
        "estimated_finish": _whole(job.estimated_finish),
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "organization_id": ORGANIZATION,
        "status": job.status.value,
        "hyperparameters": {name: value for name, value in numbers.items() if name != "beta"},
        "method": {"type": kind, kind: {"hyperparameters": numbers}},
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "result_files": job.result_files,
        "trained_tokens": job.trained_tokens,
        "error": job.error or None,
        "seed": job.seed,
        "integrations": [],
        "metadata": job.labels,
        "user_provided_suffix": job.suffix,
    }


def shown_event(event: JobEvent) -> dict[str, Any]:
    """Return an event in OpenAI's form."""
    return {
        "object": "fine_tuning.job.event",
        "id": f"{_EVENT}{event.number:016x}",
        "created_at": int(event.created_at),
        "level": event.level,
        "message": event.message,
        "data": event.data,
        "type": event.kind,
    }


def shown_checkpoint(job: JobRecord, checkpoint: JobCheckpoint) -> dict[str, Any]:
    """Return a checkpoint in OpenAI's form; the name of one that no version is leads to none."""
    name, last = f"{job.id}:ckpt-step-{checkpoint.step}", checkpoint.metrics.get("final")
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"{_CHECKPOINT}{job.id.removeprefix('ftjob-')}-{checkpoint.step}",
        "created_at": int(checkpoint.created_at),
        "fine_tuned_model_checkpoint": (job.fine_tuned_model if last else None) or name,
        "fine_tuning_job_id": job.id,
        "metrics": {k: v for k, v in checkpoint.metrics.items() if k != "final"},
        "step_number": checkpoint.step,
    }


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)

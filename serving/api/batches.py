"""`/v1/batches` in OpenAI's form: files of requests, answered beside the live ones within a day.

A batch belongs to the lines of the key that made it, as a file does, and its lines are asked with
that key's rights.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving import endpoints
from serving.api.files import allowed, listed
from serving.errors import Conflict, InvalidRequest
from serving.store.database import Database
from serving.store.files import batches, files
from serving.store.files.records import BatchRecord, new_id, scope_of

WINDOW_S = 86_400.0
PAGE_LIMIT = 100
_TIMES = (
    *("in_progress", "finalizing", "completed", "failed"),
    *("expired", "cancelling", "cancelled"),
)
Name = Annotated[str, StringConstraints(max_length=64)]
Label = Annotated[str, StringConstraints(max_length=512)]


class BatchBody(BaseModel):
    """A batch to be made."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str = Field(max_length=128)
    endpoint: str = Field(description="The `url` of all its lines.")
    completion_window: Literal["24h"]
    metadata: dict[Name, Label] | None = Field(None, max_length=16)


def router(db: Database) -> APIRouter:
    """Make the endpoints.

    Args:
        db: The store.
    """
    routes = APIRouter(prefix=endpoints.BATCHES)

    @routes.post("")
    async def _create(request: Request, body: BatchBody) -> dict[str, Any]:
        key = allowed(request)
        if body.endpoint not in endpoints.INFERENCE:
            raise InvalidRequest(
                f"`endpoint` must be one of {', '.join(endpoints.INFERENCE)}.", param="endpoint"
            )
        file = await files.get(db, body.input_file_id, key.lobs)
        if file.purpose != "batch":
            raise InvalidRequest("The file's purpose is not `batch`.", param="input_file_id")
        if file.urls != [body.endpoint]:
            raise InvalidRequest(
                f"The file's lines ask {', '.join(file.urls)}, not only {body.endpoint}.",
                param="endpoint",
            )
        values = {
            "id": new_id("batch_"),
            "key_id": key.id,
            "scope": scope_of(key.lobs),
            "endpoint": body.endpoint,
            "input_file_id": file.id,
            "completion_window": body.completion_window,
            "total": file.lines,
            "labels": body.metadata or {},
        }
        return shown(await batches.create(db, values, WINDOW_S))

    @routes.get("")
    async def _list(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 20,
    ) -> dict[str, Any]:
        lobs = allowed(request).lobs
        found, more = await batches.page(db, lobs, after=after, limit=limit)
        return listed([shown(one) for one in found], more=more)

    @routes.get("/{id}")
    async def _get(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        return shown(await batches.get(db, id, allowed(request).lobs))

    @routes.post("/{id}/cancel")
    async def _cancel(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        await batches.get(db, id, allowed(request).lobs)
        moved = await batches.move(db, id, ("validating", "in_progress"), "cancelling")
        batch = moved or await batches.get(db, id)
        if batch.status not in {"cancelling", "cancelled"}:
            raise Conflict(f"The batch is {batch.status}: nothing is left to cancel.")
        return shown(batch)

    return routes


def shown(batch: BatchRecord) -> dict[str, Any]:
    """Return a batch in OpenAI's form; times are whole seconds."""
    times = {f"{name}_at": _whole(batch.times.get(name)) for name in _TIMES}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.expires_at),
        **times,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "metadata": batch.labels,
    }


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)

"""`/v1/files` in OpenAI's form: what batches and trainings read, and what batches write.

A file belongs to the lines of the key that uploaded it: a key that does not cover all of them finds
none.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from serving import endpoints
from serving.api.access import need
from serving.auth import ApiKey, Role
from serving.files.upload import Files
from serving.store.files import files
from serving.store.files.records import FileRecord

PAGE_LIMIT = 10_000
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": ["batch", "fine-tune"]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


class FileContent(StreamingResponse):
    """A file's bytes, as the schema describes them."""

    media_type = "application/octet-stream"


def router(kept: Files) -> APIRouter:
    """Make the endpoints.

    Args:
        kept: The files.
    """
    routes = APIRouter(prefix=endpoints.FILES)

    @routes.post("", openapi_extra=_FORM)
    async def _upload(request: Request) -> dict[str, Any]:
        key = allowed(request)
        return shown(await kept.upload(request.headers, request.receive, key.id, key.lobs))

    @routes.get("")
    async def _list(
        request: Request,
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        found, more = await files.page(
            kept.db,
            allowed(request).lobs,
            purpose=purpose,
            after=after,
            limit=limit,
            newest_first=order == "desc",
        )
        return listed([shown(one) for one in found], more=more)

    @routes.get("/{id}")
    async def _get(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        return shown(await files.get(kept.db, id, allowed(request).lobs))

    @routes.get("/{id}/content", response_class=FileContent)
    async def _content(request: Request, id: str) -> FileContent:  # noqa: A002
        record = await files.get(kept.db, id, allowed(request).lobs)
        opened = await kept.storage.open(record.id)
        headers = {"content-length": str(record.bytes), "cache-control": "no-store"}
        chunks = kept.storage.chunks(opened)
        return FileContent(chunks, headers=headers)

    @routes.delete("/{id}")
    async def _delete(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        record = await files.get(kept.db, id, allowed(request).lobs)
        await kept.delete(record.id)
        return {"id": record.id, "object": "file", "deleted": True}

    return routes


def allowed(request: Request) -> ApiKey:
    """Return the caller's key if it may use files and batches: whoever may ask for completions.

    Raises:
        PermissionDenied: Its roles do not cover that.
    """
    key: ApiKey = request.state.key
    need(key, Role.SERVICE, Role.AGENT, Role.TRAINER)
    return key


def listed(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return a page in OpenAI's form."""
    return {
        "object": "list",
        "data": data,
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def shown(file: FileRecord) -> dict[str, Any]:
    """Return a file in OpenAI's form."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }

"""Erasure over HTTP: a conversation, or all that a person takes part in."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from serving import endpoints
from serving.api.access import need
from serving.auth import ALL, ApiKey, Role
from serving.encryption.keyring import Keyring
from serving.erasure import run
from serving.errors import PermissionDenied
from serving.files.storage import FileStorage
from serving.store.database import Database

Reason = Annotated[str, Query(min_length=1, max_length=1000)]
Line = Annotated[str | None, Query()]


def router(
    db: Database, journal_dir: Path, keyring: Keyring | None, storage: FileStorage
) -> APIRouter:
    """Make the endpoints.

    Args:
        db: The store.
        journal_dir: The folder of this machine's journals.
        keyring: The deployment's keys.
        storage: Where uploaded files lie.
    """
    router = APIRouter()

    @router.delete(endpoints.CONVERSATIONS + "/{id:path}")
    async def _conversation(
        request: Request,
        id: str,  # noqa: A002
        reason: Reason,
        lob: Line = None,
    ) -> JSONResponse:
        return await _erase(request, "conversation", id, lob, reason)

    @router.delete(endpoints.SUBJECTS + "/{user:path}")
    async def _subject(
        request: Request, user: str, reason: Reason, lob: Line = None
    ) -> JSONResponse:
        return await _erase(request, "person", user, lob, reason)

    async def _erase(
        request: Request, kind: str, name: str, lob: str | None, reason: str
    ) -> JSONResponse:
        key: ApiKey = request.state.key
        need(key, Role.ADMIN)
        if lob is None and ALL not in key.lobs:
            raise PermissionDenied(
                "This key does not cover every line of business: name one with ?lob=.", param="lob"
            )
        if lob is not None and not key.allows_lob(lob):
            raise PermissionDenied(f"This key does not cover {lob[:64]}.", param="lob")
        erasure, waiting = await run.erase(
            db,
            run.target(kind, name, lob, keyring),
            reason=reason,
            key_id=key.id or None,
            journal_dir=journal_dir,
            keyring=keyring,
            storage=storage,
        )
        said: dict[str, Any] = {
            "object": "erasure",
            **erasure.model_dump(include={"id", "state", "target_hash", "counts"}),
            "waiting": waiting,
        }
        return JSONResponse(said, 202 if waiting else 200)

    return router

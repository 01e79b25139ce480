"""`/v1/responses/{id}` and what lies below: there is nothing to read, and it says so.

Responses are answered and not kept for reading by their id: what is kept is the interaction
(`/v1/interactions/{id}`), which has the rules of its line. The engine is told not to keep them,
since it would give one to whoever knows its id.
"""

from typing import Any, NoReturn

from fastapi import APIRouter, Request

from serving import endpoints
from serving.api.access import need
from serving.auth import ApiKey, Role
from serving.errors import NotFound


def router() -> APIRouter:
    """Make the endpoints."""
    routes = APIRouter(prefix=endpoints.RESPONSES)

    def none(request: Request, id_: str) -> NoReturn:
        key: ApiKey = request.state.key
        need(key, Role.SERVICE, Role.AGENT, Role.TRAINER)
        raise NotFound(
            f"No response {id_[:128]!r}: responses are not stored. Send the whole conversation as "
            "`input`; what was answered is at /v1/interactions/{id}.",
            param="response_id",
        )

    @routes.get("/{id}")
    async def _get(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        none(request, id)

    @routes.delete("/{id}")
    async def _delete(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        none(request, id)

    @routes.post("/{id}/cancel")
    async def _cancel(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        none(request, id)

    @routes.get("/{id}/input_items")
    async def _input_items(request: Request, id: str) -> dict[str, Any]:  # noqa: A002
        none(request, id)

    return routes

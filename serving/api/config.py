"""`/v1/config`: which configuration is in force, and applying another.

A configuration is checked whole before anything changes: first by the settings' own rules, the
prompts and vLLM's argument names; then by what a running server can change; then, where replicas
must restart, by vLLM itself. Whatever is wrong is answered at once, and the old one stays.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving import endpoints
from serving.auth import ALL, ApiKey, Role
from serving.config import prompts
from serving.config.base import explain
from serving.config.revision import Plan, Revision
from serving.config.settings import Settings
from serving.engine import args
from serving.errors import ConfigError, InvalidRequest, PermissionDenied

Configs = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Runs `view`, `plan`, `preview` or `apply` of the cluster's `Applier`."""


class ConfigBody(BaseModel):
    """A whole configuration; `switchboard apply` makes it from a file."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any] = Field(description="The file's keys, with absolute paths.")
    prompts: dict[str, str] = Field(
        description="The prompt files: path inside the folder, such as care/summary.jinja, to text."
    )
    allow_gap: bool = Field(
        False, description="Restart the only replica, though nothing answers meanwhile."
    )
    dry_run: bool = Field(False, description="Only check, and say what would change.")


def router(configs: Configs, check_engine: Callable[[Settings], Awaitable[None]]) -> APIRouter:
    """Make the endpoints.

    Args:
        configs: The cluster's applier.
        check_engine: Has vLLM judge engine settings; raises ConfigError.
    """
    routes = APIRouter()

    @routes.get(endpoints.CONFIG)
    async def _config(request: Request) -> dict[str, Any]:
        _need_admin(request.state.key)
        view: dict[str, Any] = await configs("view", {})
        return view

    @routes.post(
        endpoints.CONFIG,
        response_model=None,
        responses={202: {"description": "Replicas restart; GET tells how it goes"}},
    )
    async def _apply(request: Request, body: ConfigBody) -> dict[str, Any] | JSONResponse:
        key: ApiKey = request.state.key
        _need_admin(key)
        revision = check(body.settings, body.prompts)
        options = {"revision": revision, "allow_gap": body.allow_gap}
        by = {"key_id": key.id}
        plan: Plan = await (
            configs("preview", options | by) if body.dry_run else configs("plan", options)
        )
        if plan.heavy:
            try:
                await check_engine(revision.settings)
            except ConfigError as exc:
                raise _refusal(exc.message, exc.param) from exc
        if body.dry_run:
            return {"object": "config.plan", "hash": revision.hash, "changes": plan.keys}
        view = await configs("apply", options | by)
        return JSONResponse(view, 202 if view["apply"]["state"] == "running" else 200)

    return routes


def check(raw: dict[str, Any], files: dict[str, str]) -> Revision:
    """Check a configuration without an engine and without the running server.

    Raises:
        InvalidRequest: It has faults; all are listed.
    """
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as exc:
        raise _refusal(explain(exc), None) from exc
    faults = []
    for examine in (
        lambda: prompts.parse(files, settings.lobs),
        lambda: args.check(settings.engine),
    ):
        try:
            examine()
        except ConfigError as exc:
            faults.append(exc.message)
    if faults:
        raise _refusal("\n  ".join(faults), None)
    return Revision(settings, files)


def _refusal(message: str, param: str | None) -> InvalidRequest:
    return InvalidRequest(f"Refused, the old one stays: {message}", param=param)


def _need_admin(key: ApiKey) -> None:
    if not key.allows(Role.ADMIN) or not key.allows_lob(ALL):
        raise PermissionDenied(
            "This needs a key with the role admin that covers all lines of business."
        )

"""The OpenAPI description of our own endpoints, served at `/openapi.json` to whoever has a key.

The task endpoints are answered by the gateway, so they are described here; the rest describe
themselves. vLLM's endpoints (`/v1/chat/completions`, …) are vLLM's to describe.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.config.prompts import Task
from serving.gateway.tasks import PATHS
from serving.gateway.validation.task_body import TaskBody

_REF = "#/components/schemas/{model}"
_ERROR = {
    "description": "What is wrong, in OpenAI's shape",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_SUMMARIES: dict[Task, str] = {
    "suggestion": "Suggest the agent's next reply",
    "summary": "Summarize the conversation",
    "insight": "Tell intent, sentiment and entities of the conversation",
}


class ErrorBody(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None
    code: str


class Error(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


def describe(app: FastAPI) -> None:
    """Have the application describe the task endpoints, its errors and its keys, too."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _extended(
                get_openapi(title=app.title, version=app.version, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _extended(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (TaskBody, Error):
        described = model.model_json_schema(ref_template=_REF)
        schemas |= described.pop("$defs", {})
        schemas[model.__name__] = described
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, task in PATHS.items():
        schema["paths"][path] = {"post": _task(task)}
    for methods in schema["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {"4XX": _ERROR, "5XX": _ERROR}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"key": []}]
    schema["paths"]["/ready"]["get"]["security"] = []
    return schema


def _task(task: Task) -> dict[str, Any]:
    answer = {"type": "object", "description": "A chat completion; with `stream`, its chunks"}
    return {
        "summary": _SUMMARIES[task],
        "operationId": task,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TaskBody"}}},
        },
        "responses": {
            "200": {
                "description": "The answer",
                "content": {
                    "application/json": {"schema": answer},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            }
        },
    }

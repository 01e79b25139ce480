"""What a structured answer holds, and whether it is complete. Pure functions of its text."""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import from_json

from serving.config.structured.fields import TEXT, valid

_CANNOT_GO_ON = (str, bool, type(None))  # a number, a list or an object could


def parsed(text: str) -> tuple[dict[str, Any], bool]:
    """Return a JSON object, and whether all of it is there.

    Of one that was cut short, what is returned are the members whose values have ended; of what is
    no object, none.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _begun(text), False
    return (value, True) if isinstance(value, dict) else ({}, False)


def _begun(text: str) -> dict[str, Any]:
    try:
        value = from_json(text, allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    last = next(reversed(value), None)
    if last is not None and not isinstance(value[last], _CANNOT_GO_ON):
        del value[last]
    return value


def fitting(
    text: str, finish_reason: str | None, schema: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Return the members of an answer that fit their schema, and whether all do.

    Args:
        text: What the model wrote.
        finish_reason: Why it ended; only `stop` ends a complete answer.
        schema: Of an object, all of whose properties are required.
    """
    value, whole = parsed(text)
    properties = schema["properties"]
    good = {
        name: value[name]
        for name, its in properties.items()
        if name in value and valid(value[name], its)
    }
    complete = whole and finish_reason == "stop" and good.keys() == properties.keys()
    return good, complete and value.keys() == properties.keys()


def summary(
    text: str, finish_reason: str | None, schema: Mapping[str, Any], *, both: bool
) -> dict[str, Any]:
    """Return what a structured summary is told to be: its field `structure`.

    Args:
        text: What the model wrote.
        finish_reason: Why it ended.
        schema: What it was asked for.
        both: Whether the free text is one of its members; null where it is cut short.
    """
    fields, complete = fitting(text, finish_reason, schema)
    told: dict[str, Any] = {"complete": complete}
    if both:
        told["text"] = fields.pop(TEXT, None)
    return told | {"fields": fields}

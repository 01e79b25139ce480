"""Fields that an answer has beside the engine's: first in its object, and where a stream ends.

In a stream they are in each event that ends a choice, which is the last that tells of the answer.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

_EVENT = b"data: {"
_ENDS = re.compile(rb'"finish_reason":\s*"')


def to_show(beside: dict[str, Any], show: bool | None) -> dict[str, Any]:
    """Return the fields without responses to offer, where a turn is held back."""
    return beside if show is not False or "snippets" not in beside else {**beside, "snippets": []}


def fields(beside: Mapping[str, Any]) -> bytes:
    """Return fields as they stand at the beginning of a JSON object; empty where there are none."""
    return orjson.dumps(dict(beside))[1:-1] + b"," if beside else b""


def told(chunk: bytes, fields: bytes, *, stream: bool) -> bytes:
    """Return a piece of an answer with the fields, if it is one that tells them.

    Args:
        chunk: The body's beginning, or one event of a stream.
        fields: As `fields` gives them.
        stream: Whether it is a stream.
    """
    start = _EVENT if stream else b"{"
    if not chunk.startswith(start) or (stream and not _ENDS.search(chunk)):
        return chunk
    return start + fields + chunk[len(start) :]

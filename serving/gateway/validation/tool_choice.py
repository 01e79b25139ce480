"""Whether the engine can read a model's tool calls, asked before the model is.

vLLM names its command line's flags in its refusal, which nobody who writes our configuration types.
An upstream reads its own model's calls, so a line with one in its chain, or a version that one
answers, is left to it.
"""

from collections.abc import Mapping
from typing import Any

from serving.config.settings import Settings
from serving.errors import InvalidRequest
from serving.store.records import UPSTREAM

KEY = "tool_call_parser"


def check(
    request: Mapping[str, Any], settings: Settings, lob: str | None, *, outside: bool = False
) -> None:
    """Refuse tools that the model may call while nothing reads its calls.

    Args:
        request: The request as the client sent it.
        settings: The configuration.
        lob: The line of business that is asked.
        outside: Whether an upstream answers for the version asked.

    Raises:
        InvalidRequest: The configuration names no parser; the error names its key.
    """
    if outside or not request.get("tools") or request.get("tool_choice") == "none":
        return
    chain = settings.lobs[lob].fallback if lob else ()
    if settings.engine.get(KEY) or any(step.startswith(UPSTREAM) for step in chain or ()):
        return
    raise InvalidRequest(
        f"The model's tool calls cannot be read: `engine.{KEY}` is not set in this server's "
        'configuration. Set it to the model\'s parser, or send `"tool_choice": "none"`.',
        param="tools",
    )

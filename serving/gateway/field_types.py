"""Types that vLLM's own validators take for granted: other ones would end in a 500."""

from typing import Any

from serving.errors import InvalidRequest


def check(request: dict[str, Any]) -> None:
    """Check a request to the engine.

    Raises:
        InvalidRequest: A field is not what vLLM expects before it validates it.
    """
    if not isinstance(request.get("structured_outputs"), dict | None):
        raise InvalidRequest("`structured_outputs` must be an object.", param="structured_outputs")
    if not isinstance(request.get("messages", []), list):
        raise InvalidRequest("`messages` must be a list.", param="messages")

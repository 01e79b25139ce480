"""What was done and what it took: OpenTelemetry's name, and token counts from the last bytes."""

import re
from collections.abc import Sequence

from serving import endpoints

TAIL_BYTES = 4096
_OPERATIONS = {endpoints.COMPLETIONS: "text_completion"}
# In a text of the model the quote after the name is escaped, so it cannot pass for a count.
_INPUT = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d{1,9})')
_OUTPUT = re.compile(rb'"(?:completion|output)_tokens":\s*(\d{1,9})')


def tokens(chunks: Sequence[bytes]) -> tuple[int | None, int | None]:
    """Return how many tokens a request and its answer have, where the answer says so.

    It reads no JSON: this runs once a request on the hot path, and OpenAI's bodies and streams end
    with the counts.

    Args:
        chunks: The body as it was sent, or its last chunks.

    Returns:
        The tokens of the input and of the output; None for what is not said.
    """
    tail = b""
    for chunk in reversed(chunks):
        tail = chunk[-TAIL_BYTES:] + tail
        if len(tail) >= TAIL_BYTES:
            break
    return _last(_INPUT, tail), _last(_OUTPUT, tail)


def _last(pattern: re.Pattern[bytes], tail: bytes) -> int | None:
    found = pattern.findall(tail)
    return int(found[-1]) if found else None


def operation(path: str) -> str:
    """Return the `gen_ai.operation.name` of what an endpoint does."""
    return _OPERATIONS.get(path, "chat")

"""What a batch's lines are called, and what is written of their answers. Pure."""

import hashlib
from typing import Any

import orjson

from serving.gateway.direct import Answer

EXPIRED = {
    "code": "batch_expired",
    "message": "The line was not answered before the batch's window ended.",
}
OUTPUT, ERRORS = "output", "error"


def request_id(batch_id: str, line: int, attempt: int) -> str:
    """Return the id of a line's request: the same again after a crash, so it is captured once.

    Its first twelve digits are the batch's milliseconds, as in every request's id.
    """
    digest = hashlib.blake2b(f"{batch_id}/{line}/{attempt}".encode(), digest_size=10).hexdigest()
    return f"{_time(batch_id)}{digest}"


def file_id(batch_id: str, kind: str) -> str:
    """Return the id of a batch's output: whoever writes it again writes the same file."""
    digest = hashlib.blake2b(f"{batch_id}/{kind}".encode(), digest_size=10).hexdigest()
    return f"file-{_time(batch_id)}{digest}"


def answered(batch_id: str, line: int, custom_id: str, request: str, answer: Answer) -> bytes:
    """Return the line of the output or error file for an answer, in OpenAI's form."""
    try:
        body: Any = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = answer.body.decode("utf-8", "replace")
    response = {"status_code": answer.status, "request_id": request, "body": body}
    return _line(batch_id, line, custom_id, response, None)


def expired(batch_id: str, line: int, custom_id: str) -> bytes:
    """Return the line of the error file for a request that was not answered in time."""
    return _line(batch_id, line, custom_id, None, EXPIRED)


def _line(batch_id: str, line: int, custom_id: str, response: Any, error: Any) -> bytes:
    digest = hashlib.blake2b(f"{batch_id}/{line}".encode(), digest_size=12).hexdigest()
    return orjson.dumps(
        {
            "id": f"batch_req_{digest}",
            "custom_id": custom_id,
            "response": response,
            "error": error,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _time(batch_id: str) -> str:
    return batch_id.removeprefix("batch_")[:12]

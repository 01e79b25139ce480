"""The log as JSON: one object a line, with the request's id, and without texts and keys.

Messages are ours and say no texts. What an exception says may repeat some (pydantic's do), so of
those that are not ours or the system's only the type and the place are logged.
"""

import json
import logging
import logging.handlers
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from serving.errors import SwitchboardError

REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""The id of the request that a task works for: the end of its response's id."""
VLLM_CONFIG = Path(__file__).with_name("vllm_logging.json")
CAUSES_LIMIT = 5
FRAMES_LIMIT = 30
_SECRET = re.compile(r"\bsb-[A-Za-z0-9_-]{8,}|(?i:(?<=bearer ))[^\s\"']+|(?<=://)[^\s/@]+(?=@)")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: timestamp (UTC), level, logger, message and what else is known."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat("T", "milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        if request_id := REQUEST_ID.get(None):
            line["request_id"] = request_id
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(form: Literal["text", "json"]) -> None:
    """Have this process, and vLLM in it and below it, log in a form; text is as it was.

    It comes before vLLM is imported, which reads where its own loggers are configured.
    """
    if form == "text":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    os.environ.setdefault("VLLM_LOGGING_CONFIG_PATH", str(VLLM_CONFIG))


@contextmanager
def buffers_kept() -> Iterator[None]:
    """Keep what buffers lines for another handler whole while logging is configured anew.

    `logging.config.dictConfig`, which vLLM calls when its engine starts, closes every handler that
    there is, and a `MemoryHandler` then forgets its target. Ray Serve's replica is asked by a new
    controller where its log lies; without that target it fails, and is stopped as if it were dead.
    """
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    kept = [
        (one, one.target)
        for one in handlers
        if isinstance(one, logging.handlers.MemoryHandler) and one.target is not None
    ]
    try:
        yield
    finally:
        for handler, target in kept:
            if handler.target is None:
                handler.setTarget(target)


def without_secrets(text: str) -> str:
    """Return a line of a log with API keys, bearer tokens and passwords in URLs masked."""
    return _SECRET.sub("***", text)


def _told(exc: BaseException) -> list[dict[str, Any]]:
    """Return an exception and its causes, the outermost first."""
    chain: list[dict[str, Any]] = []
    seen: BaseException | None = exc
    while seen is not None and len(chain) < CAUSES_LIMIT:
        frames = traceback.extract_tb(seen.__traceback__, limit=-FRAMES_LIMIT)
        one: dict[str, Any] = {"type": f"{type(seen).__module__}.{type(seen).__qualname__}"}
        if isinstance(seen, SwitchboardError | OSError):
            one["message"] = without_secrets(str(seen))
        one["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append(one)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return chain

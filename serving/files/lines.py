"""What a line of an uploaded file must be. Pure.

A batch's line is OpenAI's ``{custom_id, method, url, body}``. A line of training data is a chat
(``{"messages": […]}``, which ends with the assistant) or a preference
(``{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}``), in the
forms of OpenAI's fine-tuning API, or a labelled chat (``{"messages": […], "label": true}``), for
KTO, which OpenAI has not.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from serving import endpoints
from serving.asgi import json_object
from serving.errors import InvalidRequest

Purpose = Literal["batch", "fine-tune"]
PURPOSES: tuple[Purpose, ...] = ("batch", "fine-tune")
OUTPUT = "batch_output"
"""The purpose of what a batch writes."""
RESULTS = "fine-tune-results"
"""The purpose of what a fine-tuning job writes."""
URLS = endpoints.INFERENCE
FAULTS_LIMIT = 10
"""Faults that are named; the rest are not looked for."""
BATCH_LINES_LIMIT = 50_000
CUSTOM_ID_LIMIT = 512
_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
_CHAT = {"messages", "tools", "parallel_tool_calls", "functions"}
_PREFERENCE = {"input", "preferred_output", "non_preferred_output"}


@dataclass(slots=True)
class Examined:
    """What a file's lines are.

    Args:
        lines: How many there are, blank ones apart.
        urls: The endpoints that they ask.
        faults: The first faults, each with the number of its line, from 1.
    """

    lines: int = 0
    urls: set[str] = field(default_factory=set)
    faults: list[tuple[int, str]] = field(default_factory=list)


def bounded(file: IO[bytes], limit_bytes: int) -> Iterator[bytes | None]:
    """Give a file's lines without holding one of any length; None stands for one that is longer."""
    while line := file.readline(limit_bytes + 2):
        if len(line.rstrip(b"\r\n")) <= limit_bytes:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(limit_bytes)
        yield None


def examine(purpose: Purpose, lines: Iterable[bytes | None], limit_bytes: int) -> Examined:
    """Check all lines of a file, up to `FAULTS_LIMIT` faults.

    Args:
        purpose: What the file is for.
        lines: As `bounded` gives them.
        limit_bytes: The longest line, for the message.
    """
    found, seen, kinds = Examined(), set[bytes](), set[str]()
    for number, line in enumerate(lines, 1):
        if line is not None and not line.strip():
            continue
        found.lines += 1
        try:
            if line is None:
                raise InvalidRequest(f"is longer than {limit_bytes} bytes")
            value = _parsed(line)
            if purpose == "batch":
                _batch_line(value, seen, found)
            else:
                kinds.add(_training_line(value))
                if len(kinds) > 1:
                    raise InvalidRequest("is of another kind than the lines before it")
        except InvalidRequest as exc:
            found.faults.append((number, exc.message))
            if len(found.faults) == FAULTS_LIMIT:
                break
    if not found.lines:
        found.faults.append((1, "there is none: the file is empty"))
    return found


def refusal(faults: list[tuple[int, str]]) -> str:
    """Say what is wrong with a file, a fault after the other."""
    more = " Further lines were not looked at." if len(faults) == FAULTS_LIMIT else ""
    return "; ".join(f"line {number}: {what}" for number, what in faults) + f".{more}"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return json_object(line)
    except InvalidRequest as exc:
        what = exc.message.replace("The body", "it", 1).rstrip(".")
        raise InvalidRequest(f"no JSON object: {what}") from None


def _batch_line(value: dict[str, Any], seen: set[bytes], found: Examined) -> None:
    if found.lines > BATCH_LINES_LIMIT:
        raise InvalidRequest(f"a batch has at most {BATCH_LINES_LIMIT} lines")
    _only(value, {"custom_id", "method", "url", "body"})
    id_ = value.get("custom_id")
    if not isinstance(id_, str) or not 0 < len(id_) <= CUSTOM_ID_LIMIT:
        raise InvalidRequest(f"custom_id must be a text of 1 to {CUSTOM_ID_LIMIT} characters")
    digest = hashlib.blake2b(id_.encode(), digest_size=16).digest()
    if digest in seen:
        raise InvalidRequest(f"custom_id {id_[:64]!r} is not unique")
    seen.add(digest)
    if value.get("method") != "POST":
        raise InvalidRequest('method must be "POST"')
    if value.get("url") not in URLS:
        raise InvalidRequest(f"url must be one of {', '.join(URLS)}")
    body = value.get("body")
    if not isinstance(body, dict):
        raise InvalidRequest("body must be an object")
    if body.get("stream"):
        raise InvalidRequest("body.stream: a batch streams nothing")
    found.urls.add(value["url"])


def _training_line(value: dict[str, Any]) -> str:
    """Check a line of training data; returns its kind."""
    if "messages" in value:
        _only(value, _CHAT | {"label"})
        _messages(value["messages"], "messages")
        if value["messages"][-1]["role"] != "assistant":
            raise InvalidRequest("messages must end with the assistant's")
        if "label" not in value:
            return "chat"
        if not isinstance(value["label"], bool):
            raise InvalidRequest("label must be true or false")
        return "labelled chat"
    if "input" not in value:
        raise InvalidRequest("neither messages nor input, preferred_output, non_preferred_output")
    _only(value, _PREFERENCE)
    asked = value["input"]
    if not isinstance(asked, dict):
        raise InvalidRequest("input must be an object with messages")
    _only(asked, _CHAT, "input.")
    _messages(asked.get("messages"), "input.messages")
    if asked["messages"][-1]["role"] == "assistant":
        raise InvalidRequest("input.messages must not end with the assistant's")
    for name in ("preferred_output", "non_preferred_output"):
        _messages(value.get(name), name)
        if any(message["role"] != "assistant" for message in value[name]):
            raise InvalidRequest(f"{name} must be the assistant's")
    return "preference"


def _messages(value: Any, name: str) -> None:
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"{name} must be a list of messages, with at least one")
    for i, message in enumerate(value):
        where = f"{name}[{i}]"
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise InvalidRequest(f"{where} must be an object with a role of {sorted(_ROLES)}")
        calls = message["role"] == "assistant" and bool(
            message.get("tool_calls") or message.get("function_call")
        )
        content = message.get("content")
        if not (isinstance(content, str | list) and content) and not calls:
            raise InvalidRequest(f"{where}.content must be a text or a list of parts")


def _only(value: dict[str, Any], known: set[str], prefix: str = "") -> None:
    for name in value:
        if name not in known:
            raise InvalidRequest(f"{prefix}{name[:64]} is unknown")

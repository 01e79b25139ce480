"""Files of OpenAI's fine-tuning API become examples: every line counts, nothing is left out.

A chat ``{"messages": […]}`` is learned turn by turn: each answer of the assistant whose `weight` is
not 0 becomes an example with the turns before it. A preference ``{"input": {"messages": […]},
"preferred_output": […], "non_preferred_output": […]}`` is a pair for DPO. A labelled chat
``{"messages": […], "label": true}`` says of its last answer whether it is good, for KTO.

Pure. What cannot be learned (tools, images, names) is a fault, with its line and key, as is a line
of another kind than the method's.
"""

import json
from collections.abc import Iterable
from typing import Any, Literal

from training.data.examples import Example, Message, Source
from training.errors import DatasetError

Method = Literal["supervised", "dpo", "kto"]
FAULTS_LIMIT = 10
"""Faults that are named; the rest are not looked for."""
_KINDS: dict[str, frozenset[str]] = {
    "supervised": frozenset({"messages"}),
    "dpo": frozenset({"input", "preferred_output", "non_preferred_output"}),
    "kto": frozenset({"messages", "label"}),
}
_NAMES = {"supervised": "a chat", "dpo": "a preference", "kto": "a labelled chat"}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TOOLS = ("tools", "parallel_tool_calls", "functions")


class _Fault(ValueError):
    """What is wrong with a line, beginning with its key."""


def examples(lines: Iterable[bytes], method: Method, digest: str) -> list[Example]:
    """Read a file's lines.

    Args:
        lines: JSON objects; blank lines count and are passed over.
        method: What learns from them.
        digest: Begins the ids: the beginning of the file's sha256.

    Raises:
        DatasetError: Lines are faulty; names the first ones by number, key and fault.
    """
    found: list[Example] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found += _examples(_row(line, method), method, f"file-{digest}-{number}", number)
        except _Fault as exc:
            faults.append(f"line {number}: {exc}")
            if len(faults) == FAULTS_LIMIT:
                break
    if faults:
        more = ". Further lines were not looked at" if len(faults) == FAULTS_LIMIT else ""
        raise DatasetError("; ".join(faults) + more)
    return found


def _row(line: bytes, method: Method) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise _Fault(f"is no JSON: {exc}") from None
    if not isinstance(row, dict):
        raise _Fault("is no JSON object")
    asked = row["input"] if isinstance(row.get("input"), dict) else row
    for name in _TOOLS:
        if asked.get(name):
            raise _Fault(f"{name}: calls of tools cannot be learned yet")
    if row.keys() - set(_TOOLS) != _KINDS[method]:
        raise _Fault(
            f"is not {_NAMES[method]}, which {method} learns from: its keys must be "
            f"{', '.join(sorted(_KINDS[method]))}"
        )
    return row


def _examples(row: dict[str, Any], method: Method, name: str, number: int) -> list[Example]:
    if method == "dpo":
        asked = row["input"].get("messages") if isinstance(row["input"], dict) else None
        prompt = tuple(message for message, _ in _messages(asked, "input.messages"))
        good, bad = (_answer(row[key], key) for key in ("preferred_output", "non_preferred_output"))
        if good == bad:
            raise _Fault("non_preferred_output: is the same text as preferred_output")
        return [_example(name, name, number, "edit", prompt, good, bad)]
    turns = _messages(row["messages"], "messages")
    if turns[-1][0].role != "assistant" or len(turns) < 2:
        raise _Fault("messages: must end with an answer of the assistant's to something")
    messages = tuple(message for message, _ in turns)
    if method == "kto":
        if not isinstance(row["label"], bool):
            raise _Fault("label: must be true or false")
        source: Source = "rating" if row["label"] else "rejection"
        said = messages[-1].content
        return [_example(name, name, number, source, messages[:-1], said, said)]
    found = [
        _example(
            f"{name}-{place}",
            name,
            number,
            "rating",
            messages[:place],
            message.content,
            message.content,
        )
        for place, (message, learned) in enumerate(turns)
        if learned and place
    ]
    if not found:
        raise _Fault("messages: every answer of the assistant's has the weight 0")
    return found


def _example(
    name: str,
    conversation: str,
    number: int,
    source: Source,
    messages: tuple[Message, ...],
    target: str,
    shown: str,
) -> Example:
    return Example(
        interaction_id=name,
        conversation_id=conversation,
        created_at=float(number),
        task="chat",
        turn_position=None,
        version=None,
        source=source,
        messages=messages,
        shown=shown,
        target=target,
    )


def _answer(value: Any, key: str) -> str:
    turns = _messages(value, key)
    if len(turns) != 1 or turns[0][0].role != "assistant":
        raise _Fault(f"{key}: must be one message of the assistant's")
    return turns[0][0].content


def _messages(value: Any, key: str) -> list[tuple[Message, bool]]:
    """Return messages, each with whether it is an answer to be learned."""
    if not isinstance(value, list) or not value:
        raise _Fault(f"{key}: must be a list of messages, with at least one")
    return [_message(message, f"{key}[{place}]") for place, message in enumerate(value)]


def _message(value: Any, key: str) -> tuple[Message, bool]:
    if not isinstance(value, dict):
        raise _Fault(f"{key}: must be an object with role and content")
    role = _ROLES.get(str(value.get("role")))
    if role is None:
        raise _Fault(f"{key}.role: must be one of {', '.join(_ROLES)}; tools cannot be learned yet")
    weight = value.get("weight")
    if weight not in (None, 0, 1) or (weight is not None and role != "assistant"):
        raise _Fault(f"{key}.weight: must be 0 or 1, and the assistant's")
    for name, content in value.items():
        if name not in ("role", "content", "weight") and content not in (None, [], ""):
            raise _Fault(f"{key}.{name}: would change what is learned, and is not supported")
    return Message(role, _text(value.get("content"), f"{key}.content")), (
        role == "assistant" and weight != 0
    )


def _text(content: Any, key: str) -> str:
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
            for part in content
        ]
        if not all(isinstance(part, str) for part in parts):
            raise _Fault(f"{key}: only parts of text can be learned")
        content = "\n".join(str(part) for part in parts)
    if not isinstance(content, str) or not content.strip():
        raise _Fault(f"{key}: must be a text that is not empty")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise _Fault(f"{key}: holds half of a character (a lone surrogate)") from None
    return content

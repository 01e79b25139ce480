"""People's own data: JSON Lines in TRL's formats become a dataset like any other.

Three kinds of line, told apart by their keys, in any mixture: `prompt` and `completion` (or
`messages`, whose last one is the completion) to imitate; the same with `label`, true or false, for
KTO; `prompt`, `chosen` and `rejected` for pairs. Prompts and answers are texts or lists of
messages. `conversation_id` keeps lines on one side of the split; other keys are ignored. The file's
order stands for time: its last conversations are held out.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from training.data.curation import Curated, choose
from training.data.dataset import read_bytes
from training.data.examples import Example, Message, Source
from training.data.splits import Past
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

FAULTS_SHOWN = 20
_ID_DIGITS = 12


def read(lob: str, file: Path, rules: CurationConfig, past: Past) -> tuple[Curated, dict[str, Any]]:
    """Read a file, redact it, drop what repeats or contradicts, and split it.

    Args:
        lob: The line of business.
        file: JSON Lines, in UTF-8.
        rules: The recipe's section.
        past: The line's frozen golden set, if it has one.

    Returns:
        The examples, and the file's hash for the manifest.

    Raises:
        DatasetError: Lines are faulty: each is named with its key and what is wrong with it.
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    data = read_bytes(file)
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{file}: is not UTF-8 text: {exc}") from exc
    examples, faults = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            examples.append(_example(json.loads(line), number, digest[:_ID_DIGITS]))
        except json.JSONDecodeError as exc:
            faults.append(f"{file}:{number}: is not JSON: {exc.msg}")
        except (_Fault, RecursionError) as exc:
            faults.append(f"{file}:{number}: {exc}")
    if faults:
        count = "1 faulty line" if len(faults) == 1 else f"{len(faults)} faulty lines"
        raise DatasetError("\n  ".join([f"{file}: {count}", *faults[:FAULTS_SHOWN]]))
    begins: dict[str, float] = {}
    for example in examples:
        begins.setdefault(example.conversation_id, example.created_at)
    return choose(lob, examples, begins, rules, past), {"file": {"sha256": digest}}


class _Fault(ValueError):
    """What is wrong with a line, beginning with its key."""


def _example(row: Any, number: int, file: str) -> Example:
    if not isinstance(row, dict):
        raise _Fault(f"must be an object, not {_kind(row)}")
    if "messages" in row and "prompt" not in row:
        messages = _messages(row, "messages")
        row = {**row, "prompt": row["messages"][:-1], "completion": row["messages"][-1:]}
        if len(messages) < 2:
            raise _Fault("messages: needs a prompt and an answer")
    messages = _messages(row, "prompt")
    source: Source = "edit"
    if "chosen" in row or "rejected" in row:
        target, shown = _answer(row, "chosen"), _answer(row, "rejected")
        if target == shown:
            raise _Fault("rejected: is the same text as chosen")
    else:
        target = shown = _answer(row, "completion")
        source = "rating"
        label = row.get("label", True)
        if not isinstance(label, bool):
            raise _Fault(f"label: must be true or false, not {_kind(label)}")
        if not label:
            source = "rejection"
    name = row.get("conversation_id")
    if name is not None and not isinstance(name, str):
        raise _Fault(f"conversation_id: must be a text, not {_kind(name)}")
    if name is None:
        content = json.dumps([[m.role, m.content] for m in messages])
        name = hashlib.sha256(content.encode()).hexdigest()[:_ID_DIGITS]
    return Example(
        interaction_id=f"import-{file}-{number}",
        conversation_id=f"import-{file}-{name}",
        created_at=float(number),
        task="chat",
        turn_position=None,
        version=None,
        source=source,
        messages=messages,
        shown=shown,
        target=target,
    )


def _answer(row: dict[str, Any], key: str) -> str:
    messages = _messages(row, key, role="assistant")
    if len(messages) != 1 or messages[0].role != "assistant":
        raise _Fault(f"{key}: must be a text, or a list of one message of the assistant")
    return messages[0].content


def _messages(row: dict[str, Any], key: str, role: str = "user") -> tuple[Message, ...]:
    if key not in row:
        raise _Fault(f"{key}: missing; the keys are: {', '.join(sorted(row)) or 'none'}")
    value = row[key]
    if isinstance(value, str):
        value = [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise _Fault(f"{key}: must be a text or a list of messages, not {_kind(value)}")
    messages = []
    for index, message in enumerate(value):
        match message:
            case {"role": str(who), "content": str(content)}:
                messages.append(Message(who, _whole(content, f"{key}[{index}].content")))
            case _:
                raise _Fault(f'{key}[{index}]: must be {{"role": a text, "content": a text}}')
    return tuple(messages)


def _whole(text: str, key: str) -> str:
    if not text.strip():
        raise _Fault(f"{key}: is empty")
    return text


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "an empty list" if value == [] else "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names[type(value)]

"""People's own data: JSON Lines, or one JSON array, become a dataset like any other.

Kinds of row, told apart by their keys, in any mixture: `prompt` and `completion` (or `messages`,
whose last one is the completion) to imitate; the same with `label`, true or false, for KTO;
`prompt`, `chosen` and `rejected` for pairs; ShareGPT's `conversations`; Alpaca's `instruction`,
`input` and `output`. Prompts and answers are texts or lists of messages. `system` goes before a
prompt. `conversation_id` keeps rows on one side of the split. Keys that only describe a row
(`DESCRIBES`) are ignored, any other is refused: it might change what is meant to be learned. The
file's order stands for time. A hash draws the conversations that are held out.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
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

DESCRIBES = frozenset(
    "id idx index source dataset category topic tags meta metadata created_at timestamp date lang "
    "language url title license".split()
)
_LEARNED = frozenset(("prompt", "completion", "chosen", "rejected", "label"))
_KNOWN = DESCRIBES | _LEARNED | {"conversation_id", "system"}
_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "developer": "system"}
_ROLES |= {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
_ROLES |= {"bot": "assistant", "model": "assistant"}
_CSV = """python -c 'import csv, json, sys; [print(json.dumps(row)) for row in \
csv.DictReader(open(sys.argv[1], encoding="utf-8-sig", newline=""){tabs})]' {file} > own.jsonl"""
_PARQUET = """python -c 'import datasets, sys; \
datasets.Dataset.from_parquet(sys.argv[1]).to_json("own.jsonl")' {file}"""
# What a file begins with, what it is, and how it becomes JSON Lines.
_MAGIC = (
    (b"PAR1", "Parquet", _PARQUET),
    (b"\x1f\x8b", "gzip", "gunzip --stdout {file} > own.jsonl"),
    ((b"\xff\xfe", b"\xfe\xff"), "UTF-16", "iconv -f UTF-16 -t UTF-8 {file} > own.jsonl"),
    (b"PK", "a zip archive or a spreadsheet", "unzip {file}"),
)


def read(lob: str, file: Path, rules: CurationConfig, past: Past) -> tuple[Curated, dict[str, Any]]:
    """Read a file, redact it, drop what repeats or contradicts, and split it.

    Args:
        lob: The line of business.
        file: JSON Lines or a JSON array, in UTF-8.
        rules: The recipe's section.
        past: The line's frozen golden set, if it has one.

    Returns:
        The examples, and the file's hash for the manifest.

    Raises:
        DatasetError: The file is of another format: it and the command that converts it are named.
            Or lines are faulty: each is named with its key and what is wrong with it.
        TooLittleData: Fewer usable examples or conversations than the rules ask for.
    """
    data = read_bytes(file)
    digest = hashlib.sha256(data).hexdigest()
    examples, faults = [], []
    for number, (place, text) in enumerate(_rows(file, data), 1):
        try:
            examples.append(_example(_parse(text), number, digest[:_ID_DIGITS]))
        except json.JSONDecodeError as exc:
            faults.append(f"{file}:{place}: is not JSON: {exc.msg}")
        except _Fault as exc:
            faults.append(f"{file}:{place}: {exc}")
        except (ValueError, RecursionError) as exc:  # a number of thousands of digits; depth
            faults.append(f"{file}:{place}: cannot be read: {exc}")
    if faults:
        count = "1 faulty line" if len(faults) == 1 else f"{len(faults)} faulty lines"
        raise DatasetError("\n  ".join([f"{file}: {count}", *faults[:FAULTS_SHOWN]]))
    begins: dict[str, float] = {}
    for example in examples:
        begins.setdefault(example.conversation_id, example.created_at)
    curated = choose(lob, examples, begins, rules, past, complete=True)
    return curated, {"file": {"sha256": digest}}


class _Fault(ValueError):
    """What is wrong with a line, beginning with its key."""


def _rows(file: Path, data: bytes) -> Iterator[tuple[str, str]]:
    """Yield each row's place and text; refuse other formats by name, with the command."""
    for magic, name, command in _MAGIC:
        if data.startswith(magic):
            raise _other(file, name, command)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{file}: is not UTF-8 text: {exc}") from exc
    lines = [(str(n), line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    first = lines[0][1].strip() if lines else ""
    if file.suffix in (".csv", ".tsv") or re.match(r'"?\w+"?[,;\t]"?\w+', first):
        tabs = ', delimiter="\\t"' if "\t" in first else ""
        raise _other(file, "CSV", _CSV.replace("{tabs}", tabs))
    whole = _whole_file(text) if first[:1] in ("[", "{") else None
    if isinstance(whole, list):
        yield from ((f"[{n}]", row) for n, row in enumerate(whole))
        return
    if whole is not None:
        raise _other(file, "JSON over several lines", "jq --compact-output . {file} > own.jsonl")
    yield from lines


def _whole_file(text: str) -> list[str] | str | None:
    """Return an array's elements, or an object that takes several lines; None for JSON Lines."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    try:
        start = re.match(r"\s*", text).end()  # type: ignore[union-attr]  # matches nothing too
        value, end = decoder.raw_decode(text, start)
        if isinstance(value, dict):
            return text[start:end] if "\n" in text[start:end] else None
        if not value or text[end:].strip():
            return None
        elements, at = [], start + 1
        for _ in value:
            at = re.compile(r"[\s,]*").match(text, at).end()  # type: ignore[union-attr]
            _, end = decoder.raw_decode(text, at)
            elements.append(text[at:end])
            at = end
        return elements
    except (ValueError, RecursionError):
        return None  # the faulty lines are told


def _other(file: Path, name: str, command: str) -> DatasetError:
    how = command.replace("{file}", shlex.quote(str(file)))
    return DatasetError(f"{file}: is {name}, not JSON Lines. Fix: {how}")


def _parse(text: str) -> Any:
    def no_number(name: str) -> None:
        raise _Fault(f"{name}: is no number of JSON's")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise _Fault(f"{next(k for k in keys if keys.count(k) > 1)}: is there twice")
        return found

    row = json.loads(text, parse_constant=no_number, object_pairs_hook=once)
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        half = f"\\u{ord(exc.object[exc.start]):04x}"
        raise _Fault(f"holds {half}, half of a character (a lone surrogate)") from exc
    return row


def _normal(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as prompt and answers, whatever its form; refuse what would be lost."""
    row = {
        key: value
        for key, value in row.items()
        if value not in (None, "", [], {}) or key in _LEARNED
    }
    if "conversations" in row and "messages" not in row:
        row["messages"] = row.pop("conversations")
    if "instruction" in row and not {"prompt", "messages"} & row.keys():
        parts = [row.pop("instruction"), row.pop("input", "")]
        if not all(isinstance(part, str) for part in parts):
            raise _Fault("instruction: must be a text, and input too")
        row["prompt"] = "\n\n".join(part for part in parts if part)
        if "output" in row:
            row["completion"] = row.pop("output")
    if "messages" in row and not {"prompt", "completion"} & row.keys():
        messages = row.pop("messages")
        _messages({"messages": messages}, "messages")
        if {"chosen", "rejected"} & row.keys():
            row["prompt"] = messages
        else:
            if len(messages) < 2:
                raise _Fault("messages: needs a prompt and an answer")
            row |= {"prompt": messages[:-1], "completion": messages[-1:]}
    unknown = sorted(row.keys() - _KNOWN)
    if unknown:
        raise _Fault(
            f"{unknown[0]}: might change what is learned, and nothing here reads it. Remove it"
        )
    return row


def _example(row: Any, number: int, file: str) -> Example:
    if not isinstance(row, dict):
        raise _Fault(f"must be an object, not {_kind(row)}")
    row = _normal(row)
    messages = _messages(row, "prompt")
    if "system" in row:
        if "system" in {message.role for message in messages}:
            raise _Fault("system: the prompt has a system message already")
        messages = (*_messages(row, "system", role="system"), *messages)
    source: Source = "edit"
    if "chosen" in row or "rejected" in row:
        for key in ("completion", "label"):
            if key in row:
                raise _Fault(f"{key}: means nothing beside chosen and rejected")
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
    return tuple(
        _message(message, f"{key}[{index}]", last=index == len(value) - 1)
        for index, message in enumerate(value)
    )


def _message(message: Any, key: str, *, last: bool) -> Message:
    match message:
        case {"role": str(who), "content": str(content)}:
            names = {"role", "content"}
        case {"from": str(who), "value": str(content)}:
            names = {"from", "value"}
        case _:
            raise _Fault(f'{key}: must be {{"role": a text, "content": a text}}')
    role = _ROLES.get(who)
    if role is None:
        raise _Fault(f"{key}: the role {who!r} is not known; the roles are: {', '.join(_ROLES)}")
    extra = {k: v for k, v in message.items() if v is not None and k not in names | DESCRIBES}
    # OpenAI's mark of what is learned: here the last answer, and no turn before it.
    if role == "assistant" and extra.get("weight") in ((1,) if last else (0,)):
        del extra["weight"]
    if extra:
        raise _Fault(f"{key}.{min(extra)}: would change what is learned, and is not supported")
    return Message(role, _whole(content, f"{key}.content"))


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

"""An interaction as it may be stored: its texts redacted together, its shape as it was.

Every string of request, messages, response, output and steps is read, but for those that the API
defines (a role, an id, a model's name). What spells a text in a way that no pattern reads is left
out: token ids, log probabilities and the bytes of media. Numbers and the names of keys stay.
"""

import hmac
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from serving.redaction import conversation
from serving.redaction.person_names import Recogniser
from serving.store.records import InteractionRecord

TEXTS = ("messages", "output", "response", "request", "steps")
"""The fields that hold texts, in the order in which they are read."""

_DEFINED = frozenset(
    "id object model role type finish_reason stop_reason tool_call_id call_id item_id request_id "
    "system_fingerprint service_tier status previous_response_id step outcome".split()
)
_FREE = frozenset({"metadata", "chat_template_kwargs", "arguments", "structure"})
"""Below these the names are the client's or the line's own."""
_TOKENS = frozenset(
    "logprobs top_logprobs prompt_logprobs token_ids prompt_token_ids bytes tokens".split()
)
_MEDIA = frozenset({"file_data", "b64_json", "input_audio", "audio"})
_PERSONS = frozenset({"user", "safety_identifier"})
_PERSON = re.compile(r"person-[0-9a-f]{32}")


class Redacted(NamedTuple):
    """A record to store, and what is known now of its conversation's values."""

    record: InteractionRecord
    known: dict[str, str]


def scope_of(record: InteractionRecord) -> str:
    """Return what an interaction shares surrogates with: its conversation in its line."""
    return f"{record.lob}/{record.conversation_id or record.id}"


def redacted(
    record: InteractionRecord,
    key: bytes,
    known: conversation.Known | None = None,
    names: Recogniser | None = None,
) -> Redacted:
    """Redact a record; the same record and key give the same result.

    Args:
        record: As it was captured.
        key: The deployment's key for surrogates.
        known: What is known of the conversation's values.
        names: Finds people's names, too.
    """
    fields = {name: _pruned(getattr(record, name), key) for name in TEXTS}
    texts = list(dict.fromkeys(text for name in TEXTS for text in _texts(fields[name])))
    own = conversation.conversation_key(key, scope_of(record))
    stored = conversation.redact(texts, own, known, names)
    instead = dict(zip(texts, stored.texts, strict=True))
    return Redacted(
        record.model_copy(
            update={name: _replaced(value, instead) for name, value in fields.items()}
        ),
        stored.known,
    )


def _pruned(value: Any, key: bytes, name: str = "") -> Any:
    """Leave out what no pattern reads, and give persons named by the client a number."""
    if name in _TOKENS and isinstance(value, dict | list):
        return None
    if isinstance(value, dict):
        return {k: _pruned(v, key, k) for k, v in value.items()}
    if isinstance(value, list):
        if value and all(type(item) is int for item in value):
            return []  # a prompt as token ids
        return [_pruned(item, key, name) for item in value]
    if isinstance(value, str):
        if name in _PERSONS:
            return person_number(value, key)
        if value.startswith("data:"):
            return "data:,"
        if name in _MEDIA or (name == "data" and len(value) > 256):
            return ""
    return value


def person_number(name: str, key: bytes) -> str:
    """Return a number for who asks, the same in all conversations: training counts by agent."""
    if _PERSON.fullmatch(name):
        return name
    return "person-" + hmac.digest(key, name.encode("utf-8", "replace"), "sha256").hex()[:32]


def _is_text(name: str, *, free: bool) -> bool:
    return name not in _PERSONS and (free or name not in _DEFINED)


def _texts(value: Any, name: str = "", *, free: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if value and _is_text(name, free=free):
            yield value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from _texts(v, k, free=free or k in _FREE)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, name, free=free)


def _replaced(value: Any, instead: dict[str, str], name: str = "", *, free: bool = False) -> Any:
    if isinstance(value, str):
        return instead.get(value, value) if _is_text(name, free=free) else value
    if isinstance(value, dict):
        return {k: _replaced(v, instead, k, free=free or k in _FREE) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(item, instead, name, free=free) for item in value]
    return value

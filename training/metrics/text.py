"""What one output is worth, beside the text that the agent sent and the conversation it answers.

Each metric is a pure function of texts; `METRICS` says which way each is better. The gate compares
their means.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jsonschema import Draft202012Validator
from rapidfuzz.distance import Levenshtein

from training.metrics.facts import unsupported_facts
from training.metrics.overlap import chrf, rouge_l


@dataclass(frozen=True)
class Metric:
    """A metric's name for people, and which way is better."""

    title: str
    better: Literal["higher", "lower"]


METRICS = {
    "edit_similarity": Metric("Edit similarity", "higher"),
    "length_deviation": Metric("Length deviation", "lower"),
    "unsupported_facts": Metric("Unsupported facts", "lower"),
    "rouge_l": Metric("ROUGE-L", "higher"),
    "chrf": Metric("chrF", "higher"),
    "slot_recall": Metric("Slot recall", "higher"),
    "refusals": Metric("Refusals", "lower"),
    "format_errors": Metric("Format errors", "lower"),
}

RARE = ("unsupported_facts", "refusals", "format_errors")
"""Metrics that most outputs have none of. Two models differ by the share of outputs with any: at
none seen its interval is known, where that of a mean count is not."""

COUNTS = ("unsupported_facts",)
"""Metrics that count what should not be there, so that a rate of any at all makes sense."""


def edit_similarity(output: str, final: str) -> float:
    """Return how little of the output had to change: 1 - distance / longer length.

    The distance is Levenshtein's, in characters: insertions, deletions, substitutions. Texts are
    stripped and runs of white space count as one space, which no agent edits.

    Args:
        output: What the model wrote.
        final: What the agent sent.

    Returns:
        0 (nothing kept) to 1 (sent as it was).
    """
    return float(Levenshtein.normalized_similarity(_plain(output), _plain(final)))


def length_deviation(output: str, final: str) -> float:
    """Return how far the length is off, as a share of the agent's: |ratio - 1|, in characters.

    Args:
        output: What the model wrote.
        final: What the agent sent.
    """
    return abs(length_ratio(output, final) - 1)


def length_ratio(output: str, final: str) -> float:
    """Return the output's length over the agent's, in characters."""
    return len(_plain(output)) / max(1, len(_plain(final)))


_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|afraid),? but i|as an? (?:ai|language model)\b|"
    r"i(?:'m| am) (?:unable|not able|not allowed)\b|i (?:can(?:no|')t|won't|will not) "
    r"(?:help|assist|answer|comply|do that|provide|fulfil))",
    re.IGNORECASE,
)


def is_refusal(output: str, final: str) -> bool:
    """Say whether the output refuses, or says nothing, where the agent did not.

    Args:
        output: What the model wrote.
        final: What the agent sent.
    """
    return refuses(output) and not refuses(final)


def refuses(text: str) -> bool:
    """Say whether a text refuses, or says nothing."""
    plain = _plain(text).replace("\u2019", "'")
    return not plain or _REFUSAL.search(plain) is not None


def is_format_error(output: str, response_format: Mapping[str, Any] | None) -> bool:
    """Say whether an output breaks the form that the request demanded.

    Args:
        output: What the model wrote.
        response_format: OpenAI's `response_format`; without one no text is wrong. JSON must be an
            object; with a schema it must be valid by it (JSON Schema, draft 2020-12).
    """
    kind = (response_format or {}).get("type")
    if response_format is None or kind not in ("json_object", "json_schema"):
        return False
    content = _object(output)
    if content is None:
        return True
    schema = response_format.get("json_schema", {}).get("schema", {})
    return not Draft202012Validator(schema).is_valid(content)


def slot_recall(output: str, final: str) -> float:
    """Return the share of a structured summary's slots that the output fills exactly.

    A slot is a key of the agent's JSON object with something in it; texts are compared without
    case and spacing. Where the agent's text is no JSON object, or all its slots are empty, there
    is nothing to recall: 1.

    Args:
        output: What the model wrote.
        final: What the agent sent.
    """
    wanted = {key: _slot(value) for key, value in (_object(final) or {}).items()}
    wanted = {key: value for key, value in wanted.items() if value not in ("", "null", "[]", "{}")}
    if not wanted:
        return 1.0
    got = _object(output) or {}
    return sum(key in got and _slot(got[key]) == wanted[key] for key in wanted) / len(wanted)


def _slot(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return _plain(text).casefold()


def _object(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def score(
    output: str,
    final: str,
    conversation: Iterable[str],
    response_format: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Return all metrics of one output by name.

    Args:
        output: What the model wrote.
        final: What the agent sent.
        conversation: All texts that the model saw.
        response_format: What form the request demanded, if any.
    """
    return {
        "edit_similarity": edit_similarity(output, final),
        "length_deviation": length_deviation(output, final),
        "unsupported_facts": float(len(unsupported_facts(output, conversation))),
        "rouge_l": rouge_l(output, final),
        "chrf": chrf(output, final),
        "slot_recall": slot_recall(output, final),
        "refusals": float(is_refusal(output, final)),
        "format_errors": float(is_format_error(output, response_format)),
    }


def _plain(text: str) -> str:
    return " ".join(text.split())

"""A guard model on another server: how probable it holds it that a text is unsafe.

It is asked as Llama Guard, ShieldGemma and Granite Guardian are (their model cards): one chat
completion whose first word is safe or unsafe, no or yes; the probability of that word among the
two, where the server gives log probabilities, else 0 or 1.
"""

import math
from typing import Any

import orjson

from serving.errors import UpstreamFailed
from serving.fallback.upstream import Upstream

UNSAFE = frozenset({"unsafe", "yes"})
SAFE = frozenset({"safe", "no"})
TOKENS = 8
ALTERNATIVES = 10


async def unsafe(upstream: Upstream, text: str, id: str) -> float:  # noqa: A002
    """Ask a guard model.

    Args:
        upstream: Where it is.
        text: What it judges, as one message of the user's.
        id: The request's id, for the upstream's logs.

    Returns:
        The probability that the text is unsafe.

    Raises:
        UpstreamFailed: It does not answer, or not with one of the words.
    """
    asked = {
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "logprobs": True,
        "top_logprobs": ALTERNATIVES,
    }
    content = await upstream.completion(asked, id=id)
    found = probability(orjson.loads(content))
    if found is None:
        raise UpstreamFailed(f"{upstream.name} said neither safe nor unsafe.")
    return found


def probability(answer: dict[str, Any]) -> float | None:
    """Return the probability of unsafe that a chat completion says, or None if it says none."""
    try:
        choice = answer["choices"][0]
        for token in (choice.get("logprobs") or {}).get("content") or ():
            if not token["token"].strip():
                continue
            weight = {True: 0.0, False: 0.0}
            for one in token["top_logprobs"]:
                word = _word(one["token"])
                if word in UNSAFE | SAFE:
                    weight[word in UNSAFE] += math.exp(one["logprob"])
            if total := sum(weight.values()):
                return weight[True] / total
            break
        words = choice["message"]["content"].split()
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError):
        return None
    word = _word(words[0]) if words else ""
    return 1.0 if word in UNSAFE else 0.0 if word in SAFE else None


def _word(text: str) -> str:
    return text.strip().strip(".,:;!\"'*").lower()

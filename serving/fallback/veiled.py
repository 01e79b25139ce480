"""Requests to an upstream that must see no personal values, and its answers with them back."""

from typing import Any

import orjson

from serving.errors import UpstreamFailed
from serving.redaction import veil
from serving.redaction.veil import Lifter, Unreadable, Veil

_PERSONS = ("user", "safety_identifier")
_IN_DELTA = ("content", "reasoning_content", "reasoning", "refusal")


def hidden(body: bytes, upstream: str) -> tuple[bytes, Veil | None]:
    """Return a request's body with surrogates, and what lifts them; None where nothing is hidden.

    Whoever asks is left out, too.

    Raises:
        UpstreamFailed: It holds what no pattern reads, so nobody can say what it tells.
    """
    request = {k: v for k, v in orjson.loads(body).items() if k not in _PERSONS}
    try:
        made = Veil(veil.texts_of(request))
        sent = veil.mapped(request, made.hide)
    except Unreadable as exc:
        raise UpstreamFailed(f"{upstream} takes only what can be redacted: not {exc}.") from exc
    return orjson.dumps(sent), None if made.empty else made


def lifted(answer: dict[str, Any], over: Veil) -> dict[str, Any]:
    """Return a whole answer with the values back in its choices."""
    return answer | {"choices": veil.mapped(answer.get("choices"), over.lift, "choices")}


class Lifting:
    """A stream's choices, each with texts that are lifted by themselves."""

    def __init__(self, over: Veil) -> None:
        self._veil = over
        self._lifters: dict[tuple[Any, ...], Lifter] = {}

    def lift(self, event: dict[str, Any]) -> None:
        """Put the values back into an event; the last of a choice brings what waited."""
        for choice in event["choices"]:
            index, over = choice.get("index"), choice.get("finish_reason") is not None
            if isinstance(choice.get("text"), str):
                choice["text"] = self._fed((index, "text"), choice["text"])
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._delta(delta, index)
            if over:
                self._flush(choice, index)

    def _delta(self, delta: dict[str, Any], index: Any) -> None:
        for name in _IN_DELTA:
            if isinstance(delta.get(name), str):
                delta[name] = self._fed((index, name), delta[name])
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            if isinstance(function.get("arguments"), str):
                key = (index, "tool_calls", call.get("index"))
                function["arguments"] = self._fed(key, function["arguments"])

    def _fed(self, key: tuple[Any, ...], text: str) -> str:
        return self._lifters.setdefault(key, Lifter(self._veil)).feed(text)

    def _flush(self, choice: dict[str, Any], index: Any) -> None:
        for key in [one for one in self._lifters if one[0] == index]:
            rest = self._lifters.pop(key).end()
            if not rest:
                continue
            if key[1] == "text":
                choice["text"] = choice.get("text", "") + rest
                continue
            delta = choice.setdefault("delta", {})
            if key[1] == "tool_calls":
                calls = delta.setdefault("tool_calls", [])
                calls.append({"index": key[2], "function": {"arguments": rest}})
            else:
                delta[key[1]] = (delta.get(key[1]) or "") + rest

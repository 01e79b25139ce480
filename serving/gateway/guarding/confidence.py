"""How sure the model was of an answer, where its line has a person look at what it was unsure of.

The measure is the geometric mean of the probabilities that the model gave to the tokens that it
wrote, exp(1/n · Σ log p): the length-normalised likelihood of Malinin and Gales (2021,
arXiv:2002.07650), which Guerreiro et al. (2023, arXiv:2208.05309) found to tell hallucinated
translations best of what needs no second model. It is not calibrated: it orders answers of one
version, and is no share of right ones.

vLLM gives these probabilities with an answer if it is asked to (`logprobs_mode`, by default before
temperature and grammar). A request that does not ask is asked with one more field, which upstreams
do not get, and what that adds is taken out of the answer before anybody sees it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from serving import endpoints
from serving.asgi import Message, Send
from serving.capture.interaction import Capture
from serving.gateway.guarding import filtered
from serving.gateway.guarding.asking import count
from serving.guards.verdict import Action, Finding, Verdict
from serving.observability import metrics

GUARD = "reviews.low_confidence"
KIND = "low_confidence"
_ASKED: dict[str, dict[str, Any]] = {
    endpoints.CHAT_COMPLETIONS: {"logprobs": True},
    endpoints.COMPLETIONS: {"logprobs": 0},  # of the tokens written, and of no other
}


def asking(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have vLLM tell the probabilities of what it writes.

    Args:
        path: vLLM's endpoint; a response's are not asked for.
        body: The request; one that asks by itself needs none, and of one whose answer repeats the
            prompt (`echo`) they would be the prompt's, too.
    """
    asked = body.get("logprobs")  # of a completion, 0 asks
    asks = (asked is not None and asked is not False) or body.get("echo")
    return {} if asks else _ASKED.get(path, {})


class Measured:
    """Passes an answer on, and adds up the log probabilities of each of its choices.

    Args:
        send: What comes after.
        stream: Whether it is a stream of events.
        strip: Whether they are taken out, since only we asked for them.
    """

    def __init__(self, send: Send, *, stream: bool, strip: bool) -> None:
        self._send = send
        self._stream = stream
        self._strip = strip
        self._start: Message | None = None
        self._bytes = b""
        self._sums: dict[int, tuple[float, int]] = {}

    def confidence(self, index: int) -> float | None:
        """Return a choice's, 0 to 1; None where no probabilities came."""
        return _mean(*self._sums.get(index, (0.0, 0)))

    def judged(
        self, found: dict[int, list[Verdict]], answer: Mapping[str, Any], below: float, of: Capture
    ) -> dict[int, list[Verdict]]:
        """Return what was found in an answer, with what its choices' confidence adds.

        Args:
            found: By choice.
            answer: In one piece.
            below: A person decides on what is below this.
            of: The answer's record.
        """
        lob, texts = of.lob or "", filtered.written(answer)
        for index, verdicts in found.items():
            sure = self.confidence(index)
            if sure is not None:
                metrics.CONFIDENCE.labels(lob).observe(sure)
            elif not of.version.startswith(_RULE):  # a rule's answer is no model's
                metrics.UNMEASURED.labels(lob).inc()
            if (new := verdict(sure, below, len(texts[index]))) is not None:
                count(lob, of.id, of.key_id or "", [new])
                verdicts.append(new)
        return found

    async def send(self, message: Message) -> None:
        """Take a message."""
        if message["type"] == "http.response.start":
            self._start = dict(message)
            if self._stream or message["status"] != 200:
                await self._send(message)
            return
        start = self._start or {}
        if message["type"] != "http.response.body" or start.get("status") != 200:
            await self._send(message)
            return
        more = message.get("more_body", False)
        self._bytes += message.get("body", b"")
        if self._stream:
            *events, self._bytes = self._bytes.split(b"\n\n")
            for event in events:
                await self._pass(self._event(event + b"\n\n"))
            if not more:
                await self._send({"type": "http.response.body", "body": self._event(self._bytes)})
        elif not more:
            body = self._whole(self._bytes)
            headers = [(n, v) for n, v in start.get("headers", ()) if n.lower() != _LENGTH]
            headers.append((_LENGTH, b"%d" % len(body)))
            await self._send({**start, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def _pass(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    def _event(self, body: bytes) -> bytes:
        if not body.startswith(b"data: {") or b'"logprobs"' not in body:
            return body
        return b"data: " + self._whole(body[6:].rstrip()) + b"\n\n"

    def _whole(self, body: bytes) -> bytes:
        """Read a JSON body, and return it without what only we asked for."""
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        choices = value.get("choices") if isinstance(value, dict) else None
        changed = False
        for place, choice in enumerate(choices if isinstance(choices, list) else ()):
            if not isinstance(choice, dict) or choice.get("logprobs") is None:
                continue
            index = choice.get("index", place)
            total, count = self._sums.get(index, (0.0, 0))
            for one in _of(choice["logprobs"]):
                total, count = total + one, count + 1
            self._sums[index] = total, count
            if self._strip:
                choice["logprobs"], changed = None, True
        return orjson.dumps(value) if changed else body


def of_choice(choice: Mapping[str, Any]) -> float | None:
    """Return a choice's confidence, 0 to 1; None where it has no probabilities."""
    given = list(_of(choice.get("logprobs")))
    return _mean(sum(given), len(given))


def _mean(total: float, count: int) -> float | None:
    if not count or not total <= 0:  # what is no logarithm of a probability, NaN too
        return None
    return math.exp(total / count)


_LENGTH = b"content-length"
_RULE = "rule:"


def _of(logprobs: Any) -> Iterator[float]:
    """Yield the log probabilities of a chat's choice (`content`) or of a completion's."""
    if not isinstance(logprobs, dict):
        return
    given = logprobs.get("token_logprobs")
    if isinstance(logprobs.get("content"), list):
        given = [one.get("logprob") for one in logprobs["content"] if isinstance(one, dict)]
    for one in given if isinstance(given, list) else ():
        if isinstance(one, float | int):
            yield float(one)


def verdict(confidence: float | None, below: float, length: int) -> Verdict | None:
    """Return what follows from an answer's confidence; None: nothing.

    Args:
        confidence: Of the answer; None where it is not known.
        below: What a person looks at is below this.
        length: Characters of the answer.
    """
    if confidence is None or confidence >= below:
        return None
    reason = f"The mean token probability is {confidence:.2f}, below {below:g}."
    found = Finding(KIND, round(1 - confidence, 4), (0, length), reason)
    return Verdict(GUARD, Action.REVIEW, found)

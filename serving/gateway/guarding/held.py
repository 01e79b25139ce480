"""An answer on its way through the guards: held until it is checked, or checked at its end."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson

from serving.asgi import Message, Send
from serving.capture.interaction import DONE, Capture, answer_of
from serving.gateway.guarding import filtered
from serving.gateway.guarding.ending import Ending, ends, told
from serving.guards.decision import Decision, decide
from serving.guards.verdict import Verdict

Found = dict[int, list[Verdict]]
Check = Callable[[Mapping[str, Any]], Awaitable[Found]]
Review = Callable[[dict[str, Any], Found, bytes], Awaitable[Iterable[Message]]]
"""Makes a task of an answer (in one piece, what was found, as it came); what the client gets."""


class Held:
    """Takes the messages of an answer, and passes them on once they are checked.

    A stream whose guards only flag need not be held: it is checked before its last event, after
    which it is stored.

    Args:
        check: Returns what was found in each choice of an answer in one piece.
        capture: Gets what was found.
        send: The client's side, behind the capture.
        hold: Whether nothing passes before all is checked.
        review: Makes tasks of what is held for a person; None: that is refused.
    """

    def __init__(
        self,
        check: Check,
        capture: Capture,
        send: Send,
        *,
        hold: bool,
        review: Review | None = None,
    ) -> None:
        self._check_answer = check
        self._capture = capture
        self._send = send
        self._hold = hold
        self._review = review
        self._found: Found = {}
        self._messages: list[Message] = []
        self._checked = False
        self._ending = Ending()

    async def send(self, message: Message) -> None:
        """Take a message."""
        self._messages.append(dict(message))  # the writer behind us changes what it gets
        if self._hold:
            return
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not self._capture.stream:
            await self._send(message)
        elif body == DONE or body.startswith(b"event: ") or not message.get("more_body", False):
            if body == DONE or ends(body) or not message.get("more_body", False):
                await self._check()
            await self._pass(*self._ending.close(self._capture.guards))
            told_ = told(body, self._capture.guards) if ends(body) else body
            await self._send({**message, "body": told_})
        else:
            await self._pass(*self._ending.take(body))

    async def _pass(self, *bodies: bytes) -> None:
        for body in bodies:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def finish(self) -> None:
        """Pass on what is held, or what stands in for it.

        Raises:
            GuardUnavailable: It could not be checked.
            StoreUnavailable: A person must decide, and the task could not be stored.
        """
        if not self._hold:
            return
        refused = await self._check()
        verdicts = [one for of in self._found.values() for one in of]
        if refused is None:
            messages = self._told()
        elif self._review is not None and decide(verdicts) is Decision.HOLD:
            messages = await self._review(refused[0], self._found, self._body())
        else:
            messages = self._instead(*refused)
        for message in messages:
            await self._send(message)

    def _body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self._messages)

    async def _check(self) -> tuple[dict[str, Any], set[int]] | None:
        """Note what is found; the answer and the choices that are refused, if any are."""
        start = self._messages[0] if self._messages else {}
        if self._checked or start.get("status") != 200:  # an error is no text of the model's
            return None
        self._checked = True
        capture = self._capture
        answer = answer_of(self._body().decode("utf-8", "replace"), stream=capture.stream)
        if answer.get("error"):
            return None
        found = self._found = await self._check_answer(answer)
        capture.guards += [one.as_json() for of in found.values() for one in of]
        refused = {index for index, of in found.items() if decide(of) is not Decision.PASS}
        return (answer, refused) if refused else None

    def _told(self) -> Iterable[Message]:
        """What is held, with what was found in a stream's last event that ends anything."""
        last = max(
            (i for i, one in enumerate(self._messages) if ends(one.get("body", b""))), default=-1
        )
        for place, one in enumerate(self._messages):
            if place == last and self._capture.stream:
                yield {**one, "body": told(one["body"], self._capture.guards)}
            else:
                yield one

    def _instead(self, answer: dict[str, Any], refused: set[int]) -> Iterable[Message]:
        start = self._messages[0]
        if self._capture.stream:
            bodies = list(filtered.events(answer))
            last = max(i for i, body in enumerate(bodies) if ends(body))
            bodies[last] = told(bodies[last], self._capture.guards)
        else:
            bodies = [orjson.dumps(filtered.replaced(answer, refused))]
        length = b"%d" % sum(map(len, bodies))
        headers = [(n, v) for n, v in start.get("headers", ()) if n.lower() != b"content-length"]
        if not self._capture.stream:
            headers.append((b"content-length", length))
        yield {**start, "headers": headers}
        for body in bodies:
            yield {"type": "http.response.body", "body": body, "more_body": True}
        yield {"type": "http.response.body", "body": b""}

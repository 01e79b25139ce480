"""The drills' clients: short requests, streamed and not, each followed by feedback."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import httpx
from cluster import LOB

from tests.e2e.server import Server

CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]
MAX_TOKENS = 8


@dataclass(slots=True)
class Call:
    """One request: when it began and ended (seconds, monotonic), and how it went.

    `fault` is None where the client got all that it asked for.
    """

    kind: str
    began: float
    ended: float = 0.0
    fault: str | None = None
    id: str = ""
    version: str = ""


@dataclass
class Load:
    """Clients that ask without a pause, each on a connection of its own.

    Args:
        server: Whom they ask.
        clients: How many there are.
        feedback: Whether each answer is followed by feedback.
        pause_s: How long a client waits before it asks again.
    """

    server: Server
    clients: int = 6
    feedback: bool = True
    pause_s: float = 0.0
    calls: list[Call] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, args=(number,))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(180)

    def _run(self, number: int) -> None:
        with self.server.http() as http:
            while not self._stop.is_set():
                number += 1
                answer = ask(http, stream=number % 2 == 0)
                self.calls.append(answer)
                if answer.fault is None and self.feedback:
                    self.calls.append(give_feedback(http, answer.id))
                # One that failed tries again, as a client would.
                self._stop.wait(self.pause_s if answer.fault is None else max(0.1, self.pause_s))

    def good(self, kind: str | None = None) -> list[Call]:
        """The calls that went well."""
        return [c for c in self.calls if c.fault is None and kind in (None, c.kind)]

    def faults(self) -> dict[str, int]:
        """How often each fault was seen."""
        return dict(Counter(f"{c.kind}: {c.fault}" for c in self.calls if c.fault))


def ask(http: httpx.Client, *, stream: bool) -> Call:
    """Ask for a suggestion and read it to its end."""
    call = Call("stream" if stream else "request", time.monotonic())
    body = {"lob": LOB, "conversation": CONVERSATION, "max_tokens": MAX_TOKENS, "stream": stream}
    try:
        with http.stream("POST", "/v1/suggestions", json=body) as answer:
            call.version = answer.headers.get("x-switchboard-version", "")
            if answer.status_code != 200:
                call.fault = f"HTTP {answer.status_code}"
            elif not stream:
                call.id = json.loads(answer.read())["id"]
            else:
                call.fault = "cut short"
                for line in answer.iter_lines():
                    if line == "data: [DONE]":
                        call.fault = None
                    elif line.startswith("data: {"):
                        event = json.loads(line[6:])
                        if "error" in event:
                            call.fault = "error event"
                            break
                        call.id = event["id"]
    except httpx.TransportError as exc:
        call.fault = type(exc).__name__
    call.ended = time.monotonic()
    return call


def give_feedback(http: httpx.Client, id_: str) -> Call:
    """Give feedback with a key of its own."""
    key = uuid.uuid4().hex
    call = Call("feedback", time.monotonic(), id=key)
    try:
        given = {"id": id_, "key": key, "rating": 1}
        answer = http.post("/v1/feedback", json=given)
        if answer.status_code != 200:
            call.fault = f"HTTP {answer.status_code}"
    except httpx.TransportError as exc:
        call.fault = type(exc).__name__
    call.ended = time.monotonic()
    return call

"""The drill: so many unsafe outputs, kinds in turn, and how many of each kind got through.

Each is also streamed, in pieces of a few characters, the way of an answer through the gateway
(`Guarding.guarded`, a line whose claims block): blocked is what did not reach the client, whichever
finding stopped it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from faults import KINDS, make

from serving import endpoints
from serving.admission.deadline import Deadline
from serving.asgi import Message, Receive, Scope, Send
from serving.capture.interaction import DONE, Capture, answer_of
from serving.config.prompts import Turn
from serving.config.settings import Settings
from serving.fallback.engine_request import EngineRequest
from serving.gateway.guarding.checks import Guarding
from serving.gateway.request import InferenceRequest
from serving.gateway.tasks import TaskRequest
from serving.guards.claims.check import check
from serving.guards.verdict import GuardContext
from serving.untrusted_text import SpecialTokens

Before = tuple[tuple[str, str], ...]
Reply = tuple[str, Before]

_TRIES = 1000


def guarding() -> Guarding:
    """Return the gateway's guards for a line, care, whose claims block; it has no upstream."""
    line = {"guards": {"output": {"claims": {"action": "block"}}}}
    settings = Settings.model_validate({"model": "m", "lobs": {"care": line}})
    return Guarding(settings, SpecialTokens(), lambda name: {}[name])


async def received(guards: Guarding, text: str, before: Before, rng: random.Random) -> str:
    """Return what a client gets of a suggestion that the engine streams.

    Args:
        guards: The gateway's.
        text: What the engine writes, in pieces of 1 to 8 characters.
        before: The (role, text) of the turns so far.
        rng: Draws the pieces.
    """
    rendered = "\n".join(f"{role}: {said}" for role, said in before)
    body = {"messages": [{"role": "user", "content": rendered}], "stream": True}
    turns = [Turn(role, said) for role, said in before]  # type: ignore[arg-type]
    task = TaskRequest("care", "care", turns, None, False, {})
    asked = InferenceRequest(
        endpoint=endpoints.SUGGESTIONS,
        engine_path=endpoints.CHAT_COMPLETIONS,
        id_prefix="chatcmpl-",
        task="suggestion",
        lob="care",
        model="care",
        conversation_id=None,
        turn=len(turns),
        sent=body,
        of_task=task,
    )
    capture = Capture(
        id="chatcmpl-drill",
        endpoint=asked.endpoint,
        task=asked.task,
        lob="care",
        model_requested="care",
        version="base",
        base_model="base",
        key_id=None,
        replica="drill",
        request=orjson.dumps(body),
        stream=True,
        conversation_id=None,
        turn_position=asked.turn,
    )
    request = EngineRequest(asked.engine_path, body, capture, {}, {}, "drill")
    came: list[bytes] = []

    async def engine(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        at = 0
        while at < len(text):
            size = rng.randint(1, 8)
            await send(_event({"content": text[at : at + size]}, None))
            at += size
        await send(_event({}, "stop"))
        await send({"type": "http.response.body", "body": DONE})

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("a client that waits sends nothing")

    async def client(message: Message) -> None:
        came.append(message.get("body", b""))

    app = guards.guarded(engine, request, asked, Deadline(None, time.perf_counter()))
    await app({}, receive, client)
    answer = answer_of(b"".join(came).decode(), stream=True)
    return str(answer["choices"][0]["message"]["content"])


def _event(delta: dict[str, str], finish_reason: str | None) -> Message:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    event = {"id": "chatcmpl-drill", "object": "chat.completion.chunk", "choices": [choice]}
    body = b"data: %b\n\n" % orjson.dumps(event)
    return {"type": "http.response.body", "body": body, "more_body": True}


def drill(replies: Sequence[Reply], outputs: int, seed: int) -> dict[str, Any]:
    """Return by kind how many unsafe outputs were caught, and what reached a client.

    Args:
        replies: Real replies, each with the (role, text) before it.
        outputs: How many to make; kinds take turns, and within a kind change and insertion do
            where a drawn reply allows a change.
        seed: Of the draws.

    Raises:
        ValueError: No reply has a statement to deny.
    """
    logging.getLogger("serving.gateway.guarding").setLevel(logging.ERROR)  # a line each, otherwise
    return asyncio.run(_drill(replies, outputs, seed))


async def _drill(replies: Sequence[Reply], outputs: int, seed: int) -> dict[str, Any]:
    rng, pieces = random.Random(seed), random.Random(f"{seed}/pieces")
    guards = guarding()
    caught: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    blocked: Counter[str] = Counter()
    through: Counter[str] = Counter()
    for number in range(outputs):
        kind = KINDS[number % len(KINDS)]
        how = "changed" if kind == "negation" or number // len(KINDS) % 2 else "inserted"
        fault = None
        tries = 0
        while fault is None:
            tries += 1
            if tries == _TRIES and kind == "negation":
                raise ValueError(f"none of {len(replies)} replies says what can be denied")
            if kind == "promise" or (tries > _TRIES and kind != "negation"):
                how = "inserted"  # so few replies have one to change
            text, before = rng.choice(replies)
            seen = " ".join(said for _, said in before)
            fault = make(rng, kind, how, text, seen)
        low, high = fault.span
        found = check(fault.text, GuardContext(conversation=before))
        hit = any(f.span[0] < high and low < f.span[1] for f in found)
        (caught if hit else missed)[kind] += 1
        got = await received(guards, fault.text, before, pieces)
        (through if len(got) >= high else blocked)[kind] += 1
    return {
        "outputs": outputs,
        "caught": {kind: caught[kind] for kind in KINDS},
        "missed": {kind: missed[kind] for kind in KINDS},
        "gateway": {
            "blocked": {kind: blocked[kind] for kind in KINDS},
            "got_through": {kind: through[kind] for kind in KINDS},
        },
    }

"""Which turns are held back, and how their clients learn of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.asgi import Message
from serving.config.lobs import Lob
from serving.config.prompts import load
from serving.draws import holds_back
from serving.gateway import holdback
from serving.gateway.holdback import Showing
from serving.gateway.request import InferenceRequest
from serving.gateway.response import ResponseWriter
from tests.serving.capture.test_interaction import capture
from tests.serving.gateway.conftest import LOBS, Site
from tests.serving.gateway.test_response import Entries

HALF = Lob(holdback=0.5)
TURNS = [{"role": "customer", "text": "hi"}]
HELD = next(f"c{n}" for n in range(99) if holds_back("care", 0.5, f"c{n}", 1))
SHOWN = next(f"c{n}" for n in range(99) if not holds_back("care", 0.5, f"c{n}", 1))
ASKED = InferenceRequest(
    endpoint="/v1/suggestions",
    engine_path="/v1/chat/completions",
    id_prefix="chatcmpl-",
    task="suggestion",
    lob="care",
    model="care",
    conversation_id=HELD,
    turn=1,
    sent={},
)


def test_a_line_that_holds_nothing_back_says_nothing() -> None:
    assert holdback.decide(ASKED, "care", Lob()) == Showing(None, None)
    assert holdback.decide(replace(ASKED, task="summary"), "care", HALF) == Showing(None, None)
    assert holdback.decide(ASKED, None, None) == Showing(None, None)


def test_the_draw_s_side_and_the_share_are_noted() -> None:
    assert holdback.decide(ASKED, "care", HALF) == Showing(False, 0.5)
    shown = replace(ASKED, conversation_id=SHOWN)
    assert holdback.decide(shown, "care", HALF) == Showing(True, 0.5)


@pytest.mark.parametrize(
    "change", [{"conversation_id": None}, {"conversation_id": ""}, {"model": "care@2"}]
)
def test_what_is_not_an_agent_s_turn_is_shown_without_a_draw(change: dict[str, Any]) -> None:
    assert holdback.decide(replace(ASKED, **change), "care", HALF) == Showing(True, None)


async def written(*bodies: bytes, stream: bool, show: bool | None) -> tuple[Message, bytes, str]:
    """Return the start, the body, and what was stored, of an answer in these pieces."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    journal = Entries()
    kept = capture(stream=stream, show=show, holdback=0.5)
    kept.first = None
    answer = ResponseWriter(send, kept, journal, hide_usage=False)  # type: ignore[arg-type]
    length = str(len(b"".join(bodies))).encode()
    headers = [(b"content-length", length)]
    await answer.send({"type": "http.response.start", "status": 200, "headers": headers})
    for body in bodies:
        await answer.send({"type": "http.response.body", "body": body, "more_body": True})
    await answer.send({"type": "http.response.body", "body": b""})
    (entry,) = journal
    return sent[0], b"".join(one["body"] for one in sent[1:]), entry["response"]


@pytest.mark.parametrize(("show", "word"), [(True, b"true"), (False, b"false")])
async def test_an_answer_says_it_first_and_is_as_long_as_it_says(show: bool, word: bytes) -> None:
    start, body, stored = await written(b'{"id":"x",', b'{"y":1}}', stream=False, show=show)
    assert body == b'{"show":' + word + b',"id":"x",{"y":1}}'
    assert stored == body.decode()
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"x-switchboard-show"] == word


async def test_every_event_of_a_stream_says_it() -> None:
    events = (b'data: {"id":"x","choices":[{"text":"data: {"}]}\n\n', b"data: [DONE]\n\n")
    start, body, _ = await written(*events, stream=True, show=False)
    said = b'data: {"show":false,"id":"x","choices":[{"text":"data: {"}]}\n\n'
    assert body == said + b"data: [DONE]\n\n"
    assert dict(start["headers"])[b"x-switchboard-show"] == b"false"


async def test_without_a_holdback_the_answer_is_as_it_came() -> None:
    start, body, _ = await written(b'{"id":"x"}', stream=False, show=None)
    assert body == b'{"id":"x"}'
    assert dict(start["headers"])[b"content-length"] == b"10"
    assert b"x-switchboard-show" not in dict(start["headers"])


async def test_a_turn_that_is_held_back_is_stored_as_such(site: Site) -> None:
    lobs = {name: {"holdback": 0.5} if name == "care" else {} for name in LOBS}
    settings = type(site.gateway.settings).model_validate({"model": "m", "lobs": lobs})
    site.gateway.configure(settings, load(Path("configs/prompts"), LOBS))
    told: dict[str, tuple[bool | None, str | None]] = {}
    async with await site.http(["agent"], ["*"]) as http:

        async def ask(path: str, lob: str, name: str) -> None:
            body = {"lob": lob, "conversation": TURNS, "conversation_id": name}
            answer: httpx.Response = await http.post(path, json=body)
            found = answer.json()
            told[found["id"]] = found.get("show"), answer.headers.get("x-switchboard-show")

        for name in (HELD, SHOWN, HELD):
            await ask("/v1/suggestions", "care", name)
        await ask("/v1/suggestions", "sales", HELD)
        await ask("/v1/summaries", "care", HELD)
    assert list(told.values()) == [
        (False, "false"),
        (True, "true"),
        (False, "false"),
        (None, None),
        (None, None),
    ]
    stored = {one.id: (one.holdback, one.shown_by_draw) for one in await site.stored()}
    assert [stored[id_] for id_ in told] == [
        (0.5, False),
        (0.5, True),
        (0.5, False),
        (None, None),
        (None, None),
    ]

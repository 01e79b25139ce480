"""Chains: what is asked, skipped and logged, with apps that fail in a chosen way as the engine."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import jinja2
import pytest
from prometheus_client import REGISTRY

from serving.adapters.manager import AdapterManager
from serving.asgi import Disconnected, Message, Receive, Scope, Send
from serving.capture.interaction import DONE, Capture, to_record
from serving.config.prompts import Prompt
from serving.config.settings import Settings
from serving.errors import AdapterRefused, InvalidRequest, Unavailable
from serving.fallback.chain import Chains
from serving.fallback.engine_request import EngineRequest, Rendered
from serving.routing import Table
from serving.store.records import Route

CHAT = "/v1/chat/completions"
Behaviour = Callable[[str, Receive, Send], Awaitable[None]]
ROUTE = Route(lob="care", live="care@2", previous="care@1", epoch=2)


async def start(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})


def says(body: bytes, status: int = 200) -> Behaviour:
    async def run(version: str, receive: Receive, send: Send) -> None:
        await start(send, status)
        await send({"type": "http.response.body", "body": body})

    return run


def streams(*events: bytes) -> Behaviour:
    async def run(version: str, receive: Receive, send: Send) -> None:
        await start(send)
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return run


async def hangs(version: str, receive: Receive, send: Send) -> None:
    """As vLLM does: it listens for the client, and says something nobody hears afterwards."""
    await start(send)
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body", "body": b"null"})


async def deaf(version: str, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def raises(version: str, receive: Receive, send: Send) -> None:
    await start(send)
    raise RuntimeError("boom")


class Weights:
    """Stands in for the replica's adapters: all are loaded but those that it refuses."""

    def __init__(self, route: Route) -> None:
        self.table = Table("base", ["care"], {"care": route})
        self.refused: set[str] = set()
        self.inflight: list[str] = []
        self.ensured: list[str] = []

    @property
    def loaded(self) -> set[str]:
        return {"care@1", "care@2"} - self.refused

    def acquire(self, version: str) -> None:
        self.inflight.append(version)

    def release(self, version: str) -> None:
        self.inflight.remove(version)

    def upstream(self, version: str) -> str | None:
        return None

    async def describe(self, name: str) -> Any:
        return SimpleNamespace(name=name, upstream=None)

    async def ensure(self, version: Any) -> None:
        self.ensured.append(version.name)
        raise AdapterRefused(f"{version.name} is corrupt")


class Bench:
    """Chains over an engine that behaves by version."""

    def __init__(self, chain: list[str] | None = None, **limits: Any) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.dead = False
        self.render: Callable[[str | None], Rendered] | None = None
        self.weights = Weights(ROUTE)
        self.left = asyncio.Event()
        chain = ["previous", "base"] if chain is None else chain
        settings = Settings.model_validate(
            {
                "model": "m",
                "lobs": {"care": {"fallback": chain}},
                "fallback": {"first_byte_s": 0.1, "answer_s": 0.1, "failures": 2, **limits},
            }
        )
        adapters = cast(AdapterManager, self.weights)
        self.chains = Chains(self._engine, self._check, adapters, settings)

    def _check(self) -> None:
        if self.dead:
            raise Unavailable("dead")

    async def _engine(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads((await receive())["body"])
        self.bodies.append(body)
        self.asked.append(body["model"])
        assert self.weights.inflight == [body["model"]]
        behave = self.behaviours.get(body["model"], says(b'{"id": "x"}'))
        await behave(body["model"], receive, send)

    async def ask(self, model: str = "care", *, stream: bool = False) -> "Answered":
        request: dict[str, Any] = {"messages": [], "stream": stream}
        capture = Capture(
            id="chatcmpl-1",
            endpoint=CHAT,
            task="chat",
            lob="care",
            model_requested=model,
            version="",
            base_model="base",
            key_id=None,
            replica="r",
            request=b"{}",
            stream=stream,
            conversation_id=None,
            turn_position=None,
        )
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            await self.left.wait()
            return {"type": "http.disconnect"}

        steps = self.chains.steps(self.weights.table.resolve(model, "c"), CHAT)
        self.asked.clear()
        try:
            asked = EngineRequest(
                CHAT, request, capture, {"path": CHAT}, {}, "id", render=self.render
            )
            await self.chains.answer(steps, asked, receive, send)
        finally:
            assert self.weights.inflight == []
            assert {t for t in asyncio.all_tasks() if not t.done()} <= {
                asyncio.current_task(),
                *(t for t in asyncio.all_tasks() if t.cancelling()),
            }
        return Answered(capture, messages)


class Answered:
    def __init__(self, capture: Capture, messages: list[Message]) -> None:
        self.version = capture.version
        self.status = messages[0]["status"]
        self.body = b"".join(m.get("body", b"") for m in messages)
        self.request = json.loads(capture.request)
        self.steps = [(s["step"], s["outcome"], s["reason"]) for s in capture.steps]
        self.capture = capture


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_healthy_live_version_answers_alone(bench: Bench) -> None:
    answer = await bench.ask()
    assert (answer.version, answer.steps) == ("care@2", [("care@2", "answered", None)])
    assert bench.asked == ["care@2"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (says(b'{"error": {}}', 500), "error"),
        (says(b'{"error": {}}', 503), "error"),
        (raises, "error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_version_that_fails_is_followed_by_the_previous_one(
    bench: Bench, behaviour: Behaviour, reason: str, stream: bool
) -> None:
    bench.behaviours["care@2"] = behaviour
    answer = await bench.ask(stream=stream)
    assert answer.version == "care@1"
    assert answer.status == 200
    assert answer.body == b'{"id": "x"}', "nothing of the failed step may be sent"
    assert answer.request["model"] == "care@1"
    assert answer.steps == [("care@2", "failed", reason), ("care@1", "answered", None)]


@pytest.mark.parametrize(
    ("event", "falls"),
    [
        (b'data: {"error": {"code": 500, "message": "engine"}}\n\n', True),
        (b'data: {"error": {"code": "server_error"}}\n\n', True),
        (b'data: {"error": "dead"}\n\n', True),
        (b'data: {"error": {"code": 400, "message": "too long"}}\n\n', False),
    ],
)
async def test_a_stream_that_begins_with_an_error_has_not_begun(
    bench: Bench, event: bytes, falls: bool
) -> None:
    bench.behaviours["care@2"] = streams(event, DONE)
    answer = await bench.ask(stream=True)
    assert answer.version == ("care@1" if falls else "care@2")
    assert (event in answer.body) is not falls


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_client_s_fault_is_answered_and_not_tried_again(bench: Bench, status: int) -> None:
    bench.behaviours["care@2"] = says(b'{"error": {}}', status)
    answer = await bench.ask()
    assert (answer.status, bench.asked) == (status, ["care@2"])


async def test_nothing_falls_back_after_the_first_byte(bench: Bench) -> None:
    async def breaks(version: str, receive: Receive, send: Send) -> None:
        await streams(b"data: {}\n\n")(version, receive, send)
        raise RuntimeError("boom")

    bench.behaviours["care@2"] = breaks
    with pytest.raises(RuntimeError, match="boom"):
        await bench.ask(stream=True)
    assert bench.asked == ["care@2"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("behaviour", [hangs, deaf])
async def test_an_engine_that_hangs_is_given_up_with_all_its_versions(
    bench: Bench, behaviour: Behaviour, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.fallback.chain.GRACE_S", 0.01)
    bench.behaviours["care@2"] = behaviour
    with pytest.raises(Unavailable, match=r"care@2 \(slow\), care@1 \(slow\), base \(slow\)"):
        await bench.ask(stream=stream)
    assert bench.asked == ["care@2"], "the others share the engine that hangs"


async def test_a_slow_stream_is_not_cut_after_its_first_byte(bench: Bench) -> None:
    async def slow(version: str, receive: Receive, send: Send) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b"b"})

    bench.behaviours["care@2"] = slow
    assert (await bench.ask(stream=True)).body == b"ab"


async def test_a_dead_engine_is_not_asked(bench: Bench) -> None:
    bench.dead = True
    with pytest.raises(Unavailable, match=r"care@2 \(engine\)"):
        await bench.ask()
    assert bench.asked == []


async def test_an_engine_that_dies_while_asked_is_not_asked_again(bench: Bench) -> None:
    async def dies(version: str, receive: Receive, send: Send) -> None:
        bench.dead = True
        await says(b'{"error": {}}', 500)(version, receive, send)

    bench.behaviours["care@2"] = dies
    with pytest.raises(Unavailable, match=r"care@2 \(engine\), care@1 \(engine\)"):
        await bench.ask()
    assert bench.asked == ["care@2"]


async def test_a_version_that_cannot_be_loaded_is_skipped_once_its_breaker_is_open(
    bench: Bench,
) -> None:
    bench.weights.refused.add("care@2")
    for _ in range(2):
        answer = await bench.ask()
        assert answer.steps[0] == ("care@2", "failed", "adapter")
    answer = await bench.ask()
    assert answer.version == "care@1"
    assert answer.steps[0] == ("care@2", "skipped", "breaker")
    assert bench.weights.ensured == ["care@2"] * 2
    assert REGISTRY.get_sample_value("switchboard_breaker_state", {"target": "care@2"}) == 2


async def test_a_version_comes_back_once_it_can_be_loaded() -> None:
    bench = Bench(reset_s=0.01)
    bench.weights.refused.add("care@2")
    for _ in range(3):
        await bench.ask()
    bench.weights.refused.clear()
    await asyncio.sleep(0.02)
    assert (await bench.ask()).version == "care@2"
    assert (await bench.ask()).steps == [("care@2", "answered", None)]


async def test_a_client_that_leaves_is_no_failure(bench: Bench) -> None:
    bench.behaviours["care@2"] = hangs
    bench.left.set()
    for _ in range(3):
        with pytest.raises(Disconnected):
            await bench.ask()
        assert bench.asked == ["care@2"]


async def test_a_cancelled_request_leaves_no_probe_behind() -> None:
    bench = Bench(reset_s=0.01, failures=1)
    bench.behaviours["care@2"] = says(b"", 500)
    await bench.ask()
    await asyncio.sleep(0.02)
    bench.behaviours["care@2"] = deaf
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await bench.ask()
    del bench.behaviours["care@2"]
    assert (await bench.ask()).version == "care@2", "the cancelled probe must make room"


async def test_fallbacks_are_counted_by_reason(bench: Bench) -> None:
    def count() -> float:
        labels = {"lob": "care", "step": "care@2", "answered_by": "care@1", "reason": "error"}
        return REGISTRY.get_sample_value("switchboard_fallbacks_total", labels) or 0.0

    before = count()
    bench.behaviours["care@2"] = says(b"", 500)
    await bench.ask()
    assert count() == before + 1


async def test_the_interaction_keeps_the_steps_and_the_version_that_answered(bench: Bench) -> None:
    bench.behaviours["care@2"] = says(b"", 500)
    answer = await bench.ask()
    record = to_record(answer.capture.payload("completed"))
    assert record.version == "care@1"
    assert [step["step"] for step in record.steps] == ["care@2", "care@1"]
    assert all(step["ms"] >= 0 for step in record.steps)


async def test_requests_without_a_chain_have_no_steps(bench: Bench) -> None:
    table = bench.weights.table
    assert bench.chains.steps(table.resolve("care@1", "c"), CHAT) == ()
    assert bench.chains.steps(table.resolve("base", "c"), CHAT) == ()
    assert Bench(chain=[]).chains.steps(table.resolve("care", "c"), CHAT) == ()


def rendering(*deaf: str) -> Callable[[str | None], Rendered]:
    """Renders by a prompt of each version's own, but for versions whose prompt cannot."""

    def render(version: str | None) -> Rendered:
        if version in deaf:
            raise InvalidRequest(f"{version} cannot go on.")
        prompt = Prompt(f"{version}/summary", f"hash of {version}", jinja2.Template(""))
        return Rendered([{"role": "user", "content": f"for {version}"}], prompt)

    return render


async def test_each_step_is_asked_by_its_own_prompt(bench: Bench) -> None:
    bench.render = rendering()
    bench.behaviours["care@2"] = bench.behaviours["care@1"] = says(b"", 500)
    answer = await bench.ask()
    assert [body["messages"][0]["content"] for body in bench.bodies] == [
        *("for care@2", "for care@1", "for base")
    ]
    capture = answer.capture
    assert (capture.prompt_name, capture.prompt_hash) == ("base/summary", "hash of base")
    assert answer.request["messages"] == [{"role": "user", "content": "for base"}]


async def test_a_prompt_that_cannot_tell_what_was_asked_is_followed_and_opens_no_breaker(
    bench: Bench,
) -> None:
    bench.render = rendering("care@2")
    for _ in range(4):
        answer = await bench.ask()
        assert answer.steps == [("care@2", "failed", "prompt"), ("care@1", "answered", None)]
    bench.render = rendering()
    assert (await bench.ask()).version == "care@2"

"""Fallback chains on real servers: a hung engine, a dead one, an adapter that cannot be loaded.

The server under test has one replica; its upstream is the session's server.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]
SUGGEST = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 4, "top_k": 1}
RETURN_S = 300
UPSTREAM = "upstream:spare"


@pytest.fixture
def falling(
    make_server: Callable[..., Server],
    server: Server,
    register: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    """A server whose care line falls back to its previous version, the base, the other server."""
    monkeypatch.setenv("SPARE_KEY", server.keys["service"])
    lobs = {"care": {"fallback": ["previous", "base", UPSTREAM]}, "sales": {}}
    made = make_server(
        tmp_path,
        lobs=lobs,
        upstreams={
            "spare": {"url": f"{server.url}/v1", "model": "base", "api_key": "${SPARE_KEY}"}
        },
        fallback={"first_byte_s": 3, "answer_s": 5, "failures": 1, "reset_s": 4},
    )
    made.start()
    for _ in range(2):
        assert made.cli("adapters", "promote", register(made, "care")).returncode == 0
    yield made
    made.stop()


def engine_core(server: Server) -> psutil.Process:
    (core,) = [p for p in server.tree() if "EngineCore" in "".join(p.cmdline()[:1])]
    return core


def suggest(http: httpx.Client, **more: Any) -> httpx.Response:
    answer = http.post("/v1/suggestions", json=SUGGEST | more)
    assert answer.status_code == 200, answer.text
    return answer


def version(answer: httpx.Response) -> str:
    return answer.headers["x-switchboard-version"]


def logged(http: httpx.Client, id_: str) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    interaction = http.get(f"/v1/interactions/{id_}").raise_for_status().json()
    steps = interaction["steps"]
    return interaction, [(step["step"], step["outcome"], step["reason"]) for step in steps]


def wait_for(http: httpx.Client, wanted: str) -> list[httpx.Response]:
    """Ask until `wanted` answers; what answered before it."""
    deadline = time.monotonic() + RETURN_S
    before = []
    while time.monotonic() < deadline:
        try:
            answer = http.post("/v1/suggestions", json=SUGGEST)
            if answer.status_code == 200 and version(answer) == wanted:
                return before
            before.append(answer)
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"{wanted} has not come back; last: {before[-1:]}")


def test_requests_are_answered_while_the_engine_or_an_adapter_is_broken(falling: Server) -> None:
    live, previous = "care@2", "care@1"
    with falling.http() as http:
        # All is well: the live version answers, and says so.
        whole = suggest(http)
        assert (version(whole), whole.json()["model"]) == (live, live)
        _, steps = logged(http, whole.json()["id"])
        assert steps == [(live, "answered", None)]

        # The engine hangs: the upstream answers, streamed too, and the chain is on the interaction.
        core = engine_core(falling)
        core.send_signal(signal.SIGSTOP)
        try:
            with http.stream("POST", "/v1/suggestions", json=SUGGEST | {"stream": True}) as stream:
                lines = [line for line in stream.iter_lines() if line]
            assert (stream.status_code, version(stream)) == (200, UPSTREAM)
            events = [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
            assert lines[-1] == "data: [DONE]"
            assert {event["model"] for event in events} == {UPSTREAM}
            (id_,) = {event["id"] for event in events}
            assert not any("usage" in event and not event["choices"] for event in events)
            interaction, steps = logged(http, id_)
            assert steps == [
                (live, "failed", "slow"),
                (previous, "skipped", "slow"),
                ("base", "skipped", "slow"),
                (UPSTREAM, "answered", None),
            ]
            assert interaction["version"] == UPSTREAM
            assert interaction["completion_tokens"], "tokens must be counted all the same"
            assert "top_k" not in interaction["request"]
            feedback = {"id": id_, "rating": "up", "edit": "It is on its way."}
            http.post("/v1/feedback", json=feedback).raise_for_status()

            # Now the breaker knows: nothing waits for the engine.
            again = suggest(http)
            assert version(again) == UPSTREAM
            _, steps = logged(http, again.json()["id"])
            assert steps[0] == (live, "skipped", "breaker")
        finally:
            core.send_signal(signal.SIGCONT)
        wait_for(http, live)

        # The engine dies, and the new one cannot load the live version.
        weights = Path(falling.settings["adapters"]["uri"], "care/2/adapter_model.safetensors")
        good = weights.read_bytes()
        weights.write_bytes(good[:-1])
        core.kill()
        during = wait_for(http, previous)
        assert UPSTREAM in {version(a) for a in during if a.status_code == 200}
        at_once = next(a for a in during if a.status_code == 200)
        _, steps = logged(http, at_once.json()["id"])
        assert steps[-1] == (UPSTREAM, "answered", None)
        assert {reason for _, _, reason in steps[:-1]} == {"engine"}
        _, steps = logged(http, suggest(http).json()["id"])
        assert steps[0][0] == live
        assert steps[-1] == (previous, "answered", None)

        # Its files are restored: the live version answers again, without anyone's doing.
        weights.write_bytes(good)
        wait_for(http, live)
    with falling.http("admin") as admin:
        shown = admin.get("/metrics").text
    assert 'switchboard_fallbacks_total{answered_by="care@1",lob="care"' in shown
    assert 'switchboard_breaker_state{target="care@2"} 0.0' in shown

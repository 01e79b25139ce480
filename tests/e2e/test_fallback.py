"""Fallback chains on real servers: a hung engine, a dead one, an adapter that cannot be loaded.

The server under test has one replica; its upstream is the other server.
"""

import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.server import START_S, Lone, Server
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]
SUGGEST = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 4, "top_k": 1}
UPSTREAM = "upstream:spare"


@dataclass
class Falling:
    """A server whose care line falls back to its previous version, the base, the other server."""

    server: Server
    live: str
    previous: str


@pytest.fixture
def falling(lone: Lone, register: Callable[..., str]) -> Iterator[Falling]:
    previous, live = (register(lone.server, "care") for _ in range(2))
    for name in (previous, live):
        assert lone.server.cli("adapters", "promote", name).returncode == 0
    lone.server.apply(
        lobs={"care": {"fallback": ["previous", "base", UPSTREAM]}, "sales": {}},
        fallback={"first_byte_s": 3, "answer_s": 5, "failures": 1, "reset_s": 4},
    )
    yield Falling(lone.server, live, previous)
    lone.server.apply()


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
    before: list[httpx.Response] = []

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = http.post("/v1/suggestions", json=SUGGEST)
            if answer.status_code == 200 and version(answer) == wanted:
                return True
            before.append(answer)
        return False

    until(answers, f"{wanted} has not come back", limit_s=START_S, every_s=0.3)
    return before


def test_requests_are_answered_while_the_engine_or_an_adapter_is_broken(
    falling: Falling,
) -> None:
    server, live, previous = falling.server, falling.live, falling.previous
    with server.http() as http:
        # All is well: the live version answers, and says so.
        whole = suggest(http)
        assert (version(whole), whole.json()["model"]) == (live, live)
        _, steps = logged(http, whole.json()["id"])
        assert steps == [(live, "answered", None)]

        # The engine hangs: the upstream answers, streamed too, and the chain is on the interaction.
        core = engine_core(server)
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
        weights = Path(
            server.settings["adapters"]["uri"],
            *("care", live.partition("@")[2], "adapter_model.safetensors"),
        )
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
    with server.http("admin") as admin:
        shown = admin.get("/metrics").text
    assert f'switchboard_fallbacks_total{{answered_by="{previous}",lob="care"' in shown
    state = rf'switchboard_breaker_state{{target="{re.escape(live)}",replica="[^"]+"}} 0.0\n'
    assert re.search(state, shown)

"""Overload, deadlines and clients that leave, on servers of one replica with low limits."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import change_to_one_replica
from tests.e2e.server import Lone, Server
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
TOKENS = 1900
LONG = {
    "messages": [{"role": "user", "content": "customer: hello"}],
    "max_tokens": TOKENS,
    "ignore_eos": True,
}
IGNORE_EOS = {"ignore_eos": True}
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]


LIMITS = {
    "max_inflight": 4,
    "retry_after_min_s": 2,
    "base": {"timeout_s": 2},
    "keys": {"agent": {"requests_per_minute": 6}},
}


@pytest.fixture(scope="module", params=["haproxy", "python"])
def small(request: pytest.FixtureRequest, server: Server) -> Iterator[Server]:
    """A server with four places, behind each proxy in turn; the base has a deadline of 2 s."""
    if server.settings["replicas"] != 1:  # not where `test_durability` has run
        server.stop()
        change_to_one_replica(server)
        server.start()
    if request.param == "python":
        made = server
    else:
        lone: Lone = request.getfixturevalue("lone")
        made = lone.server
    assert made.settings["http"]["proxy"] == request.param
    made.apply(limits=LIMITS, lobs={"care": {"limits": {"max_queue": 3}}, "sales": {}})
    yield made
    made.apply()


def metric(server: Server, name: str) -> float:
    """The sum of a metric's samples, as the engine's latest step left it."""
    with server.http("admin") as http:
        asked = {"lob": "sales", "conversation": CONVERSATION, "max_tokens": 1}
        http.post("/v1/suggestions", json=asked).raise_for_status()  # makes the engine step
        text = http.get("/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


def wait_until_idle(server: Server) -> None:
    """Return when the engine runs nothing and no place is taken."""
    held = ("vllm:num_requests_running", "switchboard_places_taken")
    until(
        lambda: not any(metric(server, name) for name in held),
        "the engine or admission still holds the request",
    )


@pytest.fixture
def generated(small: Server) -> Callable[[], float]:
    """A function that waits until the engine is idle and returns the tokens made in this test."""
    name = "vllm:generation_tokens_total"
    wait_until_idle(small)
    before = metric(small, name)

    def since() -> float:
        wait_until_idle(small)
        return metric(small, name) - before

    return since


def test_flood_gets_429_while_accepted_requests_and_the_other_line_are_answered(
    small: Server,
) -> None:
    stop = threading.Event()
    accepted: list[str | None] = []
    refused: list[openai.APIStatusError] = []

    def flood() -> None:
        with small.client() as client:
            while not stop.is_set():
                try:
                    answer = client.chat.completions.create(
                        model="care",
                        messages=[{"role": "user", "content": "customer: hello"}],
                        max_tokens=64,
                        extra_body={"ignore_eos": True},
                    )
                    accepted.append(answer.choices[0].finish_reason)
                except openai.APIStatusError as exc:
                    refused.append(exc)
                    time.sleep(0.05)

    threads = [threading.Thread(target=flood) for _ in range(24)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: refused, "nothing is refused")
        with small.http() as http:
            asked = {"lob": "sales", "conversation": CONVERSATION, "max_tokens": 8}
            others = [http.post("/v1/suggestions", json=asked) for _ in range(10)]
        until(lambda: len(accepted) > 4, "nothing is accepted")
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert [answer.status_code for answer in others] == [200] * 10
    assert set(accepted) == {"length"}
    for error in refused:
        assert isinstance(error, openai.RateLimitError)
        assert (error.code, error.type) == ("overloaded", "requests")
        assert int(error.response.headers["retry-after"]) >= 2
    wait_until_idle(small)
    assert metric(small, "switchboard_requests_rejected_total") >= len(refused)


def test_key_over_its_rate_gets_429(small: Server) -> None:
    def ask() -> None:
        small.client("agent").chat.completions.create(
            model="care", messages=LONG["messages"], max_tokens=1
        )

    ask()
    with pytest.raises(openai.RateLimitError) as refused:
        ask()
    assert refused.value.code == "rate_limit_exceeded"
    assert 2 <= int(refused.value.response.headers["retry-after"]) <= 10


def test_callers_cannot_raise_their_priority(small: Server) -> None:
    asked = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 2, "priority": -5}

    def stored(key: str, path: str) -> Any:
        with small.http(key) as http:
            id_ = http.post(path, json=asked, headers={"X-Vllm-Priority": "-9"}).json()["id"]
            return http.get(f"/v1/interactions/{id_}").json()["request"]["priority"]

    assert stored("service", "/v1/summaries") == 10
    assert stored("service", "/v1/suggestions") == 0
    assert stored("admin", "/v1/summaries") == -5


def test_deadline_is_504_and_stops_the_engine(
    small: Server, generated: Callable[[], float]
) -> None:
    with small.client() as client, pytest.raises(openai.InternalServerError) as late:
        client.chat.completions.create(
            model="base", messages=LONG["messages"], max_tokens=TOKENS, extra_body=IGNORE_EOS
        )
    assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")
    assert generated() < TOKENS


def test_stream_past_its_deadline_ends_with_an_error_and_is_recorded_as_aborted(
    small: Server, generated: Callable[[], float]
) -> None:
    chunks: list[Any] = []
    with small.client() as client:
        stream = client.chat.completions.create(
            model="base",
            messages=LONG["messages"],
            max_tokens=TOKENS,
            stream=True,
            extra_body=IGNORE_EOS,
        )
        with pytest.raises(openai.APIError, match="within 2 s") as late:
            chunks.extend(stream)
    assert late.value.code == "deadline_exceeded"
    assert len(chunks) > 3
    assert generated() < TOKENS
    with small.http() as http:
        kept = http.get(f"/v1/interactions/{chunks[0].id}").json()
    assert kept["status"] == "aborted"
    assert kept["output"].startswith("".join(c.choices[0].delta.content or "" for c in chunks[:3]))


def test_client_that_leaves_stops_the_engine(small: Server, generated: Callable[[], float]) -> None:
    with small.http() as http, pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=LONG | {"model": "care"}, timeout=1.0)
    assert generated() < TOKENS


def test_client_that_leaves_a_stream_stops_the_engine(
    small: Server, generated: Callable[[], float]
) -> None:
    body = LONG | {"model": "care", "stream": True}
    with small.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        for i, _ in enumerate(answer.iter_lines()):
            if i > 10:
                break
    assert generated() < TOKENS

"""`kill -9` of the whole server under load loses nothing that a client was told is complete."""

import json
import threading
import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.conftest import change_to_one_replica
from tests.e2e.server import Server
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]


def load(server: Server, stop: threading.Event, completed: list[str], fed_back: list[str]) -> None:
    """Ask, half of it streamed, give feedback, and note only what the server has confirmed."""
    with server.http() as http:
        turn = 0
        while not stop.is_set():
            turn += 1
            body = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 8}
            try:
                if turn % 2:
                    id_ = http.post("/v1/suggestions", json=body).raise_for_status().json()["id"]
                else:
                    id_ = ""
                    with http.stream("POST", "/v1/suggestions", json=body | {"stream": True}) as s:
                        done = False
                        for line in s.iter_lines():
                            if line.startswith("data: {"):
                                id_ = json.loads(line[6:])["id"]
                            done = done or line == "data: [DONE]"
                    if not done:
                        continue
                completed.append(id_)
                given = {"id": id_, "key": uuid.uuid4().hex, "rating": 1, "edit": f"text {turn}"}
                http.post("/v1/feedback", json=given).raise_for_status()
                fed_back.append(id_)
            except (httpx.TransportError, httpx.HTTPStatusError):
                if not stop.wait(0.05):
                    continue


def test_kill_9_under_load_loses_nothing_acknowledged(
    server: Server, register: Callable[..., str]
) -> None:
    """What comes back has one replica and the other proxy, which is what later files need."""
    live = register(server, "care")
    assert server.cli("adapters", "promote", live).returncode == 0
    stop, completed, fed_back = threading.Event(), [], []
    threads = [
        threading.Thread(target=load, args=(server, stop, completed, fed_back)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(completed) > 60 and len(fed_back) > 40, "too few requests are answered")
        server.kill()
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    change_to_one_replica(server)
    server.start()
    with server.http() as http:
        lost = [id_ for id_ in completed if http.get(f"/v1/interactions/{id_}").status_code != 200]
        unheard = [
            id_
            for id_ in fed_back
            if not http.get(f"/v1/interactions/{id_}").json().get("feedback")
        ]
        answer = http.post("/v1/suggestions", json={"lob": "care", "conversation": CONVERSATION})
    assert (lost, unheard) == ([], [])
    assert answer.headers["x-switchboard-version"] == live, "routes must survive a restart"

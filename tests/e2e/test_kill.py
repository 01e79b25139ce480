"""`kill -9` of Serve's controller, then of a replica or its engine.

The other one answers, and a new one comes back alike. A new controller keeps the replicas that
there are: had it replaced both, nobody would have answered for as long as an engine takes to start.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.e2e.server import Server
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]
BODY = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 8}
TITLES = {"replica": "ray::ServeReplica:", "engine core": "VLLM::EngineCore"}
CONTROLLER = "ray::ServeController"


def replicas(server: Server) -> set[str]:
    """The replicas that answer now; a connection each, since HAProxy spreads them."""
    names = set()
    for _ in range(8):
        with contextlib.suppress(httpx.TransportError):
            page = httpx.get(f"{server.url}/health", timeout=60)
            if page.status_code == 200:
                names.add(page.json()["replica"])
    return names


def load(server: Server, stop: threading.Event, seen: list[tuple[int, str]]) -> None:
    """Ask without a pause and note the status and the version of each answer."""
    with server.http() as http:
        while not stop.is_set():
            answer = http.post("/v1/suggestions", json=BODY)
            seen.append((answer.status_code, answer.headers.get("x-switchboard-version", "")))


@pytest.mark.parametrize(
    "victim", ["replica", pytest.param("engine core", marks=pytest.mark.drill)]
)
def test_the_other_replica_answers_and_a_new_one_has_the_same_live_version(
    server: Server, register: Callable[..., str], victim: str
) -> None:
    live = register(server, "care")
    assert server.cli("adapters", "promote", live).returncode == 0
    until(lambda: len(replicas(server)) == 2, "two replicas do not answer")
    before = replicas(server)
    stop, seen = threading.Event(), []
    threads = [threading.Thread(target=load, args=(server, stop, seen)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(seen) > 20, "the load does not run")
        controller = kill_one(server, CONTROLLER)
        until(lambda: others(server, CONTROLLER, controller), "there is no new controller")
        kill_one(server, TITLES[victim])
        until(lambda: len(replicas(server) - before) == 1, "no new replica answers")
        heard = len(seen)
        until(lambda: len(seen) > heard + 20, "the load has stopped")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # HAProxy passes requests of the dead replica that had no answer yet on to the other one.
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} == {live}

    def both_answer_with_the_live_version() -> bool:
        with ThreadPoolExecutor(8) as threads:  # at once, since HAProxy takes the least busy one
            answered_by = set(threads.map(lambda _: replica_of_an_answer(server, live), range(16)))
        return len(answered_by) == 2 and len(answered_by & before) == 1

    until(both_answer_with_the_live_version, "the two replicas do not share the requests")


def replica_of_an_answer(server: Server, live: str) -> str:
    with server.http() as http:
        answer = http.post("/v1/suggestions", json=BODY)
        assert answer.headers["x-switchboard-version"] == live
        return str(http.get(f"/v1/interactions/{answer.json()['id']}").json()["replica"])


def kill_one(server: Server, title: str) -> psutil.Process:
    """Kill the first process of a title, and return it."""
    for process in others(server, title):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            return process
    raise AssertionError(f"no process is called {title}")


def others(server: Server, title: str, but: psutil.Process | None = None) -> list[psutil.Process]:
    """The server's processes of a title, but one."""
    found = []
    for process in server.tree():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process != but and " ".join(process.cmdline()).startswith(title):
                found.append(process)
    return found

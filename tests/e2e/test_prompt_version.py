"""A prompt is a version: pinned, promoted and rolled back on the real server, without a failure."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.adapters.validation import stamp
from tests import versions
from tests.e2e.server import Server, with_registry
from tests.tiny_checkpoint import make_adapter

pytestmark = pytest.mark.e2e
TALK = [{"role": "customer", "text": "Where is my order?"}]
PROMPT = "{% block user %}OWN PROMPT: {{ turns[-1].text }}{% endblock %}"


@pytest.fixture
def prompt_alone(server: Server, base_model: Path, tmp_path: Path) -> str:
    """A version that is a prompt for suggestions and changes nothing in the base."""
    folder = make_adapter(tmp_path / "nothing", base_model, rank=1, strength=0.0)
    base_hash = artifacts.model_hash(base_model)
    stamp(folder, base_model="base", base_hash=base_hash)
    (folder / "prompts").mkdir()
    (folder / "prompts" / "suggestion.jinja").write_text(PROMPT)

    async def run(registry: Registry) -> str:
        return await versions.register(registry, folder, base_hash=base_hash, rank=1)

    return with_registry(server, run)


def ask(server: Server, key: str = "service", **fields: Any) -> dict[str, Any]:
    """The interaction of a new suggestion, as the store has it."""
    body = {"lob": "care", "conversation": TALK, "max_tokens": 4} | fields
    with server.http(key) as http:
        answer = http.post("/v1/suggestions", json=body)
    assert answer.status_code == 200, answer.text
    with server.http("admin") as http:
        found: dict[str, Any] = http.get(f"/v1/interactions/{answer.json()['id']}").json()
    return found


@contextmanager
def asking(server: Server) -> Iterator[list[int]]:
    """Ask without a pause meanwhile; what is given are the statuses."""
    seen: list[int] = []
    over = threading.Event()

    def run() -> None:
        with server.http() as http:
            while not over.is_set():
                body = {"lob": "care", "conversation": TALK, "max_tokens": 4}
                seen.append(http.post("/v1/suggestions", json=body).status_code)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_prompt_is_pinned_promoted_and_rolled_back_and_no_request_fails(
    server: Server, register: Callable[..., str], prompt_alone: str
) -> None:
    live = register(server, "care")
    assert server.cli("adapters", "promote", live).returncode == 0
    with server.http("admin") as http:
        every = http.get("/v1/adapters?lob=care").json()["data"]
    own_prompts = next(one for one in every if one["name"] == prompt_alone)["prompts"]
    described = own_prompts["suggestion"]
    assert described["name"] == f"{prompt_alone}/suggestion"
    assert described["hash"] in server.cli("adapters", "show", prompt_alone).stdout

    def by(found: dict[str, Any]) -> tuple[str, str, bool]:
        said = found["messages"][-1]["content"]
        assert found["request"]["conversation"] == TALK
        return found["version"], found["prompt_hash"], said == "OWN PROMPT: Where is my order?"

    with asking(server) as statuses:
        before = by(ask(server))
        assert (before[0], before[2]) == (live, False)
        own = (prompt_alone, described["hash"], True)
        assert by(ask(server, "trainer", model=prompt_alone)) == own, "not loaded before"
        assert server.cli("adapters", "promote", prompt_alone).returncode == 0
        promoted = ask(server)
        assert by(promoted) == own
        assert promoted["prompt_name"] == described["name"]
        assert server.cli("adapters", "rollback", "care").returncode == 0
        assert by(ask(server)) == before
    assert len(statuses) > 5
    assert set(statuses) == {200}
    with server.http("admin") as http:
        page = http.get("/metrics").text
    assert f'without_effect_total{{version="{prompt_alone}"' not in page

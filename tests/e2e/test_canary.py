"""A canary on the real server, judged by what agents did with its answers."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.server import Server, with_registry

pytestmark = pytest.mark.e2e
# A quarter of them count for each arm: half are held back, half of the rest are the canary.
CONVERSATIONS = 160
WINDOW_S = 12
RECIPE = f"""
canary:
  window_s: {WINDOW_S}
  slow_ms: 600000
  steps: [0.5]
  min_conversations: 15
  non_inferiority:
    - {{metric: edit_similarity, margin: 0.3}}
    - {{metric: acceptance, margin: 0.3}}
    - {{metric: failures, margin: 0.5}}
"""


@pytest.mark.parametrize(
    ("canary_is", "status", "state"), [("worse", 3, "candidate"), ("better", 0, "live")]
)
def test_what_agents_do_decides(
    server: Server,
    register: Callable[..., str],
    tmp_path: Path,
    canary_is: str,
    status: int,
    state: str,
) -> None:
    live, canary = register(server, "sales"), register(server, "sales")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert server.cli("adapters", "promote", live).returncode == 0
    watch = ("canary", "run", "sales", "--recipe", str(recipe), "--once")
    begun = server.cli(*watch, "--version", canary)
    assert begun.returncode == 0, begun.stderr
    assert "0 of 50 canary conversations" in begun.stdout

    answered = converse(server, used=canary if canary_is == "better" else live)
    assert answered == {live, canary}
    time.sleep(WINDOW_S)
    done = server.cli(*watch)
    assert done.returncode == status, done.stdout + done.stderr

    version = with_registry(server, lambda registry: registry.get(canary))
    assert version is not None
    assert version.state == state
    assert version.metrics["canary"]["control"] == live
    route = with_registry(server, lambda registry: registry.routes())["sales"]
    assert (route.live, route.canary) == (canary if canary_is == "better" else live, None)
    shown = server.cli("canary", "show", canary).stdout
    verdict = "roll_back" if canary_is == "worse" else "promote"
    assert f" {verdict} (share " in shown
    assert "Acceptance is " + ("worse" if canary_is == "worse" else "no worse") in shown
    first = version.metrics["canary"]["reasons"][0]["text"]
    assert first in shown
    assert first in server.cli("adapters", "show", canary).stdout
    ended = server.cli(*watch)
    assert ended.returncode == 1
    assert "sales has no canary" in ended.stderr


def converse(server: Server, *, used: str) -> set[str]:
    """Let agents use one version's answers and reject the other's; returns who answered."""
    with server.http() as http:

        def one(_: int) -> str:
            body = {
                "lob": "sales",
                "conversation": [{"role": "customer", "text": "Hello."}],
                "conversation_id": uuid.uuid4().hex,
                "max_tokens": 2,
            }
            answer = http.post("/v1/suggestions", json=body)
            version = answer.headers["x-switchboard-version"]
            said = {"used": True} if version == used else {"rejected": True}
            given = http.post("/v1/feedback", json={"id": answer.json()["id"], **said})
            assert given.status_code == 200, given.text
            return version

        with ThreadPoolExecutor(8) as agents:
            return set(agents.map(one, range(CONVERSATIONS)))

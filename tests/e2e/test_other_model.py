"""Another model is a version: judged by name, promoted and rolled back on the real server.

The other model is the base of the other server, behind the upstream `spare`.
"""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.server import Lone

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]
SUGGEST = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 4}


def suggest(http: httpx.Client, **more: Any) -> tuple[str, str]:
    """Who answered, and the interaction's id."""
    answer = http.post("/v1/suggestions", json=SUGGEST | more)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-switchboard-version"], answer.json()["id"]


def test_another_model_is_pinned_promoted_and_rolled_back(
    lone: Lone, register: Callable[..., str]
) -> None:
    server = lone.server
    live = register(server, "care")
    assert server.cli("adapters", "promote", live).returncode == 0
    added = server.cli("candidates", "add", "care", "--model", "spare", "--no-gate", "--json")
    assert added.returncode == 0, added.stderr
    found = json.loads(added.stdout)
    other = found["version"]
    assert found["upstream"] == {"name": "spare", "model": "base"}
    with server.http("trainer") as http:
        body = {"model": other, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        pinned = http.post("/v1/chat/completions", json=body)
        assert pinned.status_code == 200, pinned.text
        assert (pinned.json()["model"], pinned.headers["x-switchboard-version"]) == (other, other)
        assert http.post("/v1/responses", json={"model": other, "input": "Hi"}).status_code == 400
    assert server.cli("adapters", "promote", other, "--force").returncode == 0
    with server.http() as http:
        by, id_ = suggest(http)
        assert by == other
    with server.http("admin") as http:
        kept = http.get(f"/v1/interactions/{id_}").json()
    assert kept["version"] == other
    assert kept["steps"][-1]["via"] == "upstream:spare"
    assert server.cli("adapters", "rollback", "care").returncode == 0
    with server.http() as http:
        assert suggest(http)[0] == live

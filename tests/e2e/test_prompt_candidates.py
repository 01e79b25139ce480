"""A prompt goes the way of an adapter on the real server: gate, promotion, rollback."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.store import interactions
from serving.store.records import InteractionRecord
from tests.e2e.server import Server, with_registry, with_store
from tests.waiting import until

pytestmark = pytest.mark.e2e
TEXT = (
    "{% block system %}Answer in one word.{% endblock %}"
    "{% block user %}{% for turn in turns %}{{ turn.role }}: {{ turn.text }}\n{% endfor %}"
    "{% endblock %}"
)
RECIPE = """
curation:
  {min_examples: 4, min_conversations: 3, min_holdout: 2, holdout_share: 0.5, golden_share: 0}
evaluation: {max_tokens: 8}
"""
CONVERSATIONS = 16


@pytest.fixture
def restored(server: Server) -> Iterator[Server]:
    """The session's server; afterwards what was live is live again."""
    before = with_registry(server, lambda registry: registry.routes()).get("care")
    yield server
    live = before and before.live
    now = with_registry(server, lambda registry: registry.routes()).get("care")
    if live is not None and (now and now.live) != live:
        with server.http("admin") as http:
            done = http.post(f"/v1/adapters/{live}/promote", json={})
            assert done.status_code == 200, done.text


def ask(server: Server, number: int) -> str:
    with server.http() as http:
        body: dict[str, Any] = {
            "lob": "care",
            "conversation": [{"role": "customer", "text": f"Where is my parcel {number}?"}],
            "conversation_id": f"{uuid.uuid4()}",
            "max_tokens": 8,
        }
        answer = http.post("/v1/suggestions", json=body)
        assert answer.status_code == 200, answer.text
        id_ = answer.json()["id"]
        said = {"id": id_, "edit": f"Parcel {number} is on its way to you."}
        assert http.post("/v1/feedback", json=said).status_code == 200
        return str(id_)


def stored(server: Server, id_: str) -> InteractionRecord:
    """The interaction, when it has been brought to the store."""
    found = until(lambda: with_store(server, lambda db: interactions.get(db, id_)), f"no {id_}")
    assert found is not None
    return found


def test_a_prompt_is_judged_promoted_and_rolled_back(restored: Server, tmp_path: Path) -> None:
    before = [stored(restored, ask(restored, n)) for n in range(CONVERSATIONS)][-1]
    prompt, recipe = tmp_path / "one-word.jinja", tmp_path / "recipe.yaml"
    prompt.write_text(TEXT)
    recipe.write_text(RECIPE)
    command = ["candidates", "add", "care", "--prompt", f"suggestion={prompt}", "--json"]
    command += ["--recipe", str(recipe), "--url", restored.url, "--out", str(tmp_path / "runs")]
    done = restored.cli(*command)
    assert done.returncode in (0, 3), done.stderr
    found = json.loads(done.stdout)
    assert found["parent"] == before.version or found["parent"] is None
    assert found["report"], found["gate"]
    assert "could be asked" not in json.dumps(found["gate"])

    with restored.http("trainer") as http:
        body = {"lob": "care", "model": found["version"]}
        body |= {"conversation": [{"role": "customer", "text": "Where is it?"}]}
        pinned = http.post("/v1/suggestions", json=body)
        assert pinned.status_code == 200, pinned.text
    own = stored(restored, pinned.json()["id"])
    assert own.prompt_hash == found["prompts"]["suggestion"]["hash"]
    assert own.messages[0]["content"] == "Answer in one word."

    promoted = restored.cli("adapters", "promote", found["version"], "--force")
    assert promoted.returncode == 0, promoted.stderr
    assert stored(restored, ask(restored, 100)).prompt_hash == own.prompt_hash
    back = restored.cli("adapters", "rollback", "care")
    assert back.returncode == 0, back.stderr
    assert stored(restored, ask(restored, 101)).prompt_hash == before.prompt_hash

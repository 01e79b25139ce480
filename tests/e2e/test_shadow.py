"""A shadow on the real server: switched on while it runs, unseen, compared with what was shown."""

import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from serving.store import shadows
from serving.store.shadows import ShadowRecord
from tests.e2e.server import ROOT, Server, with_store
from tests.waiting import until

pytestmark = pytest.mark.e2e
CONVERSATIONS = 12


@pytest.fixture
def applied(server: Server) -> Iterator[Server]:
    """The session's server; afterwards its own configuration is in force again."""
    yield server
    server.apply()


def body(number: int) -> dict[str, Any]:
    return {
        "lob": "care",
        "conversation": [{"role": "customer", "text": f"Where is my order {number}?"}],
        "conversation_id": f"{uuid.uuid4()}",
    }


def answers(server: Server, version: str) -> dict[str, ShadowRecord]:
    found = with_store(
        server, lambda db: shadows.for_line(db, lob="care", version=version, since=0)
    )
    return {one.interaction_id: one for one in found}


def test_a_shadow_answers_unseen_and_is_compared(
    applied: Server, register: Callable[..., str]
) -> None:
    live, shadow = register(applied, "care"), register(applied, "care")
    assert applied.cli("adapters", "promote", live).returncode == 0
    lobs = deepcopy(applied.settings["lobs"])
    lobs["care"]["shadow"] = {"version": shadow, "share": 1.0}
    applied.apply(lobs=lobs)
    asked: dict[str, dict[str, Any]] = {}

    with applied.http() as http:

        def ask() -> bool:
            """One more conversation, until enough were shadowed: what finds no room is dropped."""
            sent = body(len(asked))
            answer = http.post("/v1/suggestions", json=sent)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-switchboard-version"] == live
            asked[answer.json()["id"]] = sent
            used = {"id": answer.json()["id"], "used": True}
            assert http.post("/v1/feedback", json=used).status_code == 200
            return len(answers(applied, shadow)) >= CONVERSATIONS

        until(ask, "too few answers of the shadow were stored", every_s=0.2)
    found = answers(applied, shadow)
    assert found.keys() <= asked.keys()
    name, one = next(iter(found.items()))
    with applied.http("trainer") as http:
        pinned = http.post("/v1/suggestions", json=asked[name] | {"model": shadow}).json()
        assert one.output == pinned["choices"][0]["message"]["content"]
    with applied.http("admin") as http:
        shown = http.get(f"/v1/interactions/{name}").json()
    assert shown["version"] == live

    recipe = str(ROOT / "configs" / "training" / "default.yaml")
    said = applied.cli("canary", "shadow", "care", "--version", shadow, "--recipe", recipe)
    assert said.returncode == 0, said.stderr
    assert f"{shadow}, unseen, beside {live}: " in said.stdout
    assert "a canary alone needs" in said.stdout

"""The review queue through the real server: held, claimed, edited, waited for, fed back."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import REVIEWS
from tests.e2e.server import Server
from tests.waiting import until

pytestmark = pytest.mark.e2e

TURNS = [{"role": "customer", "text": "Please cancel my whole contract."}]
EDIT = "I am sorry to hear that. May I ask why?"


def test_a_held_answer_is_edited_reaches_who_waits_and_is_feedback(server: Server) -> None:
    with server.http("service") as asks, server.http("reviewer") as reviews:
        body = {"lob": "sales", "conversation": TURNS, "conversation_id": "reviewed-1"}
        held = asks.post("/v1/suggestions", json=body)
        assert held.status_code == 200, held.text
        (choice,) = held.json()["choices"]
        assert choice["message"]["content"] == "One moment, I am checking."
        review = held.json()["review"]
        path = f"/v1/reviews/{review['id']}"
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(asks.get, f"{path}/answer", params={"wait_s": 60})
            listed = reviews.get("/v1/reviews", params={"lob": "sales", "status": "pending"})
            assert review["id"] in [one["id"] for one in listed.json()["data"]]
            claimed = reviews.post(f"{path}/claim")
            assert claimed.status_code == 200, claimed.text
            assert claimed.json()["context"]["request"]["conversation"] == TURNS
            said = {"decision": "edit", "text": EDIT, "reason": "ask first"}
            decided = reviews.post(f"{path}/decision", json=said)
            assert (decided.status_code, decided.json()["status"]) == (200, "edited"), decided.text
            final = waiting.result().json()
        assert (final["status"], final["text"]) == ("edited", EDIT)

        def given() -> list[str]:
            kept = reviews.get(f"/v1/interactions/{held.json()['id']}").json()
            return [one["edit"] for one in kept["feedback"]]

        assert until(given, "the edit is no feedback") == [EDIT]


def test_a_task_is_listed_shown_and_decided_from_a_terminal(server: Server) -> None:
    with server.http("service") as asks:
        held = asks.post("/v1/suggestions", json={"lob": "sales", "conversation": TURNS})
        id_ = held.headers["x-switchboard-review"]
        shown = [
            server.cli("reviews", "list", "sales", "--status", "pending", key="reviewer"),
            server.cli("reviews", "show", id_, key="reviewer"),
            server.cli("reviews", "decide", id_, "reject", "--reason", "rude", key="reviewer"),
        ]
        assert [one.returncode for one in shown] == [0, 0, 0], [one.stderr for one in shown]
        assert id_ in shown[0].stdout
        assert "cancel my whole contract" in shown[1].stdout
        assert "cancelling" in shown[1].stdout
        assert f"{id_}: rejected" in shown[2].stdout
        final = asks.get(f"/v1/reviews/{id_}/answer").json()
        again = server.cli("reviews", "decide", id_, "approve", key="reviewer")
    assert (final["final"], final["text"]) == (True, "One moment, I am checking.")
    assert again.returncode == 1


def test_what_the_model_was_not_sure_of_is_held_by_its_own_token_probabilities(
    server: Server,
) -> None:
    """The bound is first between nothing and the answer's confidence, then above it."""
    body = {
        "model": "sales",
        "messages": [{"role": "user", "content": "When does my order arrive?"}],
        "max_tokens": 12,
        "temperature": 0,
    }
    lobs = server.settings["lobs"]

    def bound(below: float) -> None:
        lobs["sales"]["reviews"] = REVIEWS | {"low_confidence": {"below": below}}
        server.apply(lobs=lobs)

    path = "/v1/chat/completions"
    try:
        with server.http("service") as asks, server.http("reviewer") as reviews:
            bound(1e-9)
            told = asks.post(path, json=body | {"logprobs": True}).json()["choices"][0]
            logs = [one["logprob"] for one in told["logprobs"]["content"]]
            confidence = math.exp(sum(logs) / len(logs))
            plain = asks.post(path, json=body)
            assert "x-switchboard-review" not in plain.headers
            assert plain.json()["choices"][0]["logprobs"] is None
            assert plain.json()["choices"][0]["message"] == told["message"]
            bound(1.0)
            for stream in (False, True):
                held = asks.post(path, json=body | {"stream": stream})
                assert held.status_code == 200, held.text
                assert "One moment, I am checking." in held.text
                id_ = held.headers["x-switchboard-review"]
                context = reviews.get(f"/v1/reviews/{id_}").json()["context"]
                assert context["text"] == told["message"]["content"]
                (found,) = context["verdicts"]
                assert found["guard"] == "reviews.low_confidence"
                assert 1 - found["score"] == pytest.approx(confidence, abs=0.02)
                assert '"logprob":' not in json.dumps(context["response"])
    finally:
        server.apply()

"""The review queue through the real server: held, claimed, edited, waited for, fed back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

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

"""Task endpoints, capture and feedback: what agents' desktops do all day."""

import json
import uuid
from typing import Any

import httpx
import pytest

from serving.draws import holds_back
from tests.e2e.conftest import HOLDBACK
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
CONVERSATION = [
    {"role": "customer", "text": "Hi, my order 48213 has not arrived."},
    {"role": "agent", "text": "I am sorry. Let me look into it."},
    {"role": "customer", "text": "Thank you."},
]


def post(server: Server, path: str, caller: str = "service", /, **body: Any) -> httpx.Response:
    with server.http(caller) as http:
        return http.post(path, json=body)


def suggest(server: Server, **more: Any) -> dict[str, Any]:
    answer = post(server, "/v1/suggestions", lob="care", conversation=CONVERSATION, **more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def feedback(server: Server, **body: Any) -> httpx.Response:
    return post(server, "/v1/feedback", **body)


def test_suggestions_give_n_candidates(server: Server) -> None:
    answer = suggest(server, n=3, temperature=1.0, max_tokens=12)
    assert len(answer["choices"]) == 3


def test_suggestions_stream(server: Server) -> None:
    body = {"lob": "care", "conversation": CONVERSATION, "stream": True, "max_tokens": 8}
    with server.http() as http, http.stream("POST", "/v1/suggestions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["x-switchboard-version"]
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3


def test_summary_is_text_or_the_lobs_fields(server: Server) -> None:
    plain = post(server, "/v1/summaries", lob="care", conversation=CONVERSATION, max_tokens=16)
    assert plain.json()["choices"][0]["message"]["content"]
    structured = post(
        server,
        "/v1/summaries",
        lob="care",
        conversation=CONVERSATION,
        structured=True,
        max_tokens=400,
    )
    choice = structured.json()["choices"][0]
    if choice["finish_reason"] == "stop":
        assert json.loads(choice["message"]["content"]).keys() == {"issue", "follow_up"}
    else:  # a small model may ramble inside a string; what there is follows the schema
        assert choice["message"]["content"].lstrip().startswith("{")


def test_interaction_is_stored_with_prompt_hash_and_counts(server: Server) -> None:
    made = suggest(server, conversation_id="conversation-7", max_tokens=8)
    with server.http() as http:
        stored = http.get(f"/v1/interactions/{made['id']}").json()
    assert stored["task"] == "suggestion"
    assert stored["lob"] == "care"
    assert stored["version"] == made["model"]
    assert stored["output"] == made["choices"][0]["message"]["content"]
    assert stored["completion_tokens"] == made["usage"]["completion_tokens"]
    assert stored["conversation_id"] == "conversation-7"
    assert stored["turn_position"] == 3
    assert len(stored["prompt_hash"]) == 16
    assert "customer: Thank you." in stored["messages"][-1]["content"]


def test_streamed_interaction_is_stored_like_a_plain_one(server: Server) -> None:
    body = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 8, "temperature": 0}
    plain = suggest(server, max_tokens=8, temperature=0)
    with (
        server.http() as http,
        http.stream("POST", "/v1/suggestions", json=body | {"stream": True}) as answer,
    ):
        first, *_ = [line for line in answer.iter_lines() if line.startswith("data: {")]
    id_ = json.loads(first[6:])["id"]
    with server.http() as http:
        stored = http.get(f"/v1/interactions/{id_}").json()
    assert stored["output"] == plain["choices"][0]["message"]["content"]
    assert stored["completion_tokens"] == plain["usage"]["completion_tokens"]
    assert stored["ttft_ms"] > 0


def test_feedback_is_tied_to_the_responses_own_id(server: Server) -> None:
    made = suggest(server, max_tokens=8)
    answer = feedback(server, id=made["id"], key=uuid.uuid4().hex, edit="Right away.", rating="up")
    assert answer.status_code == 200, answer.text
    with server.http() as http:
        (stored,) = http.get(f"/v1/interactions/{made['id']}").json()["feedback"]
    assert (stored["edit"], stored["rating"]) == ("Right away.", 1.0)


def test_feedback_twice_with_one_key_is_stored_once(server: Server) -> None:
    made = suggest(server, max_tokens=8)
    key = uuid.uuid4().hex
    first = feedback(server, id=made["id"], key=key, rating=0.5)
    again = feedback(server, id=made["id"], key=key, rating=0.5)
    other = feedback(server, id=made["id"], key=key, rating=0.75)
    assert (first.json()["created"], again.json()["created"]) == (True, False)
    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "chatcmpl-unknown", "rating": 1}, 404),
        ({"rating": 1}, 400),
        ({"id": "chatcmpl-1"}, 400),
        ({"id": "chatcmpl-1", "rating": 2}, 400),
        ({"id": "chatcmpl-1", "rating": "meh"}, 400),
        ({"id": "chatcmpl-1", "used": True, "rejected": True}, 400),
        ({"id": "chatcmpl-1", "ratting": 1}, 400),
    ],
)
def test_bad_feedback_is_refused(server: Server, body: dict[str, Any], status: int) -> None:
    answer = feedback(server, **body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_feedback_for_another_lob_is_403(server: Server) -> None:
    sales = post(server, "/v1/suggestions", lob="sales", conversation=CONVERSATION, max_tokens=4)
    id_ = sales.json()["id"]
    assert post(server, "/v1/feedback", "care-only", id=id_, rating=1).status_code == 403
    assert feedback(server, id=id_, lob="care", rating=1).status_code == 403
    with server.http("care-only") as http:
        assert http.get(f"/v1/interactions/{id_}").status_code == 403


def test_disconnect_is_recorded_as_aborted(server: Server) -> None:
    body = {"lob": "care", "conversation": CONVERSATION, "stream": True}
    body |= {"max_tokens": 600, "ignore_eos": True}
    with server.http() as http, http.stream("POST", "/v1/suggestions", json=body) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data: {"))
    id_ = json.loads(first[6:])["id"]
    with server.http() as http:
        assert http.get(f"/v1/interactions/{id_}").json()["status"] == "aborted"


@pytest.mark.parametrize("held", [True, False])
def test_a_turn_that_is_held_back_says_so_and_its_typed_text_is_known(
    server: Server, held: bool
) -> None:
    names = (f"held-{n}" for n in range(99))
    name = next(n for n in names if holds_back("sales", HOLDBACK, n, len(CONVERSATION)) == held)
    body = {"lob": "sales", "conversation": CONVERSATION, "conversation_id": name, "max_tokens": 4}
    plain = post(server, "/v1/suggestions", **body)
    assert (plain.json()["show"], plain.headers["x-switchboard-show"]) == (
        not held,
        _word(not held),
    )
    with (
        server.http() as http,
        http.stream("POST", "/v1/suggestions", json=body | {"stream": True}) as streamed,
    ):
        events = [line for line in streamed.iter_lines() if line.startswith("data: {")]
    assert streamed.headers["x-switchboard-show"] == _word(not held)
    assert {json.loads(event[6:])["show"] for event in events} == {not held}
    id_ = plain.json()["id"]
    typed = {"event_id": uuid.uuid4().hex, "id": id_, "at": 1.0, "type": "typed", "text": "Mine."}
    assert post(server, "/v1/events", events=[typed]).json()["feedback"] == 1
    with server.http() as http:
        stored = http.get(f"/v1/interactions/{id_}").json()
    assert (stored["holdback"], stored["shown_by_draw"]) == (HOLDBACK, not held)
    assert stored["output"] == plain.json()["choices"][0]["message"]["content"]
    (said,) = stored["feedback"]
    assert (said["edit"], said["used"]) == ("Mine.", False)


def _word(show: bool) -> str:
    return "true" if show else "false"

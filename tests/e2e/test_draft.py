"""A suggestion that goes on from what the agent has typed, through the real engine."""

import httpx
import orjson
import pytest

from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
DRAFT = "I am very sorry"


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_begins_with_the_draft_and_goes_on(server: Server, stream: bool) -> None:
    headers = {"authorization": f"Bearer {server.keys['service']}"}
    turns = [{"role": "customer", "text": "My kettle is broken. I want my money back."}]
    body = {"lob": "care", "conversation": turns, "draft": f"{DRAFT} ", "max_tokens": 12}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
        said = http.post("/v1/suggestions", json=body | {"stream": stream})
        assert said.status_code == 200, said.text
        if stream:
            lines = [line[6:] for line in said.text.splitlines() if line.startswith("data: {")]
            chunks = [orjson.loads(line) for line in lines]
            deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
            id_, text = chunks[0]["id"], "".join(delta.get("content") or "" for delta in deltas)
        else:
            id_ = said.json()["id"]
            text = said.json()["choices"][0]["message"]["content"]
        assert text.startswith(DRAFT)
        assert len(text) > len(DRAFT)
        kept = http.get(f"/v1/interactions/{id_}").json()
    assert kept["output"] == text
    assert all(message["role"] != "assistant" for message in kept["messages"])

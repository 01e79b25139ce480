"""A rule through the real server: it answers without the model, and is judged like a version."""

import httpx
import pytest

from tests.e2e.server import Server

pytestmark = pytest.mark.e2e


def test_a_rule_answers_and_its_feedback_is_kept(server: Server) -> None:
    headers = {"authorization": f"Bearer {server.keys['service']}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
        turns = [{"role": "customer", "text": "What are the opening hours of your shop?"}]
        said = http.post("/v1/suggestions", json={"lob": "sales", "conversation": turns})
        assert said.status_code == 200, said.text
        assert said.headers["x-switchboard-version"] == "rule:opening-hours@1"
        text = said.json()["choices"][0]["message"]["content"]
        assert text == "The shop is open from 9 to 5."
        feedback = {"id": said.json()["id"], "used": True, "key": "rules-1"}
        assert http.post("/v1/feedback", json=feedback).is_success
        kept = http.get(f"/v1/interactions/{said.json()['id']}").json()
        assert (kept["version"], kept["output"]) == ("rule:opening-hours@1", text)
        other = [{"role": "customer", "text": "Where is my parcel?"}]
        model = http.post("/v1/suggestions", json={"lob": "sales", "conversation": other})
        assert not model.headers["x-switchboard-version"].startswith("rule:")

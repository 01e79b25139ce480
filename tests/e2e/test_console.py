"""The console of a real server, through HAProxy and on whichever replica answers."""

import re

import httpx
import pytest

from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
ENOUGH = 8
"""Requests of which both replicas get some."""


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page's first form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
    return dict(reversed(found))


def test_an_agent_signs_in_and_is_suggested_a_reply_by_every_replica(server: Server) -> None:
    with httpx.Client(base_url=server.url, follow_redirects=True, timeout=120) as browser:
        page = browser.get("/console/desk")
        assert page.url.path == "/console/sign-in"
        key = server.keys["agent"]
        page = browser.post("/console/sign-in", data=hidden(page) | {"key": key})
        assert (page.status_code, page.url.path) == (200, "/console/desk")
        answered = set()
        for number in range(ENOUGH):
            operations = browser.get("/console/operations")
            assert operations.status_code == 200, operations.text
            answered.add(re.findall(r"<dt>Replica</dt><dd>([^<]+)</dd>", operations.text)[0])
            turns = [{"role": "customer", "text": f"My kettle {number} is broken."}]
            said = browser.post(
                "/console/api/v1/suggestions",
                json={"lob": "care", "conversation": turns, "max_tokens": 8},
                headers={
                    "x-csrf-token": hidden(page)["csrf"],
                    "x-conversation-id": f"console-{number}",
                },
            )
            assert said.status_code == 200, said.text
            assert said.json()["choices"][0]["message"]["content"]
        assert len(answered) == 2
        assert "cannot be read" not in operations.text
        page = browser.post("/console/sign-out", data=hidden(page))
        assert browser.get("/console/desk").url.path == "/console/sign-in"

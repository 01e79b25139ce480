"""A conversation's requests go to the replica that holds its prefix."""

from collections import defaultdict

import pytest

from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e
CONVERSATIONS = 16
TURNS = 4


def replica_of(server: Server, conversation: str | None, turn: int) -> str:
    headers = {"x-conversation-id": conversation} if conversation else {}
    body = {"model": "base", "prompt": f"turn {turn}", "max_tokens": 1}
    with server.http("admin") as http:
        answer = http.post("/v1/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        record = http.get(f"/v1/interactions/{answer.json()['id']}").json()
    return str(record["replica"])


def test_a_conversation_stays_on_one_replica_and_conversations_spread(server: Server) -> None:
    replicas = defaultdict(set)
    for turn in range(TURNS):
        for number in range(CONVERSATIONS):
            name = f"affinity-{number}"
            replicas[name].add(replica_of(server, name, turn))
    assert all(len(seen) == 1 for seen in replicas.values()), dict(replicas)
    assert len(set.union(*replicas.values())) == 2


def test_requests_of_no_conversation_spread(server: Server) -> None:
    assert len({replica_of(server, None, turn) for turn in range(8)}) == 2

"""A conversation's requests go to the replica that holds its prefix."""

from collections import Counter, defaultdict

import pytest

from tests.e2e.server import Server

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
    replicas: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for turn in range(TURNS):
        for number in range(CONVERSATIONS):
            name = f"affinity-{number}"
            replicas[name][replica_of(server, name, turn)] += 1
    homes = {name: seen.most_common(1)[0] for name, seen in replicas.items()}
    # Affinity yields to load, and a request that HAProxy has not yet written off is load; by
    # chance alone 69 % would be at home, with a deviation of 4.
    assert sum(count for _, count in homes.values()) >= 0.85 * TURNS * CONVERSATIONS, replicas
    assert len({replica for replica, _ in homes.values()}) == 2


def test_requests_of_no_conversation_spread(server: Server) -> None:
    assert len({replica_of(server, None, turn) for turn in range(8)}) == 2
